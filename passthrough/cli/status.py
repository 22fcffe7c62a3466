"""``passthrough status``: the cards as they are now."""

from __future__ import annotations

import typer

from passthrough.cli.outcome import answering, places
from passthrough.cli.root import Root, Wake, inventory_of
from romkit.cli.options import Json
from romkit.cli.terminal import print_json, say, style_of


def status(
    ctx: typer.Context, root: Root = None, wake: Wake = False, as_json: Json = False
) -> None:
    """Show each card that can be handed over: power, drivers, groups, who holds it, what is open.

    Sleeping devices are left asleep; bbswitch and nvhda are asked with --wake only, since the
    answer wakes the port above the card.
    """
    from passthrough.card import read_cards, read_runs
    from passthrough.render.status import status_record, status_text

    with answering(as_json):
        cards = read_cards(inventory_of(root, wake=wake))
        runs = read_runs(places()) if root is None else None
    if as_json:
        print_json(status_record(cards, runs))
    else:
        say(status_text(cards, runs, style_of(ctx)))
