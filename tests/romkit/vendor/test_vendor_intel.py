"""The video BIOS table, on images laid out by hand."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romkit.vendor.intel import Vbt, find_vbt, read_vbt

VBT_AT = 0x200
SIGN_ON = b"Some(R) graphics\r\nBuild Number: 1234\r\n"
COPYRIGHT = b"Copyright (C) 2016 Somebody.\r\n\r\n"


def vbios_block() -> bytes:
    data = struct.pack(
        "<4B2s4s155s61s8s", 0, 100, 1, 1, b"\x19\x0c", b"1234", SIGN_ON, COPYRIGHT, b""
    )
    return struct.pack("<BH", 254, len(data)) + data


def table(blocks: bytes | None = None, *, bdb_offset: int = 48, sums_to_zero: bool = True) -> bytes:
    blocks = vbios_block() if blocks is None else blocks
    bdb = struct.pack("<16sHHH", b"BIOS_DATA_BLOCK ", 209, 22, 22 + len(blocks)) + blocks
    size = 48 + len(bdb)
    vbt = bytearray(
        struct.pack("<20sHHHBBI16s", b"$VBT SOMELAKE-H     ", 100, 48, size, 0, 0, bdb_offset, b"")
    )
    vbt += bdb
    if sums_to_zero:
        vbt[26] = -sum(vbt) & 0xFF
    return bytes(vbt)


def image(vbt: bytes, pointer: int = VBT_AT) -> bytearray:
    data = bytearray(0x800)
    data[0:3] = b"\x55\xaa\x04"
    struct.pack_into("<H", data, 0x1A, pointer)
    data[VBT_AT : VBT_AT + len(vbt)] = vbt
    return data


def read(data: bytes | bytearray, base: int = 0) -> Vbt:
    vbt = read_vbt(bytes(data), base)
    assert vbt is not None
    return vbt


def test_everything_at_once() -> None:
    vbt = read(image(table()), base=0x400)
    assert vbt.offset == 0x400 + VBT_AT
    assert vbt.platform == "SOMELAKE-H"
    assert vbt.version == 100
    assert vbt.header_size == 48
    assert vbt.vbt_size == len(table())
    assert vbt.checksum_ok is True
    assert vbt.bdb_version == 209
    assert vbt.build_number == "1234"
    assert vbt.sign_on == "Some(R) graphics Build Number: 1234"
    assert vbt.copyright == "Copyright (C) 2016 Somebody."


def test_repr_is_one_line() -> None:
    size = len(table())
    assert repr(read(image(table()))) == f"<Vbt SOMELAKE-H version 100 BDB 209 {size} bytes @0x200>"


def test_the_file_reader_agrees() -> None:
    data = bytes(image(table()))
    assert find_vbt(data) == read_vbt(data, 0)
    assert find_vbt(table()) is not None
    assert find_vbt(b"") is None


def test_wrong_sum_is_information() -> None:
    assert read(image(table(sums_to_zero=False))).checksum_ok is False


def test_sum_of_a_cut_table_is_unknown() -> None:
    data = image(table())[: VBT_AT + 100]
    vbt = read(data)
    assert vbt.checksum_ok is None
    assert (vbt.bdb_version, vbt.sign_on) == (209, None)


def test_other_first_block() -> None:
    vbt = read(image(table(b"\x01\x05\x00" + bytes(5))))
    assert (vbt.bdb_version, vbt.build_number, vbt.sign_on) == (209, None, None)


def test_short_vbios_block() -> None:
    assert read(image(table(struct.pack("<BH", 254, 10) + bytes(300)))).sign_on is None


@pytest.mark.parametrize("bdb_offset", [0, 47, 0xFFFF, 0xFFFFFFFF])
def test_damaged_table_where_the_header_points(bdb_offset: int) -> None:
    vbt = read(image(table(bdb_offset=bdb_offset)))
    assert (vbt.platform, vbt.bdb_version) == ("SOMELAKE-H", None)


def test_pointer_to_nowhere_means_search() -> None:
    assert read(image(table(), pointer=0xFFFF)).offset == VBT_AT


def test_search_wants_a_data_block() -> None:
    data = image(table(), pointer=0)
    data[0x100:0x104] = b"$VBT"
    assert read(data).offset == VBT_AT
    assert read_vbt(bytes(image(table(bdb_offset=0), pointer=0)), 0) is None


def test_text_cannot_steer_a_terminal() -> None:
    vbt = bytearray(table())
    vbt[5:9] = b"\x1b[A\x9b"
    assert read(image(bytes(vbt))).platform == "[A\ufffdLAKE-H"


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_any_bytes(data: bytes, base: int) -> None:
    assert read_vbt(data, base) is None or isinstance(read_vbt(data, base), Vbt)
    assert find_vbt(data) is None or isinstance(find_vbt(data), Vbt)


@given(st.lists(st.tuples(st.integers(0x1A, 0x320), st.integers(0, 255)), max_size=40))
def test_any_damage(damage: list[tuple[int, int]]) -> None:
    data = image(table())
    for at, value in damage:
        data[at] = value
    vbt = read_vbt(bytes(data), 0)
    if vbt is not None:
        texts = (vbt.platform, vbt.build_number, vbt.sign_on, vbt.copyright)
        assert all((text or "").isprintable() for text in texts)


@given(st.integers(0, 0x800))
def test_any_truncation(length: int) -> None:
    vbt = read_vbt(bytes(image(table())[:length]), 0)
    assert (vbt is None) == (length < VBT_AT + 48)


def test_a_file_of_nothing_but_signatures_is_quick() -> None:
    started = time.process_time()
    assert find_vbt(b"$VBT" * 4_000_000) is None
    assert time.process_time() - started < 1
