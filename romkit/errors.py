"""Everything romkit raises.

::

    RomError                 base: catch this one
    ├── NotARom              nothing here starts like an option ROM
    ├── TruncatedRom         a pointer or length reaches past the end of the bytes
    ├── MalformedRom         a structure is there, but says something impossible
    ├── RecipeError          a recipe does not describe a ROM that can be built
    └── EditRefused          an edit that cannot be made, or would make a ROM worse
"""

from __future__ import annotations


class RomError(ValueError):
    """Base of all romkit errors.

    Attributes:
        message: what is wrong, one sentence without the offset.
        offset: where, in bytes from the start of what the caller passed in;
            None where no single place is to blame.
        hint: what to do next, possibly empty.
    """

    def __init__(self, message: str, offset: int | None = None, *, hint: str = "") -> None:
        super().__init__(message, offset)
        self.message = message
        self.offset = offset
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.offset is None else f"{self.message} (at {self.offset:#x})"


class NotARom(RomError):
    """No option ROM starts here. `guess` names what the bytes look like instead, if anything."""

    def __init__(
        self, message: str, offset: int | None = None, *, hint: str = "", guess: str = ""
    ) -> None:
        super().__init__(message, offset, hint=hint)
        self.guess = guess


class TruncatedRom(RomError):
    """A pointer or length field reaches past the end of the bytes."""


class MalformedRom(RomError):
    """A structure is where it should be, but its contents contradict the specification."""


class RecipeError(RomError):
    """A recipe is not valid TOML, lacks a key, or asks for something that does not fit."""


class EditRefused(RomError):
    """An edit that cannot be made, or whose result would be worse than its input.

    Attributes:
        reasons: every single objection, one sentence each; empty where `message` is the only one.
        may_force: whether the caller may have it all the same, by saying ``force``.
    """

    def __init__(
        self,
        message: str,
        offset: int | None = None,
        *,
        hint: str = "",
        reasons: tuple[str, ...] = (),
        may_force: bool = False,
    ) -> None:
        super().__init__(message, offset, hint=hint)
        self.reasons = reasons
        self.may_force = may_force
