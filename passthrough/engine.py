"""Runs plans: journal before effect, verify after effect, undo from what was observed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from diag.errors import DiagError
from passthrough.errors import (
    BadJournal,
    Pending,
    ProgramBlocked,
    Refused,
    StepFailed,
    WriteBlocked,
)
from passthrough.interruption import Interrupted, signals_wait
from passthrough.journal import (
    Entry,
    Journal,
    Places,
    Record,
    boot_id,
    hold,
    is_held,
    journals,
    locked,
    read_journal,
)
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.step import Reversal, Step, step_of
from passthrough.waiting import Writer

#: Called at each point of a run: ``begin``, ``effect``, ``done``, ``undo``, ``end`` and the step's
#: number from 0. Commands show progress by it; tests kill the run at it.
Watch = Callable[[str, int], None]

#: Seconds that a write may take while another one hangs: most likely it waits for the same lock.
_LIMIT_BESIDE = 5.0

#: What says that nothing of a run is left to be taken back.
_OVER = ("done", "rolled back")


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


def execute(
    plan: Plan, machine: Machine, places: Places | None = None, *, watch: Watch = _ignore
) -> None:
    """Take a plan's steps; if one fails, take back those before it.

    Raises:
        Refused: a finding blocks it, or its effect is there already; nothing was touched.
        Pending: an earlier run must be recovered first; nothing was touched.
        Locked, NeedsRoot: nothing was touched.
        StepFailed: a step failed; says whether the host is as it was.
    """
    with executed(plan, machine, places, watch=watch):
        pass


@contextlib.contextmanager
def executed(
    plan: Plan,
    machine: Machine,
    places: Places | None = None,
    *,
    watch: Watch = _ignore,
    permit: Callable[[], None] = lambda: None,
) -> Iterator[Entry | None]:
    """As `execute`; a plan that is `held` is held from before its first step to the block's end.

    There is no moment between, in which another run could take it for one that nobody holds.

    Args:
        plan: what is done.
        machine: to what.
        places: where its journal is.
        watch: is told of each point.
        permit: raises where the plan may not run; nobody else changes the host meanwhile.

    Yields:
        its journal; None where it has no steps.
    """
    places = places or Places()
    for finding in plan.blockers:
        raise Refused(finding.title, hint=finding.remedy)
    with contextlib.ExitStack() as held:
        path = None
        with locked(places.volatile):
            permit()
            pending = find_pending(places)
            if pending:
                raise Pending(
                    f"an earlier run was not finished: {pending[0].title}",
                    hint="passthrough recover puts the host back first",
                )
            if plan.keeps and any(kept.title == plan.title for kept in find_kept(places)):
                # Somebody was faster, after this plan was made.
                raise Refused(f"{plan.title}: it was done already", hint="passthrough status")
            if plan.steps:
                journal = Journal.begin(plan, places)
                path = journal.path
                try:
                    if plan.held:
                        held.enter_context(hold(path))
                    _take(plan, machine, journal, watch)
                finally:
                    journal.close()
        yield None if path is None else read_journal(path)


def _take(plan: Plan, machine: Machine, journal: Journal, watch: Watch) -> None:
    number = 0
    with signals_wait(again=plan.held) as ask:
        try:
            for number, step in enumerate(plan.steps):
                ask()
                before = step.observe(machine.host)
                watch("begin", number)
                journal.begun(number, before)
                watch("effect", number)
                with machine.asking(ask):
                    _apply(step, machine)
                watch("done", number)
                journal.done(number, step.observe(machine.host))
            ask()
            watch("end", number)
            journal.end("kept" if plan.keeps else "done")
        except Exception as error:  # whatever it is: what was done is taken back
            entry = read_journal(journal.path)
            entry.records[number].writer = _writer_of(error)
            passed = _passed(plan, entry)
            left = roll_back(entry, machine, journal, watch=watch)
            raise _step_failed(plan.steps[number], number, error, left, passed) from error


def _apply(step: Step, machine: Machine) -> None:
    step.apply(machine)
    problem = step.verify(machine.host)
    if problem:
        raise Refused(f"{step.name}: {problem}")


def _writer_of(error: BaseException) -> Writer | None:
    """The process that still has the effect of a step before it."""
    if isinstance(error, WriteBlocked | ProgramBlocked) and error.goes_on:
        return error.writer
    return None


def _passed(plan: Plan, entry: Entry) -> tuple[str, ...]:
    """Steps without a way back that have had their effect."""
    both = zip(plan.steps, entry.records, strict=True)
    return tuple(s.name for s, r in both if s.reversal is Reversal.NONE and r.done)


def _step_failed(
    step: Step, number: int, error: BaseException, left: Sequence[Leftover], passed: tuple[str, ...]
) -> StepFailed:
    hint = error.hint if isinstance(error, DiagError) else ""
    if isinstance(error, Interrupted):
        why = f"ended by {error} before: {step.name}"
    else:
        said = _said(error)
        why = said if step.name in said else f"{step.name}: {said}"
    if left:
        stays = "; ".join(f"{part.name} ({part.why})" for part in left)
        why = f"{why}; not taken back: {stays}"
        hint = f"{hint}; passthrough recover tries again".removeprefix("; ")
    return StepFailed(number + 1, why, restored=not left, hint=hint, passed=passed)


def _said(error: BaseException) -> str:
    if isinstance(error, DiagError):
        return error.message
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


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
    limit = machine.write_limit
    try:
        for number, record in entry.open_records:
            with contextlib.suppress(Exception):  # who watches holds nothing up
                watch("undo", number)
            name = str(record.step.get("kind"))
            if any(other.writer is not None and other.writer.lives for other in entry.records):
                machine.write_limit = min(limit, _LIMIT_BESIDE)
            try:
                step = step_of(record.step, KINDS)
                name = step.name
                _undo(step, record, entry, machine)
            except Exception as error:  # whatever it is: the other steps are taken back
                why = _said(error)
                record.writer = _writer_of(error) or record.writer
                left.append(Leftover(name, why))
                with contextlib.suppress(DiagError):
                    journal.stuck(number, why, record.writer)
            else:
                # The host comes first: without a line here `recover` finds nothing left to do.
                with contextlib.suppress(DiagError):
                    journal.undone(number)
    finally:
        machine.write_limit = limit
    with contextlib.suppress(DiagError):
        journal.end("incomplete" if left else "rolled back")
    return tuple(left)


def _undo(step: Step, record: Record, entry: Entry, machine: Machine) -> None:
    """Take one step back.

    Raises:
        Refused: that cannot be, or did not help.
    """
    if entry.boot != boot_id():
        if not step.lasting:
            return  # the reboot has done so
    elif record.writer is not None and record.writer.lives:
        raise Refused(
            f"its write still waits in the kernel (process {record.writer.pid}), and has its"
            " effect when it returns"
        )
    now = step.observe(machine.host)
    if step.same(record.before, now):
        return
    if record.done and step.disturbed(record.after, now):
        raise Refused("somebody else has changed it since")
    if step.reversal is Reversal.NONE:
        raise Refused("it cannot be undone")
    step.restore(machine, record.before)
    again = step.observe(machine.host)
    if not step.same(record.before, again):
        raise Refused(f"it is {again!r} and was {record.before!r}")


def find_pending(places: Places) -> tuple[Entry, ...]:
    """Runs that have left the host changed and were not meant to; newest first.

    Raises:
        BadJournal: a journal cannot be read.
    """
    return tuple(e for e in _entries(places) if _is_pending(e) and e.open_records)


def find_unfinished(places: Places) -> tuple[tuple[Entry, ...], tuple[BadJournal, ...]]:
    """The same, and what is wrong with the journals that cannot be read."""
    found, damaged = _read_all(places)
    return tuple(e for e in _current(found, places) if _is_pending(e) and e.open_records), damaged


def _is_pending(entry: Entry) -> bool:
    if entry.outcome == "kept":  # for as long as its run lives
        return entry.held and not is_held(entry.path)
    return entry.outcome in ("", "incomplete")


def find_kept(places: Places) -> tuple[Entry, ...]:
    """Runs whose effect is wanted for a while, like a detached card; newest first."""
    return tuple(e for e in _entries(places) if e.outcome == "kept" and e.open_records)


def _entries(places: Places) -> list[Entry]:
    found, damaged = _read_all(places)
    for error in damaged:
        raise error
    return _current(found, places)


def _current(found: Sequence[Entry], places: Places) -> list[Entry]:
    now = boot_id()
    # A reboot has undone what was not lasting, if its journal should have survived it.
    kept = [e for e in found if e.boot == now or e.path.parent == places.lasting]
    return sorted(kept, key=_age, reverse=True)


def _read_all(places: Places) -> tuple[list[Entry], tuple[BadJournal, ...]]:
    found: list[Entry] = []
    damaged: list[BadJournal] = []
    for path in journals(places):
        try:
            found.append(read_journal(path))
        except BadJournal as error:
            damaged.append(error)
    return found, tuple(damaged)


def _age(entry: Entry) -> tuple[bool, float, float]:
    """Sorts runs by when they began. Within one start of the kernel no clock that is set counts."""
    current = entry.boot == boot_id()
    return current, entry.since if current else 0.0, entry.time


def take_back(
    entry: Entry,
    machine: Machine,
    places: Places | None = None,
    *,
    watch: Watch = _ignore,
    wait: float = 0,
) -> tuple[Leftover, ...]:
    """Take back one run: that of a crash, or one whose effect is no longer wanted.

    Args:
        entry: the run.
        machine: what it has changed.
        places: where journals are.
        watch: is told of each point.
        wait: seconds that another run, at work now, may take to its end.

    Raises:
        Locked, NeedsRoot: nothing was touched.
    """
    places = places or Places()
    with locked(places.volatile, wait=wait), signals_wait():
        now = read_journal(entry.path)
        if now.outcome in _OVER and now.outcome != entry.outcome:
            return ()  # it has come to its end, or was taken back, since `entry` was read
        journal = Journal(entry.path)
        try:
            return roll_back(now, machine, journal, watch=watch)
        finally:
            journal.close()


def recover(
    machine: Machine, places: Places | None = None, *, watch: Watch = _ignore
) -> tuple[Leftover, ...]:
    """Put the host back after runs that crashed or failed. No finding forbids it.

    Returns:
        what could not be put back.

    Raises:
        Locked, NeedsRoot: nothing was touched.
        BadJournal: a journal cannot be read; all others were taken back.
    """
    places = places or Places()
    left: list[Leftover] = []
    pending, damaged = find_unfinished(places)
    for entry in pending:
        left += take_back(entry, machine, places, watch=watch)
    for error in damaged:
        raise error
    return tuple(left)


def history(places: Places | None = None) -> tuple[Entry | BadJournal, ...]:
    """All runs that are remembered, newest first; a damaged journal as what is wrong with it."""
    found, damaged = _read_all(places or Places())
    return (*sorted(found, key=_age, reverse=True), *damaged)
