import struct

import pytest
from builders.authenticode import sign
from builders.pe import E_LFANEW, build_pe, directories, optional_header
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit.efi.pe import (
    PeFacts,
    Section,
    machine_name,
    read_pe,
    read_signed_ranges,
    subsystem_name,
)


def facts(pe: bytes) -> PeFacts:
    found = read_pe(pe)
    assert found is not None
    return found


@pytest.mark.parametrize("plus", [True, False])
def test_headers(plus: bool) -> None:
    pe = facts(
        build_pe(b"x" * 0x30, plus=plus, machine=0xAA64, subsystem=0x0C, time_date_stamp=0x5F000000)
    )
    assert pe.pe32_plus is plus
    assert (pe.machine, pe.machine_name) == (0xAA64, "AA64")
    assert (pe.subsystem, pe.subsystem_name) == (0x0C, "EFI runtime driver")
    assert pe.time_date_stamp == 0x5F000000
    assert (pe.entry_point, pe.size_of_image, pe.check_sum) == (0x1000, 0x3000, 0)
    assert pe.sections == (
        Section(".text", 0x1000, 0x40, 0x200, 0x40),
        Section(".reloc", 0x2000, 0x20, 0x240, 0x20),
    )
    assert pe.security is None
    assert pe.pdb is None
    kind = "PE32+" if plus else "PE32"
    assert repr(pe) == f"<PeFacts {kind} AA64 EFI runtime driver, 2 sections, 0x3000 bytes>"
    assert repr(pe.sections[0]) == "<Section '.text' 0x40 bytes @0x200>"


def test_the_certificate_table_is_a_place_in_the_file() -> None:
    plain = build_pe(b"x")
    signed = sign(plain)
    assert facts(signed).security == (len(plain), len(signed) - len(plain))
    ranges = read_signed_ranges(signed)
    assert ranges is not None
    assert ranges.check_sum == optional_header(signed) + 64
    assert ranges.directory == directories(signed) + 32
    assert (ranges.table, ranges.table_size) == (len(plain), len(signed) - len(plain))


def test_the_path_of_the_debug_symbols() -> None:
    path = rb"c:\work\Gop\DEBUG\Gop.pdb"
    assert facts(build_pe(b"x", pdb=path)).pdb == path.decode()
    old = build_pe(b"x", pdb=b"/home/x/Gop.dll", codeview=b"NB10" + bytes(12))
    assert facts(old).pdb == "/home/x/Gop.dll"


def test_no_path_where_there_is_no_codeview_or_nothing_in_it() -> None:
    assert facts(build_pe(b"x", pdb=b"p", codeview=b"????" + bytes(20))).pdb is None
    assert facts(build_pe(b"x", pdb=b"")).pdb is None
    pe = bytearray(build_pe(b"x", pdb=b"path"))
    struct.pack_into("<I", pe, directories(pe) + 6 * 8, 0xFFFFFF00)
    assert facts(bytes(pe)).pdb is None
    struct.pack_into("<II", pe, directories(pe) + 6 * 8, 0x1020, 0xFFFFFFFF)
    assert facts(bytes(pe)).pdb == "path"


def test_hostile_names_are_made_printable() -> None:
    pe = facts(build_pe(b"x", pdb=b"a\x1b[2Jb", names=(b"\x1b]0;x\x07", b"")))
    assert [s.name for s in pe.sections] == ["?]0;x?", ""]
    assert pe.pdb == "a?[2Jb"


def test_few_data_directories() -> None:
    assert facts(build_pe(b"x", number_of_directories=2)).security is None
    ranges = read_signed_ranges(build_pe(b"x", number_of_directories=4))
    assert ranges is not None
    assert (ranges.directory, ranges.table) == (None, 0)


@pytest.mark.parametrize(
    "pe",
    [
        b"",
        b"MZ",
        b"MZ" + bytes(62),
        b"VZ" + build_pe()[2:],
        build_pe()[: E_LFANEW + 10],
        build_pe()[:E_LFANEW] + b"NE\0\0" + build_pe()[E_LFANEW + 4 :],
        build_pe()[:0x3C] + b"\xff\xff\xff\xff" + build_pe()[0x40:],
    ],
)
def test_what_is_no_pe_image(pe: bytes) -> None:
    assert read_pe(pe) is None
    assert read_signed_ranges(pe) is None


def test_an_optional_header_of_unknown_magic() -> None:
    pe = bytearray(build_pe())
    struct.pack_into("<H", pe, optional_header(pe), 0x107)
    assert read_signed_ranges(bytes(pe)) is None


def test_names_of_machines_and_subsystems() -> None:
    assert machine_name(0x8664) == "X64"
    assert machine_name(0x0EBC) == "EBC"
    assert machine_name(0x1234) == "0x1234"
    assert subsystem_name(0x0B) == "EFI boot service driver"
    assert subsystem_name(0x02) == "0x02"


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_images_raise_nothing(data: st.DataObject) -> None:
    raw = bytearray(build_pe(b"x" * 40, pdb=b"some/path.pdb"))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, 0x200 - 4))
        struct.pack_into("<I", raw, at, data.draw(st.integers(0, 0xFFFFFFFF)))
    pe = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    found = read_pe(pe)
    if found is not None:
        assert all(s.name.isprintable() for s in found.sections)
        assert (found.pdb or "").isprintable()
    read_signed_ranges(pe)
