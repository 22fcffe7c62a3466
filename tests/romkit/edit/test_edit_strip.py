"""strip: what goes, what stays, and why."""

from __future__ import annotations

import pytest
from builders.board import TURING, amd, amd_gop, desktop, gop_between, mobile, nvidia_gop
from builders.changes import replay, sum8
from builders.rom import image, nvfw, nvgi, pcir, vfct
from hypothesis import given
from hypothesis import strategies as st

from romkit import parse_rom
from romkit.edit import Edit, strip
from romkit.errors import EditRefused

DESKTOP = desktop(gop=nvidia_gop())
MOBILE = mobile(gop=nvidia_gop(last=0x80))


def reasons(edit: Edit) -> list[str]:
    return [c.reason for c in edit.changes]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (nvgi(1, DESKTOP), "NVGI version 1 container in front of the ROM"),
        (nvgi(2, MOBILE), "NVGI version 2 container in front of the ROM"),
        (nvgi(3, DESKTOP), "NVGI version 3 container in front of the ROM"),
        (nvfw(DESKTOP), "NVFW container in front of the ROM"),
        (b"\xde\xad" * 256 + DESKTOP, "bytes of unknown meaning in front of the ROM"),
    ],
)
def test_whatever_is_in_front_goes(data: bytes, reason: str) -> None:
    edit = strip(parse_rom(data))
    assert edit.data in (DESKTOP, MOBILE)
    assert reasons(edit) == [reason]
    assert replay(edit) == edit.data
    assert strip(parse_rom(data), keep_tail=True).data == edit.data


def test_nothing_to_strip_is_a_friendly_success() -> None:
    edit = strip(parse_rom(DESKTOP))
    assert not edit.changed
    assert edit.data == DESKTOP
    assert edit.notes == ("nothing to strip: the file is the ROM and nothing else",)


def test_padding_and_copies_go_and_are_named() -> None:
    flash = nvgi(2, DESKTOP) + b"\xff" * 1024 + nvgi(2, DESKTOP) + b"\xff" * 512
    edit = strip(parse_rom(flash))
    assert edit.data == DESKTOP
    assert reasons(edit) == [
        "NVGI version 2 container in front of the ROM",
        "padding of ff",
        "another copy of the ROM behind the first, identical",
        "padding of ff",
    ]
    kept = strip(parse_rom(flash), keep_tail=True)
    assert kept.data == flash[0x400:]
    assert len(kept.changes) == 1


def test_an_nvidia_flash_keeps_its_private_data_to_itself() -> None:
    flash = nvgi(2, DESKTOP) + b"\xff" * 512 + b"InfoROM!" * 64
    edit = strip(parse_rom(flash))
    assert edit.data == DESKTOP
    assert "the flash's own data" in reasons(edit)[-1]


def test_data_behind_a_chain_without_an_end_may_be_images() -> None:
    cut_off = DESKTOP[: 4 * 512]  # 00, not last
    edit = strip(parse_rom(nvgi(2, cut_off + b"what is this" * 50)))
    assert edit.data == cut_off + b"what is this" * 50
    assert "bytes behind the images are kept" in edit.notes[0]


def test_a_live_tail_stays_with_its_padding() -> None:
    tail = b"\xff" * 2048 + b"PSP firmware" * 100 + b"\xff" * 300
    edit = strip(parse_rom(amd(tail=tail)))
    assert not edit.changed
    assert "bytes behind the images are kept" in edit.notes[1]
    assert strip(parse_rom(b"\x11" * 512 + amd(tail=tail))).data == amd(tail=tail)


def test_what_follows_the_live_tail_goes() -> None:
    tail = b"\xff" * 2048 + b"PSP firmware" * 128 + b"\xff" * 512
    edit = strip(parse_rom(amd(tail=tail) + amd()))
    assert edit.data == amd(tail=tail)
    assert reasons(edit) == ["another copy of the ROM behind the first, identical"]


def test_padding_behind_amd_images_goes() -> None:
    assert strip(parse_rom(amd(tail=b"\xff" * 4096))).data == amd()


def test_a_vfct_entry_is_cut_out_of_the_table() -> None:
    first, second = amd(gop=False), image(pcir(vendor=0x1002, device=0x1637))
    table = vfct(first, second)
    edit = strip(parse_rom(table))
    assert edit.data == first
    assert reasons(edit) == [
        "VFCT container in front of the ROM",
        "behind this device's entry in the VFCT: VFCT entry 1 (04:01.0 1002:1637)",
    ]
    assert replay(edit) == edit.data
    note = "VFCT entry 1 (04:01.0 1002:1637) is another ROM: `romkit strip --entry 1` keeps that"
    assert note in edit.notes


def test_any_vfct_entry_can_be_cut_out() -> None:
    roms = [amd(gop=False), amd(tail=b"live data" * 70 + b"\xff" * 512), amd(gop=False)]
    table = vfct(*roms) + b"behind"
    for number, rom in enumerate(roms):
        edit = strip(parse_rom(table), entry=number)
        assert edit.data == rom
        assert replay(edit) == rom
    second = strip(parse_rom(table), entry=1)
    assert reasons(second) == [
        "in front of the ROM of VFCT entry 1 (04:01.0 1002:1637)",
        "behind VFCT entry 1 (04:01.0 1002:1637)",
    ]
    legacy = strip(parse_rom(table), entry=1, images="legacy")
    assert [i.code_type for i in legacy.rom.images] == [0]
    assert replay(legacy) == legacy.data


