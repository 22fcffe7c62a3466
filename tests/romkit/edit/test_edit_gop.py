"""GOP drivers: in, out, renewed; where both chains reach them."""

from __future__ import annotations

import struct

import pytest
from builders.authenticode import sign
from builders.board import (
    TURING,
    amd,
    amd_gop,
    amd_legacy,
    desktop,
    gop_between,
    gop_driver,
    mobile,
    nvidia_gop,
    nvidia_legacy,
    nvidia_own,
)
from builders.changes import replay, same, sum8
from builders.pe import build_pe
from builders.rom import efi_image, image, npde, nvfw, nvgi, pcir, vfct

from romkit import Rom, parse_rom, verify
from romkit.edit import (
    EfiIds,
    gop_extract,
    gop_insert,
    gop_list,
    gop_remove,
    gop_update,
    read_donor,
    wrap_driver,
)
from romkit.efi.compression import compress
from romkit.efi.gop import GopRole
from romkit.errors import EditRefused
from romkit.finding import Severity, Verdict
from romkit.guest import ovmf_view, seabios_view

GOP = nvidia_gop(device=0x1D02, indicator=0)
DONOR = parse_rom(GOP)
SIZE = len(GOP)
NEWER = parse_rom(nvidia_gop(payload=gop_driver("NVIDIA GPU UEFI Driver 2")))


def reached(rom: Rom) -> tuple[list[int], list[int]]:
    assert rom.pcir_chain.complete
    assert rom.npde_chain.complete
    return [i.code_type for i in rom.pcir_chain], [i.code_type for i in rom.npde_chain]


def sound(data: bytes) -> bool:
    return not [
        f
        for f in verify(data)
        if f.verdict is Verdict.FAIL and f.severity is not Severity.NOTE
    ]  # fmt: skip


def test_insert_into_a_mobile_board() -> None:
    edit = gop_insert(parse_rom(mobile()), DONOR)
    assert reached(edit.rom) == ([0x00, 0x03], [0x00, 0xE0, 0xE0, 0x70, 0x03])
    legacy, *_, notebook, efi = edit.rom.images
    assert efi.offset == 11 * 512
    assert (efi.pcir.vendor_id, efi.pcir.device_id) == (0x10DE, 0x1C8D)
    assert (legacy.pcir.last, notebook.pcir.last, efi.pcir.last) == (False, False, True)
    assert efi.npde is not None
    assert efi.npde.last is True
    assert efi.npde.subimage_length == SIZE
    assert legacy.npde is not None
    assert legacy.npde.flags == 0x0B
    for start, end in ((0, 4), (0, 11), (9, 11)):
        assert sum8(edit.data[start * 512 : end * 512]) == 0
    assert sound(edit.data)
    assert ovmf_view(edit.rom).started
    assert seabios_view(edit.rom).started
    assert replay(edit) == edit.data
    assert efi.efi is not None
    assert DONOR.images[0].efi is not None
    assert efi.efi.pe == DONOR.images[0].efi.pe


def test_insert_into_a_desktop_board() -> None:
    edit = gop_insert(parse_rom(desktop()), DONOR)
    assert reached(edit.rom) == ([0x00, 0x03], [0x00, 0x03, 0xE0, 0x70])
    legacy, efi, _, _ = edit.rom.images
    assert efi.offset == 4 * 512
    assert efi.npde is not None
    assert (legacy.pcir.last, efi.pcir.last, efi.npde.last) == (False, True, False)
    assert legacy.npde is not None
    assert legacy.npde.flags == 1
    assert sum8(edit.data[: 4 * 512]) == 0
    assert edit.data[-5 * 512 :] == desktop()[-5 * 512 :]
    assert sound(edit.data)


def test_insert_into_an_amd_board() -> None:
    edit = gop_insert(parse_rom(amd(gop=False)), parse_rom(amd_gop()))
    assert edit.data == amd()
    assert [c.offset for c in edit.changes] == [0x21, 0x55, 2048]


def test_insert_into_a_board_before_npde() -> None:
    plain = image(pcir(device=0x1C8D), fill=0xFF)
    donor = parse_rom(nvidia_gop(3, extended=False))
    edit = gop_insert(parse_rom(plain), donor, force=True)
    assert reached(edit.rom) == ([0x00, 0x03], [0x00, 0x03])
    assert edit.rom.images[1].npde is None


