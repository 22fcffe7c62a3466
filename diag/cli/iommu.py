"""``diag iommu``: is the GPU isolated, and if not, why and what now."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diag.cli.files import fail
from diag.cli.root import Root, Wake, open_host
from diag.errors import DiagError
from romkit.cli.files import is_standard
from romkit.cli.options import Force, Json
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, style_of, terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.device import PciDevice
    from diag.inventory import Inventory


class Format(StrEnum):
    """How the groups are printed."""

    TABLE = "table"
    TREE = "tree"
    LIST = "list"


def iommu(
    ctx: typer.Context,
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="Explain this device, not the GPUs: 01:00.0.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
    form: Annotated[
        Format,
        typer.Option("--format", help="list: the classic script's lines. tree: ACS on each hop."),
    ] = Format.TABLE,
    svg: Annotated[
        Path | None,
        typer.Option(
            "--svg",
            metavar="FILE",
            help="Write a picture; - is standard output.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    force: Force = False,
    wake: Wake = False,
) -> None:
    """Show the IOMMU groups: is the GPU alone, and if not, why, and what would change it.

    Fails (1) where something stands in the way: no IOMMU in use, or a host driver holds the group.
    """
    _one_output(ctx, form, svg, as_json=as_json)
    from diag.inventory import Inventory
    from diag.iommu_report import read_iommu, record
    from romkit.finding import blocking

    host = open_host(root, as_json=as_json)
    machine = Inventory(host, wake=wake)
    try:
        report = read_iommu(machine, _asked(machine, address))
    except DiagError as err:
        fail(host.note, err, as_json=as_json)
    if svg is not None:
        from diag.cli.output import write_output
        from diag.render.iommu_svg import groups_svg

        write_output(svg, groups_svg(report).encode(), force=force, as_json=as_json)
    if as_json:
        print_json({"host": host.note, **record(report)})
    elif form is Format.LIST:
        from diag.render.iommu import groups_list

        if report.groups:
            say(groups_list(report))
        else:
            say("no IOMMU groups; diag iommu says why", err=True)
    elif not is_standard(svg):
        from diag.render.iommu import iommu_text

        style, width = style_of(ctx), terminal_width()
        say(iommu_text(report, style, width, tree=form is Format.TREE))
    if blocking(report.findings):
        raise typer.Exit(BLOCKED)


def _one_output(ctx: typer.Context, form: Format, svg: Path | None, *, as_json: bool) -> None:
    """A usage error where two things that were asked for would be printed in one place."""
    # Not that value but that it was given: the table is what is printed anyway.
    source = ctx.get_parameter_source("form")
    shaped = source is not None and source.name == "COMMANDLINE"
    if as_json and shaped:
        raise typer.BadParameter(f"--json and --format {form.value}: choose one")
    if is_standard(svg) and (as_json or shaped):
        other = "--json" if as_json else f"--format {form.value}"
        raise typer.BadParameter(f"--svg - and {other} both go to standard output: choose one")


def _asked(machine: Inventory, address: str | None) -> Iterable[PciDevice] | None:
    """The device that was asked for; a usage error where the text is no address.

    Raises:
        DiagError: there is no such device.
    """
    if address is None:
        return None
    from diag.pci import PciAddress

    try:
        place = PciAddress.parse(address)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
    device = machine.device(place)
    if device is None:
        raise DiagError(f"there is no device at {place}", hint="diag iommu --format list")
    return (device,)
