"""The archive that a capture travels in: a tar file, packed by xz.

It holds ``manifest.json``, ``commands.json`` and the files below ``root/``. Reading it trusts
nothing: the headers are read here, so that each field is known to mean what it says.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diag.errors import BadCapture

#: Bytes that all of a capture may unpack to. One with every table and log has 5 to 10 MB.
MAX_UNPACKED = 64 << 20
#: Bytes of one member.
MAX_MEMBER = 17 << 20
MAX_MEMBERS = 50_000
#: Bytes of a long name (PATH_MAX).
MAX_NAME = 4096
#: Bytes that the unpacker may use for itself.
_XZ_MEMORY = 128 << 20

_BLOCK = 512
_CHUNK = 1 << 16

_FILE, _OLD_FILE, _LINK, _FOLDER = b"0", b"\0", b"2", b"5"
_PAX, _LONG_NAME, _LONG_TARGET = b"x", b"L", b"K"
#: What pax headers may say besides names: times and owners, which nobody reads.
_HARMLESS = frozenset(("mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"))
_KINDS = {
    b"1": "a hard link", b"3": "a device", b"4": "a device", b"6": "a FIFO", b"7": "a special file",
    b"S": "a sparse file", b"g": "a global header", b"M": "part of another archive",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: without a slash at its ends.
        data: content of a file; None for what is none.
        target: of a link; None for what is none.
    """

    name: str
    data: bytes | None = None
    target: str | None = None


