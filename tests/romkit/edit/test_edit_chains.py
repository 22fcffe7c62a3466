"""Last bits, lengths and the byte that balances a sum."""

from __future__ import annotations

import struct

import pytest
from builders.board import (
    amd_legacy,
    desktop,
    gop_driver,
    mobile,
    nvidia_gop,
    nvidia_legacy,
    nvidia_own,
)
from builders.changes import sum8
from builders.rom import efi_image, image, npde, pcir

from romkit import parse_rom
from romkit.edit.chains import (
    mend_sums,
    placed,
    relink,
    safe_byte,
    set_chain_last,
    set_npde_length,
    set_pcir_last,
    set_pcir_length,
    set_private_images,
    set_size_field,
)
from romkit.edit.work import Work
from romkit.errors import EditRefused


def test_other_bits_of_the_indicator_stay() -> None:
    work = Work(image(pcir(indicator=0x93)))
    set_pcir_last(work, 0, False, "x")
    assert work.data[0x55] == 0x13
    set_pcir_last(work, 0, True, "x")
    assert work.data[0x55] == 0x93
    assert work.changes() == ()


def test_nvidia_s_flag_is_in_the_npde_and_for_its_own_images_in_both() -> None:
    work = Work(nvidia_legacy())
    set_chain_last(work, 0, True, "x")
    assert (work.data[0x55], work.data[0x60 + 0x0A]) == (0x80, 0x80)
    set_chain_last(work, 0, False, "x")
    assert (work.data[0x55], work.data[0x60 + 0x0A]) == (0x80, 0)
    own = Work(nvidia_own())
    set_chain_last(own, 0, True, "x")
    assert (own.data[0x55], own.data[0x60 + 0x0A]) == (0x80, 0x80)
    short = Work(nvidia_own(extended=False))
    set_chain_last(short, 0, True, "x")
    assert short.data[0x55] == 0x80


def test_an_npde_that_cannot_say_it_is_refused() -> None:
    raw = image(pcir(blocks=4), blocks=4, extension=npde(blocks=2, length=10))
    with pytest.raises(EditRefused, match="cannot say"):
        set_chain_last(Work(raw), 0, True, "x")


def test_one_flag_cannot_say_two_things() -> None:
    raw = image(pcir(indicator=0)) + nvidia_own(last=True)
    with pytest.raises(EditRefused, match="no NPDE"):
        relink(Work(raw), [0, 1024], [0], ends=True)


def test_an_open_end_stays_open() -> None:
    raw = nvidia_legacy(indicator=0) + nvidia_gop()
    work = Work(raw)
    relink(work, [0, 2048], [0, 2048], ends=False)
    assert bytes(work.data) == raw


def test_lengths() -> None:
    work = Work(nvidia_legacy())
    set_pcir_length(work, 0, 0x1FE00, "x")
    set_npde_length(work, 0, 0x400, "x")
    set_size_field(work, 0, 0x1FE00, "x")
    header = work.header(0)
    assert header.pcir.image_length == 0x1FE00
    assert header.npde is not None
    assert header.npde.subimage_length == 0x400
    assert work.data[2] == 0xFF
    for length in (0, 511):
        with pytest.raises(EditRefused, match="no length"):
            set_pcir_length(work, 0, length, "x")
    with pytest.raises(EditRefused, match="0x2000000 bytes is too long: a ROM can say 0x1fffe00"):
        set_pcir_length(work, 0, 0x2000000, "x")
    with pytest.raises(EditRefused, match="0x1fe00"):
        set_size_field(work, 0, 0x20000, "x")
    efi = Work(efi_image(gop_driver()))
    set_size_field(efi, 0, 0x20000, "x")
    assert struct.unpack_from("<H", efi.data, 2) == (0x100,)


@pytest.mark.parametrize(("flags", "value", "after"), [(0x0A, True, 0x0B), (0x0B, False, 0x0A)])
def test_private_images_of_a_mobile_board(flags: int, value: bool, after: int) -> None:
    work = Work(nvidia_legacy(length=9, flags=flags) + bytes(5 * 512))
    set_private_images(work, 0, value, "x")
    assert work.data[0x60 + 0x0B] == after


