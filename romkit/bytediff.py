"""Two stretches of bytes compared at the speed of memory: no loop over equal bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Ranges that a comparison keeps; it counts all of them.
MAX_RANGES = 256

#: Differing bytes with fewer equal ones than this between them are one range.
MERGE_GAP = 8

#: Bytes of a range that `ByteRange.as_json` shows of each side.
PREVIEW = 32

#: Equal stretches are skipped at the speed of memory comparison, in steps of this size.
_STEP = 1 << 16

_EQUAL_STRETCH = re.compile(rb"\0{%d,}" % MERGE_GAP)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A stretch that differs. It may hold a few equal bytes, see `MERGE_GAP`.

    Attributes:
        offset: bytes from the start of what was compared.
        a: the bytes of the one side.
        b: the bytes of the other, as many.
    """

    offset: int
    a: bytes
    b: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.a)

    @property
    def end(self) -> int:
        """First byte behind the range, from the start of what was compared."""
        return self.offset + len(self.a)

    def as_json(self) -> dict[str, Any]:
        """The range as plain JSON types; of long ranges only the first bytes."""
        return {
            "offset": self.offset,
            "size": self.size,
            "a": self.a[:PREVIEW].hex(),
            "b": self.b[:PREVIEW].hex(),
        }

    def __repr__(self) -> str:
        return f"<ByteRange {self.offset:#x}-{self.end:#x}>"


@dataclass(frozen=True, slots=True)
class ByteDiff:
    """Two stretches of two files, byte for byte, as far as the shorter one goes.

    Attributes:
        a_offset: where the one stretch starts, bytes from the start of its file.
        a_size: bytes.
        differing: how many bytes differ within the common length.
        range_count: in how many ranges.
        ranges: the first `MAX_RANGES` of them.
    """

    a_offset: int
    a_size: int
    b_offset: int
    b_size: int
    differing: int = 0
    range_count: int = 0
    ranges: tuple[ByteRange, ...] = field(default=(), repr=False)

    @property
    def equal(self) -> bool:
        """The same bytes, and as many."""
        return self.a_size == self.b_size and self.differing == 0

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain JSON types."""
        return {
            "a_offset": self.a_offset,
            "a_size": self.a_size,
            "b_offset": self.b_offset,
            "b_size": self.b_size,
            "differing": self.differing,
            "range_count": self.range_count,
            "ranges": [r.as_json() for r in self.ranges],
        }


def compare_bytes(
    a: bytes, b: bytes, a_span: tuple[int, int] | None = None, b_span: tuple[int, int] | None = None
) -> ByteDiff:
    """Compare two stretches of two files.

    Args:
        a: the one file.
        b: the other file.
        a_span: start and end within `a`, the whole of it by default.
        b_span: start and end within `b`.
    """
    a_start, a_end = a_span or (0, len(a))
    b_start, b_end = b_span or (0, len(b))
    common = min(a_end - a_start, b_end - b_start)
    differing = count = 0
    kept: list[ByteRange] = []
    for start, end in _unequal_steps(a, b, a_start, b_start, common):
        one = a[a_start + start : a_start + end]
        other = b[b_start + start : b_start + end]
        # The exclusive or as one number: its zero bytes are the equal ones.
        mask = (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(
            len(one), "little"
        )
        differing += len(mask) - mask.count(0)
        for low, high in _ranges(mask):
            count += 1
            if len(kept) < MAX_RANGES:
                kept.append(ByteRange(start + low, one[low:high], other[low:high]))
    return ByteDiff(
        a_start, a_end - a_start, b_start, b_end - b_start, differing, count, tuple(kept)
    )


def _unequal_steps(
    a: bytes, b: bytes, a_start: int, b_start: int, length: int
) -> Iterator[tuple[int, int]]:
    """Runs of steps that are not equal; a whole equal step lies between two runs."""
    run: int | None = None
    for at in range(0, length, _STEP):
        end = min(at + _STEP, length)
        if a[a_start + at : a_start + end] == b[b_start + at : b_start + end]:
            if run is not None:
                yield run, at
                run = None
        elif run is None:
            run = at
    if run is not None:
        yield run, length


def _ranges(mask: bytes) -> Iterator[tuple[int, int]]:
    """The ranges of `mask` between long stretches of zeros, cut free of zeros at their ends."""
    start = 0
    for gap in _EQUAL_STRETCH.finditer(mask):
        if gap.start() > start:
            yield _trim(mask, start, gap.start())
        start = gap.end()
    if start < len(mask):
        yield _trim(mask, start, len(mask))


def _trim(mask: bytes, start: int, end: int) -> tuple[int, int]:
    # Only the ends of the mask itself can have zeros: fewer than MERGE_GAP of them.
    while mask[start] == 0:
        start += 1
    while mask[end - 1] == 0:
        end -= 1
    return start, end
