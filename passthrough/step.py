"""A step is one change of the host that knows how to prove itself and how to be undone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: What a step observes: plain JSON types, so that a journal can hold it.
State: TypeAlias = Any


class Reversal(Enum):
    """How far a step can be undone."""

    #: The host is as it was.
    EXACT = "exact"
    #: It does the same, though not everything is the same (a device found again is a new one).
    EQUIVALENT = "equivalent"
    #: There is no way back; the plan says so before it runs.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Step:
    """One change. A kind of step is a subclass; its fields are plain JSON types or tuples of them,
    so that `recover` can make it again from a journal.

    `observe` and `verify` read, `apply` and `restore` write. All four may raise
    `diag.errors.Unreadable` and `passthrough.errors.PassthroughError`.
    """

    #: Name of the kind in journals: never change it.
    kind: ClassVar[str] = ""
    reversal: ClassVar[Reversal] = Reversal.EXACT
    #: Whether its effect outlives a reboot.
    lasting: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What it does, in the imperative, as a plan shows it."""
        raise NotImplementedError

    def observe(self, host: Host) -> State:
        """The part of the host that this step changes, as it is now."""
        raise NotImplementedError

    def apply(self, machine: Machine) -> None:
        """Make the change."""
        raise NotImplementedError

    def verify(self, host: Host) -> str:
        """What is not as it should be after `apply`; empty if all is well."""
        raise NotImplementedError

    def restore(self, machine: Machine, before: State) -> None:
        """Take the change back: `observe` gives `before` again."""
        raise NotImplementedError

    def same(self, before: State, now: State) -> bool:
        """Whether what is now counts as what was before."""
        return bool(now == before)

    def disturbed(self, after: State, now: State) -> bool:
        """Whether somebody else has changed this part of the host since the step was done."""
        return bool(now != after)

    def as_json(self) -> dict[str, Any]:
        """The step as plain JSON types."""
        return {"kind": self.kind} | {
            part.name: list(value) if isinstance(value, tuple) else value
            for part in fields(self)
            for value in (getattr(self, part.name),)
        }


def step_of(record: dict[str, Any], kinds: dict[str, type[Step]]) -> Step:
    """The step that `Step.as_json` has written.

    Raises:
        KeyError, TypeError: it was written by something else.
    """
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items()}
    kind = str(values.pop("kind"))
    return kinds[kind](**values)
