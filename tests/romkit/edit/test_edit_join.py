"""Loose images and drivers to a ROM; drivers to images."""

from __future__ import annotations

import struct

import pytest
from builders.authenticode import sign
from builders.board import (
    amd,
    amd_gop,
    amd_legacy,
    desktop,
    gop_driver,
    mobile,
    nvidia_gop,
    nvidia_legacy,
    nvidia_own,
)
from builders.changes import replay, sum8
from builders.pe import build_pe, directories
from builders.rom import image, npde, nvgi, pcir

from romkit import parse_rom
from romkit.edit import EfiIds, PieceRefused, join_images, split, wrap_driver
from romkit.edit.wrap import wrap_again
from romkit.efi.compression import compress
from romkit.efi.signature import read_signatures
from romkit.errors import EditRefused

IDS = EfiIds(0x1002, 0x67DF, 0x030000)


def chains(data: bytes) -> tuple[list[int], list[int]]:
    rom = parse_rom(data)
    assert rom.pcir_chain.complete
    assert rom.npde_chain.complete
    return [i.offset for i in rom.pcir_chain], [i.offset for i in rom.npde_chain]


def test_last_bits_and_sum_are_set() -> None:
    edit = join_images([amd_legacy(), amd_gop()])
    assert edit.data == amd()
    assert [(c.offset, c.old_size) for c in edit.changes] == [(0x21, 1), (0x55, 1)]
    assert sum8(edit.data[:2048]) == 0
    assert replay(edit) == edit.data
    one = join_images([amd_gop(indicator=0)])
    assert one.data == amd_gop()


def test_the_images_of_a_board_make_the_board() -> None:
    for board in (desktop(gop=nvidia_gop()), mobile(gop=nvidia_gop(last=0x80)), mobile(), amd()):
        images = [p.data for p in split(parse_rom(board)) if p.kind == "image"]
        edit = join_images(images)
        assert edit.data == board
        assert not edit.changed


def test_a_mobile_board_gets_its_lengths() -> None:
    legacy = nvidia_legacy(flags=0x0B)  # of four blocks, and the last
    edit = join_images(
        [
            legacy,
            nvidia_own(),
            nvidia_own(0x70, blocks=2, last=True, extended=False),
            nvidia_gop(indicator=0),
        ]
    )
    first = edit.rom.images[0]
    assert first.pcir.image_length == 9 * 512
    assert first.npde is not None
    assert first.npde.subimage_length == 4 * 512
    assert chains(edit.data) == ([0, 9 * 512], [0, 4 * 512, 7 * 512, 9 * 512])
    assert [i.pcir.last for i in edit.rom.images] == [False, False, False, True]
    assert sum8(edit.data[: 9 * 512]) == sum8(edit.data[: 4 * 512]) == 0


def test_a_desktop_board_gets_its_last_bits() -> None:
    edit = join_images([nvidia_legacy(), nvidia_gop(last=0x80), nvidia_own()])
    end = 4 * 512 + len(nvidia_gop())
    assert chains(edit.data) == ([0, 4 * 512], [0, 4 * 512, end])
    assert [i.npde.last for i in edit.rom.images if i.npde] == [False, False, True]


def test_a_driver_becomes_an_image_of_the_first_one_s_device() -> None:
    driver = gop_driver("AMD GOP X64 Release Driver Rev.1.60.0.15.50")
    edit = join_images([amd_legacy(), driver])
    legacy, efi = edit.rom.images
    assert (efi.pcir.vendor_id, efi.pcir.device_id, efi.pcir.class_code) == (
        0x1002,
        0x67DF,
        0x030000,
    )
    assert (efi.pcir.structure_revision, efi.pcir.last, legacy.pcir.last) == (3, True, False)
    assert efi.efi is not None
    assert efi.efi.pe == driver
    assert efi.efi.compression == 1
    assert efi.npde is None
    assert replay(edit) == edit.data
    assert [c.kind for c in edit.changes] == ["changed"] * 3
    plain = join_images([amd_legacy(), driver], compressed=False)
    assert plain.rom.efi_images[0].efi is not None
    assert plain.rom.efi_images[0].efi.compression == 0
    assert len(edit.data) < len(plain.data)


def test_a_driver_among_nvidia_images_gets_an_npde() -> None:
    edit = join_images([nvidia_legacy(), gop_driver(), nvidia_own()])
    assert [i.code_type for i in edit.rom.npde_chain] == [0x00, 0x03, 0xE0]
    assert [i.code_type for i in edit.rom.pcir_chain] == [0x00, 0x03]


def test_ids_may_be_given() -> None:
    ids = EfiIds(0x8086, 0x100E, 0x020000, (0x100F, 0x1010))
    edit = join_images([gop_driver()], ids=ids)
    (only,) = edit.rom.images
    assert (only.pcir.vendor_id, only.pcir.class_code) == (0x8086, 0x020000)
    assert only.device_list == (0x100F, 0x1010)


