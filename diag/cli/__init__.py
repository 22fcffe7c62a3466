"""The ``diag`` command: parse the arguments, call the library, print, exit.

Every command imports what it needs when it runs, so that ``diag --help`` costs no more than Typer.
"""

from __future__ import annotations

from typing import NoReturn

from diag.cli import capture, explain, gpu, iommu, read, report
from romkit.cli.program import new_app, run

app = new_app("diag", "Say what will stop GPU passthrough on this machine, with evidence.")


app.command()(iommu.iommu)
app.command()(gpu.gpu)
app.command()(read.read)
app.command()(read.lspci)
app.command()(report.report)
app.command()(capture.capture)
app.command()(explain.explain)


def main() -> NoReturn:
    """Entry point of the ``diag`` script."""
    run(app)
