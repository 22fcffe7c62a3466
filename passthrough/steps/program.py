"""A program runs for as long as a session lasts: QEMU, a TPM, a switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough import programs
from passthrough.errors import Refused
from passthrough.step import Reversal, State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: Seconds that a program may take until it can be used. OVMF's files and locked memory take some.
START_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class RunProgram(Step):
    """Start a program as a user, and end it again.

    Attributes:
        mark: what finds it: the guest's name and its own, ``win10/qemu``.
        argv: what is run.
        uid: number of the user.
        log: file that gets what it says.
        sockets: that it is given to listen at, from file descriptor 100 on.
        ready: a path that is there when it can be used; empty where it can be used at once.
        monitor: QEMU's monitor, for one that is to be ended in order; empty for others.
        memlock: bytes that it may lock in memory.
        patience: seconds that a guest may take to shut down.
    """

    kind: ClassVar[str] = "program"
    #: Another start is another process.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    mark: str
    argv: tuple[str, ...]
    uid: int
    log: str
    sockets: tuple[str, ...] = ()
    ready: str = ""
    monitor: str = ""
    memlock: int = 0
    patience: float = 60.0

    @property
    def name(self) -> str:
        """What it does."""
        return f"start {self.argv[0].rpartition('/')[2]} as the user number {self.uid}"

    def observe(self, host: Host) -> State:
        """Whether it runs."""
        del host
        return bool(programs.find_running(self.mark))

    def disturbed(self, after: State, now: State) -> bool:
        """Never: that it has ended is fine."""
        del after, now
        return False

    def apply(self, machine: Machine) -> None:
        """Start it, and wait until it can be used.

        Raises:
            Refused: it runs already, or ends at once.
        """
        from passthrough.vm.monitor import MonitorError, await_answer

        if self.observe(machine.host):
            raise Refused(f"{self.mark} runs already", hint="passthrough stop ends it")
        pid = programs.start(
            self.mark, self.argv, user=programs.find_user(str(self.uid)), log=self.log,
            sockets=self.sockets, memlock=self.memlock,
        )  # fmt: skip
        running = programs.Running(pid)
        try:
            why = ""
            if self.monitor:
                try:
                    await_answer(self.monitor, running, START_LIMIT)
                except MonitorError as error:
                    why = error.message
            elif not programs.await_path(self.ready, running, START_LIMIT):
                why = "it ended at once" if running.ended else "it is not ready"
        finally:
            running.close()
        if why:
            said = programs.last_words(self.log)
            raise Refused(f"{self.argv[0]}: {said or why}", hint=f"all that it said: {self.log}")

    def verify(self, host: Host) -> str:
        """Whether it runs."""
        return "" if self.observe(host) else f"it has ended: {programs.last_words(self.log)}"

    def restore(self, machine: Machine, before: State) -> None:
        """End it: a guest is asked first."""
        from passthrough.vm.monitor import end_program

        del machine
        for pid in () if before else programs.find_running(self.mark):
            end_program(self.monitor, programs.hold(pid), self.patience)
