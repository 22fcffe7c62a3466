"""What lies behind the last image: padding, another copy of the ROM, or live data.

Boards with two copies (A/B) keep the second one behind the first, with a container of its own.
AMD boards keep firmware for other processors there: the tail is data that the board needs, and
the length of a ROM never follows from the length of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from romkit.chain import HeaderReader, walk_npde, walk_pcir
from romkit.container import NVGI_VERSIONS, Container, read_nvgi, runnable
from romkit.errors import RomError
from romkit.header import BLOCK
from romkit.lazy import cache_field, lazy

if TYPE_CHECKING:
    from romkit.rom import Rom

#: Further copies that are told apart; more are shown as data.
MAX_COPIES = 16

#: Blocks that only look like a ROM or a container before the search for a copy gives up.
MAX_CANDIDATES = 4096

#: Reads bytes as a ROM: `romkit.rom.parse_rom`, which stands above this module.
Parser: TypeAlias = "Callable[[bytes], Rom]"


class TailKind(Enum):
    """What a part of the tail is."""

    #: One byte value only, 00 or FF.
    PADDING = "padding"
    #: Another ROM with the chain it needs, possibly of another version.
    COPY = "copy"
    #: The ROM of a further entry of the same VFCT table.
    VFCT_IMAGE = "vfct image"
    #: Anything else: keep it.
    DATA = "data"


@dataclass(frozen=True, slots=True)
class TailPart:
    """A stretch of the tail.

    Attributes:
        kind: what it is.
        offset: bytes from the start of the file.
        size: bytes.
        fill: the byte value of padding, else None.
        rom_offset: where the images of a copy start, bytes from the start of the file, else None.
        identical: whether a copy's images equal the file's own, byte for byte; else None.
    """

    kind: TailKind
    offset: int
    size: int
    fill: int | None = None
    rom_offset: int | None = None
    identical: bool | None = None
    data: bytes = field(default=b"", repr=False, compare=False)
    parse: Parser | None = field(default=None, repr=False, compare=False)
    _cache: dict[str, object] = cache_field()

    @property
    def end(self) -> int:
        """First byte of the file behind this part."""
        return self.offset + self.size

    def __bytes__(self) -> bytes:
        return self.data[self.offset : self.end]

    @lazy
    def rom(self) -> Rom | None:
        """The ROM in this part, with offsets counted from the part's start; None without one.

        None also where the part cannot be read by itself: a container may point out of it.
        """
        if self.rom_offset is None or self.parse is None:
            return None
        try:
            return self.parse(bytes(self))
        except RomError:
            return None


@dataclass(frozen=True, slots=True)
class Tail:
    """Everything behind the last image, cut into parts that tile it."""

    offset: int
    size: int
    parts: tuple[TailPart, ...]

    @property
    def copies(self) -> tuple[TailPart, ...]:
        """The parts that hold another ROM."""
        return tuple(p for p in self.parts if p.rom_offset is not None)

    @property
    def live(self) -> bool:
        """Whether any of it is neither padding nor a copy."""
        return any(p.kind is TailKind.DATA for p in self.parts)

    def __iter__(self) -> Iterator[TailPart]:
        return iter(self.parts)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{p.kind.value} {p.size:#x}" for p in self.parts)
        return f"<Tail @{self.offset:#x}+{self.size:#x}: {kinds}>"


def read_tail(
    data: bytes, offset: int, container: Container | None, own: bytes, parse: Parser | None = None
) -> Tail | None:
    """Cut what follows the last image into parts.

    Args:
        data: the whole file.
        offset: first byte behind the last image.
        container: the file's own container.
        own: the bytes of the file's own images, to compare copies with.
        parse: reads the ROM in a part when it is asked for; without it there is none.

    Returns:
        None where nothing follows.
    """
    if offset >= len(data):
        return None
    parts: list[TailPart] = []
    at = offset
    for copy in _copies(data, offset, container, own, parse):
        if copy.offset >= at:
            parts.extend(_split(data, at, copy.offset))
            parts.append(copy)
            at = copy.end
    parts.extend(_split(data, at, len(data)))
    return Tail(offset, len(data) - offset, tuple(parts))


def _copies(
    data: bytes, offset: int, container: Container | None, own: bytes, parse: Parser | None
) -> Iterator[TailPart]:
    headers = HeaderReader(data)
    for entry in container.vfct_images if container else ():
        if entry.rom_offset >= offset and runnable(data, entry.rom_offset):
            end = min(entry.rom_offset + entry.image_length, len(data))
            yield _copy(data, TailKind.VFCT_IMAGE, entry.offset, entry.rom_offset, end, own, parse)
    at = offset
    for _ in range(MAX_COPIES):
        found = _next_copy(data, at)
        if found is None:
            return
        start, rom_offset = found
        walks = (walk(headers, rom_offset) for walk in (walk_pcir, walk_npde))
        end = max(rom_offset + BLOCK, *(walk.end_offset for walk in walks))
        at = min(end, len(data))
        yield _copy(data, TailKind.COPY, start, rom_offset, at, own, parse)


def _copy(
    data: bytes,
    kind: TailKind,
    start: int,
    rom_offset: int,
    end: int,
    own: bytes,
    parse: Parser | None,
) -> TailPart:
    same = data[rom_offset:end] == own
    return TailPart(kind, start, end - start, None, rom_offset, same, data, parse)


def _next_copy(data: bytes, offset: int) -> tuple[int, int] | None:
    """The next container or bare ROM at a block boundary: (its start, its first image)."""
    bare = _next_at_block(data, offset, b"\x55\xaa", lambda at: runnable(data, at))
    end = len(data) if bare is None else bare
    found: list[int] = []

    def contains(at: int) -> bool:
        if data[at + 5 : at + 6] not in NVGI_VERSIONS:  # before anything is read
            return False
        try:
            found.append(read_nvgi(data, at).rom_offset)
        except RomError:
            return False
        return True

    start = _next_at_block(data[:end], offset, b"NVGI", contains)
    if start is not None:
        return start, found[-1]
    return None if bare is None else (bare, bare)


def _next_at_block(
    data: bytes, offset: int, signature: bytes, accept: Callable[[int], bool]
) -> int | None:
    """The next block that starts with `signature` and is accepted."""
    # Every 512th byte, so that a large tail costs a slice and not a loop over its bytes.
    start = -(-offset // BLOCK) * BLOCK
    firsts = data[start::BLOCK]
    at, tried = firsts.find(signature[0]), 0
    while at >= 0 and tried < MAX_CANDIDATES:
        place = start + at * BLOCK
        if data[place : place + len(signature)] == signature:
            if accept(place):
                return place
            tried += 1
        at = firsts.find(signature[0], at + 1)
    return None


def _split(data: bytes, start: int, end: int) -> Iterator[TailPart]:
    """Padding at the front, data, padding at the end; whatever of it is there."""
    chunk = data[start:end]
    if not chunk:
        return
    front = _run(chunk, len(chunk) - len(chunk.lstrip(chunk[:1])), chunk[0])
    if front == len(chunk):
        yield TailPart(TailKind.PADDING, start, front, chunk[0], data=data)
        return
    back = _run(chunk, len(chunk) - len(chunk.rstrip(chunk[-1:])), chunk[-1])
    if front:
        yield TailPart(TailKind.PADDING, start, front, chunk[0], data=data)
    if front + back < len(chunk):
        yield TailPart(TailKind.DATA, start + front, len(chunk) - front - back, data=data)
    if back:
        yield TailPart(TailKind.PADDING, end - back, back, chunk[-1], data=data)


def _run(chunk: bytes, length: int, value: int) -> int:
    """A run counts as padding if flash would show it (FF) or tools write it (00), and is long."""
    return length if value in (0x00, 0xFF) and (length >= 16 or length == len(chunk)) else 0
