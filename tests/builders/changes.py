"""What an edit reports, held against what it did; written without romkit."""

from __future__ import annotations

from typing import Any


def replay(edit: Any) -> bytes:
    """The input with nothing but the reported changes made: it must be the output."""
    out = bytearray()
    at = 0
    for change in edit.changes:
        assert change.offset >= at, "changes overlap or stand out of order"
        out += edit.before[at : change.offset]
        assert len(out) == change.new_offset
        out += edit.data[change.new_offset : change.new_offset + change.new_size]
        at = change.offset + change.old_size
        assert change.reason
        if change.kind == "dropped":
            assert change.new_size == 0
        if change.kind == "inserted":
            assert change.old_size == 0
    assert at <= len(edit.before)
    return bytes(out + edit.before[at:])


def sum8(data: bytes) -> int:
    return sum(data) & 0xFF


def same(a: bytes, b: bytes) -> bool:
    """Whether they are equal; what fails with this prints no ROM."""
    return bytes(a) == bytes(b)
