"""A unit of systemd is stopped, or started again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.errors import Unreadable
from passthrough.step import Reversal, State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


def unit_of(host: Host, pid: int) -> str | None:
    """The service that a process belongs to, by its control group; None for any other process.

    systemd names a control group after each of its units (systemd.slice, cgroups(7)).
    """
    try:
        lines = (host.text(f"/proc/{pid}/cgroup") or "").splitlines()
    except Unreadable:
        return None
    for line in lines:
        place = line.split(":", 2)[-1].split("/")
        # A service of a user's own session is below user.slice, and not ours to stop.
        if len(place) > 2 and place[1] == "system.slice" and place[-1].endswith(".service"):
            return place[-1]
    return None


def unit_runs(host: Host, unit: str) -> bool:
    """Whether a service has any process.

    Raises:
        Unreadable: the processes cannot be listed.
    """
    pids = (name for name in host.names("/proc") or () if name.isdecimal())
    return any(unit_of(host, int(pid)) == unit for pid in pids)


@dataclass(frozen=True, slots=True)
class RunUnit(Step):
    """Start or stop a service of the system.

    Attributes:
        unit: its name, like ``nvidia-persistenced.service``.
        running: whether it should run afterwards.
    """

    kind: ClassVar[str] = "unit"
    #: It is another process, and has forgotten what it had in its memory.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    unit: str
    running: bool

    @property
    def name(self) -> str:
        """What it does."""
        return f"systemctl {'start' if self.running else 'stop'} {self.unit}"

    def observe(self, host: Host) -> State:
        """Whether it runs."""
        return unit_runs(host, self.unit)

    def apply(self, machine: Machine) -> None:
        """Start or stop it, unless it is so."""
        self.restore(machine, self.running)

    def verify(self, host: Host) -> str:
        """Whether it is so."""
        if unit_runs(host, self.unit) == self.running:
            return ""
        state = "does not run" if self.running else "still runs"
        return f"it {state}; see: systemctl status {self.unit}"

    def restore(self, machine: Machine, before: State) -> None:
        """As it was."""
        if unit_runs(machine.host, self.unit) != bool(before):
            machine.must_run("systemctl", "start" if before else "stop", self.unit)
