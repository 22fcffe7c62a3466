"""One attribute of the kernel is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: What the kernel prints for an override that is not set. Written back it would name a driver
#: that is called so, and the device would never bind again.
_NULL = "(null)"


@dataclass(frozen=True, slots=True)
class SetAttribute(Step):
    """Write one attribute; the old value is the way back.

    Attributes:
        path: of the attribute, absolute.
        value: what to write; empty clears it.
        reads_as: what it reads as afterwards, if that is something else.
    """

    kind: ClassVar[str] = "set"

    path: str
    value: str
    reads_as: str = ""

    @property
    def name(self) -> str:
        """What it does."""
        if self.value == "":
            return f"clear {self.path}"
        return f"write {self.value!r} to {self.path}"

    def observe(self, host: Host) -> State:
        """The value; None where there is no such attribute."""
        text = host.text(self.path)
        return "" if text == _NULL else text

    def apply(self, machine: Machine) -> None:
        """Write it, unless it is so already."""
        if self.observe(machine.host) != (self.reads_as or self.value):
            machine.write(self.path, self.value)

    def verify(self, host: Host) -> str:
        """Whether it reads as it should."""
        now = self.observe(host)
        return "" if now == (self.reads_as or self.value) else f"it still reads {now!r}"

    def restore(self, machine: Machine, before: State) -> None:
        """Write the old value."""
        if before is not None:
            machine.write(self.path, before)
