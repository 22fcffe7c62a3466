"""``passthrough launch`` and ``passthrough stop``: a guest's life."""

from __future__ import annotations

from math import isfinite
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
from passthrough.cli.profile import Name, offered, profile_of, reporting
from passthrough.cli.root import Root, inventory_of, only_to_look
from romkit.cli.options import Json
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, shown, style_of

if TYPE_CHECKING:
    from passthrough.engine import Leftover
    from passthrough.life import Beside
    from passthrough.plan import Plan
    from passthrough.programs import User
    from passthrough.session import Outcome
    from passthrough.vm.guest import Guest
    from passthrough.vm.profile import Profile


def seconds(value: float) -> float:
    """A time that comes to an end; a usage error where it does not."""
    if not isfinite(value):
        raise typer.BadParameter(f"{value} is no time; allowed: seconds from 0 on")
    return value


As = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="USER",
        help="Who QEMU is run as; without it who has called sudo.",
        show_default=False,
    ),
]
Strangers = Annotated[
    bool, typer.Option("--with-strangers", help="Take what else is in the GPU's group along.")
]
Patience = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        callback=seconds,
        help="How long the guest may take to shut down.",
    ),
]


def launch(
    ctx: typer.Context,
    profile: Name,
    user: As = None,
    patience: Patience = 60,
    with_strangers: Strangers = False,
    qemu: Annotated[
        bool, typer.Option("--qemu", help="Start QEMU ourselves, not as root: the default.")
    ] = False,
    libvirt: Annotated[
        bool, typer.Option("--libvirt", help="Let libvirt run it: for virsh and virt-manager.")
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
    from passthrough.session import refuse_running
    from passthrough.vm.guest import read_guest
    from passthrough.vm.libvirt import build_domain
    from passthrough.vm.qemu import build_argv

    if qemu and libvirt:
        raise typer.BadParameter("--qemu and --libvirt: only one of them can run it")
    only_to_look(root, dry_run=dry_run)
    with reporting(as_json):
        owner = find_user(user)
        read = profile_of(profile, owner)
        if not dry_run:
            refuse_running(read.name, places())
            prepare(read)
        machine = inventory_of(root)
        guest = read_guest(read, machine)
        line = build_argv(guest)
        domain = build_domain(guest) if libvirt else None
        plan = plan_launch(
            machine, guest, line, owner, domain=domain, patience=patience,
            strangers=with_strangers,
        )  # fmt: skip
        if dry_run or plan.blockers:
            carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
        outcome = run_guest(plan, guest, owner, patience=patience)
    report(ctx, plan, outcome, as_json=as_json)


def run_guest(
    plan: Plan,
    guest: Guest,
    owner: User,
    *,
    patience: float,
    beside: Beside | None = None,
) -> Outcome:
    """Say what is worth knowing, make a guest's files, carry its plan out, stay with it to its end.

    Raises:
        PassthroughError: it does not run; all was taken back, or it says what not.
    """
    from passthrough.session import run_session
    from passthrough.vm.own_files import make_own_files
    from romkit.finding import Verdict
    from romkit.render.report import findings_lines
    from romkit.render.style import Style

    worth = [finding for finding in plan.findings if finding.verdict is not Verdict.PASS]
    for line in findings_lines(worth, Style(False)):  # not the terminal that colours are asked of
        say(line, err=True)
    for note in plan.notes:
        say(f"passthrough: {shown(note)}", err=True)
    make_own_files(guest.files, owner, folder=guest.profile.own_folder)
    shows = progress(plan)
    return run_session(
        plan, guest.profile.name, this_machine(), places(), watch=shows, undo=shows,
        tell=lambda text: say(f"passthrough: {shown(text)}", err=True), beside=beside,
        patience=patience,
    )  # fmt: skip


def report(ctx: typer.Context, plan: Plan, outcome: Outcome, *, as_json: bool) -> None:
    """Say how a guest's session has ended; the exit status follows from it."""
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


def prepare(profile: Profile) -> None:
    """What the profile wants done with the card before, each a run of its own.

    Raises:
        BadProfile: the guest cannot be made here; the card was not touched.
        PassthroughError: it does not work.
    """
    from diag.gpu import pick_gpu
    from passthrough.engine import execute
    from passthrough.power.plan import plan_power
    from passthrough.refresh import plan_refresh
    from passthrough.reset import plan_reset
    from passthrough.vm.guest import read_guest
    from passthrough.vm.qemu import build_argv

    if profile.gpu.prepare:
        build_argv(read_guest(profile, inventory_of()))
    for what in profile.gpu.prepare:
        inventory = inventory_of()
        if what == "power":
            plan = plan_power(inventory, on=True, address=profile.gpu.address)
        else:
            gpu = pick_gpu(inventory, profile.gpu.address)
            plan = (plan_reset if what == "reset" else plan_refresh)(inventory, gpu)
        execute(plan, this_machine(), places(), watch=progress(plan))


def stop(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PROFILE",
            help="Of the guest, or its profile.",
            show_default=False,
            autocompletion=offered,
        ),
    ],
    now: Annotated[
        bool, typer.Option("--now", help="Switch it off: the guest is not asked.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Ask a guest to shut down, wait until it has, and give everything back.

    Fails (3) where no such guest runs, (5) where not all could be given back.
    """
    from passthrough.render.history import step_name
    from passthrough.session import running_session, stop_session

    left: tuple[Leftover, ...] = ()
    with answering(as_json):
        name = _name_of(name)
        steps = [step_name(r) for _, r in running_session(name, places()).open_records]
        if not dry_run:
            left = stop_session(name, this_machine(), places(), now=now)
    outcome = "planned" if dry_run else "incomplete" if left else "done"
    style = style_of(ctx)
    if as_json:
        print_json({"name": name, "undoes": steps, "outcome": outcome, "left": leftovers(left)})
    elif dry_run:
        how = "switch it off" if now else "ask it to shut down, and wait until it has"
        say(f"{style.bold(f'stop {shown(name)}:')} would {how}")
        for step in steps:
            say(f"  take back: {step}")
    else:
        said = style.red("not all could be given back") if left else style.green("all is back")
        say(f"{style.bold(f'stop {shown(name)}:')} it has ended; {said}")
        for part in left:
            say(f"  {part.name}: {part.why}")
    if left:
        raise typer.Exit(CHANGED)


def _name_of(text: str) -> str:
    """The guest that is meant: one that runs under this name, or the one of this profile.

    Raises:
        PassthroughError: it is a file that cannot be read.
    """
    from passthrough.errors import PassthroughError
    from passthrough.programs import find_user
    from passthrough.session import find_session
    from passthrough.vm.profile_file import is_name, read_profile

    if is_name(text) and find_session(text, places()) is not None:
        return text
    try:
        return read_profile(text, find_user()).name
    except PassthroughError:
        if is_name(text):  # nothing runs under it, and that is what will be said
            return text
        raise
