"""Runs plans: journal before effect, verify after effect, undo from what was observed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from diag.errors import DiagError
from passthrough.errors import BadJournal, Pending, Refused, StepFailed, WriteBlocked
from passthrough.journal import Entry, Journal, Places, boot_id, is_held, journals, read_journal
from passthrough.machine import Machine, locked
from passthrough.plan import Plan
from passthrough.step import Reversal, Step, step_of

#: Called at each point of a run: ``begin``, ``effect``, ``done``, ``undo``, ``end`` and the step's
#: number from 0. Commands show progress by it; tests kill the run at it.
Watch = Callable[[str, int], None]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A step that could not be taken back.

    Attributes:
        name: of the step.
        why: the reason.
    """

    name: str
    why: str


def _ignore(_point: str, _step: int) -> None:
    """No one watches."""


class _Interrupted(Exception):
    """The user wants an end."""


@contextlib.contextmanager
def _signals_wait() -> Iterator[Callable[[], None]]:
    """Signals are kept until a step has ended; the yielded function raises then."""
    caught: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        caught.append(number)

    def ask() -> None:
        if caught:
            raise _Interrupted(signal.Signals(caught[0]).name)

    before = {number: signal.signal(number, keep) for number in _SIGNALS}
    try:
        yield ask
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(
    plan: Plan, machine: Machine, places: Places | None = None, *, watch: Watch = _ignore
) -> None:
    """Take a plan's steps; if one fails, take back those before it.

    Raises:
        Refused: a finding blocks it; nothing was touched.
        Pending: an earlier run must be recovered first; nothing was touched.
        Locked, NeedsRoot: nothing was touched.
        StepFailed: a step failed; says whether the host is as it was.
    """
    places = places or Places()
    for finding in plan.blockers:
        raise Refused(finding.title, hint=finding.remedy)
    with locked(places.volatile):
        pending = find_pending(places)
        if pending:
            raise Pending(
                f"an earlier run was not finished: {pending[0].title}",
                hint="passthrough recover puts the host back first",
            )
        if not plan.steps:
            return
        journal = Journal.begin(plan, places)
        try:
            _take(plan, machine, journal, watch)
        finally:
            journal.close()


def _take(plan: Plan, machine: Machine, journal: Journal, watch: Watch) -> None:
    number = 0
    with _signals_wait() as ask:
        try:
            for number, step in enumerate(plan.steps):
                ask()
                before = step.observe(machine.host)
                watch("begin", number)
                journal.begun(number, before)
                watch("effect", number)
                step.apply(machine)
                problem = step.verify(machine.host)
                if problem:
                    raise Refused(f"{step.name}: {problem}")
                watch("done", number)
                journal.done(number, step.observe(machine.host))
            ask()
            watch("end", number)
            journal.end("kept" if plan.keeps else "done")
        except (DiagError, OSError, _Interrupted) as error:
            entry = read_journal(journal.path)
            if isinstance(error, WriteBlocked) and error.goes_on:
                entry.records[number].writer = error.pid
            left = roll_back(entry, machine, journal, watch=watch)
            raise _step_failed(plan.steps[number], number, error, left) from error


def _step_failed(
    step: Step, number: int, error: BaseException, left: Sequence[Leftover]
) -> StepFailed:
    if isinstance(error, _Interrupted):
        why = f"ended by {error} before: {step.name}"
    else:
        said = error.message if isinstance(error, DiagError) else str(error)
        why = said if step.name in said else f"{step.name}: {said}"
    hint = error.hint if isinstance(error, DiagError) else ""
    if left:
        stays = "; ".join(f"{part.name} ({part.why})" for part in left)
        return StepFailed(
            number + 1, f"{why}; not taken back: {stays}", restored=False,
            hint=f"{hint}; passthrough recover tries again".removeprefix("; "),
        )  # fmt: skip
    return StepFailed(number + 1, why, restored=True, hint=hint)


