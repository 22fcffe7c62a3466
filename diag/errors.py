"""Everything that diag raises for its caller to catch."""

from __future__ import annotations


class DiagError(Exception):
    """Base of all diag errors.

    Attributes:
        message: what is wrong, one sentence.
        hint: what to do next, possibly empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TextTooLarge(DiagError):
    """A text of more bytes or lines than anybody pastes."""


class NotHostText(DiagError):
    """Bytes that are no text, or a text in which nothing is known."""


class Unreadable(DiagError):
    """Something is there and could not be read: neither a yes nor a no.

    Attributes:
        path: what was to be read.
        why: the reason in words.
        needs_root: whether root could read it.
    """

    def __init__(self, path: str, why: str, *, needs_root: bool = False, hint: str = "") -> None:
        super().__init__(f"{path}: {why}", hint=hint)
        self.path = path
        self.why = why
        self.needs_root = needs_root


class Asleep(Unreadable):
    """A device sleeps, and reading this would wake it."""


class BadCapture(DiagError):
    """An archive that is no capture, or one that no honest tool makes."""
