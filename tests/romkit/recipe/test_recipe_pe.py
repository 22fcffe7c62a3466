"""The synthetic driver: a PE image that firmware can load."""

from __future__ import annotations

import struct

import pefile
import pytest

from romkit.errors import RecipeError
from romkit.recipe.pe import Driver, build_pe, read_driver

GOP = bytes.fromhex("dea94290 dc23 384a 96fb 7aded080516a")

MACHINES = [0x014C, 0x01C2, 0x0EBC, 0x5064, 0x6264, 0x8664, 0xAA64]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("size", [None, 0x1000, 0x20000])
def test_another_reader_finds_a_valid_image(machine: int, size: int | None) -> None:
    raw = build_pe(Driver(machine=machine, subsystem=0x0C, gop=True, size=size))
    pe = pefile.PE(data=raw)
    # Of its zeros pefile says that they "may indicate truncation".
    assert [w for w in pe.get_warnings() if not w.startswith("Byte 0x00 makes up")] == []
    assert pe.FILE_HEADER.Machine == machine
    assert pe.OPTIONAL_HEADER.Subsystem == 0x0C
    assert pe.OPTIONAL_HEADER.Magic == (0x10B if machine in (0x014C, 0x01C2) else 0x20B)
    assert len(raw) == (size or 0x800)
    last = pe.sections[-1]
    assert last.PointerToRawData + last.SizeOfRawData == len(raw)
    assert pe.OPTIONAL_HEADER.SizeOfImage % 0x1000 == 0
    assert last.VirtualAddress + last.Misc_VirtualSize <= pe.OPTIONAL_HEADER.SizeOfImage
    # The entry point is in the executable section, and no section is writable and executable.
    code = pe.get_section_by_rva(pe.OPTIONAL_HEADER.AddressOfEntryPoint)
    assert code.Name.rstrip(b"\0") == b".text"
    assert [bool(s.Characteristics & 0x20000000) for s in pe.sections] == [True, False, False]
    assert [bool(s.Characteristics & 0x80000000) for s in pe.sections] == [False, False, True]
    # It may be loaded anywhere: not stripped of relocations, and it has none that do anything.
    assert not pe.FILE_HEADER.Characteristics & 1
    entries = [e for block in pe.DIRECTORY_ENTRY_BASERELOC for e in block.entries]
    assert all(e.type == 0 for e in entries)


@pytest.mark.parametrize(
    ("machine", "code"),
    [
        (0x8664, "31c0c3"),
        (0x014C, "31c0c3"),
        (0xAA64, "000080d2c0035fd6"),
        (0x0EBC, "56770400"),
    ],
)
def test_it_returns_success_at_once(machine: int, code: str) -> None:
    raw = build_pe(Driver(machine=machine))
    assert raw[0x200:].startswith(bytes.fromhex(code) + bytes(16))


def test_gop_and_texts_stand_in_it() -> None:
    raw = build_pe(Driver(gop=True, strings=("NVIDIA GPU UEFI Driver", "1077")))
    assert raw.count(GOP) == 1
    assert "NVIDIA GPU UEFI Driver\0001077\0".encode("utf-16-le") in raw
    assert GOP not in build_pe(Driver())


def test_it_is_not_signed() -> None:
    raw = build_pe(Driver())
    assert struct.unpack_from("<II", raw, 0x58 + 112 + 4 * 8) == (0, 0)


@pytest.mark.parametrize(
    "driver",
    [
        Driver(),
        Driver(machine=0x014C, gop=True),
        Driver(machine=0xAA64, subsystem=0x0C, strings=("a", "b c")),
        Driver(machine=0x4321, size=0x4000),
    ],
)
def test_it_is_known_again(driver: Driver) -> None:
    assert read_driver(build_pe(driver)) == driver
    assert read_driver(build_pe(driver) + b"more") == driver


def test_another_driver_is_not_taken_for_one() -> None:
    raw = bytearray(build_pe(Driver()))
    raw[0x210] = 0x90
    assert read_driver(bytes(raw)) is None
    assert read_driver(b"MZ") is None
    assert read_driver(b"MZ" + bytes(0x1000)) is None


def test_a_size_that_is_too_small_is_refused() -> None:
    with pytest.raises(RecipeError, match="pe_size: expected at least 0x800"):
        build_pe(Driver(size=0x600))
