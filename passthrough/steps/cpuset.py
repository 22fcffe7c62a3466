"""CPUs are taken from everybody but a guest, by control groups of version 2
(Linux, Documentation/admin-guide/cgroup-v2.rst, Cpuset).

Where systemd runs the machine the groups are its own, and it is asked; elsewhere a partition of
the CPUs takes them from all other groups, and the kernel gives them back when it goes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.host import Host
from passthrough import programs
from passthrough.cpu_list import parse_cpus
from passthrough.errors import Refused, WriteFailed
from passthrough.step import Reversal, State, Step

if TYPE_CHECKING:
    from passthrough.machine import Machine

#: Where control groups of version 2 are.
CGROUPS = "/sys/fs/cgroup"

#: Seconds that systemd may take to move a program, or the kernel to forget one that has ended.
_SOON = 5.0
_AGAIN = 0.05


@dataclass(frozen=True, slots=True)
class AllowCpus(Step):
    """Let all programs of a unit run on some CPUs only, until the next start of the machine.

    Attributes:
        unit: like ``system.slice``.
        cpus: as the kernel lists them.
    """

    kind: ClassVar[str] = "allowed-cpus"
    #: The property is as it was; systemd keeps the empty drop-in file of it until a reboot.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    unit: str
    cpus: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"keep {self.unit} on CPU {self.cpus} (AllowedCPUs)"

    def observe(self, host: Host) -> State:
        """The property, as systemd shows it; empty for all CPUs."""
        return _property(self.unit, "AllowedCPUs")

    def apply(self, machine: Machine) -> None:
        """Set it, and wait until the kernel has it: systemd tells it when it has time."""
        self._set(machine, self.cpus)
        _await(self, machine.host)

    def _set(self, machine: Machine, cpus: str) -> None:
        words = ("set-property", "--runtime", self.unit, f"AllowedCPUs={cpus}")
        machine.must_run("systemctl", *words)

    def verify(self, host: Host) -> str:
        """Whether systemd shows it, and the kernel has it."""
        wanted = parse_cpus(self.cpus)
        if parse_cpus(str(self.observe(host)).replace(" ", ",")) != wanted:
            return f"systemd still shows {self.observe(host)!r}"
        has = host.text(f"{CGROUPS}/{self.unit}/cpuset.cpus")
        if has is not None and parse_cpus(has) != wanted:
            return f"the kernel has {has!r}"
        return ""

    def restore(self, machine: Machine, before: State) -> None:
        """As it was."""
        self._set(machine, str(before))


def _await(step: Step, host: Host) -> None:
    """Give systemd a moment for what it does after its answer."""
    end = time.monotonic() + _SOON
    while step.verify(host) and time.monotonic() < end:
        time.sleep(_AGAIN)


def _property(unit: str, name: str) -> str:
    # A host remembers what programs have said, and this changes.
    said = Host().run("systemctl", "show", "--property", name, "--value", unit)
    if said is None or said.status:
        raise Refused(f"systemctl does not show {name} of {unit}", hint="does systemd run?")
    return said.out.strip()


@dataclass(frozen=True, slots=True)
class EnterScope(Step):
    """Move a program from the unit of whoever has started it to one of its own.

    Attributes:
        mark: what finds it.
        unit: the new scope.
        slice: that the scope is in.
    """

    kind: ClassVar[str] = "scope"

    mark: str
    unit: str
    slice: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"move QEMU to {self.slice} ({self.unit})"

    def observe(self, host: Host) -> State:
        """Its control group; None where it does not run."""
        del host
        pids = programs.find_running(self.mark)
        return programs.cgroup_of(pids[0]) if pids else None

    def same(self, before: State, now: State) -> bool:
        """A scope ends with its last program."""
        return now is None or bool(now == before)

    def apply(self, machine: Machine) -> None:
        """Ask systemd for it (org.freedesktop.systemd1(5), StartTransientUnit).

        Raises:
            Refused: the program does not run.
        """
        pids = programs.find_running(self.mark)
        if not pids:
            raise Refused(f"{self.mark} does not run")
        manager = "org.freedesktop.systemd1"
        machine.must_run(
            "busctl", "call", manager, "/org/freedesktop/systemd1", f"{manager}.Manager",
            "StartTransientUnit", "ssa(sv)a(sa(sv))", self.unit, "fail", "2",
            "PIDs", "au", "1", str(pids[0]), "Slice", "s", self.slice, "0",
        )  # fmt: skip
        _await(self, machine.host)

    def verify(self, host: Host) -> str:
        """Whether it is there."""
        now = self.observe(host)
        return "" if str(now).endswith(f"/{self.unit}") else f"QEMU is in {now}"

    def restore(self, machine: Machine, before: State) -> None:
        """Back where it was; the empty scope ends by itself."""
        pids = programs.find_running(self.mark)
        if before is not None and pids:
            machine.write(f"{CGROUPS}{before.rstrip('/')}/cgroup.procs", str(pids[0]))


@dataclass(frozen=True, slots=True)
class EnableController(Step):
    """Let the groups below the root have a controller.

    Attributes:
        controller: like ``cpuset``.
    """

    kind: ClassVar[str] = "controller"

    controller: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"let control groups have {self.controller}"

    def observe(self, host: Host) -> State:
        """Whether they have it."""
        return self.controller in (host.text(f"{CGROUPS}/cgroup.subtree_control") or "").split()

    def apply(self, machine: Machine) -> None:
        """Let them, unless they have it."""
        self.restore(machine, before=True)

    def verify(self, host: Host) -> str:
        """Whether they have it."""
        return "" if self.observe(host) else "they have it not"

    def restore(self, machine: Machine, before: State) -> None:
        """As it was."""
        if self.observe(machine.host) != before:
            sign = "+" if before else "-"
            machine.write(f"{CGROUPS}/cgroup.subtree_control", f"{sign}{self.controller}")


@dataclass(frozen=True, slots=True)
class MakePartition(Step):
    """Take CPUs from all control groups but a new one for threads, which has them alone.

    Attributes:
        folder: of the group, just below the root.
        cpus: as the kernel lists them.
    """

    kind: ClassVar[str] = "partition"

    folder: str
    cpus: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"take CPU {self.cpus} from all other programs ({self.folder})"

    def observe(self, host: Host) -> State:
        """CPUs and kind of the partition; None where there is no such group."""
        if not host.exists(self.folder):
            return None
        return [host.text(f"{self.folder}/{part}") for part in ("cpuset.cpus", _PARTITION)]

    def apply(self, machine: Machine) -> None:
        """Make it.

        Raises:
            Refused: there is a group of this name.
        """
        if self.observe(machine.host) is not None:
            raise Refused(f"{self.folder} is there already", hint="passthrough history")
        machine.make_folder(self.folder)
        machine.write(f"{self.folder}/cgroup.type", "threaded")
        machine.write(f"{self.folder}/cpuset.cpus", self.cpus)
        machine.write(f"{self.folder}/{_PARTITION}", "root")

    def verify(self, host: Host) -> str:
        """Whether the kernel has made it one: it says so, or why not."""
        now = self.observe(host)
        if now is None or now[1] != "root":
            return f"the kernel says: {'it is not there' if now is None else now[1]}"
        has = host.text(f"{self.folder}/cpuset.cpus.effective") or ""
        return "" if parse_cpus(has) == parse_cpus(self.cpus) else f"it has CPU {has}"

    def restore(self, machine: Machine, before: State) -> None:
        """Remove it; its CPUs go back to the others."""
        end = time.monotonic() + _SOON
        while before is None and self.observe(machine.host) is not None:
            try:
                machine.drop_empty_folder(self.folder)
            except WriteFailed:
                # Threads that have ended are in it for a moment.
                if time.monotonic() > end:
                    raise
                time.sleep(_AGAIN)


_PARTITION = "cpuset.cpus.partition"