def test_private_images_of_a_desktop_board_are_left_alone() -> None:
    work = Work(nvidia_legacy(flags=1))
    set_private_images(work, 0, False, "x")
    assert work.changes() == ()


# Section: the byte


def byte_of(data: bytes, number: int = 0) -> int | None:
    found = safe_byte(parse_rom(data).images[number])
    return None if found is None else found.at


def test_amd_balances_at_0x21() -> None:
    assert byte_of(amd_legacy()) == 0x21


def test_nvidia_balances_at_the_end_of_its_own_part() -> None:
    assert byte_of(nvidia_legacy()) == 2047
    assert byte_of(mobile()) == 2047
    assert byte_of(desktop(), 1) == 3 * 512 - 1
    assert byte_of(desktop(), 2) == 2 * 512 - 1


def test_both_sums_are_balanced_by_a_byte_in_both_ranges() -> None:
    raw = image(pcir(blocks=4), blocks=4, size_byte=3, fill=0)
    assert byte_of(raw) == 3 * 512 - 1


def test_the_last_byte_is_the_last_resort() -> None:
    code = bytes(range(64)) * 16
    raw = image(pcir(), body={0x200: code[:511]})
    assert byte_of(raw) == 1023
    found = safe_byte(parse_rom(raw).images[0])
    assert found is not None
    assert "convention" in found.why


def test_never_in_a_structure() -> None:
    assert byte_of(image(pcir(), pointer=1024 - 0x18)) is None
    listed = bytearray(image(pcir(device_list=0x3BC, length=0x1C, revision=3)))
    listed[0x3FC:0x400] = b"\x01\0\0\0"
    assert parse_rom(bytes(listed)).images[0].device_list == (1,)
    assert byte_of(bytes(listed)) is None
    atom = bytearray(amd_legacy())
    atom[0x20:0x38] = pcir(vendor=0x1002, blocks=4)
    atom[0x18] = 0x20
    assert byte_of(bytes(atom)) is None


def test_never_in_an_efi_image_or_firmware_that_is_off_balance() -> None:
    assert byte_of(efi_image(gop_driver())) is None
    raw = bytearray(desktop())
    firmware = 4 * 512
    raw[firmware + 0x5F0 : firmware + 0x600] = b"signed code here"
    assert byte_of(bytes(raw), 1) is None


def test_never_in_an_image_that_is_cut_off() -> None:
    assert byte_of(image(pcir(blocks=9))[:1024]) is None


def test_sums_are_mended_where_they_went_wrong() -> None:
    rom = parse_rom(mobile())
    work = Work(rom.data)
    for own in rom.images:
        work.write(own.pcir.offset + 4, b"\x34\x12", "vendor")
    assert mend_sums(work, placed(work, rom.images), to_zero=True) == ()
    for start, end in ((0, 4), (4, 7), (7, 9), (9, 11), (0, 11)):
        assert sum8(work.data[start * 512 : end * 512]) == 0


def test_a_sum_that_was_wrong_stays_what_it_was_unless_told() -> None:
    raw = bytearray(amd_legacy())
    raw[0x21] ^= 0x5A
    rom = parse_rom(bytes(raw))
    before = sum8(rom.data)
    work = Work(rom.data)
    work.write(0x46, b"\x99\x99", "device")
    mend_sums(work, placed(work, rom.images), to_zero=False)
    assert sum8(work.data) == before != 0
    mend_sums(work, placed(work, rom.images), to_zero=True)
    assert sum8(work.data) == 0


def test_what_cannot_be_balanced_is_said() -> None:
    rom = parse_rom(image(pcir(), pointer=1024 - 0x18, fix_sum=False))
    (problem,) = mend_sums(Work(rom.data), placed(Work(rom.data), rom.images), to_zero=True)
    assert "no byte in it is known to be safe" in problem
