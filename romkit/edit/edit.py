"""What an edit is: the bytes that come out, and every range in which they differ.

::

    input   |--kept--|-dropped-|--kept--|changed|--kept--|          |
    output  |--kept--|         |--kept--|changed|--kept--|-inserted-|

Outside the reported ranges output and input are the same bytes in the same order; `untouched`
proves it. Nothing is ever moved: what stands elsewhere in the output was dropped and inserted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from romkit.lazy import cache_field, lazy

if TYPE_CHECKING:
    from romkit.rom import Rom

ChangeKind: TypeAlias = Literal["dropped", "inserted", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A range that an edit touched.

    Attributes:
        kind: "dropped" has a `new_size` of 0, "inserted" an `old_size` of 0.
        offset: where it starts in the input, bytes; of an insertion, what it was put in front of.
        old_size: bytes of the input.
        new_offset: where it starts in the output, bytes; of what was dropped, where it would be.
        new_size: bytes of the output.
        reason: why, for people.
    """

    kind: ChangeKind
    offset: int
    old_size: int
    new_offset: int
    new_size: int
    reason: str

    @property
    def end(self) -> int:
        """First byte of the input behind the range."""
        return self.offset + self.old_size

    @property
    def new_end(self) -> int:
        """First byte of the output behind the range."""
        return self.new_offset + self.new_size

    def as_json(self) -> dict[str, Any]:
        """The change as plain JSON types."""
        return {
            "kind": self.kind,
            "offset": self.offset,
            "old_size": self.old_size,
            "new_offset": self.new_offset,
            "new_size": self.new_size,
            "reason": self.reason,
        }

    def __repr__(self) -> str:
        if self.kind == "inserted":
            return f"<Change inserted @{self.new_offset:#x}+{self.new_size:#x}: {self.reason}>"
        return f"<Change {self.kind} @{self.offset:#x}+{self.old_size:#x}: {self.reason}>"


@dataclass(frozen=True, slots=True)
class Edit:
    """The outcome of an edit. `data` is the new ROM; ``bytes(edit)`` is the same.

    Attributes:
        before: the input.
        data: the output.
        changes: every range that was touched, in order; none where there was nothing to do.
        notes: what the user should know besides: what was left alone and why, what a signature
            does not cover any more.
    """

    before: bytes = field(repr=False)
    data: bytes = field(repr=False)
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    _cache: dict[str, object] = cache_field()

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return bool(self.changes)

    @lazy
    def rom(self) -> Rom:
        """The output, read again.

        Raises:
            NotARom: it is none; no function of `romkit.edit` hands out such an edit.
        """
        from romkit.rom import parse_rom

        return parse_rom(self.data)

    @lazy
    def sha256(self) -> str:
        """SHA-256 of the output, hex digits."""
        import hashlib

        return hashlib.sha256(self.data).hexdigest()

    def old_bytes(self, change: Change) -> bytes:
        """What stood there before."""
        return self.before[change.offset : change.end]

    def new_bytes(self, change: Change) -> bytes:
        """What stands there now."""
        return self.data[change.new_offset : change.new_end]

    def as_json(self) -> dict[str, Any]:
        """The edit as plain JSON types, without the ROM's bytes."""
        return {
            "old_size": len(self.before),
            "new_size": len(self.data),
            "sha256": self.sha256,
            "changes": [c.as_json() for c in self.changes],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        if not self.changes:
            return f"<Edit nothing to do, {len(self.data):#x} bytes>"
        sizes = f"{len(self.before):#x} → {len(self.data):#x} bytes"
        return f"<Edit {len(self.changes)} changes, {sizes}>"


def untouched(before: bytes, data: bytes, changes: Iterable[Change]) -> bool:
    """Whether `data` is `before` wherever `changes` do not say otherwise.

    Also False where changes overlap, stand out of order or lie outside the bytes.
    """
    old = new = 0
    for change in changes:
        kept = change.offset - old
        if kept < 0 or change.old_size < 0 or change.new_size < 0:
            return False
        if change.new_offset != new + kept or before[old : old + kept] != data[new : new + kept]:
            return False
        old, new = change.end, change.new_end
        if old > len(before) or new > len(data):
            return False
    return before[old:] == data[new:]
