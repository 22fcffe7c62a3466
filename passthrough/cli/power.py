"""``passthrough power``: switch a card on or off."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from passthrough.cli.outcome import DryRun, answering, carry_out
from passthrough.cli.root import Address, Root, address_of, inventory_of, only_to_look
from romkit.cli.options import Json


class Switch(StrEnum):
    """What a card is switched to."""

    ON = "on"
    OFF = "off"


def power(
    ctx: typer.Context,
    switch: Annotated[Switch, typer.Argument(help="What it shall be.", show_default=False)],
    address: Address = None,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Switch its audio function too.")
    ] = True,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Switch a card on or off: with bbswitch and nvhda where they are loaded, else by the kernel.

    Fails (1) where something stands in the way, (4) where it did not work and all was put back.
    """
    from passthrough.power.plan import plan_power

    only_to_look(root, dry_run=dry_run)
    wanted = address_of(address)
    with answering(as_json):
        machine = inventory_of(root)
        plan = plan_power(machine, on=switch is Switch.ON, address=wanted, audio=audio)
        carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
