"""``diag gpu``: everything about one GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from diag.cli.files import fail
from diag.cli.root import Root, Wake, open_host
from diag.cli.vm import VmOption, vm_text
from diag.errors import DiagError
from romkit.cli.options import Json
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from diag.pci import PciAddress


def gpu(
    ctx: typer.Context,
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="Which GPU, like 01:00.0; without it the one that would be handed over.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
    wake: Wake = False,
    vm: VmOption = None,
) -> None:
    """Show everything about one GPU: what it is, its power, who uses it, what stands in the way.

    Fails (1) where something does stand in the way.
    """
    from diag.checks import run_checks
    from diag.gpu import gpu_record, pick_gpu, read_gpu
    from diag.inventory import Inventory
    from romkit.finding import blocking

    wanted = _address(address)
    host = open_host(root, as_json=as_json)
    machine = Inventory(host, wake=wake, vm_text=vm_text(vm, as_json=as_json))
    try:
        device = pick_gpu(machine, wanted)
        found = read_gpu(machine, device, run_checks(machine))
    except DiagError as err:
        fail(host.note, err, as_json=as_json)
    if as_json:
        print_json({"host": host.note, **gpu_record(found)})
    else:
        from diag.render.gpu import gpu_text

        say(gpu_text(found, style_of(ctx)))
    if blocking(found.findings):
        raise typer.Exit(BLOCKED)


def _address(text: str | None) -> PciAddress | None:
    """An address; a usage error where it is none."""
    if text is None:
        return None
    from diag.pci import PciAddress

    try:
        return PciAddress.parse(text)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
