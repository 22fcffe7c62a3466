"""``passthrough launch`` and ``passthrough stop``: a guest's life."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.cli.outcome import (
    CHANGED,
    DryRun,
    answering,
    carry_out,
    leftovers,
    places,
    progress,
    this_machine,
)
from passthrough.cli.root import Root, inventory_of, only_to_look
from romkit.cli.options import Json
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, shown, style_of

if TYPE_CHECKING:
    from diag.inventory import Inventory
    from passthrough.engine import Leftover
    from passthrough.plan import Plan
    from passthrough.programs import User
    from passthrough.session import Outcome
    from passthrough.vm.guest import Guest
    from passthrough.vm.profile import Profile

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PROFILE",
        help="A profile's file, or its name below ~/.config/dgpukit.",
        show_default=False,
    ),
]
Patience = Annotated[
    float, typer.Option(min=0, help="Seconds that the guest may take to shut down.")
]


def launch(
    ctx: typer.Context,
    profile: Name,
    install: Annotated[
        bool, typer.Option("--install", help="Start from the installation medium.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(
            help="Who QEMU is run as; without it who has called sudo.", show_default=False
        ),
    ] = None,
    patience: Patience = 60,
    with_strangers: Annotated[
        bool, typer.Option("--with-strangers", help="Take what else is in the GPU's group along.")
    ] = False,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Run a guest with its card, and give everything back when it has ended.

    Ctrl-C asks the guest to shut down; a second one switches it off. Fails (1) where something
    stands in the way, (4) where it failed and all was put back, (5) where not all could be.
    """
    from passthrough.launch import plan_launch
    from passthrough.programs import find_user
    from passthrough.session import Pins, refuse_running, run_session
    from passthrough.vm.guest import read_guest
    from passthrough.vm.qemu import build_argv

    only_to_look(root, dry_run=dry_run)
    with answering(as_json):
        owner = find_user(user)
        read = _read_profile(profile, owner)
        if not dry_run:
            refuse_running(read.name, places())
            _prepare(read)
        machine = inventory_of(root)
        guest = read_guest(read, machine, install=install)
        line = build_argv(guest)
        plan = plan_launch(machine, guest, line, owner, patience=patience, strangers=with_strangers)
        if dry_run or plan.blockers:
            carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
        _make_files(machine, guest, owner)
        shows, pins = progress(plan), Pins(read.cpu.pin, read.cpu.emulator)
        outcome = run_session(
            plan, read.name, this_machine(), places(), watch=shows, undo=shows,
            tell=lambda text: say(f"passthrough: {shown(text)}", err=True), pins=pins,
            patience=patience,
        )  # fmt: skip
    _report(ctx, plan, outcome, as_json=as_json)


def _report(ctx: typer.Context, plan: Plan, outcome: Outcome, *, as_json: bool) -> None:
    style = style_of(ctx)
    if as_json:
        print_json({**plan.as_json(), "ending": outcome.ending.name.lower(),
                    "crashed": outcome.crashed, "left": leftovers(outcome.left)})  # fmt: skip
    else:
        back = style.red("not all could be given back") if outcome.left else "all is given back"
        say(f"{style.bold(plan.title + ':')} {outcome.ending.value}; {back}")
        for part in outcome.left:
            say(f"  {part.name}: {part.why}")
    if outcome.crashed:
        say(f"passthrough: {shown(outcome.crashed)}", err=True)
    if outcome.left:
        raise typer.Exit(CHANGED)
    if outcome.crashed:
        raise typer.Exit(BLOCKED)


def _prepare(profile: Profile) -> None:
    """What the profile wants done with the card before, each a run of its own."""
    from diag.gpu import pick_gpu
    from passthrough.engine import execute
    from passthrough.power.plan import plan_power
    from passthrough.refresh import plan_refresh
    from passthrough.reset import plan_reset

    for what in profile.gpu.prepare:
        inventory = inventory_of()
        if what == "power":
            plan = plan_power(inventory, on=True, address=profile.gpu.address)
        else:
            gpu = pick_gpu(inventory, profile.gpu.address)
            plan = (plan_reset if what == "reset" else plan_refresh)(inventory, gpu)
        execute(plan, this_machine(), places(), watch=progress(plan))


def _make_files(machine: Inventory, guest: Guest, owner: User) -> None:
    """The VM's own files, as its owner's."""
    from passthrough.programs import make_file

    make_file(f"{guest.profile.own_folder}/.", None, owner)
    for file in guest.files:
        data = machine.host.data(file.copy_of) if file.copy_of else file.data
        make_file(file.path, data, owner, anew=file.anew)


def _read_profile(text: str, owner: User) -> Profile:
    """A profile by its file or its name.

    Raises:
        PassthroughError: there is none, or it is wrong.
    """
    from passthrough.errors import PassthroughError
    from passthrough.vm.parse import parse_profile

    path = Path(text)
    if "/" not in text and not text.endswith(".toml"):
        path = Path(owner.home, ".config", "dgpukit", f"{text}.toml")
    try:
        read = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PassthroughError(f"{shown(path)}: no text in UTF-8") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise PassthroughError(f"{shown(path)}: {why}", hint="name a profile's file") from None
    return parse_profile(read, file=str(path), folder=str(path.resolve().parent))


def stop(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the guest.", show_default=False)],
    now: Annotated[
        bool, typer.Option("--now", help="Switch it off: the guest is not asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask a guest to shut down, wait until it has, and give everything back."""
    from passthrough.session import stop_session

    left: tuple[Leftover, ...]
    with answering(as_json):
        left = stop_session(name, this_machine(), places(), now=now)
    if as_json:
        print_json({"name": name, "left": leftovers(left)})
    else:
        style = style_of(ctx)
        said = style.red("not all could be given back") if left else style.green("all is back")
        say(f"{style.bold(f'stop {shown(name)}:')} it has ended; {said}")
        for part in left:
            say(f"  {part.name}: {part.why}")
    if left:
        raise typer.Exit(CHANGED)
