"""``passthrough install``: a guest gets its system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.cli.launch import As, Patience, Strangers, prepare, report, run_guest, seconds
from passthrough.cli.outcome import DryRun, carry_out, places
from passthrough.cli.profile import Name, profile_of, reporting
from passthrough.cli.root import Root, inventory_of, only_to_look
from romkit.cli.options import Json
from romkit.cli.terminal import say

if TYPE_CHECKING:
    from passthrough.vm.monitor import Monitor

Size = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help='How large disks are made that are not there, like "128G"; without it what the '
        "profile says, or 64G.",
        show_default=False,
    ),
]
Keys = Annotated[
    float,
    typer.Option(
        "--keys",
        metavar="SECONDS",
        min=0,
        callback=seconds,
        help="How long a key is pressed for the medium that asks for one; it ends when the medium "
        "is read. 0 presses none.",
    ),
]


def install(
    ctx: typer.Context,
    profile: Name,
    size: Size = None,
    over_partitions: Annotated[
        bool,
        typer.Option("--over-partitions", help="Install to a disk that has something on it, too."),
    ] = False,
    gpu_later: Annotated[
        bool, typer.Option("--without-gpu", help="The guest gets its GPU later.")
    ] = False,
    keys: Keys = 60,
    user: As = None,
    patience: Patience = 60,
    with_strangers: Strangers = False,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Install a guest's system: its media in the drives, its disks made, a picture to look at.

    It starts from the medium first, and goes as `launch` does: everything is given back at the
    end. Fails (1) where something stands in the way, (4) where it failed and all was put back,
    (5) where not all could be.
    """
    from passthrough.install import MEDIUM, plan_install, without_gpu
    from passthrough.programs import find_user
    from passthrough.session import refuse_running
    from passthrough.vm.capabilities import Capabilities
    from passthrough.vm.guest import read_guest
    from passthrough.vm.keys import press_until_read
    from passthrough.vm.qemu import build_argv
    from passthrough.vm.visible import visible

    only_to_look(root, dry_run=dry_run)
    wanted = _bytes(size)
    with reporting(as_json):
        owner = find_user(user)
        read = profile_of(profile, owner)
        read = without_gpu(read) if gpu_later else read
        if not dry_run:
            refuse_running(read.name, places())
            prepare(read)
        machine = inventory_of(root)
        known = Capabilities(machine.host)
        guest = read_guest(visible(read, known), machine, install=True, capabilities=known)
        plan = plan_install(
            machine, guest, build_argv(guest, known), owner, size=wanted, over=over_partitions,
            patience=patience, strangers=with_strangers,
        )  # fmt: skip
        if dry_run or plan.blockers:
            carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)

        async def press(monitor: Monitor) -> None:
            if await press_until_read(monitor, MEDIUM, keys):
                say("passthrough: it has started from its medium", err=True)

        outcome = run_guest(plan, guest, owner, patience=patience, beside=press)
    report(ctx, plan, outcome, as_json=as_json)


def _bytes(text: str | None) -> int:
    """A size; a usage error where it is none."""
    from passthrough.vm.device_sections import Disk
    from passthrough.vm.key import keys_of
    from passthrough.vm.kinds import Wrong

    if text is None:
        return 0
    kind = next(key.kind for key in keys_of(Disk) if key.name == "size")
    try:
        return int(kind.read(text))
    except Wrong as wrong:
        raise typer.BadParameter(f"{wrong}; allowed: {kind.allowed}") from None
