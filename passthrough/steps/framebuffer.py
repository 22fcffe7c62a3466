"""The kernel lets go of the picture that the firmware has left on a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.step import Reversal, State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

PLATFORM = "/sys/bus/platform/drivers"

#: Drivers of what the firmware has left; each takes a part of the card's memory.
FRAMEBUFFERS = ("efi-framebuffer", "simple-framebuffer", "vesa-framebuffer")


def framebuffers(host: Host) -> tuple[tuple[str, str], ...]:
    """Those at work: driver and device, like ("efi-framebuffer", "efi-framebuffer.0").

    Raises:
        Unreadable: sysfs cannot be listed.
    """
    return tuple(
        (driver, name)
        for driver in FRAMEBUFFERS
        for name in host.names(f"{PLATFORM}/{driver}") or ()
        if name.rpartition(".")[2].isdecimal()
    )


@dataclass(frozen=True, slots=True)
class ReleaseFramebuffer(Step):
    """Unbind the driver of the firmware's picture.

    Attributes:
        driver: as it is called in /sys/bus/platform/drivers.
        device: what it has.
    """

    kind: ClassVar[str] = "framebuffer"
    #: The picture comes back where the card still shows what the firmware has set up.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    driver: str
    device: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"release the boot framebuffer {self.device}"

    def observe(self, host: Host) -> State:
        """Whether it is bound."""
        return host.exists(f"{PLATFORM}/{self.driver}/{self.device}")

    def apply(self, machine: Machine) -> None:
        """Unbind it."""
        if self.observe(machine.host):
            machine.write(f"{PLATFORM}/{self.driver}/unbind", self.device)

    def verify(self, host: Host) -> str:
        """Whether it is unbound."""
        return f"{self.driver} still has it" if self.observe(host) else ""

    def restore(self, machine: Machine, before: State) -> None:
        """Bind it again."""
        if before and not self.observe(machine.host):
            machine.write(f"{PLATFORM}/{self.driver}/bind", self.device)
