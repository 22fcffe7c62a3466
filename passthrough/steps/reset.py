"""A function is reset by the kernel, and what came of it is read from its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.errors import Refused
from passthrough.step import Reversal, State, Step
from passthrough.steps.bbswitch import answers
from passthrough.steps.driver import driver_of

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class ResetDevice(Step):
    """Reset a function by the method that the kernel has for it.

    The write gives no error for a function that is off the bus: that it answers is verified by
    reading its config.

    Attributes:
        address: of the function.
        dead: it may be off the bus; then nothing is done, as no reset reaches it.
    """

    kind: ClassVar[str] = "reset"
    #: What was in the card is lost. The kernel saves and restores its config only.
    reversal: ClassVar[Reversal] = Reversal.NONE

    address: str
    dead: bool = False

    @property
    def name(self) -> str:
        """What it does."""
        return f"reset {self.address}" + (", if it answers" if self.dead else "")

    def observe(self, host: Host) -> State:
        """Whether it answers."""
        return answers(host, self.address)

    def same(self, before: State, now: State) -> bool:
        """A function that was dead and answers now is no worse off."""
        return bool(now or now == before)

    def apply(self, machine: Machine) -> None:
        """Reset it.

        Raises:
            Refused: the kernel has no method for it.
        """
        host = machine.host
        if self.dead and not answers(host, self.address):
            return
        if not host.exists(f"{DEVICES}/{self.address}/reset"):
            raise Refused(
                f"the kernel offers no reset for {self.address}",
                hint="passthrough reset --short finds it anew, which needs none",
            )
        machine.write(f"{DEVICES}/{self.address}/reset", "1")

    def verify(self, host: Host) -> str:
        """Whether it answers."""
        if self.dead or answers(host, self.address):
            return ""
        return "it does not answer any longer: its config reads as ones"


@dataclass(frozen=True, slots=True)
class Confirm(Step):
    """See that a function is as it should be. Changes nothing.

    Attributes:
        address: of the function.
        group: number of its IOMMU group; None where that does not count.
        driver: who should have it; empty for nobody, None where that does not count.
        beside: functions that must be in the same group.
    """

    kind: ClassVar[str] = "confirm"

    address: str
    group: int | None = None
    driver: str | None = None
    beside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it does."""
        parts = ["answers"]
        if self.driver is not None:
            parts.append(f"is driven by {self.driver or 'nobody'}")
        if self.beside:
            parts.append(f"shares its group with {' and '.join(self.beside)}")
        elif self.group is not None:
            parts.append("has its IOMMU group")
        return f"see that {self.address} " + " and ".join(parts)

    def observe(self, host: Host) -> State:
        """Nothing: it changes nothing."""
        del host

    def apply(self, machine: Machine) -> None:
        """Nothing."""
        del machine

    def verify(self, host: Host) -> str:
        """What is not as it should be."""
        folder = f"{DEVICES}/{self.address}"
        if not host.exists(folder):
            return f"{self.address} is not there (has it power?)"
        if not answers(host, self.address):
            return f"{self.address} does not answer: its config reads as ones"
        group = host.link(f"{folder}/iommu_group")
        if self.group is not None and group is None:
            return f"{self.address} has no IOMMU group any longer"
        for other in self.beside:
            if host.link(f"{DEVICES}/{other}/iommu_group") != group:
                return f"{other} is not in the group of {self.address} any longer"
        driver = driver_of(host, self.address)
        if self.driver is not None and (driver or "") != self.driver:
            return f"{driver or 'no driver'} has {self.address}, not {self.driver or 'nobody'}"
        return ""

    def restore(self, machine: Machine, before: State) -> None:
        """Nothing to do."""
        del machine, before
