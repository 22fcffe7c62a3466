"""A kernel module is loaded or unloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.errors import Refused
from passthrough.step import Reversal, State, Step
from passthrough.steps.driver import give

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


#: Seconds. What a driver has to do before it lets go of a card takes a few; more is a hang.
UNLOAD_LIMIT = 20.0
#: Seconds that a module may take to start: udev may be loading it at this very moment.
PATIENCE = 5.0


def folder_of(module: str) -> str:
    """Where sysfs has a module: ``-`` and ``_`` are the same in module names."""
    return f"/sys/module/{module.replace('-', '_')}"


def is_loaded(host: Host, module: str) -> bool:
    """Whether a module is in the kernel, loaded or built in."""
    return host.exists(folder_of(module))


def is_live(host: Host, module: str) -> bool:
    """Whether a module has started: its folder is there before its drivers are.

    One that is built in has no ``initstate`` (Linux, kernel/module/sysfs.c).
    """
    return is_loaded(host, module) and host.text(f"{folder_of(module)}/initstate") in (None, "live")


def devices_of(host: Host, module: str) -> list[str]:
    """The PCI functions that the drivers of a module have."""
    folder = f"{folder_of(module)}/drivers"
    found: list[str] = []
    for driver in host.names(folder) or ():
        if driver.startswith("pci:"):
            found += [
                name for name in host.names(f"{folder}/{driver}") or () if name.count(":") == 2
            ]
    return sorted(found)


@dataclass(frozen=True, slots=True)
class LoadModule(Step):
    """Load a module, with what modprobe.d says of it.

    Attributes:
        module: its name.
        options: ``name=value`` pairs for this time.
        along: modules that come with it, by dependency or by the kernel's own request, and go
            with it where nobody else uses them; in the order in which they can be unloaded.
    """

    kind: ClassVar[str] = "load"

    module: str
    options: tuple[str, ...] = ()
    along: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it does."""
        return " ".join(["modprobe", self.module, *self.options])

    def observe(self, host: Host) -> State:
        """Whether it is loaded, and what is loaded of what comes with it."""
        along = [module for module in self.along if is_loaded(host, module)]
        return {"loaded": is_loaded(host, self.module), "along": along}

    def same(self, before: State, now: State) -> bool:
        """What came along may have found another user since."""
        return bool(before["loaded"] == now["loaded"])

    def disturbed(self, after: State, now: State) -> bool:
        """The same."""
        return not self.same(after, now)

    def apply(self, machine: Machine) -> None:
        """Load it."""
        host = machine.host
        with host.uevents("module") as uevents:
            if not is_loaded(host, self.module):
                machine.must_run("modprobe", self.module, *self.options)
            # One that never came is not waited for: modprobe has said that all is well.
            uevents.until(
                lambda: not is_loaded(host, self.module) or is_live(host, self.module),
                PATIENCE, ask=machine.ask,
            )  # fmt: skip

    def verify(self, host: Host) -> str:
        """Whether it is there: an `install` line in modprobe.d may have done nothing."""
        if not is_loaded(host, self.module):
            return "it is not loaded"
        late = f"it has not started within {PATIENCE:g} s: its start hangs in the kernel"
        return "" if is_live(host, self.module) else late

    def restore(self, machine: Machine, before: State) -> None:
        """Unload it, with what came along and nobody else uses."""
        if before["loaded"]:
            return
        host = machine.host
        # All at once: each run of modprobe reads its lists anew.
        own = [self.module] if is_loaded(host, self.module) else []
        names = [*own, *self._unused(host, before)]
        if names:
            machine.run("modprobe", "-r", *names, limit=UNLOAD_LIMIT)
        if is_loaded(host, self.module):
            # Alone, so that it says why not.
            machine.must_run("modprobe", "-r", self.module, limit=UNLOAD_LIMIT)
        left = self._unused(host, before)
        if left:
            machine.run("modprobe", "-r", *left)

    def _unused(self, host: Host, before: State) -> list[str]:
        """What has come along and nobody uses any longer."""
        new = (module for module in self.along if module not in before["along"])
        return [module for module in new if host.text(f"{folder_of(module)}/refcnt") == "0"]


#: What comes with vfio-pci. vfio_virqfd is a module of its own before Linux 6.2.
VFIO = ("vfio_pci_core", "vfio_virqfd", "vfio_iommu_type1", "vfio", "iommufd", "irqbypass")


def load_vfio() -> LoadModule:
    """Load vfio-pci with all that it needs."""
    return LoadModule("vfio-pci", along=VFIO)


@contextlib.contextmanager
def _let_in(machine: Machine, addresses: list[str]) -> Iterator[None]:
    """While a module is loaded any driver may take these functions.

    NVIDIA's module refuses to be loaded (ENODEV) where an override keeps it off its only card.
    """
    kept = {}
    for address in addresses:
        path = f"{DEVICES}/{address}/driver_override"
        now = machine.host.text(path)
        if now not in (None, "", "(null)"):
            kept[path] = str(now)
            machine.write(path, "")
    try:
        yield
    finally:
        for path, value in kept.items():
            machine.write(path, value)


@dataclass(frozen=True, slots=True)
class UnloadModule(Step):
    """Unload a module; the functions that its driver had are left without one.

    Attributes:
        module: its name.
    """

    kind: ClassVar[str] = "unload"
    #: Options that were given by hand when it was loaded are not given again.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    module: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"modprobe -r {self.module}"

    def observe(self, host: Host) -> State:
        """The functions that it has; None where it is not loaded."""
        return devices_of(host, self.module) if is_loaded(host, self.module) else None

    def apply(self, machine: Machine) -> None:
        """Unload it, unless somebody uses it.

        Raises:
            Refused: it is in use.
        """
        host = machine.host
        if not is_loaded(host, self.module):
            return
        folder = folder_of(self.module)
        if not host.exists(f"{folder}/initstate"):
            raise Refused(f"{self.module} is built into the kernel: it cannot be unloaded")
        holders = ", ".join(host.names(f"{folder}/holders") or ())
        users = host.text(f"{folder}/refcnt")
        if users not in (None, "0"):
            who = f"other modules: {holders}" if holders else f"{users} users"
            raise Refused(
                f"{self.module} is in use ({who})",
                hint="end what uses the card: fuser -v /dev/nvidia* /dev/dri/*; unload those first",
            )
        machine.must_run("modprobe", "-r", self.module, limit=UNLOAD_LIMIT)

    def verify(self, host: Host) -> str:
        """Whether it is gone."""
        return "it is still loaded" if is_loaded(host, self.module) else ""

    def restore(self, machine: Machine, before: State) -> None:
        """Load it again, and give it the functions that it had."""
        if before is None:
            return
        if not is_loaded(machine.host, self.module):
            with _let_in(machine, before):
                machine.must_run("modprobe", self.module)
        drivers = [
            name.removeprefix("pci:")
            for name in machine.host.names(f"{folder_of(self.module)}/drivers") or ()
            if name.startswith("pci:")
        ]
        for address in before:
            if address not in devices_of(machine.host, self.module) and len(drivers) == 1:
                give(machine, address, drivers[0])
