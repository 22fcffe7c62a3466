"""The threads of a guest run on some of the host's CPUs only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from passthrough import programs
from passthrough.cpu_list import parse_cpus
from passthrough.errors import Refused
from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class PinGuest(Step):
    """Put a guest's CPUs, and QEMU's other threads, on CPUs of the host.

    Attributes:
        mark: what finds QEMU.
        monitor: path of its monitor, which knows the threads of the guest's CPUs.
        guest: for each of the guest's CPUs those of the host, as the kernel lists them; where
            nothing is said it may run on all.
        others: CPUs for QEMU's other threads; empty for all.
        cgroup: folder of the control group that has the guest's CPUs; empty where none has.
    """

    kind: ClassVar[str] = "pin"

    mark: str
    monitor: str
    guest: tuple[str, ...]
    others: str = ""
    cgroup: str = ""

    @property
    def name(self) -> str:
        """What it does."""
        parts = [f"CPU {number} to {cpus}" for number, cpus in enumerate(self.guest) if cpus]
        parts += [f"all else of QEMU to {self.others}"] if self.others else []
        return f"pin the guest: {', '.join(parts)}"

    def observe(self, host: Host) -> State:
        """Each thread's CPUs and control group, by its number."""
        del host
        found = {}
        for pid in programs.find_running(self.mark):
            for thread in _threads(pid):
                with suppress(OSError):  # it has ended meanwhile
                    cpus = sorted(os.sched_getaffinity(thread))
                    found[str(thread)] = [cpus, programs.cgroup_of(thread)]
        return found

    def same(self, before: State, now: State) -> bool:
        """Threads come and go; those that were there count."""
        return all(now[thread] == was for thread, was in before.items() if thread in now)

    def disturbed(self, after: State, now: State) -> bool:
        """Never: they are QEMU's alone."""
        del after, now
        return False

    def _wanted(self, pid: int) -> Iterator[tuple[int, set[int], bool]]:
        """A thread, its CPUs, and whether it is one of the guest's."""

        import asyncio

        from passthrough.vm.monitor import open_monitor

        async def ask() -> list[dict[str, int]]:
            async with open_monitor(self.monitor) as monitor:
                return list(await monitor.ask("query-cpus-fast"))

        guest: dict[int, set[int]] = {}
        for cpu in asyncio.run(ask()):
            pins = dict(enumerate(self.guest)).get(int(cpu["cpu-index"]), "")
            # Without hardware's help one thread may be several of the guest's CPUs.
            guest.setdefault(int(cpu["thread-id"]), set()).update(parse_cpus(pins))
        for thread in _threads(pid):
            if thread not in guest:
                yield thread, set(parse_cpus(self.others)), False
        for thread, cpus in guest.items():
            yield thread, cpus or set(parse_cpus(self.others)), bool(cpus)

    def apply(self, machine: Machine) -> None:
        """Move them.

        Raises:
            Refused: QEMU does not run.
            PassthroughError: there are no such CPUs, or QEMU does not answer.
        """
        pids = programs.find_running(self.mark)
        if not pids:
            raise Refused(f"{self.mark} does not run")
        if self.cgroup and programs.cgroup_of(pids[0]) != "/":
            # Threads of one program are in groups of one tree only (cgroup-v2.rst, Threads).
            machine.write(f"{_root_of(self.cgroup)}/cgroup.procs", str(pids[0]))
        for thread, cpus, is_guests in self._wanted(pids[0]):
            if self.cgroup and is_guests:
                machine.write(f"{self.cgroup}/cgroup.threads", str(thread))
            if cpus:
                programs.pin(thread, sorted(cpus))

    def verify(self, host: Host) -> str:
        """Whether the kernel has them where they belong."""
        del host
        for pid in programs.find_running(self.mark):
            for thread, cpus, is_guests in self._wanted(pid):
                try:
                    now = os.sched_getaffinity(thread)
                except ProcessLookupError:
                    continue
                if cpus and now != cpus:
                    return f"thread {thread} runs on {sorted(now)}, not on {sorted(cpus)}"
                name = self.cgroup.rpartition("/")[2]
                if name and is_guests and programs.cgroup_of(thread) != f"/{name}":
                    return f"thread {thread} is not in {self.cgroup}"
            return ""
        return "QEMU has ended"

    def restore(self, machine: Machine, before: State) -> None:
        """Each thread where it was."""
        now = self.observe(machine.host)
        for thread, (cpus, group) in before.items():
            if thread not in now:
                continue
            if self.cgroup and now[thread][1] != group:
                machine.write(f"{_root_of(self.cgroup)}{group.rstrip('/')}/cgroup.threads", thread)
            programs.pin(int(thread), cpus)


def _root_of(cgroup: str) -> str:
    return cgroup.rpartition("/")[0]


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
