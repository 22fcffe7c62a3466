"""ZIP, gzip, bzip2 and xz files. Read from memory, bounded, one level deep."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from romkit.find.stream import Allowance, Inner, Stream
from romkit.find.unpack import bzip2_file, gzip_file, xz_file, zlib_stream
from romkit.layout.archive import CENTRAL_HEADER, END_OF_CENTRAL_DIRECTORY, LOCAL_HEADER

#: The end of a central directory has at most 64 KiB of comment behind it.
_END_WITHIN = 0x10000 + END_OF_CENTRAL_DIRECTORY.sizeof()
_END = re.compile(b"PK\5\6")

_ENCRYPTED = 0x01
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_UTF8 = 0x800

_Unpack = Callable[[memoryview, Allowance], bytearray]

#: What a file that is packed as a whole starts with.
_PACKED: dict[bytes, tuple[str, _Unpack]] = {
    b"\x1f\x8b\x08": ("gzip", gzip_file),
    b"BZh": ("bzip2", bzip2_file),
    b"\xfd7zXZ\0": ("xz", xz_file),
}

_SEVEN_ZIP = re.compile(b"7z\xbc\xaf\x27\x1c")

#: What the standard library has no reader for.
_FOREIGN = {
    _SEVEN_ZIP.pattern: "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"MSCF\0\0\0\0": "a Microsoft cabinet",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"ISc(": "an InstallShield cabinet",
}


@dataclass(frozen=True, slots=True)
class _Zip:
    """Where the offsets of a ZIP archive count from, and its directory lies."""

    base: int
    directory: int
    end: int


def foreign_archive(stream: Stream) -> str:
    """What kind of archive this is, if it is one that has to be unpacked first; else empty."""
    head = stream.bytes_at(0, 8)
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            return name
    if head.startswith(b"MZ") and _SEVEN_ZIP.search(stream.view):
        return "a program with a 7z archive in it"
    return ""


def open_archive(stream: Stream, allowance: Allowance) -> Iterator[Inner] | None:
    """What is in an archive; None where this is none, or a damaged one."""
    head = stream.bytes_at(0, 8)
    for magic, (name, unpack) in _PACKED.items():
        if head.startswith(magic):
            if not _may_open(stream, f"a {name} file", allowance):
                return None
            data = unpack(stream.view, allowance)
            return iter([Inner(f"{name} file", 0, data, archived=True)]) if data else None
    found = _find_zip(stream)
    if found is None or not _may_open(stream, "a ZIP archive", allowance):
        return None
    return _members(stream, found, allowance)


def program_size(stream: Stream, allowance: Allowance) -> int:
    """Bytes in front of the ZIP archive of a program that unpacks itself; 0 where it is none."""
    found = _find_zip(stream) if stream.bytes_at(0, 2) == b"MZ" else None
    if found is None:
        return 0
    starts = (at for _, at, _ in _entries(stream, found, allowance))
    return min((at for at in starts if stream.peek(LOCAL_HEADER, at)), default=len(stream))


def _may_open(stream: Stream, what: str, allowance: Allowance) -> bool:
    if stream.archives <= 0:
        where = stream.path[-1] if stream.path else "this"
        allowance.note(f"{where} is {what} in another: unpack it first")
    return stream.archives > 0


def _find_zip(stream: Stream) -> _Zip | None:
    # Archives that unpack themselves are programs with the ZIP behind them.
    if not stream.bytes_at(0, 4).startswith((b"PK\3\4", b"MZ")):
        return None
    before = max(0, len(stream) - _END_WITHIN)
    ends = [hit.start() for hit in _END.finditer(stream.view, before)]
    if not ends:
        return None
    end = stream.peek(END_OF_CENTRAL_DIRECTORY, ends[-1])
    if end is None:
        return None
    # Offsets count from the archive's start, which is where the directory fits before its end.
    directory = ends[-1] - end.directory_size
    base = directory - end.directory_offset
    if base < 0 or stream.peek(CENTRAL_HEADER, directory) is None:
        return None
    return _Zip(base, directory, ends[-1])


def _entries(stream: Stream, found: _Zip, allowance: Allowance) -> Iterator[tuple[Any, int, str]]:
    """Each member's entry in the directory, the place of its local header, and its name."""
    at = found.directory
    while allowance.step():
        entry = stream.peek(CENTRAL_HEADER, at) if at < found.end else None
        if entry is None:
            return
        name_at = at + CENTRAL_HEADER.sizeof()
        raw = stream.bytes_at(name_at, entry.name_length)
        name = raw.decode("utf-8" if entry.flags & _UTF8 else "cp437", "replace")
        at = name_at + entry.name_length + entry.extra_length + entry.comment_length
        yield entry, found.base + entry.local_header_offset, name


def _members(stream: Stream, found: _Zip, allowance: Allowance) -> Iterator[Inner]:
    for entry, local_at, name in _entries(stream, found, allowance):
        local = stream.peek(LOCAL_HEADER, local_at)
        if local is None or entry.compressed_size == 0:
            continue
        start = local_at + LOCAL_HEADER.sizeof() + local.name_length + local.extra_length
        data = stream.view[start : start + entry.compressed_size]
        if entry.flags & _ENCRYPTED:
            allowance.note(f"{name} is encrypted: unpack it first")
            continue
        unpacked = _unpack(entry.method, data, allowance)
        if unpacked is None:
            allowance.note(f"{name} is packed by method {entry.method}: unpack it first")
        elif unpacked:
            yield Inner(name, local_at, unpacked, archived=True)
        del unpacked  # or it would be held while the next one is unpacked


def _unpack(method: int, data: memoryview, allowance: Allowance) -> bytes | bytearray | None:
    if method == _STORED:
        whole = bytes(data[: allowance.room])
        allowance.spend(len(whole))
        return whole
    if method == _DEFLATED:
        return zlib_stream(data, allowance, -15)
    if method == _BZIP2:
        return bzip2_file(data, allowance)
    return None
