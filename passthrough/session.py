"""A guest's life: its plan is carried out, it is watched, and all is taken back.

The plan's journal is held while the guest runs. Whatever ends us, the kernel lets go of it then,
and the run is pending: `passthrough recover` ends the guest and puts the host back.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthrough import programs
from passthrough.engine import Leftover, Watch, execute, find_kept, take_back
from passthrough.errors import PassthroughError, Pending, Refused
from passthrough.journal import Entry, Places, hold, is_held
from passthrough.launch import folder_of, monitor_of, title_of
from passthrough.plan import Plan
from passthrough.vm.monitor import (
    PATIENCE,
    Ending,
    MonitorError,
    end_guest,
    end_program,
    open_monitor,
)

if TYPE_CHECKING:
    from passthrough.machine import Machine
    from passthrough.vm.monitor import Monitor

#: QEMU's words for a guest that does not run, and what they mean (QEMU, qapi/run-state.json).
_TROUBLE = {
    "internal-error": "QEMU has stopped the guest: KVM reports an internal error",
    "io-error": "the guest is paused: a disk of it cannot be written (is the host's disk full?)",
    "guest-panicked": "the guest's system has crashed",
}

#: What ends a session: each asks the guest first, a second one does not wait for it.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session has ended.

    Attributes:
        ending: what it took.
        crashed: what QEMU said if it has ended by itself and not in order; empty otherwise.
        left: what could not be taken back.
    """

    ending: Ending
    crashed: str
    left: tuple[Leftover, ...]


@dataclass(frozen=True, slots=True)
class Pins:
    """Which of the host's CPUs a guest runs on.

    Attributes:
        guest: for each of its CPUs; where nothing is said it may run on all.
        emulator: for QEMU's other threads; empty for all.
    """

    guest: tuple[tuple[int, ...], ...] = ()
    emulator: tuple[int, ...] = ()


#: Is told what a user should know while the guest runs.
Tell = Callable[[str], None]


def run_session(
    plan: Plan,
    name: str,
    machine: Machine,
    places: Places | None = None,
    *,
    watch: Watch,
    undo: Watch,
    tell: Tell,
    pins: Pins | None = None,
    patience: float = PATIENCE,
) -> Outcome:
    """Carry a plan of `plan_launch` out, watch the guest to its end, and take all back.

    Raises:
        PassthroughError: as `passthrough.engine.execute`; all was taken back, or it says what not.
    """
    places = places or Places()
    with _Interruptions() as asked:
        execute(plan, machine, places, watch=watch)
        entry = next(e for e in find_kept(places) if e.title == plan.title)
        with hold(entry.path):
            tell(f"{name} runs; Ctrl-C asks it to shut down, a second one switches it off")
            try:
                ending, crashed = asyncio.run(_attend(name, asked, tell, pins, patience))
                tell(f"{ending.value}; giving everything back")
            finally:  # whatever went wrong, the host comes back
                left = take_back(entry, machine, places, watch=undo)
    return Outcome(ending, crashed, left)


class _Interruptions:
    """Counts the signals that ask for an end, from before the guest until all is back."""

    def __init__(self) -> None:
        self.count = 0
        self.wake: Callable[[], object] = lambda: None
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Interruptions:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: object) -> None:
        del number, frame
        self.count += 1
        self.wake()

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() has returned


async def _attend(
    name: str, asked: _Interruptions, tell: Tell, pins: Pins | None, patience: float
) -> tuple[Ending, str]:
    """Watch a guest until it ends, by itself or by request."""
    pids = programs.find_running(f"{name}/qemu")
    running = programs.hold(pids[0]) if pids else None
    if running is None:
        return Ending.GONE, ""
    loop, first, second = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def look() -> None:
        if asked.count:
            first.set()
        if asked.count > 1:
            second.set()

    asked.wake = lambda: loop.call_soon_threadsafe(look)
    look()
    path = monitor_of(name)
    seen: list[str] = []
    listening = asyncio.ensure_future(_listen(path, running.pid, pins, tell, seen))
    gone = asyncio.ensure_future(running.gone(float("inf")))
    asking = asyncio.ensure_future(first.wait())
    try:
        await asyncio.wait((gone, asking), return_when=asyncio.FIRST_COMPLETED)
        # QEMU speaks to one at a time.
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, MonitorError):
            await listening
        if gone.done():
            return _verdict(name, running, seen)
        tell(f"asking {name} to shut down, for {patience:g} s at most")
        return await end_guest(path, running, patience=patience, now=second), ""
    finally:
        for task in (gone, asking):
            task.cancel()
        await asyncio.gather(gone, asking, return_exceptions=True)
        asked.wake = lambda: None
        running.close()


