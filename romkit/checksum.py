"""Byte sums over overlapping ranges, each byte added once.

The PCIR lengths of a hostile ROM may overlap as often as it has images; summing each range
anew would let a small file cost seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from zlib import adler32

#: Bytes whose sum is below Adler-32's modulus, 65521: then its lower half is the sum itself.
_EXACT = 256


class ByteSums:
    """Sums over ranges of one file, cut at boundaries that are known beforehand."""

    __slots__ = ("_boundaries", "_data", "_segments")

    def __init__(self, data: bytes, boundaries: set[int] | frozenset[int] = frozenset()) -> None:
        self._data = data
        self._boundaries = sorted({0, len(data)} | {min(b, len(data)) for b in boundaries})
        self._segments: dict[int, int] = {}

    def sum8(self, start: int, end: int) -> int:
        """Sum of ``data[start:end]``, modulo 256; the range is cut at the end of the data."""
        end = min(end, len(self._data))
        if start >= end:
            return 0
        first = bisect_left(self._boundaries, start)
        last = bisect_left(self._boundaries, end)
        if self._boundaries[first] != start or self._boundaries[last] != end:
            return _sum8(memoryview(self._data)[start:end])
        return sum(self._segment(i) for i in range(first, last)) & 0xFF

    def _segment(self, index: int) -> int:
        if index not in self._segments:
            a, b = self._boundaries[index], self._boundaries[index + 1]
            self._segments[index] = _sum8(memoryview(self._data)[a:b])
        return self._segments[index]


def _sum8(data: memoryview) -> int:
    # Ten times as fast as sum(): the additions are zlib's, in C without an int for each byte.
    pieces = (data[at : at + _EXACT] for at in range(0, len(data), _EXACT))
    return sum(adler32(piece, 0) & 0xFFFF for piece in pieces) & 0xFF