def test_a_donor_without_npde_gets_one_where_it_is_needed() -> None:
    bare = efi_image(compress(gop_driver()), compression=1, device=0x1C8D)
    edit = gop_insert(parse_rom(desktop()), parse_rom(bare), force=True)
    assert reached(edit.rom) == ([0x00, 0x03], [0x00, 0x03, 0xE0, 0x70])
    efi = edit.rom.images[1]
    assert efi.npde is not None
    assert efi.efi is not None
    assert efi.efi.pe == gop_driver()
    stream = compress(gop_driver())
    start = efi.offset + efi.efi.image_offset
    assert edit.data[start : start + len(stream)] == stream


def test_an_open_end_stays_open() -> None:
    dump = nvidia_legacy()  # as through the ROM BAR: NVIDIA's own images are missing
    edit = gop_insert(parse_rom(dump), DONOR)
    assert edit.rom.pcir_chain.complete
    assert not edit.rom.npde_chain.complete
    assert edit.data == nvidia_legacy(indicator=0) + nvidia_gop()


def test_padding_gives_way_and_comes_back() -> None:
    board = mobile(padding=8192)
    edit = gop_insert(parse_rom(board), DONOR)
    assert len(edit.data) == len(board)
    assert [(c.kind, c.offset, c.old_size) for c in edit.changes][-2:] == [
        ("inserted", 11 * 512, 0),
        ("dropped", 11 * 512, SIZE),
    ]
    assert same(gop_remove(edit.rom).data, board)
    less = mobile(padding=512)
    assert len(gop_insert(parse_rom(less), DONOR).data) == 11 * 512 + SIZE


def test_a_live_tail_never_moves() -> None:
    tail = b"\xff" * 4096 + b"PSP firmware" * 40
    edit = gop_insert(parse_rom(amd(gop=False, tail=tail)), parse_rom(amd_gop()))
    assert edit.data == amd() + tail[len(amd_gop()) :]
    back = gop_remove(edit.rom)
    assert back.data == amd(gop=False, tail=tail)
    tight = amd(gop=False, tail=b"\xff" * 512 + b"PSP firmware" * 40)
    with pytest.raises(EditRefused, match="0x200 bytes of padding") as caught:
        gop_insert(parse_rom(tight), parse_rom(amd_gop()))
    assert "strip" in caught.value.hint
    removed = gop_remove(parse_rom(amd(tail=b"PSP firmware" * 40)))
    assert removed.data == amd(gop=False, tail=b"\xff" * len(amd_gop()) + b"PSP firmware" * 40)


@pytest.mark.parametrize("board", [mobile(), desktop(), nvgi(2, desktop()), nvidia_legacy()])
def test_remove_undoes_insert(board: bytes) -> None:
    edit = gop_insert(parse_rom(board), DONOR)
    back = gop_remove(edit.rom)
    assert same(back.data, board)
    assert replay(back) == back.data


@pytest.mark.parametrize("version", [TURING, "86.07.92.00.0F"])
def test_an_altered_vbios_is_no_longer_signed(version: str) -> None:
    donor = parse_rom(nvidia_gop(5 if version == TURING else 3))
    edit = gop_insert(parse_rom(desktop(version=version)), donor)
    said = any("Turing cards refuse it in their flash" in note for note in edit.notes)
    assert said == (version == TURING)


def test_what_the_signature_of_the_driver_covers_is_said() -> None:
    signed = nvidia_gop(payload=sign(gop_driver()))
    assert any("keeps its signature" in n for n in gop_insert(parse_rom(desktop()),
                                                             _donor(signed)).notes)  # fmt: skip
    assert any("is not signed" in n for n in gop_insert(parse_rom(desktop()), DONOR).notes)


def _donor(raw: bytes) -> Rom:
    """The same driver, compressed: a signature covers no padding of the image."""
    (only,) = parse_rom(raw).images
    assert only.efi is not None
    payload = only.efi.payload.rstrip(b"\0")
    payload += bytes(-len(payload) % 8)
    return parse_rom(wrap_driver(payload, EfiIds(0x10DE, 0x1C8D), npde=True, gop_version=0x30009))


# Section: what does not fit

AA64 = nvidia_gop(machine=0xAA64)


