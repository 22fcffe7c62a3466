"""Firmware volumes: files, sections, and what their sections were packed with.

Volumes are found by their signature wherever they lie, also one in another, so that a damaged
outer one does not hide them; then their files are walked, and the files' sections. Read here and
not by a library: romkit may neither hang nor grow, whatever the bytes say.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from uuid import UUID

from romkit.find.stream import Allowance, Inner, Stream
from romkit.find.unpack import (
    efi_stream,
    lzma_stream,
    undo_x86_filter,
    zlib_stream,
)
from romkit.layout.firmware import (
    AMD_ZLIB_DATA_AT,
    AMD_ZLIB_HEADER,
    COMPRESSION_SECTION,
    FFS_ATTRIB_LARGE_FILE,
    FFS_EXTENDED_SIZE,
    FFS_FILE_HEADER,
    FIRMWARE_VOLUME_EXT_HEADER,
    FIRMWARE_VOLUME_HEADER,
    FVH_AT,
    GUID_DEFINED_SECTION,
    PROCESSING_REQUIRED,
    SECTION_EXTENDED_SIZE,
    SECTION_HEADER,
)

#: In one stream. A 32 MiB flash image has some 30.
MAX_VOLUMES = 1024

#: Sections in sections, where nothing has to be unpacked in between.
MAX_NESTING = 8

_FVH = re.compile(b"_FVH")

#: Largest volume header: real ones have one or two entries in the block map.
_LONGEST_HEADER = 0x1000

#: File types without sections (EFI_FV_FILETYPE_ALL, RAW, FFS_PAD).
_NO_SECTIONS = (0x00, 0x01, 0xF0)

_COMPRESSION, _GUID_DEFINED, _DISPOSABLE = 0x01, 0x02, 0x03
_SECTION_NAMES = {
    0x10: "PE32", 0x11: "PIC", 0x12: "TE", 0x13: "DXE dependency", 0x14: "version",
    0x15: "name", 0x16: "16-bit", 0x17: "FV image", 0x18: "freeform", 0x19: "raw",
    0x1B: "PEI dependency", 0x1C: "MM dependency",
}  # fmt: skip

#: So many sections in a row are no chance.
_ENOUGH_SECTIONS = 4096

#: The type bytes of all sections.
_KINDS = [bytes([kind]) for kind in (_COMPRESSION, _GUID_DEFINED, _DISPOSABLE, *_SECTION_NAMES)]

_LZMA = UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf")
_LZMA_HP = UUID("0ed85e23-f253-413f-a03c-901987b04397")
_LZMA_X86 = UUID("d42ae6bd-1352-4bfb-909a-ca72a6eae889")
_TIANO = UUID("a31280ad-481e-41b6-95e8-127f4c984779")
_AMD_ZLIB = UUID("ce3233f5-2cd6-4d87-9152-4a238bb6d1c4")

#: Blanks up to a multiple of this stand between files (8) and sections (4).
_FILE_ALIGNMENT = 8
_SECTION_ALIGNMENT = 4


def open_volumes(stream: Stream, allowance: Allowance) -> Iterator[Inner]:
    """Name the volumes, files and sections of `stream`, and unpack the sections that are packed."""
    walk = _Walk(stream, allowance)
    if stream.sections:
        yield from walk.sections(0, len(stream), 0)
    for hit in stream.hits(_FVH, MAX_VOLUMES):
        yield from walk.volume(hit - FVH_AT)


class _Walk:
    """One pass through the volumes of a stream. No file and no section is walked twice."""

    def __init__(self, stream: Stream, allowance: Allowance) -> None:
        self.stream = stream
        self.allowance = allowance
        self.seen_files: set[int] = set()
        self.seen_sections: set[int] = set()

    def volume(self, base: int) -> Iterator[Inner]:
        header = self.stream.peek(FIRMWARE_VOLUME_HEADER, base)
        smallest = FIRMWARE_VOLUME_HEADER.sizeof()
        if header is None or not smallest <= header.header_length <= _LONGEST_HEADER:
            return
        if header.fv_length < header.header_length:
            return
        end = min(base + header.fv_length, len(self.stream))
        first, guid = base + header.header_length, header.file_system_guid
        if header.ext_header_offset:
            extended = self.stream.peek(FIRMWARE_VOLUME_EXT_HEADER, base + header.ext_header_offset)
            if extended is not None:
                first = base + header.ext_header_offset + extended.ext_header_size
                guid = extended.fv_name
        self.stream.mark(base, end, f"volume {UUID(bytes_le=guid)} {base:#x}")
        at = base + _aligned(first - base, _FILE_ALIGNMENT)
        while at < end and at not in self.seen_files and self.allowance.step():
            self.seen_files.add(at)
            size = yield from self.file(at, end)
            if not size:
                return
            at += _aligned(size, _FILE_ALIGNMENT)

    def file(self, at: int, volume_end: int) -> Generator[Inner, None, int]:
        """Walk one file. The generator's own value is its size, 0 where there is none."""
        header = self.stream.peek(FFS_FILE_HEADER, at)
        if header is None:
            return 0
        size, start = header.size, at + FFS_FILE_HEADER.sizeof()
        if header.attributes & FFS_ATTRIB_LARGE_FILE and size in (0, 0xFFFFFF):
            extended = self.stream.peek(FFS_EXTENDED_SIZE, start)
            if extended is None:
                return 0
            size, start = extended.extended_size, start + FFS_EXTENDED_SIZE.sizeof()
        if at + size > volume_end or start > at + size:
            # Free space, all FF or all 00, says an impossible size too.
            return 0
        if header.type != 0xF0:
            self.stream.mark(at, at + size, f"file {UUID(bytes_le=header.name)}")
        if header.type not in _NO_SECTIONS:
            yield from self.sections(start, at + size, 0)
        return int(size)

    def sections(self, start: int, end: int, depth: int) -> Iterator[Inner]:
        at = start
        while at not in self.seen_sections and self.allowance.step():
            self.seen_sections.add(at)
            header = self.stream.peek(SECTION_HEADER, at)
            if header is None or at >= end:
                return
            size, body = header.size, at + SECTION_HEADER.sizeof()
            if size == 0xFFFFFF:
                extended = self.stream.peek(SECTION_EXTENDED_SIZE, body)
                if extended is None:
                    return
                size, body = extended.extended_size, body + SECTION_EXTENDED_SIZE.sizeof()
            if body > at + size:
                return
            yield from self.section(header.type, at, body, min(at + size, end), depth)
            at += _aligned(size, _SECTION_ALIGNMENT)

    def section(self, kind: int, at: int, body: int, end: int, depth: int) -> Iterator[Inner]:
        if kind == _COMPRESSION:
            yield from self.compressed(at, body, end, depth)
        elif kind == _GUID_DEFINED:
            yield from self.guid_defined(at, body, end, depth)
        elif kind == _DISPOSABLE:
            yield from self.plain("disposable", at, body, end, depth)
        else:
            name = _SECTION_NAMES.get(kind, f"type {kind:02x}")
            self.stream.mark(at, end, f"{name} section {at:#x}")

    def plain(self, name: str, at: int, body: int, end: int, depth: int) -> Iterator[Inner]:
        """Sections in a section, not packed."""
        self.stream.mark(at, end, f"{name} section {at:#x}")
        if depth < MAX_NESTING:
            yield from self.sections(body, end, depth + 1)

    def compressed(self, at: int, body: int, end: int, depth: int) -> Iterator[Inner]:
        header = self.stream.peek(COMPRESSION_SECTION, body)
        if header is None:
            return
        body += COMPRESSION_SECTION.sizeof()
        data = self.stream.view[body:end]
        if header.compression_type == 0:
            yield from self.plain("compression", at, body, end, depth)
        elif header.compression_type == 1:
            yield from self.compressed_by_uefi(at, data)
        else:
            # LZMA, on some Intel boards behind four more bytes.
            unpacked = lzma_stream(data, self.allowance) or lzma_stream(data[4:], self.allowance)
            yield from self.packed("LZMA", at, unpacked)

    def compressed_by_uefi(self, at: int, data: memoryview) -> Iterator[Inner]:
        """Both dialects go by the same type, and a short stream can be valid in both."""
        efi = efi_stream(data, self.allowance, tiano=False)
        if efi and _are_sections(efi):
            yield self.inner("EFI compressed", at, efi)
            return
        tiano = efi_stream(data, self.allowance, tiano=True)
        if tiano and (_are_sections(tiano) or not efi):
            yield self.inner("Tiano compressed", at, tiano)
        else:
            yield from self.packed("EFI compressed", at, efi)

    def guid_defined(self, at: int, body: int, end: int, depth: int) -> Iterator[Inner]:
        header = self.stream.peek(GUID_DEFINED_SECTION, body)
        if header is None:
            return
        guid = UUID(bytes_le=header.section_definition_guid)
        start = max(at + header.data_offset, body + GUID_DEFINED_SECTION.sizeof())
        data = self.stream.view[start:end]
        if guid in (_LZMA, _LZMA_HP):
            yield from self.packed("LZMA", at, lzma_stream(data, self.allowance))
        elif guid == _LZMA_X86:
            unpacked = undo_x86_filter(lzma_stream(data, self.allowance))
            yield from self.packed("LZMA (x86)", at, unpacked)
        elif guid == _TIANO:
            yield from self.packed("Tiano", at, efi_stream(data, self.allowance, tiano=True))
        elif guid == _AMD_ZLIB:
            zlib_header = self.stream.peek(AMD_ZLIB_HEADER, start)
            size = zlib_header.compressed_size if zlib_header is not None else 0
            data = data[AMD_ZLIB_DATA_AT : AMD_ZLIB_DATA_AT + size]
            yield from self.packed("zlib", at, zlib_stream(data, self.allowance))
        else:
            # A checksum, a signature, or something unknown: what it covers stands as it is.
            if header.attributes & PROCESSING_REQUIRED and not _are_sections(data):
                self.allowance.note(f"a section packed with {guid} is left")
            yield from self.plain(f"GUID {guid}", at, start, end, depth)

    def packed(self, name: str, at: int, unpacked: bytes | bytearray) -> Iterator[Inner]:
        if unpacked:
            yield self.inner(name, at, unpacked)
        else:
            self.allowance.note(f"the {name} section at {at:#x} cannot be unpacked")

    def inner(self, name: str, at: int, unpacked: bytes | bytearray) -> Inner:
        return Inner(f"{name} section {at:#x}", at, unpacked, sections=True)


def _are_sections(data: bytes | memoryview) -> bool:
    """Whether these bytes are sections from the first to the last, or many of them."""
    at = 0
    for _ in range(_ENOUGH_SECTIONS):
        if at >= len(data):
            break
        size, kind = int.from_bytes(data[at : at + 3], "little"), data[at + 3 : at + 4]
        if size == 0xFFFFFF:
            size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size < SECTION_HEADER.sizeof() or kind not in _KINDS:
            return False
        at += _aligned(size, _SECTION_ALIGNMENT)
    return at - len(data) < _SECTION_ALIGNMENT


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
