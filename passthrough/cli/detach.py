"""``passthrough detach`` and ``passthrough reattach``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.cli.outcome import (
    CHANGED,
    DryRun,
    answering,
    carry_out,
    leftovers,
    places,
    this_machine,
)  # fmt: skip
from passthrough.cli.root import Address, Root, address_of, inventory_of, only_to_look
from romkit.cli.options import Json
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.inventory import Inventory
    from passthrough.journal import Entry


class Audio(StrEnum):
    """Who gets the audio function."""

    VFIO_PCI = "vfio-pci"
    NONE = "none"
    PCI_STUB = "pci-stub"


def detach(
    ctx: typer.Context,
    card: Address = None,
    audio: Annotated[
        Audio, typer.Option(help="Who has its audio function meanwhile.")
    ] = Audio.VFIO_PCI,
    with_strangers: Annotated[
        bool, typer.Option("--with-strangers", help="Take what else is in its group along.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of vfio-pci, like disable_idle_d3=1.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Take a card from the host, with all of its IOMMU group, for a guest.

    Fails (1) where something stands in the way: a program that uses it, a stranger in its group.
    """
    from passthrough.card import pick_card
    from passthrough.detach import AudioPolicy, plan_detach
    from passthrough.errors import Refused

    only_to_look(root, dry_run=dry_run)
    wanted, options = address_of(card), tuple(option or ())
    if any("=" not in word or word != word.strip() for word in options):
        raise typer.BadParameter("an option of vfio-pci is NAME=VALUE")
    with answering(as_json):
        machine = inventory_of(root)
        gpu = pick_card(machine, wanted)
        if not dry_run and _entry(gpu) is not None:
            raise Refused(f"{gpu.address} is detached already", hint="passthrough reattach")
        policy = AudioPolicy(audio.value)
        plan = plan_detach(machine, gpu, audio=policy, strangers=with_strangers, options=options)
        carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)


def reattach(
    ctx: typer.Context,
    card: Address = None,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Give a card back to the host: each function to the driver that it had.

    Fails (1) while a guest has it, (5) where something could not be put back.
    """
    from passthrough.card import pick_card
    from passthrough.detach import plan_reattach

    only_to_look(root, dry_run=dry_run)
    wanted = address_of(card)
    with answering(as_json):
        machine = inventory_of(root)
        gpu = pick_card(machine, wanted)
        entry = _entry(gpu, quiet=dry_run) if root is None else None
        if entry is None:
            plan = plan_reattach(machine, gpu)
            carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
        else:
            _take_back(ctx, machine, gpu, entry, dry_run=dry_run, as_json=as_json)


def _entry(gpu: PciDevice, *, quiet: bool = False) -> Entry | None:
    """The run that has detached a GPU. Only root may read journals: `quiet` leaves them out."""
    from passthrough.detached import find_detached
    from passthrough.errors import BadJournal

    try:
        return find_detached(places(), gpu)
    except BadJournal:
        if quiet:
            return None
        raise


def _take_back(
    ctx: typer.Context,
    machine: Inventory,
    gpu: PciDevice,
    entry: Entry,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from passthrough.engine import take_back
    from passthrough.errors import Refused
    from passthrough.render.history import step_name
    from passthrough.slot import read_slot, read_users

    blockers = [f for f in read_users(machine, read_slot(machine, gpu)).findings if f.blocks]
    if blockers:
        raise Refused(blockers[0].title, hint=blockers[0].remedy)
    title = f"reattach {gpu.address}"
    steps = [step_name(record) for _, record in entry.open_records]
    left = () if dry_run else take_back(entry, this_machine(), places())
    outcome = "planned" if dry_run else "incomplete" if left else "done"
    if as_json:
        print_json({"title": title, "undoes": steps, "outcome": outcome, "left": leftovers(left)})
    else:
        style = style_of(ctx)
        said = {"planned": "would take back", "done": style.green("done"),
                "incomplete": style.red("not all could be given back")}[outcome]  # fmt: skip
        say(f"{style.bold(title + ':')} {said}")
        for name in steps if dry_run else ():
            say(f"  take back: {name}")
        for part in left:
            say(f"  {part.name}: {part.why}")
    if left:
        raise typer.Exit(CHANGED)
