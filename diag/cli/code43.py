"""``diag explain code43``: the checklist, weighed with this machine and a VM's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from diag.cli.files import fail
from diag.cli.root import open_host
from diag.cli.vm import vm_text
from diag.errors import DiagError
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from pathlib import Path


def explain_code43(
    ctx: typer.Context,
    root: Path | None,
    vm: Path | None,
    *,
    wake: bool = False,
    as_json: bool = False,
) -> None:
    """Go through the checklist and print it. Fails (1) where an item of it blocks."""
    from diag.code43 import code43
    from diag.inventory import Inventory
    from romkit.finding import blocking

    host = open_host(root, as_json=as_json)
    machine = Inventory(host, wake=wake, vm_text=vm_text(vm, as_json=as_json))
    try:
        findings = code43(machine)
    except DiagError as err:
        fail(host.note, err, as_json=as_json)
    if as_json:
        print_json({"host": host.note, "findings": [finding.as_json() for finding in findings]})
    else:
        from diag.render.code43 import code43_text

        say(code43_text(host.note, findings, style_of(ctx), vm=vm is not None))
    if blocking(findings):
        raise typer.Exit(BLOCKED)
