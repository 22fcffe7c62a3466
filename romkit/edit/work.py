"""An edit in the making: cuts first, then single fields written over what the cuts left."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from romkit.edit.edit import Change, ChangeKind
from romkit.errors import EditRefused, RomError
from romkit.header import ImageHeader, read_header


@dataclass(frozen=True, slots=True)
class Cut:
    """``source[start:end]`` becomes `content`.

    Attributes:
        start: bytes from the start of the source.
        end: first byte behind what goes; equal to `start` for a pure insertion.
        content: what comes instead, possibly nothing.
        reason: why, for people.
    """

    start: int
    end: int
    content: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the output: kept from the source, or the content of a cut."""

    at: int
    size: int
    source: int
    cut: Cut | None


@dataclass(frozen=True, slots=True)
class _Write:
    at: int
    size: int
    reason: str


class Work:
    """Bytes that are being edited. Offsets count from the start of `data`, the output so far.

    Attributes:
        source: the input.
        data: the output.
    """

    __slots__ = ("_pieces", "_writes", "data", "source")

    def __init__(self, source: bytes, cuts: Iterable[Cut] = ()) -> None:
        """Apply `cuts`.

        Raises:
            EditRefused: two of them overlap, or one lies outside the source.
        """
        self.source = source
        self.data = bytearray()
        self._writes: list[_Write] = []
        self._pieces: list[_Piece] = []
        old = 0
        for cut in sorted(cuts, key=lambda c: (c.start, c.end)):
            if not old <= cut.start <= cut.end <= len(source):
                raise EditRefused("images of this ROM overlap: it cannot be cut", cut.start)
            self._keep(old, cut.start)
            self._pieces.append(_Piece(len(self.data), len(cut.content), cut.start, cut))
            self.data += cut.content
            old = cut.end
        self._keep(old, len(source))

    def _keep(self, start: int, end: int) -> None:
        if start < end:
            self._pieces.append(_Piece(len(self.data), end - start, start, None))
            self.data += self.source[start:end]

    def place_of(self, source_offset: int) -> int | None:
        """Where a byte of the source stands now; None where it was dropped."""
        for piece in self._pieces:
            inside = source_offset - piece.source
            if piece.cut is None and 0 <= inside < piece.size:
                return piece.at + inside
        return None

    def header(self, at: int) -> ImageHeader:
        """The headers of the image that starts at `at`.

        Raises:
            EditRefused: none does.
        """
        try:
            return read_header(bytes(self.data), at)
        except RomError as err:
            raise EditRefused(f"no image where one should be: {err.message}", at) from err

    def write(self, at: int, content: bytes, reason: str) -> None:
        """Write over what is there.

        Raises:
            EditRefused: it does not fit.
        """
        end = at + len(content)
        if at < 0 or end > len(self.data):
            raise EditRefused("a field lies behind the end of the file", at)
        if self.data[at:end] != content:
            self.data[at:end] = content
            self._writes.append(_Write(at, len(content), reason))

    def changes(self) -> tuple[Change, ...]:
        """Every range that differs from the source, in order."""
        extra: dict[int, list[str]] = {}
        spans: dict[int, list[_Write]] = {}
        starts = [piece.at for piece in self._pieces]
        for write in self._writes:
            for number, part in self._parts(starts, write):
                if self._pieces[number].cut is None:
                    spans.setdefault(number, []).append(part)
                else:
                    extra.setdefault(number, []).append(part.reason)
        out: list[Change] = []
        for number, piece in enumerate(self._pieces):
            if piece.cut is None:
                out += self._written(piece, spans.get(number, []))
            else:
                change = _cut_change(piece, piece.cut, extra.get(number, []))
                if change is not None:
                    out.append(change)
        return tuple(out)

    def _parts(self, starts: list[int], write: _Write) -> Iterable[tuple[int, _Write]]:
        """`write` cut at the borders of the pieces it lies in."""
        at, end = write.at, write.at + write.size
        while at < end:
            number = bisect_right(starts, at) - 1
            piece = self._pieces[number]
            stop = min(end, piece.at + piece.size)
            yield number, _Write(at, stop - at, write.reason)
            at = stop

    def _written(self, piece: _Piece, writes: list[_Write]) -> Iterable[Change]:
        """Writes over a kept piece; those that overlap are one change with all reasons."""
        merged: list[tuple[int, int, list[str]]] = []
        for write in sorted(writes, key=lambda w: w.at):
            end = write.at + write.size
            if merged and write.at < merged[-1][1]:
                start, old_end, reasons = merged[-1]
                merged[-1] = (start, max(end, old_end), [*reasons, write.reason])
            else:
                merged.append((write.at, end, [write.reason]))
        for start, end, reasons in merged:
            offset = piece.source + start - piece.at
            if self.data[start:end] == self.source[offset : offset + end - start]:
                continue  # written to and fro
            yield _change("changed", offset, end - start, start, end - start, reasons)


def _cut_change(piece: _Piece, cut: Cut, reasons: list[str]) -> Change | None:
    old_size = cut.end - cut.start
    if not old_size and not piece.size:
        return None
    kind: ChangeKind = "changed" if old_size and piece.size else "inserted"
    if not piece.size:
        kind = "dropped"
    return _change(kind, cut.start, old_size, piece.at, piece.size, [cut.reason, *reasons])


def _change(
    kind: ChangeKind, offset: int, old_size: int, new_offset: int, new_size: int, reasons: list[str]
) -> Change:
    return Change(kind, offset, old_size, new_offset, new_size, "; ".join(dict.fromkeys(reasons)))