@pytest.mark.parametrize(
    ("raw", "entry", "message"),
    [
        (amd(), 0, "no VFCT"),
        (vfct(amd()), 1, "no entry 1"),
        (vfct(amd()), -1, "no entry -1"),
        (vfct(amd(), b"no ROM at all" * 99), 1, "no option ROM"),
    ],
)
def test_entries_that_are_not_there_are_refused(raw: bytes, entry: int, message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        strip(parse_rom(raw), entry=entry)


def test_a_driver_that_no_chain_reaches_is_no_copy() -> None:
    (reason,) = reasons(strip(parse_rom(amd(gop=False) + amd_gop())))
    assert "EFI image that no chain reaches" in reason


def test_a_vfct_entry_keeps_its_live_tail() -> None:
    first = amd(gop=False, tail=b"PSP firmware" * 100)
    table = vfct(first, image(pcir(vendor=0x1002)))
    assert strip(parse_rom(table)).data == first


def test_an_isa_rom_stays_as_it_is() -> None:
    raw = b"\x55\xaa\x02" + bytes(1021)
    edit = strip(parse_rom(raw))
    assert not edit.changed
    assert "no PCI data structure" in edit.notes[0]


# Section: subsets


def test_legacy_of_a_desktop_board() -> None:
    edit = strip(parse_rom(nvgi(2, DESKTOP)), images="legacy")
    (only,) = edit.rom.images
    assert len(edit.data) == 4 * 512
    assert sum8(edit.data) == 0
    assert (only.pcir.last, only.npde.last if only.npde else None) == (True, True)
    assert edit.rom.pcir_chain.complete
    assert edit.rom.npde_chain.complete
    assert "image 1 (03 EFI): not among the legacy images" in reasons(edit)


def test_legacy_of_a_mobile_board_holds_what_its_length_covers() -> None:
    edit = strip(parse_rom(MOBILE), images="legacy")
    assert [i.code_type for i in edit.rom.images] == [0x00, 0xE0, 0xE0, 0x70]
    assert len(edit.data) == 11 * 512
    assert edit.rom.pcir_chain.complete
    assert edit.rom.npde_chain.complete
    assert sum8(edit.data) == 0
    assert sum8(edit.data[: 4 * 512]) == 0
    assert sum8(edit.data[9 * 512 :]) == 0
    assert edit.notes == (
        "3 images of NVIDIA's own stay: they lie inside the legacy image's length",
    )


def test_efi_alone() -> None:
    edit = strip(parse_rom(MOBILE), images="efi")
    (only,) = edit.rom.images
    assert edit.data == nvidia_gop(last=0x80)
    assert only.pcir.last
    edit = strip(parse_rom(DESKTOP), images="efi")
    assert edit.data == nvidia_gop(last=0x80)
    assert edit.rom.npde_chain.complete


def test_firmware_is_what_sysfs_shows() -> None:
    edit = strip(parse_rom(DESKTOP), images="firmware")
    assert [i.code_type for i in edit.rom.images] == [0x00, 0x03]
    assert edit.rom.npde_chain.complete
    assert edit.data[: 4 * 512] == DESKTOP[: 4 * 512]
    assert not strip(parse_rom(MOBILE), images="firmware").changed


def test_a_subset_of_amd_images_is_balanced_at_0x21() -> None:
    edit = strip(parse_rom(amd(tail=b"data" * 300)), images="legacy")
    assert [c.offset for c in edit.changes if c.kind == "changed"] == [0x21, 0x40 + 0x15]
    assert sum8(edit.data) == 0
    assert len(edit.data) == 4 * 512


def test_a_subset_without_such_an_image_is_refused() -> None:
    with pytest.raises(EditRefused, match="no efi image"):
        strip(parse_rom(mobile()), images="efi")


def test_a_subset_of_a_broken_chain_is_refused() -> None:
    with pytest.raises(EditRefused, match="does not reach") as caught:
        strip(parse_rom(gop_between(nvidia_gop())), images="legacy")
    assert caught.value.offset == 7 * 512
    assert "fix" in caught.value.hint


def test_a_tail_behind_a_subset_is_refused() -> None:
    with pytest.raises(EditRefused, match="tail"):
        strip(parse_rom(DESKTOP), images="efi", keep_tail=True)


@given(
    head=st.binary(max_size=600).filter(lambda h: not h.startswith((b"\x55", b"N", b"V"))),
    tail=st.binary(max_size=600),
    padding=st.integers(0, 2000),
)
def test_only_what_is_reported_changes(head: bytes, tail: bytes, padding: int) -> None:
    rom = parse_rom(head + DESKTOP + b"\xff" * padding + tail)
    for keep_tail in (False, True):
        edit = strip(rom, keep_tail=keep_tail)
        assert replay(edit) == edit.data
        assert edit.data.startswith(DESKTOP)


def test_what_a_subset_means_for_signatures_is_said() -> None:
    board = desktop(gop=nvidia_gop(5), version=TURING)
    (note,) = strip(parse_rom(board), images="legacy").notes
    assert "Turing cards refuse it in their flash" in note
