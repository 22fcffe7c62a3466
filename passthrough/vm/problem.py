"""What is wrong with a profile, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from passthrough.errors import PassthroughError


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        key: whose value it is, like ``gpu.address`` or ``disk[1].path``; empty for the whole file.
        why: what is wrong, in words.
        allowed: what would be right; empty where nothing can be said.
        line: where it stands, from 1; None where the file has no such line.
    """

    key: str
    why: str
    allowed: str = ""
    line: int | None = None

    def text(self, file: str) -> str:
        """The mistake on one line."""
        place = file if self.line is None else f"{file}:{self.line}"
        key = f" {self.key}:" if self.key else ""
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        return f"{place}:{key} {self.why}{allowed}"

    def as_json(self) -> dict[str, Any]:
        """The mistake as plain JSON types."""
        return {"line": self.line, "key": self.key, "error": self.why, "allowed": self.allowed}


class BadProfile(PassthroughError):
    """A profile that no VM can be made of.

    Attributes:
        file: its name.
        problems: all that is wrong, in the order of the lines.
    """

    def __init__(self, file: str, problems: Sequence[Problem], *, hint: str = "") -> None:
        ordered = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("; ".join(problem.text(file) for problem in ordered), hint=hint)
        self.file = file
        self.problems = tuple(ordered)
