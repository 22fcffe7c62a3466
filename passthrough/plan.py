"""A plan is data: what would be done, in which order, and what cannot be undone. Printing it is
the dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from passthrough.step import Reversal, Step
from romkit.finding import Finding


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps to take on a host.

    Attributes:
        title: what it is for, as history shows it.
        steps: in their order.
        findings: what was found about the host while it was made; one that blocks forbids it.
        notes: what the user should know before it runs.
        keeps: whether its effect is wanted for a while, and `reattach` or the end of a session
            takes it back; until then it is neither pending nor over.
        held: whether that while is the life of the run itself, which holds its journal
            (`passthrough.journal.hold`): when nobody does any longer, it is pending.
    """

    title: str
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    keeps: bool = False
    held: bool = False

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The findings that forbid it."""
        return tuple(finding for finding in self.findings if finding.blocks)

    @property
    def irreversible(self) -> tuple[Step, ...]:
        """Steps without a way back."""
        return tuple(step for step in self.steps if step.reversal is Reversal.NONE)

    def __str__(self) -> str:
        width = len(str(len(self.steps)))
        lines = [self.title]
        for number, step in enumerate(self.steps, 1):
            undo = "" if step.reversal is not Reversal.NONE else "  (cannot be undone)"
            lines.append(f"  {number:>{width}}. {step.name}{undo}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON types."""
        return {
            "title": self.title,
            "steps": [
                {**step.as_json(), "name": step.name, "reversal": step.reversal.value}
                for step in self.steps
            ],
            "findings": [finding.as_json() for finding in self.findings],
            "notes": list(self.notes),
        }
