"""The kernel's own power management: what may sleep, and whether it does.

Documentation/power/pci.rst and Documentation/ABI/testing/sysfs-devices-power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.step import State, Step
from passthrough.steps.bbswitch import answers
from passthrough.steps.driver import driver_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from diag.host import Host
    from passthrough.machine import Machine

#: Seconds that a card may take to fall asleep: drivers wait for some quiet first (most 1 to 5 s).
PATIENCE = 12.0

SLEEPING, AWAKE = ("D3hot", "D3cold"), ("D0",)


def power_state(host: Host, address: str) -> str | None:
    """A function's power state, ``D0`` to ``D3cold``. Reading it wakes nothing.

    Before Linux 5.11 there is no such attribute, and ``suspended`` stands for D3hot.
    """
    state = host.text(f"{DEVICES}/{address}/power_state")
    if state is not None:
        return state
    return {"suspended": "D3hot", "active": "D0"}.get(runtime_status(host, address) or "")


def runtime_status(host: Host, address: str) -> str | None:
    """What the kernel's own power management has done with a function."""
    return host.text(f"{DEVICES}/{address}/power/runtime_status")


def _await(machine: Machine, reached: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so. The kernel tells nobody of a change of power state: no uevent,
    and poll(2) does not wake on the attribute (drivers/base/power/sysfs.c). So it is looked at.
    """
    with machine.host.uevents() as looking:
        return looking.until(reached, seconds, ask=machine.ask)


@dataclass(frozen=True, slots=True)
class SetPowerControl(Step):
    """Let a function sleep when nobody uses it (``auto``), or keep it awake (``on``).

    Attributes:
        address: of the function.
        value: ``on`` or ``auto``.
    """

    kind: ClassVar[str] = "power-control"

    address: str
    value: str

    @property
    def name(self) -> str:
        """What it does."""
        if self.value == "on":
            return f"keep {self.address} awake (power/control on)"
        return f"let {self.address} sleep (power/control {self.value})"

    @property
    def _path(self) -> str:
        return f"{DEVICES}/{self.address}/power/control"

    def observe(self, host: Host) -> State:
        """The value, and whether the function slept."""
        return {"control": host.text(self._path), "state": power_state(host, self.address)}

    def same(self, before: State, now: State) -> bool:
        """Whoever used a sleeping card meanwhile has woken it up, and it will sleep again."""
        return bool(before["control"] == now["control"])

    def disturbed(self, after: State, now: State) -> bool:
        """The same."""
        return not self.same(after, now)

    def apply(self, machine: Machine) -> None:
        """Write it. With ``on`` the kernel wakes the function before the write returns."""
        if machine.host.text(self._path) != self.value:
            machine.write(self._path, self.value)

    def verify(self, host: Host) -> str:
        """Whether it reads so."""
        now = host.text(self._path)
        return "" if now == self.value else f"it still reads {now!r}"

    def restore(self, machine: Machine, before: State) -> None:
        """Write the old value, and wait for it to sleep if it did."""
        if before["control"] is None:
            return
        machine.write(self._path, before["control"])
        if before["control"] == "auto" and before["state"] in SLEEPING:
            host = machine.host
            _await(machine, lambda: power_state(host, self.address) in SLEEPING, PATIENCE)


@dataclass(frozen=True, slots=True)
class AwaitPower(Step):
    """Wait until the kernel has put a function to sleep, or woken it up. Changes nothing itself.

    Attributes:
        address: of the function.
        until: ``D0``: it answers; ``D3``: it is in D3hot or D3cold; ``suspended``: the kernel has
            put it to sleep, which leaves a function without a driver in D0 and keeps its settings.
        seconds: how long.
    """

    kind: ClassVar[str] = "await-power"

    address: str
    until: str
    seconds: float = PATIENCE

    @property
    def name(self) -> str:
        """What it does."""
        state = self.until if self.until == "suspended" else f"in {self.until}"
        return f"wait until {self.address} is {state} (at most {self.seconds:g} s)"

    def observe(self, host: Host) -> State:
        """Nothing: what it waits for belongs to the steps before it."""
        del host

    def apply(self, machine: Machine) -> None:
        """Wait."""
        _await(machine, lambda: self._reached(machine.host), self.seconds)

    def _reached(self, host: Host) -> bool:
        if self.until == "suspended":
            return runtime_status(host, self.address) == "suspended"
        state = power_state(host, self.address)
        if self.until == "D3":
            return state in SLEEPING
        # A function without power management is in a state of its own: unknown.
        return state not in SLEEPING and answers(host, self.address)

    def verify(self, host: Host) -> str:
        """Whether it is so, or what is known of why not."""
        if self._reached(host):
            return ""
        state = power_state(host, self.address)
        if self.until == "D0":
            return f"it does not answer (power_state {state})"
        driver = driver_of(host, self.address)
        who = (
            f"{driver} keeps it awake"
            if driver
            else "without a driver only its port can put it to sleep, and does not"
        )
        status = runtime_status(host, self.address)
        return f"it does not sleep: power_state {state}, runtime_status {status}; {who}"

    def restore(self, machine: Machine, before: State) -> None:
        """Nothing to do."""
        del machine, before
