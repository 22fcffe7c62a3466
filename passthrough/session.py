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
from passthrough.domain import domain_of
from passthrough.engine import Leftover, Watch, executed, find_kept, find_pending, take_back
from passthrough.errors import Locked, PassthroughError, Pending, Refused
from passthrough.journal import Entry, Places, is_held
from passthrough.launch import title_of
from passthrough.life import QemuLife
from passthrough.plan import Plan
from passthrough.vm.monitor import PATIENCE, Ending, MonitorError

if TYPE_CHECKING:
    from passthrough.life import Beside, Life, Tell
    from passthrough.machine import Machine

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


#: Seconds that a guest's last words may take: that it shut down, and did not just end.
_LAST_WORDS = 1.0

#: Seconds that another run, at work when a guest ends, may take before all is given back.
_OTHERS = 60.0


def run_session(
    plan: Plan,
    name: str,
    machine: Machine,
    places: Places | None = None,
    *,
    watch: Watch,
    undo: Watch,
    tell: Tell,
    beside: Beside | None = None,
    patience: float = PATIENCE,
) -> Outcome:
    """Carry a plan of `plan_launch` out, watch the guest to its end, and take all back.

    Args:
        plan: what makes the guest run.
        name: of the guest.
        machine: where it runs.
        places: where its journal is.
        watch: is told of each point of the plan.
        undo: the same while it is taken back.
        tell: is told what a user should know.
        beside: what is done by QEMU's monitor when the guest has started, like pressing a key.
        patience: seconds that the guest may take to shut down when it must.

    Raises:
        PassthroughError: as `passthrough.engine.execute`; all was taken back, or it says what not.
    """
    places = places or Places()

    def permit() -> None:
        refuse_running(name, places)  # another may have begun since it was asked for

    with (
        _Interruptions() as asked,
        executed(plan, machine, places, watch=watch, permit=permit) as entry,
    ):
        if entry is None:
            raise Refused(f"{name}: there is nothing to run")
        life = domain_of(entry, machine) or QemuLife(name, beside)
        tell(f"{name} runs; Ctrl-C asks it to shut down, a second one switches it off")
        try:
            ending, crashed = asyncio.run(_attend(life, asked, tell, patience))
            tell(f"{ending.value}; giving everything back")
        finally:  # whatever went wrong, the host comes back
            left = _give_back(entry, machine, places, undo)
    return Outcome(ending, crashed, left)


def _give_back(entry: Entry, machine: Machine, places: Places, undo: Watch) -> tuple[Leftover, ...]:
    try:
        return take_back(entry, machine, places, watch=undo, wait=_OTHERS)
    except Locked as locked:
        return (Leftover("all of it", locked.message),)


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
    life: Life, asked: _Interruptions, tell: Tell, patience: float
) -> tuple[Ending, str]:
    """Watch a guest until it ends, by itself or by request."""
    running = life.hold()
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
    listening = asyncio.ensure_future(life.listen(tell))
    gone = asyncio.ensure_future(running.gone(float("inf")))
    asking = asyncio.ensure_future(first.wait())
    try:
        await asyncio.wait((gone, asking), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():  # what it said last may still be on its way
            await asyncio.wait((listening,), timeout=_LAST_WORDS)
        # QEMU speaks to one at a time.
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, MonitorError):
            await listening
        if gone.done():
            return await life.verdict(running)
        tell(f"asking {life.name} to shut down, for {patience:g} s at most")
        return await life.end(running, patience, second), ""
    finally:
        for task in (gone, asking):
            task.cancel()
        await asyncio.gather(gone, asking, return_exceptions=True)
        asked.wake = lambda: None
        running.close()


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
    entry = running_session(name, places)
    if not is_held(entry.path):
        life = domain_of(entry, machine) or QemuLife(name)
        guest = life.hold() if now else None
        if guest is not None:
            asyncio.run(life.end(guest, 0))
            guest.close()
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


def running_session(name: str, places: Places) -> Entry:
    """The run of a guest that is not over.

    Raises:
        PassthroughError: it does not run.
    """
    entry = find_session(name, places)
    if entry is None:
        raise PassthroughError(
            f"{name} does not run",
            hint="passthrough status names the guests that do, passthrough history those that did",
        )
    return entry


def find_session(name: str, places: Places) -> Entry | None:
    """The run of a guest that is not over; None if there is none."""
    wanted = (title_of(name), title_of(name, install=True))
    both = (*find_kept(places), *find_pending(places))
    return next((entry for entry in both if entry.title in wanted), None)
