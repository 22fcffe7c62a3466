"""Byte sums over overlapping ranges, each byte added once.

The PCIR lengths of a hostile ROM may overlap as often as it has images; summing each range
anew would let a small file cost seconds.
"""

from __future__ import annotations

from bisect import bisect_left


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
            return sum(memoryview(self._data)[start:end]) & 0xFF
        return sum(self._segment(i) for i in range(first, last)) & 0xFF

    def _segment(self, index: int) -> int:
        if index not in self._segments:
            a, b = self._boundaries[index], self._boundaries[index + 1]
            self._segments[index] = sum(memoryview(self._data)[a:b]) & 0xFF
        return self._segments[index]