@pytest.mark.parametrize(
    ("donor", "objection"),
    [
        (nvidia_gop(5), "for Turing, the ROM for Pascal"),
        (amd_gop(), "the donor's driver is AMD's, the ROM is NVIDIA's"),
        (AA64, "for AA64 machines, not for X64"),
        (efi_image(gop_driver(""), vendor=0), "whose GPU the donor's driver is for"),
        (efi_image(gop_driver(), device=0x1C8D), "which family of NVIDIA's GPUs the donor's"),
    ],
)
def test_a_strange_donor_is_refused_unless_told(donor: bytes, objection: str) -> None:
    board, rom = parse_rom(desktop()), parse_rom(donor)
    if not [i for i in rom.efi_images if i.efi and i.efi.gop_role is GopRole.PRODUCER]:
        rom = parse_rom(efi_image(gop_driver(""), vendor=0, class_code=0x030000))
    with pytest.raises(EditRefused, match=objection) as caught:
        gop_insert(board, rom)
    assert caught.value.may_force
    edit = gop_insert(board, rom, force=True)
    assert reached(edit.rom) == ([0x00, 0x03], [0x00, 0x03, 0xE0, 0x70])
    assert any(note.startswith("forced: ") and objection in note for note in edit.notes)


def test_amd_drivers_fit_their_own_device() -> None:
    board = parse_rom(amd(gop=False))
    with pytest.raises(EditRefused, match="do not state which family"):
        gop_insert(board, parse_rom(amd_gop(device=0x67EF)))
    listed = wrap_driver(gop_driver("AMD GOP X64 Rel Driver Rev.3.1.0"),
                         EfiIds(0x1002, 0x67EF, 0x030000, (0x67DF,)))  # fmt: skip
    assert gop_insert(board, parse_rom(listed)).rom.images[1].pcir.device_id == 0x67DF


