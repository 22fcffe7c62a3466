"""``passthrough refresh``."""

from __future__ import annotations

import typer

from passthrough.cli.outcome import DryRun, answering, carry_out
from passthrough.cli.root import Address, Root, address_of, inventory_of, only_to_look
from romkit.cli.options import Json


def refresh(
    ctx: typer.Context,
    address: Address = None,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Let NVIDIA's driver on the host set the GPU up anew, so that a guest's driver takes it."""
    from passthrough.card import pick_card
    from passthrough.refresh import plan_refresh

    only_to_look(root, dry_run=dry_run)
    wanted = address_of(address)
    with answering(as_json):
        machine = inventory_of(root)
        plan = plan_refresh(machine, pick_card(machine, wanted))
        carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
