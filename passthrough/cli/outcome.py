"""How every command of passthrough ends: a plan is carried out or shown, an error gets its status.

A command makes its plan inside `answering`, and gives it to `carry_out`::

    with answering(as_json):
        plan = plan_power(inventory_of(root), on=True)
        carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.errors import Pending, Refused, StepFailed
from romkit.cli.status import BAD_INPUT, BLOCKED
from romkit.cli.terminal import print_json, say, shown, style_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diag.errors import DiagError
    from passthrough.engine import Leftover, Watch
    from passthrough.journal import Places
    from passthrough.machine import Machine
    from passthrough.plan import Plan

#: A step failed, and the host is as it was before.
ROLLED_BACK = 4
#: The host is changed, and `passthrough recover` is needed.
CHANGED = 5

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan; change nothing. Needs no root.")
]


def exit_status(err: DiagError) -> int:
    """The exit status that an error stands for."""
    if isinstance(err, StepFailed):
        return ROLLED_BACK if err.restored else CHANGED
    if isinstance(err, Pending):
        return CHANGED
    return BLOCKED if isinstance(err, Refused) else BAD_INPUT


def complain(err: DiagError, *, as_json: bool = False) -> int:
    """Say what is wrong and what to do, as JSON too where asked for; the status that follows."""
    status = exit_status(err)
    if as_json:
        print_json({"error": err.message, "hint": err.hint, "status": status})
    say(f"passthrough: {shown(err.message)}", err=True)
    if status == ROLLED_BACK:
        say("  everything was put back: this machine is as it was before", err=True)
    elif status == CHANGED:
        say("  this machine is changed", err=True)
    for name in err.passed if isinstance(err, StepFailed) else ():
        say(f"  not undone, as its plan said: {shown(name)}", err=True)
    if err.hint:
        say(f"  try: {shown(err.hint)}", err=True)
    return status


@contextlib.contextmanager
def answering(as_json: bool = False) -> Iterator[None]:
    """Errors of the library end the command with their message and status."""
    from diag.errors import DiagError

    try:
        yield
    except DiagError as err:
        raise typer.Exit(complain(err, as_json=as_json)) from None


def places() -> Places:
    """Where this command keeps its journals."""
    from passthrough.journal import Places

    return Places()


def this_machine() -> Machine:
    """The machine to change: the one that we run on."""
    from diag.host import Host
    from passthrough.machine import Machine

    return Machine(Host(), tell=lambda text: say(f"passthrough: {shown(text)}", err=True))


def carry_out(
    ctx: typer.Context, plan: Plan, *, dry_run: bool = False, as_json: bool = False
) -> None:
    """Show a plan, or execute it with its progress and say what was done.

    Ends the command after a look ahead, and where it did not work: with status 1 where a finding
    blocks it, 4 where it failed and was rolled back, 5 where it failed and the host is changed.
    """
    from passthrough.engine import execute
    from passthrough.render.plan import done_text, plan_text

    style = style_of(ctx)
    if dry_run or plan.blockers:
        if as_json:
            print_json({**plan.as_json(), "outcome": "blocked" if plan.blockers else "planned"})
        else:
            say(plan_text(plan, style))
        if plan.blockers and not dry_run:
            say("passthrough: nothing was touched: what blocks is marked above", err=True)
        raise typer.Exit(BLOCKED if plan.blockers else 0)
    with answering(as_json):
        execute(plan, this_machine(), places(), watch=progress(plan))
    if as_json:
        print_json({**plan.as_json(), "outcome": "kept" if plan.keeps else "done"})
    else:
        say(done_text(plan, style))


def progress(plan: Plan) -> Watch:
    """`watched` for a plan."""
    return watched([step.name for step in plan.steps])


def watched(names: Sequence[str]) -> Watch:
    """A line for each step on a terminal; silence in a pipe.

    Args:
        names: what the steps do, in the plan's order.
    """
    quiet = sys.stderr is None or not sys.stderr.isatty()

    def watch(point: str, number: int) -> None:
        if quiet or point not in ("begin", "undo"):
            return
        word = f"{number + 1}/{len(names)}" if point == "begin" else "taking back"
        say(f"  {word} {shown(names[number])}", err=True)

    return watch


def leftovers(left: Sequence[Leftover]) -> list[dict[str, str]]:
    """What could not be taken back, as plain JSON types."""
    return [{"step": part.name, "why": part.why} for part in left]
