"""A driver lets go of a function, or takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.errors import Refused
from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

DRIVERS = "/sys/bus/pci/drivers"

#: Modules whose driver loops in the kernel while it is in use: unbinding them then never returns
#: (nv-pci.c, "Attempting to remove device with non-zero usage count").
LOOPING = ("nvidia",)


#: Seconds that a driver may take for a function after its probe has returned: one that waits for
#: another driver is asked again when that one is there (drivers/base/dd.c, deferred probe).
PATIENCE = 1.0
#: Seconds that udev may take to give a new node its owner.
UDEV_PATIENCE = 10.0


def driver_of(host: Host, address: str) -> str | None:
    """The driver that has a function."""
    return host.link(f"{DEVICES}/{address}/driver")


def users_of(host: Host, module: str) -> int:
    """How often a module is in use; 0 where it is not loaded or does not count."""
    text = host.text(f"/sys/module/{module}/refcnt")
    return int(text) if text is not None and text.isdecimal() else 0


def release(machine: Machine, address: str) -> None:
    """Unbind a function from its driver, if it has one.

    Raises:
        Refused: the driver is in use and would wait in the kernel for ever.
        WriteBlocked: it waits for a user.
    """
    driver = driver_of(machine.host, address)
    if driver is None:
        return
    if driver in LOOPING and users_of(machine.host, driver):
        raise Refused(
            f"{driver} is in use: letting {address} go now would hang in the kernel",
            hint=f"end what uses the card, then unload the module: modprobe -r {driver}",
        )
    machine.write(f"{DRIVERS}/{driver}/unbind", address)


def give(machine: Machine, address: str, driver: str | None) -> None:
    """Give a function to `driver`; None leaves it without one.

    `driver_override` makes any driver take any function, and is as before afterwards.

    Raises:
        Refused: the driver is not there.
        PassthroughError: the kernel refuses.
    """
    host = machine.host
    now = driver_of(host, address)
    if now == driver:
        return
    release(machine, address)
    if driver is None:
        return
    if not host.exists(f"{DRIVERS}/{driver}"):
        raise Refused(
            f"there is no driver {driver} for {address}", hint=f"load its module: modprobe {driver}"
        )
    override = f"{DEVICES}/{address}/driver_override"
    before = host.text(override)
    before = "" if before in (None, "(null)") else str(before)
    if before != driver:
        machine.write(override, driver)
    try:
        _probe(machine, address, driver)
    finally:
        if before != driver:
            machine.write(override, before)


def _probe(machine: Machine, address: str, driver: str) -> None:
    """Let the kernel ask a driver, and wait until it has the function."""
    host = machine.host
    group = host.link(f"{DEVICES}/{address}/iommu_group")
    node = f"/dev/vfio/{group}"
    new = [] if group is None or not driver.startswith("vfio") or host.exists(node) else [group]
    with host.uevents("pci", "vfio") as uevents:
        machine.write("/sys/bus/pci/drivers_probe", address)
        if not uevents.until(lambda: driver_of(host, address) == driver, PATIENCE, ask=machine.ask):
            return
        # A rule that gives the group's node to somebody would undo what is done to it next.
        if new and host.exists(node):
            uevents.until(
                lambda: uevents.settled(*new, subsystem="vfio"), UDEV_PATIENCE, ask=machine.ask
            )


@dataclass(frozen=True, slots=True)
class Unbind(Step):
    """The driver of a function lets it go.

    Attributes:
        address: of the function.
    """

    kind: ClassVar[str] = "unbind"

    address: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"unbind {self.address} from its driver"

    def observe(self, host: Host) -> State:
        """The driver's name, or None."""
        return driver_of(host, self.address)

    def apply(self, machine: Machine) -> None:
        """Unbind it."""
        release(machine, self.address)

    def verify(self, host: Host) -> str:
        """Whether it has none."""
        driver = driver_of(host, self.address)
        return f"{driver} still has {self.address}" if driver else ""

    def restore(self, machine: Machine, before: State) -> None:
        """Give it back to the driver that had it."""
        give(machine, self.address, before)


@dataclass(frozen=True, slots=True)
class Bind(Step):
    """A driver takes a function.

    Attributes:
        address: of the function.
        driver: as it is called in /sys/bus/pci/drivers.
    """

    kind: ClassVar[str] = "bind"

    address: str
    driver: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"bind {self.address} to {self.driver}"

    def observe(self, host: Host) -> State:
        """The driver's name, or None."""
        return driver_of(host, self.address)

    def apply(self, machine: Machine) -> None:
        """Bind it."""
        give(machine, self.address, self.driver)

    def verify(self, host: Host) -> str:
        """Whether that driver has it: the kernel says nothing when a probe fails."""
        now = driver_of(host, self.address)
        if now == self.driver:
            return ""
        return f"{self.driver} did not take it ({now or 'no driver'} has it); dmesg says why"

    def restore(self, machine: Machine, before: State) -> None:
        """Give it back to whoever had it."""
        give(machine, self.address, before)
