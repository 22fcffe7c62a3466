"""What is written where in an image, so that nothing is written over something else."""

from __future__ import annotations

from dataclasses import dataclass, field

from romkit.errors import RecipeError

#: From here on structures without a place of their own are put: in front of it x86 images have
#: fields at fixed places.
_FIRST_FREE = 0xC0


@dataclass(slots=True)
class Pieces:
    """The pieces of one image under construction.

    Attributes:
        path: the image's key path, for messages.
        start: lowest offset for pieces that have none of their own.
        contents_end: behind the last piece that is no header.
    """

    path: str
    start: int = _FIRST_FREE
    contents_end: int = 0
    _taken: list[tuple[int, int, str]] = field(default_factory=list)
    _written: list[tuple[int, bytes]] = field(default_factory=list)

    def reserve(self, offset: int, size: int, what: str) -> None:
        """Keep a range for a structure that is written later. Headers may overlap each other."""
        self._taken.append((offset, offset + size, what))

    def write(self, offset: int, data: bytes) -> None:
        """Write into a range that is reserved, or that nobody minds."""
        self._written.append((offset, data))

    def place(
        self,
        offset: int | None,
        size: int,
        what: str,
        *,
        align: int = 16,
        within: int | None = None,
    ) -> int:
        """Reserve `size` bytes at `offset`, or at the first free place.

        Args:
            offset: from the image's start, or None.
            size: bytes.
            what: the key, relative to the image's, for messages.
            align: of the free place.
            within: where it must end: pointers to it have no more bits.

        Raises:
            RecipeError: something else stands there.
        """
        if offset is None:
            offset = self.free(self.start, size, align)
        other = self._at(offset, size)
        if other is not None:
            raise RecipeError(
                f"{self.path}.{what}: expected a free place,"
                f" found {other[2]} at {other[0]:#x} to {other[1]:#x}, wanted {offset:#x} to"
                f" {offset + size:#x}"
            )
        if within is not None and offset + size > within:
            raise RecipeError(
                f"{self.path}.{what}: expected a place below {within:#x},"
                f" found {offset:#x} to {offset + size:#x}"
            )
        self.reserve(offset, size, what)
        self.contents_end = max(self.contents_end, offset + size)
        return offset

    def put(self, offset: int | None, data: bytes, what: str, *, within: int | None = None) -> int:
        """`place` and `write`."""
        at = self.place(offset, len(data), what, within=within)
        self.write(at, data)
        return at

    def try_put(self, offset: int, data: bytes, what: str) -> None:
        """`put`, unless something else stands there."""
        if self._at(offset, len(data)) is None:
            self.put(offset, data, what)

    def free(self, start: int, size: int, align: int) -> int:
        """The first place from `start` on for `size` bytes."""
        at = -(-start // align) * align
        while (other := self._at(at, size)) is not None:
            at = -(-other[1] // align) * align
        return at

    @property
    def end(self) -> int:
        """Behind the last reserved byte."""
        return max((end for _, end, _ in self._taken), default=0)

    def last_free(self, limit: int) -> int | None:
        """The highest offset below `limit` that nothing is written to, or None."""
        at = limit - 1
        while at >= 0:
            other = self._at(at, 1)
            if other is None:
                return at
            at = other[0] - 1
        return None

    def written(self) -> tuple[tuple[int, bytes], ...]:
        """All pieces, in the order in which they are to be written."""
        return tuple(self._written)

    def _at(self, offset: int, size: int) -> tuple[int, int, str] | None:
        """A reserved range that overlaps this one: the first of them."""
        hits = [t for t in self._taken if t[0] < offset + size and offset < t[1]]
        return min(hits, default=None)