def _verdict(name: str, running: programs.Running, seen: list[str]) -> tuple[Ending, str]:
    """Whether QEMU has ended as it should."""
    if running.status in (0, None) and seen:
        return Ending.ORDERLY, ""
    if running.status == 0:
        return Ending.GONE, ""
    words = programs.last_words(f"{folder_of(name)}-qemu.log")
    if running.status is not None and running.status < 0:
        number = -running.status
        what = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return Ending.KILLED, f"QEMU was ended by {what}" + (f"; it said: {words}" if words else "")
    return Ending.GONE, f"QEMU ended with status {running.status}: {words}"


async def _listen(path: str, pid: int, pins: Pins | None, tell: Tell, seen: list[str]) -> None:
    """Set what only a running guest can be set, and tell what happens to it."""
    async with open_monitor(path) as monitor:
        try:
            if pins is not None:
                await pin_guest(monitor, pid, pins)
        except PassthroughError as error:  # it runs all the same
            tell(error.message)
        async for event in monitor.events():
            if event.name == "SHUTDOWN":
                seen.append(str(event.data.get("reason")))
            elif event.name in ("STOP", "GUEST_PANICKED", "BLOCK_IO_ERROR"):
                status = await monitor.status()
                if status in _TROUBLE:
                    tell(_TROUBLE[status])


async def pin_guest(monitor: Monitor, pid: int, pins: Pins) -> None:
    """Put a guest's CPUs, and QEMU's other threads, on CPUs of the host.

    Raises:
        PassthroughError: there are no such CPUs, or QEMU does not answer.
    """
    threads = await monitor.ask("query-cpus-fast")
    if pins.emulator:
        programs.pin_all(pid, pins.emulator)
    for thread in threads:
        number = int(thread["cpu-index"])
        if number < len(pins.guest) and pins.guest[number]:
            programs.pin(int(thread["thread-id"]), pins.guest[number])


def stop_session(
    name: str,
    machine: Machine,
    places: Places | None = None,
    *,
    now: bool = False,
    limit: float = PATIENCE + 60,
) -> tuple[Leftover, ...]:
    """End a guest and give everything back: through the run that watches it, or in its place.

    Args:
        name: of the guest.
        machine: where it runs.
        places: where its journal is.
        now: do not wait for the guest.
        limit: seconds that all of it may take.

    Raises:
        PassthroughError: it does not run, or did not end in time.
    """
    places = places or Places()
    entry = find_session(name, places)
    if entry is None:
        raise PassthroughError(f"{name} does not run", hint="passthrough history")
    if not is_held(entry.path):
        for pid in programs.find_running(f"{name}/qemu") if now else ():
            end_program(monitor_of(name), programs.hold(pid), 0)
        return take_back(entry, machine, places)
    running = programs.hold(entry.pid)
    if running is not None:
        running.interrupt()
        if now:
            running.interrupt_again()
        if not running.wait(limit):
            raise PassthroughError(
                f"{name} has not ended within {limit:g} s",
                hint=f"passthrough stop --now {name} does not wait for it",
            )
        running.close()
    after = find_session(name, places)
    records = () if after is None else after.open_records
    return tuple(Leftover(str(record.step.get("kind")), record.why) for _, record in records)


def refuse_running(name: str, places: Places) -> None:
    """See that a guest may begin.

    Raises:
        Refused: it runs.
        Pending: it has run, and its run was not finished.
    """
    entry = find_session(name, places)
    if entry is None:
        return
    if is_held(entry.path):
        raise Refused(f"{name} runs already", hint=f"passthrough stop {name}")
    raise Pending(
        f"an earlier run was not finished: {entry.title}",
        hint="passthrough recover ends the guest, if it still runs, and puts the host back",
    )


def find_session(name: str, places: Places) -> Entry | None:
    """The run of a guest that is not over; None if there is none."""
    from passthrough.engine import find_pending

    wanted = title_of(name)
    both = (*find_kept(places), *find_pending(places))
    return next((entry for entry in both if entry.title == wanted), None)
