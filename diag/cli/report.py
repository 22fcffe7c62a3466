"""The command that asks every check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from diag.cli.root import Root, Wake, open_host
from diag.cli.vm import VmOption, vm_text
from romkit.cli.options import Json
from romkit.cli.status import BLOCKED, FINE
from romkit.cli.terminal import print_json, say, style_of, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romkit.finding import Finding


def report(
    ctx: typer.Context,
    root: Root = None,
    vm: VmOption = None,
    as_json: Json = False,
    wake: Wake = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show what passed too, with its evidence.")
    ] = False,
) -> None:
    """Say what will stop passthrough on this machine: all checks, what blocks first.

    Changes nothing and wakes nothing. Fails (1) if something blocks.
    """
    from diag.checks import run_checks
    from diag.inventory import Inventory
    from romkit.finding import blocking

    host = open_host(root, as_json=as_json)
    machine = Inventory(host, wake=wake, vm_text=vm_text(vm, as_json=as_json))
    findings = run_checks(machine)
    if as_json:
        print_json(_record(host.note, findings))
    else:
        from diag.render.report import report_text

        style, width = style_of(ctx), terminal_width()
        say(report_text(host.note, findings, style, width=width, everything=everything))
    raise typer.Exit(BLOCKED if blocking(findings) else FINE)


def _record(note: str, findings: Sequence[Finding]) -> dict[str, object]:
    from romkit.finding import blocking

    return {
        "host": note,
        "blocks": bool(blocking(findings)),
        "findings": [finding.as_json() for finding in findings],
    }
