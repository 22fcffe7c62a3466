"""The kernel looks for a driver that takes a function, as it does when it finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.step import State, Step
from passthrough.steps.driver import driver_of, give

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class Probe(Step):
    """Let whatever driver fits take a function; that none does is no failure.

    Attributes:
        address: of the function.
        modalias: by which its driver's module is found and loaded first; empty for none.
    """

    kind: ClassVar[str] = "probe"

    address: str
    modalias: str = ""

    @property
    def name(self) -> str:
        """What it does."""
        return f"let the driver that fits take {self.address}"

    def observe(self, host: Host) -> State:
        """The driver's name, or None."""
        return driver_of(host, self.address)

    def apply(self, machine: Machine) -> None:
        """Load what fits, and probe."""
        if driver_of(machine.host, self.address) is not None:
            return
        if self.modalias:
            machine.run("modprobe", "-q", "-b", self.modalias)
        if driver_of(machine.host, self.address) is None:
            machine.write("/sys/bus/pci/drivers_probe", self.address)

    def verify(self, host: Host) -> str:
        """Whether it is still there."""
        there = host.exists(f"{DEVICES}/{self.address}")
        return "" if there else f"{self.address} is not there"

    def restore(self, machine: Machine, before: State) -> None:
        """Give it back to whoever had it."""
        give(machine, self.address, before)
