"""The ATOM ROM header and its strings, on images laid out by hand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romkit.vendor.amd import AtomBios, read_atom

HEADER_AT = 0x240
STRINGS_AT = 0xF4
CONFIG_AT = 0x1C0
NAME_TEXTS = b"113-X0001-001\0CHIPNAME\0PCI_EXPRESS\0GDDR5\0"
MESSAGE = b"\r\nBoard name of somebody         \r\n\0"


def build(
    *,
    count: int = 4,
    texts: bytes = NAME_TEXTS,
    date: bytes = b"03/27/18 04:23\0",
    size: int = 36,
    revision: tuple[int, int] = (1, 1),
    signature: bytes = b"ATOM",
) -> bytearray:
    """A legacy image of 4 KiB with everything that the reader looks for."""
    image = bytearray(0x1000)
    image[0:3] = b"\x55\xaa\x08"
    image[0x1E:0x22] = b"IBM\x8a"
    image[0x2F] = count
    image[0x30:0x3A] = b" 761295520"
    struct.pack_into("<H", image, 0x48, HEADER_AT)
    image[0x50 : 0x50 + len(date)] = date
    struct.pack_into("<H", image, 0x6E, STRINGS_AT)
    tail = texts + MESSAGE + b"(C) 1988-2010, Somebody, Inc.\0ATOMBIOSBK-AMD VER015.050.001\0"
    image[STRINGS_AT : STRINGS_AT + len(tail)] = tail
    config = b"CONFIG1.W8 \0" + b"1296390 \0" + b"00354881 \0"
    image[CONFIG_AT : CONFIG_AT + len(config)] = config
    message_at = STRINGS_AT + len(texts)
    header = struct.pack("<HBB4s", size, *revision, signature)
    header += struct.pack("<8H", 0xC000, 0, CONFIG_AT, 0, message_at, 0, 0, 0)
    header += struct.pack("<5HBB", 0x1682, 0x9470, 0x260, 0, 0, 0, 0)
    image[HEADER_AT : HEADER_AT + len(header)] = header
    return image


def read(image: bytes | bytearray) -> AtomBios:
    atom = read_atom(bytes(image))
    assert atom is not None
    return atom


def test_everything_at_once() -> None:
    atom = read(build())
    assert atom.rom_header.offset == HEADER_AT
    assert atom.rom_header.structure_size == 36
    assert atom.rom_header.table_format_revision == 1
    assert atom.rom_header.table_content_revision == 1
    assert atom.subsystem == (0x1682, 0x9470)
    assert atom.date == "03/27/18 04:23"
    assert atom.part_number == "113-X0001-001"
    assert atom.strings == ("113-X0001-001", "CHIPNAME", "PCI_EXPRESS", "GDDR5")
    assert atom.bootup_message == "Board name of somebody"
    assert atom.version == "015.050.001"
    assert atom.config_filename == "CONFIG1.W8"
    assert atom.build == "00354881"
    assert atom.copyright == "(C) 1988-2010, Somebody, Inc."
    assert atom.magic_ok


def test_reprs_are_one_line() -> None:
    atom = read(build(size=44, revision=(2, 3)))
    assert repr(atom) == "<AtomBios 113-X0001-001 1682:9470 03/27/18 04:23>"
    assert repr(atom.rom_header) == "<AtomRomHeader 2.3 44 bytes @0x240>"


def test_only_fourteen_characters_of_the_date_are_the_date() -> None:
    assert read(build(date=b"01/16/13,13:48:38\0")).date == "01/16/13,13:48"


def test_no_date() -> None:
    assert read(build(date=b"\0")).date == ""


def test_empty_part_number() -> None:
    atom = read(build(texts=b"\0CHIP\0PCI_EXPRESS\0GDDR5\0"))
    assert atom.part_number is None
    assert atom.strings == ("", "CHIP", "PCI_EXPRESS", "GDDR5")
    assert repr(atom).startswith("<AtomBios ? ")


def test_images_that_count_no_strings_have_the_part_number_at_0x80() -> None:
    image = build(count=0)
    image[0x80:0x8A] = b"113-OLD-1\0"
    atom = read(image)
    assert (atom.part_number, atom.strings) == ("113-OLD-1", ())


def test_magic_is_reported_not_required() -> None:
    image = build()
    image[0x31] = ord("0")
    assert not read(image).magic_ok


@pytest.mark.parametrize("signature", [b"ATOm", b"MOTA", bytes(4)])
def test_no_signature_no_atom(signature: bytes) -> None:
    assert read_atom(bytes(build(signature=signature))) is None


def test_header_must_be_whole() -> None:
    assert read_atom(bytes(build()[: HEADER_AT + 35])) is None
    assert read_atom(bytes(build()[: HEADER_AT + 36])) is not None


@pytest.mark.parametrize("at", [0x6E, HEADER_AT + 0x0C, HEADER_AT + 0x10])
@pytest.mark.parametrize("pointer", [0, 0xFFFF])
def test_pointers_to_nowhere(at: int, pointer: int) -> None:
    image = build()
    struct.pack_into("<H", image, at, pointer)
    atom = read(image)
    assert atom.subsystem == (0x1682, 0x9470)
    missing = {
        0x6E: not atom.strings and atom.part_number is None,
        HEADER_AT + 0x0C: atom.config_filename is None and atom.build is None,
        HEADER_AT + 0x10: atom.bootup_message is None,
    }
    assert missing[at]


def test_a_count_of_255_and_no_end_of_text() -> None:
    image = build(count=255)
    image[STRINGS_AT:HEADER_AT] = b"A" * (HEADER_AT - STRINGS_AT)
    image[HEADER_AT + 36 :] = b"B" * (len(image) - HEADER_AT - 36)
    assert read(image).strings == ("A" * 256,)


def test_text_cannot_steer_a_terminal() -> None:
    atom = read(build(texts=b"\x1b[31m113\x9b\0A\nB\0\x7f\0\xe9\0"))
    assert atom.strings == ("[31m113\ufffd", "A B", "", "\ufffd")


def all_text(atom: AtomBios) -> str:
    texts = [getattr(atom, name) for name in AtomBios.__slots__]
    return "".join(t for t in (*texts, *atom.strings) if isinstance(t, str))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert read_atom(data) is None or isinstance(read_atom(data), AtomBios)


@given(st.lists(st.tuples(st.integers(0, 0x300), st.integers(0, 255)), max_size=40))
def test_any_damage(damage: list[tuple[int, int]]) -> None:
    image = build()
    for at, value in damage:
        image[at] = value
    atom = read_atom(bytes(image))
    assert atom is None or all_text(atom).isprintable()


@given(st.integers(0, 0x1000))
def test_any_truncation(length: int) -> None:
    atom = read_atom(bytes(build()[:length]))
    assert (atom is None) == (length < HEADER_AT + 36)
