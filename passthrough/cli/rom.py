"""``passthrough rom``: a card's ROM."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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
from passthrough.cli.output import check_output, write_output
from passthrough.cli.root import address_of, inventory_of
from romkit.cli.options import Json
from romkit.cli.program import new_group
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.inventory import Inventory
    from passthrough.romdump import Dump, Via

app = new_group("Read a card's ROM.")


@app.callback()
def rom() -> None:
    """Read a card's ROM."""


class Source(StrEnum):
    """Where a ROM is read from."""

    AUTO = "auto"
    BAR = "bar"
    ACPI = "acpi"
    VFCT = "vfct"


@app.command()
def dump(
    ctx: typer.Context,
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="Which GPU, like 01:00.0.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to write it; - is standard output."
        ),
    ],
    via: Annotated[
        Source, typer.Option(help="Its ROM BAR, the ACPI method _ROM, AMD's VFCT table.")
    ] = Source.AUTO,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Read a card's ROM into a file, and check it.

    Fails (1) and writes nothing where what is read is no whole ROM, or only the firmware's copy.
    """
    from passthrough.card import pick_card
    from passthrough.romdump import Via, choose_via, plan_dump

    wanted = address_of(address)
    with answering(as_json):
        machine = inventory_of()
        gpu = pick_card(machine, wanted)
        source = choose_via(machine, gpu) if via is Source.AUTO else Via(via.value)
        plan = plan_dump(machine, gpu, source)
        if dry_run or plan.blockers:
            carry_out(ctx, plan, dry_run=dry_run, as_json=as_json)
        check_output(output, force=force)
        found = _read(machine, gpu, source)
        if not found.blockers:
            write_output(output, found.data, force=force)
    if as_json:
        print_json(
            {
                "address": str(gpu.address),
                "via": source.value,
                "bytes": len(found.data),
                "written": None if found.blockers else str(output),
                "findings": [finding.as_json() for finding in found.findings],
            },
            err=str(output) == "-",
        )
    else:
        _report(ctx, found, output)
    if found.blockers:
        raise typer.Exit(BLOCKED)


def _read(machine: Inventory, gpu: PciDevice, via: Via) -> Dump:
    from passthrough.engine import execute
    from passthrough.journal import locked
    from passthrough.romdump import Via, finish, plan_dump, read_method, read_vfct

    host = this_machine()
    if via is Via.VFCT:
        data = read_vfct(machine.host, gpu)
    elif via is Via.ACPI:
        # acpi_call has one result for everybody.
        with locked(places().volatile):
            data = read_method(host, gpu)
    else:
        plan = plan_dump(machine, gpu, via)
        execute(plan, host, places(), watch=progress(plan))
        data = host.taken[str(gpu.address)]
    return finish(gpu, via, data)


def _report(ctx: typer.Context, found: Dump, output: Path) -> None:
    from romkit.finding import Verdict
    from romkit.render.report import findings_lines

    style = style_of(ctx)
    seen = [finding for finding in found.findings if finding.verdict is not Verdict.PASS]
    state = style.red("not written") if found.blockers else style.green("written")
    lines = [f"{output}: {state}, {len(found.data)} bytes by {found.via}"]
    say("\n".join([*lines, *findings_lines(seen, style)]), err=True)
