"""A function is taken off the kernel's list, or found again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.errors import Refused
from passthrough.step import Reversal, State, Step
from passthrough.steps.driver import driver_of, give

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

RESCAN = "/sys/bus/pci/rescan"

#: Seconds that a function may take to appear, or to go, after the write that brings it about has
#: returned. The kernel's own scan is over by then; a slot that is switched on by a hot-plug driver,
#: or a link that is still being trained, is not.
PATIENCE = 3.0
#: Seconds that udev may take for a new device: it loads the module that fits.
UDEV_PATIENCE = 10.0

#: Attributes that a function has lost when it is found again.
_KEPT = ("driver_override", "power/control", "d3cold_allowed")


def below(host: Host, address: str) -> list[str]:
    """The functions behind a port, and those behind them."""
    place = host.chase(f"{DEVICES}/{address}")
    found = []
    for name in host.devices("pci") or ():
        if host.chase(f"{DEVICES}/{name}").startswith(f"{place}/"):
            found.append(name)
    return found


def is_present(host: Host, address: str) -> bool:
    """Whether the kernel knows a function."""
    return host.exists(f"{DEVICES}/{address}")


def rescan(machine: Machine, expected: Iterable[str]) -> None:
    """Look for functions on all buses, and wait for those that are expected.

    Where udev's daemon runs it is waited for too: it loads a driver for what is new, and that
    driver would take the function in the middle of a later step.

    Raises:
        PassthroughError: the kernel refuses.
    """
    host = machine.host
    missing = [address for address in expected if not is_present(host, address)]
    with host.uevents("pci") as uevents:
        machine.write(RESCAN, "1")
        if uevents.until(
            lambda: all(is_present(host, a) for a in missing), PATIENCE, ask=machine.ask
        ):
            uevents.until(
                lambda: uevents.settled(*missing, subsystem="pci"), UDEV_PATIENCE, ask=machine.ask
            )


def settings_of(host: Host, address: str) -> dict[str, str | None]:
    """What a function loses when it is removed: its driver, and what was set."""
    kept: dict[str, str | None] = {"driver": driver_of(host, address)}
    for name in _KEPT:
        text = host.text(f"{DEVICES}/{address}/{name}")
        kept[name] = "" if text == "(null)" else text
    return kept


def put_back(machine: Machine, address: str, kept: Mapping[str, str | None]) -> None:
    """Give a function that was found again what `settings_of` has read.

    Raises:
        Refused: it is not there.
        PassthroughError: the kernel refuses.
    """
    host = machine.host
    if not is_present(host, address):
        raise Refused(
            f"{address} was not found again",
            hint="is it switched on? A rescan finds only what has power (D0)",
        )
    now = settings_of(host, address)
    for name in _KEPT:
        value = kept[name]
        if value is not None and value != now[name]:
            machine.write(f"{DEVICES}/{address}/{name}", value)
    give(machine, address, kept["driver"])


@dataclass(frozen=True, slots=True)
class Remove(Step):
    """Remove a function, and all that is behind it, from the kernel's list.

    Attributes:
        address: of the function.
        behind: functions behind it that go with it.
    """

    kind: ClassVar[str] = "remove"
    #: The function that is found again is a new one to the kernel.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    address: str
    behind: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it does."""
        along = f" with {' and '.join(self.behind)}" if self.behind else ""
        return f"remove {self.address}{along}"

    def observe(self, host: Host) -> State:
        """Drivers and settings of it and what is behind it; None where it is not there."""
        if not is_present(host, self.address):
            return None
        whole = [self.address, *(a for a in self.behind if is_present(host, a))]
        return {address: settings_of(host, address) for address in whole}

    def disturbed(self, after: State, now: State) -> bool:
        """Never: any rescan finds it again, and the way back begins with what was found."""
        del after, now
        return False

    def apply(self, machine: Machine) -> None:
        """Remove it.

        Raises:
            Refused: a module that would keep a pointer to it is loaded.
        """
        host = machine.host
        for module in ("bbswitch", "nvhda"):
            if host.exists(f"/sys/module/{module}"):
                raise Refused(
                    f"{module} is loaded and would keep pointing to the removed device",
                    hint=f"unload it first: modprobe -r {module}",
                )
        others = set(below(host, self.address)) - set(self.behind)
        if others:
            raise Refused(
                f"{', '.join(sorted(others))} would go with {self.address}",
                hint="it came after the plan was made; run the command again",
            )
        if is_present(host, self.address):
            with host.uevents("pci") as uevents:
                machine.write(f"{DEVICES}/{self.address}/remove", "1")
                uevents.until(lambda: not is_present(host, self.address), PATIENCE, ask=machine.ask)

    def verify(self, host: Host) -> str:
        """Whether it is gone."""
        return "it is still there" if is_present(host, self.address) else ""

    def restore(self, machine: Machine, before: State) -> None:
        """Find it again, with the drivers and the settings that it had."""
        if before is None:
            return
        host = machine.host
        if not all(is_present(host, address) for address in before):
            rescan(machine, before)
        for address, kept in before.items():
            put_back(machine, address, kept)


@dataclass(frozen=True, slots=True)
class Rescan(Step):
    """Look for functions on all buses.

    Attributes:
        expected: functions that must be there afterwards; they are waited for.
    """

    kind: ClassVar[str] = "rescan"

    expected: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it does."""
        wanted = f", until {' and '.join(self.expected)} are there" if self.expected else ""
        return f"rescan the PCI buses{wanted}"

    def observe(self, host: Host) -> State:
        """Nothing: what it finds belongs to the step that has removed it."""
        del host

    def apply(self, machine: Machine) -> None:
        """Rescan."""
        rescan(machine, self.expected)

    def verify(self, host: Host) -> str:
        """Whether all are there."""
        missing = [address for address in self.expected if not is_present(host, address)]
        what = ", ".join(missing)
        return f"not found within {PATIENCE:g} s: {what} (has it power?)" if missing else ""

    def restore(self, machine: Machine, before: State) -> None:
        """Nothing to do."""
        del machine, before