@pytest.mark.parametrize(
    ("board", "donor", "message"),
    [
        (desktop(gop=nvidia_gop()), GOP, "has a GOP driver already"),
        (desktop(), desktop(), "the donor has no GOP driver"),
        (desktop(), efi_image(b"broken", compression=1), "cannot be decompressed"),
        (desktop(), GOP + nvidia_gop()[:-16], "cut off"),
        (nvgi(3, desktop()), GOP, "states the ROM's length"),
        (vfct(amd_legacy())[:-100], amd_gop(), "cut off"),
        (mobile()[:-512], GOP, "not complete"),
        (b"\x55\xaa\x01" + bytes(509), GOP, "no PCI data structure"),
        # Firmware's chain ends in the middle of NVIDIA's own image.
        (nvidia_legacy(length=5) + nvidia_own(last=True), GOP, "no image border"),
    ],
)
def test_impossible_insertions_are_refused(board: bytes, donor: bytes, message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        gop_insert(parse_rom(board), parse_rom(donor), force=True)


def test_a_container_that_states_the_length_names_the_way_out() -> None:
    with pytest.raises(EditRefused) as caught:
        gop_insert(parse_rom(nvgi(3, desktop())), DONOR)
    assert "`romkit strip FILE -o STRIPPED.rom`" in caught.value.hint


def test_a_vfct_entry_grows_and_shrinks_in_its_table() -> None:
    """The table's bytes are what a firmware would have written for the larger ROM."""
    for others in ([], [amd(gop=False)]):
        raw = vfct(amd(gop=False), *others)
        board = parse_rom(raw)
        own = gop_insert(parse_rom(amd(gop=False)), parse_rom(amd_gop()), force=True)
        edit = gop_insert(board, parse_rom(amd_gop()), force=True)
        assert same(edit.data, vfct(own.data, *others))
        assert replay(edit) == edit.data
        assert same(gop_update(edit.rom, parse_rom(amd_gop()), force=True).data, edit.data)
        assert same(gop_remove(edit.rom).data, raw)


def test_a_vfct_with_something_behind_its_entries_is_left_alone() -> None:
    raw = bytearray(vfct(amd_legacy()) + b"library")
    struct.pack_into("<I", raw, 4, len(raw))
    struct.pack_into("<I", raw, 36 + 20, len(raw) - 7)
    with pytest.raises(EditRefused, match="library"):
        gop_insert(parse_rom(bytes(raw)), parse_rom(amd_gop()), force=True)


def test_a_driver_that_is_not_what_was_signed_is_refused_unless_told() -> None:
    pe = bytearray(sign(gop_driver()))
    pe[0x210] ^= 1
    raw = wrap_driver(bytes(pe), EfiIds(0x10DE, 0x1C8D), npde=True, gop_version=0x30009)
    with pytest.raises(EditRefused, match="is not what was signed") as caught:
        gop_insert(parse_rom(desktop()), parse_rom(raw))
    assert caught.value.may_force
    edit = gop_insert(parse_rom(desktop()), parse_rom(raw), force=True)
    assert [n for n in edit.notes if "sign" in n] == [
        "forced: the donor's driver is not what was signed: it was damaged or altered"
    ]
    assert [f.check for f in verify(edit.rom) if f.verdict is Verdict.FAIL] == ["efi.digest"]


def test_drivers_of_the_donor_that_are_not_taken_are_said() -> None:
    arm = nvidia_gop(indicator=0, machine=0xAA64)
    edit = gop_insert(parse_rom(desktop()), parse_rom(arm + GOP))
    assert [i.efi.machine for i in edit.rom.efi_images if i.efi] == [0x8664]
    assert "the donor's AA64 driver at 0x0 is not taken" in edit.notes


def test_the_signature_of_a_driver_that_is_gone_is_no_matter() -> None:
    signed = wrap_driver(sign(gop_driver()), EfiIds(0x10DE, 0x1C8D), npde=True, gop_version=0x30009)
    newer = sign(gop_driver("NVIDIA GPU UEFI Driver, new"))
    donor = wrap_driver(newer, EfiIds(0x10DE, 0x1C8D), npde=True, gop_version=0x3000A)
    board = gop_insert(parse_rom(desktop()), parse_rom(signed)).rom
    edit = gop_update(board, parse_rom(donor))
    assert edit.rom.efi_images[0].efi is not None
    assert edit.rom.efi_images[0].efi.digest_ok
    assert edit.notes == (
        "the donor's driver keeps its signature, which covers the driver and not the ids in front "
        "of it",
    )


def test_a_copy_that_keeps_its_driver_is_said() -> None:
    board = desktop(gop=nvidia_gop())
    flash = board + b"\xff" * 512 + board
    for edit in (gop_remove(parse_rom(flash)), gop_update(parse_rom(flash), NEWER)):
        assert edit.data.endswith(board)
        assert "the copy of the ROM behind it is left as it is" in edit.notes


def test_a_blackwell_flash_without_a_stated_length_is_taken() -> None:
    edit = gop_insert(parse_rom(nvfw(desktop())), parse_rom(nvidia_gop()))
    assert edit.data[:0x5400] == nvfw(desktop())[:0x5400]


# Section: update, remove, list, extract


def test_update_keeps_the_place_and_the_chains() -> None:
    for board in (desktop, mobile):
        old = board(gop=nvidia_gop(last=0x80 if board is mobile else 0))
        bigger = nvidia_gop(3, payload=gop_driver("NVIDIA GPU UEFI Driver" * 40), device=7)
        edit = gop_update(parse_rom(old), parse_rom(bigger))
        assert len(edit.data) - len(old) == len(bigger) - SIZE > 0
        assert sound(edit.data)
        assert [i.pcir.device_id for i in edit.rom.efi_images] == [0x1C8D]
        assert same(gop_update(edit.rom, parse_rom(old)).data, old)
        assert replay(edit) == edit.data


def test_update_with_the_same_driver_is_nothing_to_do() -> None:
    edit = gop_update(parse_rom(desktop(gop=nvidia_gop())), DONOR)
    assert not edit.changed
    assert "this very driver" in edit.notes[0]


def test_update_to_an_older_driver_is_said() -> None:
    new = nvidia_gop(payload=gop_driver("NVIDIA GPU UEFI Driver, new"))
    raw = bytearray(new)
    raw[0x4C] = 0x1D
    edit = gop_update(parse_rom(desktop(gop=bytes(raw))), DONOR)
    assert "the donor's driver 0x30009 is older than the ROM's, 0x3001D" in edit.notes


def test_update_keeps_a_driver_for_another_machine() -> None:
    arm = efi_image(build_pe(machine=0xAA64), machine=0xAA64, vendor=0x1002, device=0x67DF)
    board = amd_legacy(indicator=0) + amd_gop(indicator=0) + arm
    newer = efi_image(gop_driver("AMD GOP X64 Rel Driver Rev.3.1.0"), vendor=0x1002, device=0x67DF)
    edit = gop_update(parse_rom(board), parse_rom(newer))
    assert [i.efi.machine for i in edit.rom.efi_images if i.efi] == [0x8664, 0xAA64]
    assert edit.data.endswith(arm)


def test_update_replaces_a_driver_that_cannot_be_read() -> None:
    board = amd_legacy(indicator=0) + efi_image(
        b"broken", compression=1, vendor=0x1002, device=0x67DF
    )
    assert gop_update(parse_rom(board), parse_rom(amd_gop())).data == amd()


@pytest.mark.parametrize(
    ("board", "message"),
    [(desktop(), "no GOP driver to renew"), (gop_between(nvidia_gop()), "does not reach")],
)
def test_impossible_updates_are_refused(board: bytes, message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        gop_update(parse_rom(board), DONOR)


def test_remove_from_a_broken_chain_repairs_it() -> None:
    edit = gop_remove(parse_rom(gop_between(nvidia_gop())))
    assert edit.data == mobile()


@pytest.mark.parametrize(
    ("board", "message"),
    [(desktop(), "has no GOP driver"), (GOP, "nothing would be left")],
)
def test_impossible_removals_are_refused(board: bytes, message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        gop_remove(parse_rom(board))


def test_list_names_all_efi_images() -> None:
    network = efi_image(gop_driver(""), class_code=0x020000, indicator=0)
    found = gop_list(parse_rom(gop_between(nvidia_gop())))
    assert [(e.number, e.firmware_reaches, e.driver_reaches) for e in found] == [(2, False, True)]
    (first, second) = gop_list(parse_rom(network + amd_gop()))
    assert (first.role, second.role) == (GopRole.CONSUMER, GopRole.PRODUCER)
    assert second.gop is not None
    assert second.gop.version == "1.60.0.15.50"


def test_extract_is_a_rom_of_its_own() -> None:
    for board in (desktop(gop=nvidia_gop()), gop_between(nvidia_gop())):
        edit = gop_extract(parse_rom(board))
        assert edit.data == nvidia_gop(last=0x80)
        assert replay(edit) == edit.data


def test_what_ovmf_overlooks_is_said() -> None:
    edit = gop_extract(parse_rom(desktop(gop=nvidia_gop())))
    assert edit.notes == ("OVMF overlooks a ROM this small: pad it to 4096 bytes for a guest",)


def test_extract_by_number() -> None:
    network = efi_image(gop_driver(""), class_code=0x020000, indicator=0)
    rom = parse_rom(network + amd_gop())
    assert gop_extract(rom).data == amd_gop()
    assert gop_extract(rom, 0).rom.images[0].pcir.class_code == 0x020000
    for number in (2, -1):
        with pytest.raises(EditRefused, match="no EFI image"):
            gop_extract(rom, number)
    with pytest.raises(EditRefused, match="no GOP driver"):
        gop_extract(parse_rom(desktop()))


def test_several_drivers_go_together() -> None:
    both = nvidia_gop(indicator=0) + nvidia_gop(payload=gop_driver("NVIDIA GPU UEFI Driver 2"))
    edit = gop_insert(parse_rom(mobile()), parse_rom(both))
    assert reached(edit.rom) == ([0, 3, 3], [0, 0xE0, 0xE0, 0x70, 3, 3])
    assert gop_remove(edit.rom).data == mobile()


def test_a_driver_file_is_a_donor() -> None:
    rom = parse_rom(desktop())
    donor = read_donor(gop_driver(), rom)
    assert donor.images[0].npde is not None
    assert donor.images[0].pcir.device_id == 0x1C8D
    assert gop_insert(rom, donor, force=True).changed
    assert read_donor(GOP, rom).data == GOP
    with pytest.raises(EditRefused):
        read_donor(b"MZ", rom)
    with pytest.raises(EditRefused, match="the donor has no GOP driver"):
        read_donor(desktop(), rom)
    isa = parse_rom(b"\x55\xaa\x01" + bytes(509))
    with pytest.raises(EditRefused, match="no PCI data structure"):
        gop_insert(isa, read_donor(gop_driver(), isa))


def test_short_npde_of_a_donor() -> None:
    raw = bytearray(nvidia_gop())
    raw[0x40:0x50] = npde(blocks=SIZE // 512, length=10).ljust(16, b"\0")
    edit = gop_insert(parse_rom(desktop()), parse_rom(bytes(raw)), force=True)
    assert reached(edit.rom) == ([0x00, 0x03], [0x00, 0x03, 0xE0, 0x70])
