from __future__ import annotations

import struct
from html.parser import HTMLParser

import pytest
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.render.html import image_html, rom_html

VOID = {"br", "hr", "img"}


class Page(HTMLParser):
    """Collects cells, and complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def atom_image(part_number: bytes) -> bytes:
    """An AMD image whose part number is anything."""
    header = struct.pack("<HBB4s", 36, 1, 1, b"ATOM").ljust(36, b"\0")
    body = {
        0x2F: b"\x01",
        0x30: b" 761295520",
        0x48: struct.pack("<H", 0x100),
        0x50: b"01/02/20 03:04\0",
        0x6E: struct.pack("<H", 0x140),
        0x100: header,
        0x140: part_number + b"\0",
    }
    return image(pcir(vendor=0x1002, blocks=4), blocks=4, pointer=0x200, body=body)


def test_a_rom_is_a_table_of_images_and_a_map() -> None:
    page = Page(rom_html(parse_rom(nvgi(1, nvidia_desktop()))))
    assert "svg" in page.tags
    head, *rows = page.rows
    assert head == [
        "image",
        "offset",
        "size",
        "code type",
        "id",
        "class",
        "flags",
        "GOP version",
        "checksum",
    ]
    assert rows[0] == ["0", "0x400", "0x400", "00 x86", "10de:1c03", "030000", "", "", "ok"]
    assert rows[1][:6] == ["1", "0x800", "0x400", "03 EFI", "10de:1c03", "030000"]
    assert rows[1][6] == "last (PCIR)"
    assert rows[2][6] == "last (NPDE), not in the PCIR chain"


def test_a_wrong_checksum_is_shown() -> None:
    raw = bytearray(image(pcir()))
    raw[-1] = (raw[-1] + 7) & 0xFF
    assert Page(rom_html(parse_rom(bytes(raw)))).rows[1][-1] == "07, not 00"


def test_an_image_is_a_table_of_two_columns() -> None:
    rom = parse_rom(nvidia_desktop())
    page = Page(image_html(rom.images[0]))
    assert all(len(row) == 2 for row in page.rows)
    fields = dict(page.rows)
    assert fields["PCIR: device_id"] == "1c03"
    assert fields["PCIR: indicator"] == "0x00 (not the last image)"
    assert fields["NPDE: subsystem"] == "1043:85a6"
    assert fields["PCIR: image_length"] == "0x400"


def test_strings_of_a_rom_cannot_become_markup() -> None:
    rom = parse_rom(atom_image(b"<script>alert('&')</script>\x1b[31m"))
    (whole,) = rom.images
    assert whole.atom is not None
    assert whole.atom.part_number is not None
    assert "<script>" in whole.atom.part_number
    for text in (rom_html(rom), image_html(whole)):
        page = Page(text)
        assert "script" not in page.tags
        assert "\x1b" not in text
    fields = dict(Page(image_html(whole)).rows)
    assert fields["ATOM: part_number"].startswith("<script>alert('&')</script>")


def test_a_rom_without_images_has_a_map_only() -> None:
    page = Page(rom_html(parse_rom(b"\x55\xaa\x04" + bytes(2045))))
    assert page.rows == []
    assert "svg" in page.tags


def test_values_show_themselves() -> None:
    rom = parse_rom(nvidia_mobile())
    assert rom._repr_html_() == rom_html(rom)
    assert rom.images[0]._repr_html_() == image_html(rom.images[0])


@settings(max_examples=150)
@given(st.data())
def test_any_rom_becomes_a_sound_page(data: st.DataObject) -> None:
    samples = [
        nvidia_desktop(),
        nvidia_mobile(),
        atom_image(b"113-TEST"),
        image(pcir(indicator=0)) + efi_image(b"MZ" * 300, extension=npde(blocks=2)),
    ]
    raw = bytearray(data.draw(st.sampled_from(samples)))
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, min(len(raw), 0x900) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    try:
        rom = parse_rom(bytes(raw))
    except RomError:
        return
    for text in (rom_html(rom), *(image_html(i) for i in rom.images)):
        assert all(c.isprintable() or c == "\n" for c in text)
        Page(text)


@pytest.mark.parametrize("number", range(3))
def test_every_reading_has_a_name_once(number: int) -> None:
    page = Page(image_html(parse_rom(nvidia_desktop()).images[number]))
    names = [row[0] for row in page.rows]
    assert len(names) == len(set(names))