def test_what_follows_a_piece_goes_and_short_pieces_are_padded() -> None:
    edit = join_images([amd_legacy() + b"\xff" * 100, amd_gop()[:-10]])
    assert edit.data == amd()
    assert [(c.kind, c.reason) for c in edit.changes][-2:] == [
        ("dropped", "behind the images of this piece"),
        ("inserted", "padding up to the image's length"),
    ]
    assert replay(edit) == edit.data


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([], "nothing to join"),
        ([b"no image at all"], "piece 0: neither an image"),
        ([gop_driver()], "which device"),
        ([build_pe(subsystem=0x0A)], "which device"),
        ([amd_legacy(), build_pe(subsystem=0x0A)], "EFI application"),
        ([amd_legacy(), b"MZ" + bytes(100)], "no EFI driver"),
        ([nvgi(2, amd_legacy())], "starts with 0x400 bytes"),
        ([b"\x55\xaa\x01" + bytes(509)], "ISA"),
        ([amd_legacy()[:1000], amd_gop()], "cut off: 1048 bytes"),
        ([nvidia_own()], "first image must be"),
        # Without an NPDE one flag would have to say two things.
        ([nvidia_legacy(), nvidia_gop(extended=False), nvidia_own()], "has no NPDE"),
    ],
)
def test_what_makes_no_rom_is_refused(pieces: list[bytes], message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        join_images(pieces)


def test_a_shrunken_copy_is_not_made_to_look_whole() -> None:
    shrunk = image(pcir(blocks=2), blocks=2, extension=npde(blocks=3))
    with pytest.raises(EditRefused, match="cut off"):
        join_images([shrunk])


# Section: wrap


def test_the_header_is_the_specification_s() -> None:
    driver = gop_driver()
    raw = wrap_driver(driver, IDS, compressed=False)
    assert len(raw) % 512 == 0
    start = len(raw) - len(driver)
    assert struct.unpack_from("<2sHIHHH8xHH", raw) == (
        b"\x55\xaa",
        len(raw) // 512,
        0x0EF1,
        0x0B,
        0x8664,
        0,
        start,
        0x1C,
    )
    assert raw[0x1C:0x38] == pcir(
        vendor=0x1002,
        device=0x67DF,
        length=0x1C,
        revision=3,
        blocks=len(raw) // 512,
        code_type=3,
        vendor_revision=0,
    )
    # Firmware takes everything up to the end for the driver: no padding may follow it.
    assert raw[start:] == driver
    assert not raw[0x38:start].strip(b"\0")


@pytest.mark.parametrize("compressed", [True, False])
def test_a_signature_holds(compressed: bool) -> None:
    driver = sign(gop_driver())
    edit = join_images([amd_legacy(), driver], compressed=compressed)
    efi = edit.rom.images[1].efi
    assert efi is not None
    assert efi.pe == driver
    assert efi.digest_ok


def test_a_signature_that_padding_would_break_is_refused() -> None:
    driver = bytearray(sign(gop_driver()))
    driver += b"\0" * 4
    entry = directories(bytes(driver)) + 32
    at, size = struct.unpack_from("<II", driver, entry)
    struct.pack_into("<I", driver, entry + 4, size + 4)
    struct.pack_into("<I", driver, at, size + 4)  # the certificate is four bytes longer, too
    assert len(driver) % 8
    assert read_signatures(bytes(driver))[0].digest_ok
    with pytest.raises(EditRefused, match="its signature would not cover it") as caught:
        join_images([amd_legacy(), bytes(driver)], compressed=False)
    assert "compress" in caught.value.hint
    efi = join_images([amd_legacy(), bytes(driver)]).rom.images[1].efi
    assert efi is not None
    assert efi.digest_ok


def test_the_piece_at_fault_is_named() -> None:
    with pytest.raises(PieceRefused) as caught:
        join_images([amd_legacy(), b"nothing"])
    assert caught.value.number == 1
    assert caught.value.error.message.startswith("neither an image nor an EFI driver")
    assert str(caught.value).startswith("piece 1: neither")


def test_the_device_that_a_driver_is_wrapped_for_is_said() -> None:
    edit = join_images([amd_legacy(), gop_driver()])
    assert any(
        c.reason.startswith("the driver as an EFI option ROM image for 1002:67df, class 030000")
        for c in edit.changes
    )


def test_an_npde_stands_where_nvidia_has_it() -> None:
    raw = wrap_driver(gop_driver(), IDS, npde=True, gop_version=0x30009)
    blocks = len(raw) // 512
    wanted = npde(blocks=blocks, last=0x80, revision=0x100, length=16, flags=0, gop=0x30009)
    assert raw[0x40:0x50] == wanted
    assert struct.unpack_from("<H", raw, 0x16) == (0x50,)


def test_a_device_list_stands_behind_the_structures() -> None:
    raw = wrap_driver(gop_driver(), EfiIds(0x1002, 1, 0, (2, 3)), npde=True)
    assert struct.unpack_from("<H", raw, 0x1C + 8) == (0x50 - 0x1C,)
    assert raw[0x50:0x56] == struct.pack("<3H", 2, 3, 0)
    assert struct.unpack_from("<H", raw, 0x16) == (0x58,)


@pytest.mark.parametrize(
    "ids",
    [
        EfiIds(0x10000, 1),
        EfiIds(1, -1),
        EfiIds(1, 1, 0x1000000),
        EfiIds(1, 1, 0, (0,)),
        EfiIds(1, 1, 0, tuple(range(1, 200))),
    ],
)
def test_impossible_ids_are_refused(ids: EfiIds) -> None:
    with pytest.raises(EditRefused):
        wrap_driver(gop_driver(), ids)


def test_a_stream_is_wrapped_again_as_it_is() -> None:
    stream = compress(gop_driver())
    (only,) = parse_rom(nvidia_gop(payload=gop_driver())).images
    assert only.efi is not None
    plain = wrap_again(only.efi, IDS)
    assert plain.endswith(only.efi.payload)
    raw = wrap_driver(gop_driver(), IDS)
    (only,) = parse_rom(raw).images
    assert only.efi is not None
    again = wrap_again(only.efi, IDS, gop_version=0x30009)
    assert again[0x50 : 0x50 + len(stream)] == stream
    assert again[0x40:0x44] == b"NPDE"