def pack(members: Mapping[str, bytes | str | None]) -> bytes:
    """An archive of files (bytes), links (their targets) and folders (None), the same each time.

    Args:
        members: name → what it is.
    """
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644
            if what is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(what, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, what
            else:
                entry.size = len(what)
            data = what if isinstance(what, bytes) else b""
            tar.addfile(entry, io.BytesIO(data))
    return lzma.compress(stream.getvalue(), preset=6)


class _Unpacked:
    """The bytes of an archive, unpacked as they are asked for and never more than allowed."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)
        self._xz = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        self._ready = bytearray()
        self._total = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            BadCapture: there are fewer, or more than any capture has.
        """
        while len(self._ready) < size:
            more = self._more()
            if not more:
                raise BadCapture("the archive is cut off", hint="copy it again")
            self._ready += more
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def rest(self) -> Iterator[bytes]:
        """All that is left."""
        if self._ready:
            yield bytes(self._ready)
        while more := self._more():
            yield more
        if self._xz.unused_data or len(self._left):
            raise BadCapture("something stands behind the archive")

    def _more(self) -> bytes:
        while not self._xz.eof:
            part = b""
            if self._xz.needs_input:
                part, self._left = bytes(self._left[:_CHUNK]), self._left[_CHUNK:]
                if not part:
                    raise BadCapture("the archive is cut off", hint="copy it again")
            try:
                more = self._xz.decompress(part, _CHUNK)
            except (lzma.LZMAError, EOFError) as error:
                raise BadCapture(f"the archive cannot be unpacked: {error}") from None
            if more:
                self._total += len(more)
                if self._total > MAX_UNPACKED:
                    raise BadCapture(f"it unpacks to more than {MAX_UNPACKED >> 20} MiB")
                return more
        return b""


def unpack(data: bytes) -> Iterator[Member]:
    """The members of an archive, in their order.

    Raises:
        BadCapture: it is no archive, is damaged, or holds what no capture holds.
    """
    if not data.startswith(b"\xfd7zXZ\0"):
        raise BadCapture("this is no capture: it does not start as an xz file")
    stream = _Unpacked(data)
    name, target = None, None
    for _ in range(2 * MAX_MEMBERS):
        block = stream.take(_BLOCK)
        if not any(block):
            if name is not None or target is not None:
                raise BadCapture("a long name belongs to nothing")
            if any(any(part) for part in stream.rest()):
                raise BadCapture("something stands behind the last member")
            return
        header = _Header.read(block)
        if header.kind in (_PAX, _LONG_NAME, _LONG_TARGET):
            said = _content(stream, header, 4 * MAX_NAME)
            new_name, new_target = _long_names(header.kind, said)
            name, target = new_name or name, new_target or target
            continue
        yield _member(stream, header, name, target)
        name, target = None, None
    raise BadCapture("it has too many members")


@dataclass(frozen=True, slots=True)
class _Header:
    """A tar header (POSIX.1-2001, pax, ustar interchange format)."""

    name: bytes
    size: int
    kind: bytes
    target: bytes

    @classmethod
    def read(cls, block: bytes) -> _Header:
        if block[257:262] != b"ustar":
            raise BadCapture("this is no capture: there is no tar file in it")
        total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
        if _octal(block[148:156]) != total:
            raise BadCapture("a header's checksum is wrong", hint="copy it again")
        name, prefix = _cut(block[:100]), _cut(block[345:500])
        # GNU tar keeps times where POSIX has the prefix.
        if prefix and block[257:265] == b"ustar\x0000":
            name = prefix + b"/" + name
        return cls(name, _octal(block[124:136]), block[156:157], _cut(block[157:257]))


def _cut(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits or set(digits) - set(b"01234567"):
        raise BadCapture("a number in a header is none")
    return int(digits, 8)


def _content(stream: _Unpacked, header: _Header, limit: int) -> bytes:
    if header.size > limit:
        raise BadCapture(f"a member claims {header.size} bytes")
    data = stream.take(header.size)
    if any(stream.take(-header.size % _BLOCK)):
        raise BadCapture("something stands between two members")
    return data


def _long_names(kind: bytes, said: bytes) -> tuple[str | None, str | None]:
    if kind == _LONG_NAME:
        return _text(said.rstrip(b"\0")), None
    if kind == _LONG_TARGET:
        return None, _text(said.rstrip(b"\0"))
    found: dict[str, str] = {}
    while said:
        length, _, _ = said.partition(b" ")
        size = int(length) if length.isdigit() and len(length) < 6 else 0
        record = said[len(length) + 1 : size - 1]
        if not len(length) + 1 < size <= len(said) or said[size - 1 : size] != b"\n":
            raise BadCapture("a pax header is damaged")
        key, equals, value = record.partition(b"=")
        word = _text(key)
        if not equals or word in found or word not in (*_HARMLESS, "path", "linkpath"):
            raise BadCapture(f"a pax header says {word!r}, which no capture needs")
        found[word] = _text(value) if word in ("path", "linkpath") else ""
        said = said[size:]
    return found.get("path"), found.get("linkpath")


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadCapture("a name is no text") from None
    if not text.isprintable() or len(data) > MAX_NAME:
        raise BadCapture("a name is no text, or too long")
    return text


def _member(stream: _Unpacked, header: _Header, name: str | None, target: str | None) -> Member:
    path = _path(_text(header.name) if name is None else name)
    if header.kind in (_FILE, _OLD_FILE):
        return Member(path, data=_content(stream, header, MAX_MEMBER))
    if header.size:
        raise BadCapture(f"{path} is no file and has content")
    if header.kind == _FOLDER:
        return Member(path)
    if header.kind == _LINK:
        where = _text(header.target) if target is None else target
        return Member(path, target=_target(path, where))
    kind = _KINDS.get(header.kind, f"of an unknown kind ({header.kind.hex()})")
    raise BadCapture(f"{path} is {kind}: a capture has files, folders and links")


def _path(name: str) -> str:
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise BadCapture(f"{name!r} is not a path below the archive's root")
    return "/".join(parts)


def _target(path: str, target: str) -> str:
    """A link's target, if it stays inside ``root/``."""
    depth = path.count("/") - 1
    if not target or target.startswith("/"):
        raise BadCapture(f"{path} leads to {target!r}, out of the capture")
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            raise BadCapture(f"{path} leads to {target!r}, out of the capture")
    return target