def roll_back(
    entry: Entry, machine: Machine, journal: Journal, *, watch: Watch = _ignore
) -> tuple[Leftover, ...]:
    """Take back what a journal says was done, newest first, on past what fails.

    A step whose part of the host somebody else has changed since is left as it is, and so is one
    whose write still waits in the kernel: it has its effect when it returns.

    Returns:
        what could not be taken back.
    """
    from passthrough.steps import KINDS

    left = []
    for number, record in entry.open_records:
        watch("undo", number)
        name = str(record.step.get("kind"))
        try:
            step = step_of(record.step, KINDS)
            name = step.name
            if record.writer and entry.boot == boot_id() and _lives(record.writer):
                raise Refused(
                    f"its write still waits in the kernel (process {record.writer}), and has its"
                    " effect when it returns"
                )
            now = step.observe(machine.host)
            if not step.same(record.before, now):
                if record.done and step.disturbed(record.after, now):
                    raise Refused("somebody else has changed it since")
                if step.reversal is Reversal.NONE:
                    raise Refused("it cannot be undone")
                step.restore(machine, record.before)
                again = step.observe(machine.host)
                if not step.same(record.before, again):
                    raise Refused(f"it is {again!r} and was {record.before!r}")
        except (DiagError, OSError, KeyError, TypeError) as error:
            why = error.message if isinstance(error, DiagError) else str(error)
            left.append(Leftover(name, why))
            with contextlib.suppress(DiagError):
                journal.stuck(number, why, record.writer)
        else:
            # The host comes first: without a line here `recover` finds nothing left to do.
            with contextlib.suppress(DiagError):
                journal.undone(number)
    with contextlib.suppress(DiagError):
        journal.end("incomplete" if left else "rolled back")
    return tuple(left)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def find_pending(places: Places) -> tuple[Entry, ...]:
    """Runs that have left the host changed and were not meant to; newest first.

    Raises:
        BadJournal: a journal cannot be read.
    """
    return tuple(e for e in _entries(places) if _is_pending(e) and e.open_records)


def _is_pending(entry: Entry) -> bool:
    if entry.outcome == "kept":  # for as long as its run lives
        return entry.held and not is_held(entry.path)
    return entry.outcome in ("", "incomplete")


def find_kept(places: Places) -> tuple[Entry, ...]:
    """Runs whose effect is wanted for a while, like a detached card; newest first."""
    return tuple(e for e in _entries(places) if e.outcome == "kept" and e.open_records)


def _entries(places: Places) -> list[Entry]:
    now = boot_id()
    found = [read_journal(path) for path in journals(places)]
    # A reboot has undone what was not lasting, if its journal should have survived it.
    found = [e for e in found if e.boot == now or e.path.parent == places.lasting]
    return sorted(found, key=lambda entry: entry.time, reverse=True)


def take_back(
    entry: Entry, machine: Machine, places: Places | None = None, *, watch: Watch = _ignore
) -> tuple[Leftover, ...]:
    """Take back one run: that of a crash, or one whose effect is no longer wanted.

    Raises:
        Locked, NeedsRoot: nothing was touched.
    """
    places = places or Places()
    with locked(places.volatile), _signals_wait():
        journal = Journal(entry.path)
        try:
            # It may have gone on while we waited.
            return roll_back(read_journal(entry.path), machine, journal, watch=watch)
        finally:
            journal.close()


def recover(
    machine: Machine, places: Places | None = None, *, watch: Watch = _ignore
) -> tuple[Leftover, ...]:
    """Put the host back after runs that crashed or failed. No finding forbids it.

    Returns:
        what could not be put back.

    Raises:
        Locked, NeedsRoot, BadJournal: nothing was touched.
    """
    places = places or Places()
    left: list[Leftover] = []
    for entry in find_pending(places):
        left += take_back(entry, machine, places, watch=watch)
    return tuple(left)


def history(places: Places | None = None) -> tuple[Entry | BadJournal, ...]:
    """All runs that are remembered, newest first; a damaged journal as what is wrong with it."""
    found: list[Entry | BadJournal] = []
    for path in journals(places or Places()):
        try:
            found.append(read_journal(path))
        except BadJournal as error:
            found.append(error)
    return tuple(sorted(found, key=lambda e: e.time if isinstance(e, Entry) else 0, reverse=True))
