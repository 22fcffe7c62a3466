"""The kernel lets go of the picture that the firmware has left on a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.step import Reversal, State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

PLATFORM = "/sys/bus/platform/drivers"
#: Every platform device, whether or not a driver has it.
_DEVICES = "/sys/bus/platform/devices"

CONSOLES = "/sys/class/vtconsole"

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

    From Linux 6.1 on vfio-pci takes the picture's device itself off the kernel's list when it
    takes the card (aperture_remove_conflicting_pci_devices; seen in 6.1 with efifb). It never
    comes back then, and its driver has nothing to be given back.

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
        """Whether it is bound; None where the kernel has it no longer."""
        if not host.exists(f"{_DEVICES}/{self.device}"):
            return None
        return host.exists(f"{PLATFORM}/{self.driver}/{self.device}")

    def same(self, before: State, now: State) -> bool:
        """What is gone for good cannot be bound."""
        return now is None or bool(now == before)

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


def consoles(host: Host, sign: str) -> tuple[str, ...]:
    """The consoles in use that have a word in their names, like ("vtcon1",).

    The kernel's names: ``(M) frame buffer device``, ``(S) VGA+``, ``(S) dummy device``.

    Raises:
        Unreadable: they cannot be listed.
    """
    return tuple(
        name
        for name in host.names(CONSOLES) or ()
        if sign in (host.text(f"{CONSOLES}/{name}/name") or "")
        and host.text(f"{CONSOLES}/{name}/bind") == "1"
    )


@dataclass(frozen=True, slots=True)
class ReleaseConsole(Step):
    """The virtual terminals let go of a framebuffer.

    Attributes:
        console: as it is called in /sys/class/vtconsole.
    """

    kind: ClassVar[str] = "console"
    #: With the last framebuffer its console goes too.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    console: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"take the text consoles off the framebuffer ({self.console})"

    @property
    def _path(self) -> str:
        return f"{CONSOLES}/{self.console}/bind"

    def observe(self, host: Host) -> State:
        """Whether it is in use: 0 or 1; None where it is not there."""
        return host.text(self._path)

    def same(self, before: State, now: State) -> bool:
        """One that is gone has taken its picture along."""
        return now is None or bool(now == before)

    def disturbed(self, after: State, now: State) -> bool:
        """Never: the kernel makes it anew and binds it when a framebuffer comes."""
        del after, now
        return False

    def apply(self, machine: Machine) -> None:
        """Unbind it."""
        if self.observe(machine.host) == "1":
            machine.write(self._path, "0")

    def verify(self, host: Host) -> str:
        """Whether it is out of use."""
        return f"{self.console} is still in use" if self.observe(host) == "1" else ""

    def restore(self, machine: Machine, before: State) -> None:
        """Bind it again."""
        if before == "1" and self.observe(machine.host) == "0":
            machine.write(self._path, "1")
