"""Steps on ordinary files, so that the engine can be tried without a kernel to change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diag.host import Host
from passthrough.errors import PassthroughError, WriteBlocked
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.step import Reversal, State, Step
from passthrough.steps import KINDS
from passthrough.waiting import writer_of


@dataclass(frozen=True, slots=True)
class Put(Step):
    """A file gets a text. `fault` is what goes wrong: ``refuse``, ``ignore``, ``stuck``;
    a number is that of a process whose write waits in the kernel."""

    kind: ClassVar[str] = "put"

    path: str
    text: str
    fault: str = ""

    @property
    def name(self) -> str:
        return f"put {self.text!r} into {Path(self.path).name}"

    def observe(self, host: Host) -> State:
        return Path(self.path).read_text()

    def apply(self, machine: Machine) -> None:
        if self.fault == "refuse":
            raise PassthroughError("the file is not in the mood", hint="ask again")
        if self.fault.isdecimal():
            raise WriteBlocked(self.path, 1, writer_of(int(self.fault)), "some_driver_remove", "")
        if self.fault != "ignore":
            Path(self.path).write_text(self.text)

    def verify(self, host: Host) -> str:
        now = self.observe(host)
        return "" if now == self.text else f"it still has {now!r}"

    def restore(self, machine: Machine, before: State) -> None:
        if self.fault == "stuck":
            raise PassthroughError("it does not come off")
        Path(self.path).write_text(before)


@dataclass(frozen=True, slots=True)
class PutForGood(Put):
    """The same, without a way back, and beyond a reboot."""

    kind: ClassVar[str] = "put-for-good"
    reversal: ClassVar[Reversal] = Reversal.NONE
    lasting: ClassVar[bool] = True


class Desk:
    """Files to change, places for journals, a machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = Places(folder / "run", folder / "lib")
        self.machine = Machine(Host(folder))
        self.names: list[str] = []

    def file(self, name: str) -> str:
        path = self.folder / name
        path.write_text("old")
        self.names.append(name)
        return str(path)

    def plan(self, *faults: str, keeps: bool = False) -> Plan:
        """A step for each of `faults`; an empty one goes well."""
        steps = [Put(self.file(f"file{n}"), f"new{n}", fault) for n, fault in enumerate(faults)]
        return Plan("a trial", tuple(steps), keeps=keeps)

    @property
    def texts(self) -> list[str]:
        return [(self.folder / name).read_text() for name in self.names]

    def journal(self) -> Path:
        (path,) = self.places.volatile.glob("*.journal")
        return path


@contextlib.contextmanager
def known() -> Iterator[None]:
    """Journals may name these steps."""
    for step in (Put, PutForGood):
        KINDS[step.kind] = step
    try:
        yield
    finally:
        for step in (Put, PutForGood):
            del KINDS[step.kind]
