"""Runs that are remembered, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from passthrough.errors import BadJournal
from romkit.render.text import count, plain

if TYPE_CHECKING:
    from passthrough.engine import Leftover
    from passthrough.journal import Entry, Record
    from romkit.render.style import Style


def outcome_of(entry: Entry) -> str:
    """A run's outcome in a word; one without an end is running or has crashed."""
    return entry.outcome or "not finished"


def history_text(runs: Sequence[Entry | BadJournal], style: Style) -> str:
    """All runs, one line each; below those that are not over what is still changed."""
    if not runs:
        return "nothing was done to this machine since its start"
    lines = []
    for run in runs:
        if isinstance(run, BadJournal):
            lines.append(f"{style.red('damaged')}  {plain(run.message)}")
            if run.hint:
                lines.append(f"  → {plain(run.hint)}")
        else:
            lines += run_lines(run, style)
    return "\n".join(lines)


def run_lines(entry: Entry, style: Style) -> list[str]:
    """One run: when, what, how it ended, and what of it is still there if that is not wanted."""
    when = datetime.fromtimestamp(entry.time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    outcome = outcome_of(entry)
    paint = {"done": style.green, "kept": style.cyan, "rolled back": style.yellow}
    word = paint.get(outcome, style.red)(outcome)
    steps = count(len(entry.records), "step")
    lines = [f"{when}  {style.bold(plain(entry.title))}: {word}, {steps}"]
    if outcome in ("not finished", "incomplete"):
        for number, record in entry.open_records:
            why = f" ({plain(record.why)})" if record.why else ""
            lines.append(f"  still changed: {number + 1}. {step_name(record)}{why}")
    return lines


def recover_text(
    pending: Sequence[Entry], left: Sequence[Leftover], style: Style, *, dry_run: bool
) -> str:
    """What `recover` says at its end."""
    if not pending:
        return "nothing to recover: no run has left this machine changed"
    if dry_run:
        lines = [f"{count(len(pending), 'run')} to take back, newest step first"]
        lines += [line for entry in pending for line in run_lines(entry, style)]
        return "\n".join(lines)
    if not left:
        return f"{style.green('recovered')}: this machine is as it was before"
    lines = [style.red("not all could be put back:")]
    lines += [f"  {plain(part.name)}: {plain(part.why)}" for part in left]
    lines.append("  → mend what is named, then run passthrough recover again; or restart")
    return "\n".join(lines)


def step_name(record: Record) -> str:
    """What a step of a journal does, as its plan has shown it."""
    from passthrough.step import step_of
    from passthrough.steps import KINDS

    try:
        return plain(step_of(record.step, KINDS).name)
    except (KeyError, TypeError):
        return plain(f"a step of another version ({record.step.get('kind')})")


def history_record(run: Entry | BadJournal) -> dict[str, Any]:
    """A run as plain JSON types; a damaged journal as its error."""
    if isinstance(run, BadJournal):
        return {"error": run.message, "hint": run.hint}
    return run_record(run)


def run_record(entry: Entry) -> dict[str, Any]:
    """A run as plain JSON types."""
    return {
        "journal": str(entry.path),
        "title": entry.title,
        "time": entry.time,
        "boot": entry.boot,
        "pid": entry.pid,
        "outcome": outcome_of(entry),
        "steps": [
            {
                **record.step,
                "name": step_name(record),
                "begun": record.begun,
                "done": record.done,
                "undone": record.undone,
                "before": record.before,
                "after": record.after,
                "why": record.why,
            }
            for record in entry.records
        ],
    }
