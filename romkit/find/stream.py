"""Bytes that are searched in one go, what lies where in them, and what comes out of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from romkit.errors import RomError
from romkit.layout.lens import read

if TYPE_CHECKING:
    from construct import Construct

#: Most unpacked bytes that are held at a time: a packed thing and what it lies in. The largest
#: flash chip that boards have is 64 MiB.
MAX_HELD = 128 << 20

#: What one search may cost, in steps of some 30 microseconds: a structure that is looked at is one.
#: A 32 MiB flash image takes 10,000, all copies and volumes in volumes counted.
MAX_STEPS = 160_000

#: Bytes that are unpacked and searched in the time of a step; by the UEFI algorithm, some 8 MiB a
#: second.
STEP_BYTES = 4096
STEP_EFI_BYTES = 256

#: Most things that are named in one stream. A real flash image has some 5000.
MAX_REGIONS = 20000

#: Most notes of one search.
MAX_NOTES = 100


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a stream that has a name.

    Attributes:
        start: bytes from the start of the stream.
        end: first byte behind it.
        title: for a place's path.
        broken: what lies in it is cut into blocks with other bytes between: a ROM that starts
            here is not whole as it stands.
    """

    start: int
    end: int
    title: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Inner:
    """What was unpacked from a stream.

    Attributes:
        title: for a place's path, e.g. "LZMA section 0x48".
        offset: where it was packed, bytes from the start of the stream.
        data: unpacked.
        sections: it is a sequence of firmware file sections.
        archived: it comes out of an archive.
    """

    title: str
    offset: int
    data: bytes | bytearray = field(repr=False)
    sections: bool = False
    archived: bool = False


@dataclass(slots=True)
class Allowance:
    """What one search may still spend, and where it says what it had to leave out.

    Attributes:
        steps: what may still be done, see `MAX_STEPS`.
        held: bytes of unpacked things that are being searched.
    """

    note_to: Callable[[str], None] | None = None
    steps: int = MAX_STEPS
    held: int = 0
    notes: int = 0

    @property
    def room(self) -> int:
        """Bytes that the next thing may become."""
        return max(0, min(MAX_HELD - self.held, self.steps * STEP_BYTES))

    @property
    def efi_room(self) -> int:
        """Bytes that the next thing that the UEFI algorithm packed may become."""
        return max(0, min(self.room, self.steps * STEP_EFI_BYTES))

    def spend(self, size: int) -> None:
        """Bytes were unpacked, or tried to be."""
        self.step(size // STEP_BYTES)

    def spend_efi(self, size: int) -> None:
        """Bytes were unpacked by the UEFI algorithm, or tried to be."""
        self.step(size // STEP_EFI_BYTES)

    def step(self, cost: int = 1) -> bool:
        """Whether one more structure may be looked at, and that it is."""
        if self.steps <= 0:
            return False
        self.steps -= cost
        if self.steps <= 0:
            self.note("there is too much to look at: the rest is left")
        return True

    def note(self, text: str) -> None:
        """Tell the caller that something was left out."""
        self.notes += 1
        if self.note_to is not None and self.notes <= MAX_NOTES:
            self.note_to(text)


@dataclass(slots=True)
class Stream:
    """Bytes that are searched in one go.

    Attributes:
        view: the bytes.
        path: how they were reached, outermost first; empty for what the caller handed in.
        level: how many things were unpacked to get here.
        sections: they are a sequence of firmware file sections.
        archives: how many archives may still be opened from here on.
        regions: what was found to lie where.
    """

    view: memoryview
    path: tuple[str, ...] = ()
    level: int = 0
    sections: bool = False
    archives: int = 1
    regions: list[Region] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.view)

    def peek(self, layout: Construct[Any, Any], offset: int) -> Any:
        """The structure at `offset`, or None where it does not fit or its signature is absent."""
        if offset < 0:
            return None
        try:
            return read(layout, bytes(self.view[offset : offset + layout.sizeof()]), 0, "structure")
        except RomError:
            return None

    def bytes_at(self, offset: int, size: int) -> bytes:
        """A copy of `size` bytes, fewer at the end of the stream."""
        return bytes(self.view[max(offset, 0) : max(offset, 0) + max(size, 0)])

    def hits(self, pattern: re.Pattern[bytes], most: int) -> Iterator[int]:
        """Where `pattern` occurs, at most so often."""
        for _, hit in zip(range(most), pattern.finditer(self.view), strict=False):
            yield hit.start()

    def mark(self, start: int, end: int, title: str, *, broken: bool = False) -> None:
        """Name a stretch."""
        if len(self.regions) < MAX_REGIONS:
            self.regions.append(Region(start, min(end, len(self)), title, broken))

    def around(self, offset: int) -> list[Region]:
        """What is known to lie around a byte, outermost first."""
        around = [r for r in self.regions if r.start <= offset < r.end]
        return sorted(around, key=lambda region: (region.start, -region.end))

    def path_to(self, offset: int) -> tuple[str, ...]:
        """The path of a byte."""
        return (*self.path, *(region.title for region in self.around(offset)))

    def enter(self, inner: Inner) -> Stream:
        """The stream of what was unpacked from this one."""
        return Stream(
            memoryview(inner.data),
            (*self.path_to(inner.offset), inner.title),
            self.level + 1,
            inner.sections,
            self.archives - inner.archived,
        )
