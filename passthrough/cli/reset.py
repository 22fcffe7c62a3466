"""``passthrough reset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.cli.outcome import (
    DryRun,
    answering,
    carry_out,
    places,
    progress,
    this_machine,
)  # fmt: skip
from passthrough.cli.root import Address, Root, address_of, inventory_of, only_to_look
from romkit.cli.options import Json
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from passthrough.plan import Plan


def reset(
    ctx: typer.Context,
    address: Address = None,
    short: Annotated[
        bool, typer.Option("--short", help="Power on, remove with its port, find again.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="All of it: power off and on, reset, find again.")
    ] = False,
    driver: Annotated[
        str | None,
        typer.Option(
            help="Who has the GPU afterwards ('' for nobody); without it who has it now.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Reset a card that misbehaves. Without --short or --full the gentlest way that helps.

    Fails (1) where something stands in the way, (4) where nothing has helped.
    """
    from passthrough.card import pick_card
    from passthrough.reset import Form, plan_reset

    if short and full:
        raise typer.BadParameter("--short and --full exclude each other")
    only_to_look(root, dry_run=dry_run)
    wanted = address_of(address)
    with answering(as_json):
        if short or full:
            machine = inventory_of(root)
            form = Form.SHORT if short else Form.FULL
            plan = plan_reset(machine, pick_card(machine, wanted), form=form, driver=driver)
            carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
        elif dry_run:
            from passthrough.escalation import plan_escalation

            _show(ctx, plan_escalation(inventory_of(root), wanted, driver), as_json=as_json)
        else:
            from passthrough.escalation import escalate

            tried = escalate(this_machine(), wanted, driver=driver, places=places(), watch=progress)
            record = [{"form": a.form.value, "why_not": a.why_not} for a in tried]
            if as_json:
                print_json({**tried[-1].plan.as_json(), "outcome": "done", "tried": record})
                return
            from passthrough.render.plan import done_text

            for attempt in tried[:-1]:
                say(f"{attempt.form.value}: has not helped: {attempt.why_not}")
            say(done_text(tried[-1].plan, style_of(ctx)))


def _show(ctx: typer.Context, plans: tuple[Plan, ...], *, as_json: bool) -> None:
    """What would be tried, one plan after the other; ends the command."""
    from passthrough.render.plan import plan_text

    blocked = all(plan.blockers for plan in plans)
    if as_json:
        outcome = "blocked" if blocked else "planned"
        print_json({"plans": [plan.as_json() for plan in plans], "outcome": outcome})
    else:
        style = style_of(ctx)
        say("\n\nand if that does not help\n\n".join(plan_text(plan, style) for plan in plans))
    raise typer.Exit(BLOCKED if blocked else 0)
