"""``passthrough history`` and ``passthrough recover``: what was done, and how it is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from passthrough.cli.outcome import (
    CHANGED,
    DryRun,
    answering,
    complain,
    leftovers,
    places,
    this_machine,
    watched,
)
from romkit.cli.options import Json
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from passthrough.engine import Leftover


def history(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what was done to this machine, newest first, and what is still changed."""
    from passthrough.engine import history as read_history
    from passthrough.render.history import history_record, history_text

    with answering(as_json):
        runs = read_history(places())
    if as_json:
        print_json([history_record(run) for run in runs])
    else:
        say(history_text(runs, style_of(ctx)))


def recover(ctx: typer.Context, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Put this machine back after a run that crashed or failed half-way.

    Fails (5) where something could not be put back, (3) where a journal cannot be read.
    """
    from passthrough.engine import find_unfinished, take_back
    from passthrough.render.history import recover_text, run_record, step_name

    style, left, status = style_of(ctx), list["Leftover"](), 0
    with answering(as_json):
        pending, damaged = find_unfinished(places())
        if not dry_run:
            for entry in pending:
                names = [step_name(record) for record in entry.records]
                left += take_back(entry, this_machine(), places(), watch=watched(names))
    errors = [{"error": error.message, "hint": error.hint} for error in damaged]
    if as_json:
        print_json(
            {
                "runs": [run_record(entry) for entry in pending],
                "outcome": "planned" if dry_run else "incomplete" if left else "done",
                "left": leftovers(left),
                "damaged": errors,
            }
        )
    elif pending or not damaged:
        say(recover_text(pending, left, style, dry_run=dry_run))
    for error in damaged:
        status = complain(error)
    if left or status:
        raise typer.Exit(CHANGED if left else status)
