"""BIT and what it leads to, on images laid out by hand."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romkit.vendor.nvidia import NvidiaVbios, read_nvidia

BIT_AT = 0x1B0
B_AT = 0x240
I_AT = 0x280
S_AT = 0x340
STRINGS_AT = 0x380


def bit_header(entries: int, token_size: int = 6, header_size: int = 12) -> bytes:
    head = b"\xff\xb8BIT\0" + struct.pack("<HBBB", 0x0100, header_size, token_size, entries)
    return head + bytes([-sum(head) & 0xFF])


def token(letter: str, version: int, size: int, at: int, wide: bool = False) -> bytes:
    return struct.pack("<BBHI" if wide else "<BBHH", ord(letter), version, size, at)


def internal_use(date: bytes = b"10/08/18", board: bytes = b"300A" + b"X123" + b"0045") -> bytes:
    head = struct.pack("<IBHIHH8sH", 0x90042300, 0x8B, 0, 25_000_001, 0x0082, 0, date, 0)
    return head.ljust(0x30, b"\0") + board


def build(
    *,
    version: int = 0x90042300,
    oem: int = 0x8B,
    texts: tuple[bytes, ...] = (
        b"XX104 X123 SKU 45 VGA BIOS \r\nMAKER.450\r\n",
        b"Version 90.04.23.00.8B \r\n",
        b"Copyright (C) 2018 Nobody\r\n",
        b"OEM",
        b"The Vendor",
        b"XX104 Board",
        b"Chip Rev   ",
    ),
    string_version: int = 2,
    internal: bytes | None = None,
    legacy_subsystem: bytes = b"\x62\x14\x81\x32",
    wide: bool = False,
) -> bytearray:
    """A legacy image of 4 KiB: BIT with tokens B, N, S and i."""
    internal = internal_use() if internal is None else internal
    image = bytearray(0x1000)
    image[0:3] = b"\x55\xaa\x08"
    image[0x38:0x40] = b"10/22/18"
    image[0x54:0x58] = legacy_subsystem
    image[B_AT : B_AT + 5] = struct.pack("<IB", version, oem)
    image[I_AT : I_AT + len(internal)] = internal
    at, table = STRINGS_AT, b""
    for text in texts:
        table += struct.pack("<HB", at, len(text) + 2)
        image[at : at + len(text)] = text
        at += len(text) + 4
    image[S_AT : S_AT + len(table)] = table
    tokens = (
        token("B", 2, 37, B_AT, wide)
        + token("N", 0, 0, 0, wide)
        + token("S", string_version, len(table), S_AT, wide)
        + token("i", 2, len(internal), I_AT, wide)
    )
    bit = bit_header(4, 8 if wide else 6) + tokens
    image[BIT_AT : BIT_AT + len(bit)] = bit
    return image


def read(image: bytes | bytearray) -> NvidiaVbios:
    vbios = read_nvidia(bytes(image))
    assert vbios is not None
    return vbios


@pytest.mark.parametrize("wide", [False, True], ids=["16-bit pointers", "32-bit pointers"])
def test_everything_at_once(wide: bool) -> None:
    vbios = read(build(wide=wide))
    assert vbios.bit.offset == BIT_AT
    assert vbios.bit.bcd_version == 0x0100
    assert vbios.bit.header_size == 12
    assert vbios.bit.token_size == (8 if wide else 6)
    assert [t.id for t in vbios.bit.tokens] == ["B", "N", "S", "i"]
    assert vbios.bit.tokens[0].data_offset == B_AT
    assert vbios.version == "90.04.23.00.8B"
    assert vbios.family == "Turing"
    assert vbios.build_date == "10/08/18"
    assert vbios.modification_date == "10/22/18"
    assert vbios.build_number == 25_000_001
    assert vbios.board_id == 0x82
    assert vbios.board == "X123-0045"
    assert vbios.chip_sku == "300-A"
    assert vbios.subsystem == (0x1462, 0x3281)
    assert vbios.product == "XX104 X123 SKU 45 VGA BIOS"
    assert vbios.sign_on == "XX104 X123 SKU 45 VGA BIOS MAKER.450"
    assert vbios.printed_version == "Version 90.04.23.00.8B"
    assert vbios.copyright == "Copyright (C) 2018 Nobody"
    assert vbios.oem_string == "OEM"
    assert vbios.oem_vendor == "The Vendor"
    assert vbios.oem_product == "XX104 Board"
    assert vbios.oem_revision == "Chip Rev"


def test_reprs_are_one_line() -> None:
    vbios = read(build())
    assert repr(vbios) == "<NvidiaVbios 90.04.23.00.8B Turing X123-0045>"
    assert repr(vbios.bit) == "<Bit 1.00 4 tokens @0x1b0>"
    assert repr(vbios.bit.tokens[0]) == "<BitToken B version 2 @0x240+0x25>"


def test_version_1_strings_have_no_version_and_no_copyright() -> None:
    texts = (b"Sign on", b"OEM", b"Vendor", b"Product", b"Rev")
    vbios = read(build(texts=texts, string_version=1))
    assert (vbios.sign_on, vbios.printed_version, vbios.copyright) == ("Sign on", None, None)
    assert (vbios.oem_string, vbios.oem_vendor) == ("OEM", "Vendor")
    assert (vbios.oem_product, vbios.oem_revision) == ("Product", "Rev")


def test_unknown_string_version_is_not_guessed_at() -> None:
    assert read(build(string_version=9)).sign_on is None


@pytest.mark.parametrize(
    ("version", "family"),
    [
        (0x05700000, "Curie"),
        (0x60840000, "Tesla"),
        (0x62790000, "Tesla"),
        (0x70180000, "Tesla"),
        (0x70150000, "Tesla"),
        (0x70000000, "Fermi"),
        (0x70240000, "Fermi"),
        (0x70990000, None),
        (0x75190000, "Fermi"),
        (0x80040000, "Kepler"),
        (0x82070000, "Maxwell 1"),
        (0x84040000, "Maxwell 2"),
        (0x86060000, "Pascal"),
        (0x88000000, "Volta"),
        (0x90040000, "Turing"),
        (0x92000000, "Ampere"),
        (0x94020000, "Ampere"),
        (0x95020000, "Ada"),
        (0x96000000, "Hopper"),
        (0x97000000, "Blackwell"),
        (0x98060000, "Blackwell"),
        (0xDEAD0000, None),
    ],
)
def test_family(version: int, family: str | None) -> None:
    assert read(build(version=version)).family == family


@pytest.mark.parametrize("raw", [b"PMID", bytes(4), b"\xff" * 4])
def test_newer_images_have_no_subsystem_of_their_own(raw: bytes) -> None:
    assert read(build(legacy_subsystem=raw)).subsystem is None


def test_short_internal_use_token_has_a_date_but_no_board() -> None:
    vbios = read(build(internal=internal_use()[:0x30]))
    assert (vbios.build_date, vbios.board, vbios.chip_sku) == ("10/08/18", None, None)


def test_unused_board_fields_are_none() -> None:
    vbios = read(build(internal=internal_use(board=bytes(4) + b"X123" + b"0045")))
    assert (vbios.chip_sku, vbios.board) == (None, "X123-0045")


@pytest.mark.parametrize("date", [b"\0" * 8, b"2018-10-", b"1a/08/18"])
def test_something_else_in_the_date_is_no_date(date: bytes) -> None:
    assert read(build(internal=internal_use(date=date))).build_date is None


def test_no_bit_no_vbios() -> None:
    assert read_nvidia(b"") is None
    assert read_nvidia(b"\x55\xaa" + bytes(510)) is None


def test_bit_must_sum_to_zero() -> None:
    image = build()
    image[BIT_AT + 11] ^= 1
    assert read_nvidia(bytes(image)) is None


def test_a_false_bit_in_front_of_the_true_one() -> None:
    image = build()
    image[0x100:0x10C] = b"\xff\xb8BIT\0" + b"\x01" * 6
    assert read(image).bit.offset == BIT_AT


def test_header_size_below_its_own_fields_is_no_header() -> None:
    image = build()
    image[BIT_AT : BIT_AT + 12] = bit_header(4, header_size=6)
    assert read_nvidia(bytes(image)) is None


@pytest.mark.parametrize("size", [0, 1, 5])
def test_token_size_too_small_for_a_token(size: int) -> None:
    image = build()
    image[BIT_AT : BIT_AT + 12] = bit_header(255, token_size=size)
    vbios = read(image)
    assert vbios.bit.tokens == ()
    assert vbios.version is None
    assert repr(vbios) == "<NvidiaVbios no version>"


def test_tokens_end_where_the_image_ends() -> None:
    image = build()
    image[BIT_AT : BIT_AT + 12] = bit_header(255)
    vbios = read(image[: BIT_AT + 12 + 2 * 6 + 3])
    assert [t.id for t in vbios.bit.tokens] == ["B", "N"]
    # B's data lies behind the end.
    assert vbios.version is None


def test_unprintable_token_ids_are_numbers() -> None:
    image = build()
    image[BIT_AT + 12] = 0x1B
    image[BIT_AT + 18] = 0xC3
    assert [t.id for t in read(image).bit.tokens[:2]] == ["0x1b", "0xc3"]


def test_pointers_past_the_end_cost_only_what_they_lead_to() -> None:
    image = build()
    struct.pack_into("<H", image, S_AT, 0xFFFF)
    struct.pack_into("<H", image, S_AT + 3, 0)
    vbios = read(image)
    assert (vbios.sign_on, vbios.product, vbios.printed_version) == (None, None, None)
    assert vbios.copyright == "Copyright (C) 2018 Nobody"


def test_text_cannot_steer_a_terminal() -> None:
    texts = (b"\x1b]0;owned\x07A\x9bB\x7f\r\nC\x00D", b"\xff\xfe")
    vbios = read(build(texts=texts))
    assert vbios.sign_on == "]0;ownedA\ufffdB C"
    assert vbios.printed_version == "\ufffd\ufffd"


def all_text(vbios: NvidiaVbios) -> str:
    texts = [getattr(vbios, name) for name in NvidiaVbios.__slots__]
    return "".join(text for text in texts if isinstance(text, str))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert read_nvidia(data) is None or isinstance(read_nvidia(data), NvidiaVbios)


@given(st.binary(max_size=600))
def test_any_bytes_behind_a_valid_header(rest: bytes) -> None:
    header = bit_header(rest[0] if rest else 0, rest[1] if len(rest) > 1 else 6)
    vbios = read(bytes(0x60) + header + rest)
    assert len(vbios.bit.tokens) <= 255
    assert all_text(vbios).isprintable()


@given(st.lists(st.tuples(st.integers(BIT_AT + 12, 0x480), st.integers(0, 255)), max_size=40))
def test_any_damage_behind_the_header(damage: list[tuple[int, int]]) -> None:
    image = build()
    for at, value in damage:
        image[at] = value
    vbios = read(image)
    assert all_text(vbios).isprintable()


@given(st.integers(0, 0x1000))
def test_any_truncation(length: int) -> None:
    vbios = read_nvidia(bytes(build()[:length]))
    assert (vbios is None) == (length < BIT_AT + 12)


def test_a_file_of_nothing_but_signatures_is_quick() -> None:
    started = time.process_time()
    assert read_nvidia(b"\xff\xb8BIT\0" * 2_000_000) is None
    assert time.process_time() - started < 1
