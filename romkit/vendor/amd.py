"""AMD: the ATOM ROM header of a legacy image and the strings around it.

Sources: linux drivers/gpu/drm/amd/include/atombios.h and atomfirmware.h, amdgpu/atom.c (which
strings the driver reads, and from where), and measurements on 415 ROMs.
"""

from __future__ import annotations

from dataclasses import dataclass

from romkit.layout.amd import (
    ATOM_ROM_HEADER,
    ATOM_ROM_HEADER_POINTER,
    ATOM_ROM_HEADER_POINTER_AT,
    DATE_AT,
    DATE_SIZE,
    MAGIC,
    MAGIC_AT,
    NUMBER_OF_STRINGS_AT,
    PART_NUMBER_AT,
    PART_NUMBER_SIZE,
    STRINGS_POINTER,
    STRINGS_POINTER_AT,
    VERSION_PREFIX,
    VERSION_WITHIN,
)
from romkit.vendor.part import read_part
from romkit.vendor.strings import clean, copyright_line, raw_text_at, text_at

_SIGNATURE = b"ATOM"

#: Real images have 4 strings; the count is a byte that may say anything.
_MOST_STRINGS = 16


@dataclass(frozen=True, slots=True)
class AtomRomHeader:
    """The ATOM ROM header.

    Attributes:
        offset: bytes from the start of the legacy image.
        structure_size: bytes; 36 in revision 1.1, 40 in 2.2, 44 in 2.3.
    """

    offset: int
    structure_size: int
    table_format_revision: int
    table_content_revision: int

    def __repr__(self) -> str:
        return (
            f"<AtomRomHeader {self.table_format_revision}.{self.table_content_revision}"
            f" {self.structure_size} bytes @{self.offset:#x}>"
        )


@dataclass(frozen=True, slots=True)
class AtomBios:
    """What a legacy AMD image says of itself.

    Attributes:
        rom_header: where the header is and which revision.
        subsystem: (vendor, device).
        date: as printed at 0x50, "09/13/16 02:47" or "01/16/13,13:48"; empty where no text is.
        part_number: the first of `strings`, e.g. "113-47045MCF1-W80"; None where it is empty.
        strings: the name strings in their order: part number, chip, bus, memory.
        bootup_message: what the BIOS shows at boot, as one line; amdgpu calls it the name.
        version: "015.050.000.000.000000".
        config_filename: the build's configuration file, e.g. "47045MF1.V40".
        build: the build number that amdgpu shows, e.g. "00357975".
        copyright: AMD's copyright line.
        magic_ok: the ATI magic stands at 0x30; the kernel's drivers refuse an image without it.
    """

    rom_header: AtomRomHeader
    subsystem: tuple[int, int]
    date: str
    part_number: str | None
    strings: tuple[str, ...]
    bootup_message: str | None
    version: str | None
    config_filename: str | None
    build: str | None
    copyright: str | None
    magic_ok: bool

    def __repr__(self) -> str:
        vendor, device = self.subsystem
        return f"<AtomBios {self.part_number or '?'} {vendor:04x}:{device:04x} {self.date}>"


def read_atom(image: bytes) -> AtomBios | None:
    """Read AMD's structures in a legacy image.

    Args:
        image: the image from its 55 AA on, as far as its declared length or the file goes.

    Returns:
        None where the word at 0x48 does not lead to a whole ATOM ROM header.
    """
    pointer = read_part(ATOM_ROM_HEADER_POINTER, image, ATOM_ROM_HEADER_POINTER_AT)
    if pointer is None:
        return None
    offset = pointer.rom_header_offset
    header = read_part(ATOM_ROM_HEADER, image, offset)
    if header is None or header.firmware_signature != _SIGNATURE:
        return None
    strings = _name_strings(image)
    config_filename, build = _config(image, header.config_filename_offset)
    return AtomBios(
        rom_header=AtomRomHeader(
            offset,
            header.structure_size,
            header.table_format_revision,
            header.table_content_revision,
        ),
        subsystem=(header.subsystem_vendor_id, header.subsystem_id),
        date=clean(image[DATE_AT : DATE_AT + DATE_SIZE].partition(b"\0")[0]),
        part_number=_part_number(image, strings),
        strings=strings,
        bootup_message=_text(image, header.bios_bootup_message_offset),
        version=_version(image),
        config_filename=config_filename,
        build=build,
        copyright=copyright_line(image),
        magic_ok=image[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC,
    )


def _text(image: bytes, offset: int) -> str | None:
    """Text behind a pointer; zero points nowhere."""
    return text_at(image, offset) if offset else None


def _name_strings(image: bytes) -> tuple[str, ...]:
    pointer = read_part(STRINGS_POINTER, image, STRINGS_POINTER_AT)
    if pointer is None or pointer.strings_offset == 0:
        return ()
    strings = []
    at = pointer.strings_offset
    for _ in range(min(image[NUMBER_OF_STRINGS_AT], _MOST_STRINGS)):
        raw = raw_text_at(image, at)
        if raw is None:
            break
        strings.append(clean(raw))
        at += len(raw)
        # Without its zero a text was cut short, and what follows is not the next one's start.
        if image[at : at + 1] != b"\0":
            break
        at += 1
    return tuple(strings)


def _part_number(image: bytes, strings: tuple[str, ...]) -> str | None:
    if image[NUMBER_OF_STRINGS_AT] == 0:
        return text_at(image, PART_NUMBER_AT, PART_NUMBER_SIZE)
    return (strings[0] or None) if strings else None


def _version(image: bytes) -> str | None:
    at = image.find(VERSION_PREFIX, 0, VERSION_WITHIN + len(VERSION_PREFIX))
    return text_at(image, at + len(VERSION_PREFIX), 32) if at >= 0 else None


def _config(image: bytes, offset: int) -> tuple[str | None, str | None]:
    """Configuration file name and build number: the first and third of a row of texts."""
    texts: list[str | None] = [None, None, None]
    for index in range(len(texts)):
        raw = raw_text_at(image, offset) if offset else None
        if raw is None:
            break
        texts[index] = clean(raw) or None
        offset += len(raw)
        if image[offset : offset + 1] != b"\0":
            break
        offset += 1
    return texts[0], texts[2]
