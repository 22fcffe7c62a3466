"""The ``romkit`` command: parse the arguments, call the library, print, exit.

The only part of romkit that knows an operating system. Every command imports what it needs when it
runs, so that ``romkit --help`` costs no more than Typer does.
"""

from __future__ import annotations

from typing import NoReturn

from romkit.cli import acpi, edit, read, recipes, search, table
from romkit.cli.program import new_app, run

app = new_app(
    "romkit",
    "Read PCI option ROMs and video BIOSes: what is in them, whose they are, what is wrong.",
)

app.command()(read.parse)
app.command()(read.verify)
app.command("map")(read.show_map)
app.command("diff")(read.show_diff)
app.command()(edit.strip)
app.command()(edit.split)
app.command()(edit.join)
app.command()(edit.patch)
app.command()(edit.fix)
app.add_typer(edit.gop, name="gop")
app.command()(search.find)
app.command()(table.catalogue)
app.command()(recipes.build)
app.command("recipe")(recipes.show_recipe)
app.add_typer(acpi.acpi, name="acpi")


def main() -> NoReturn:
    """Entry point of the ``romkit`` script."""
    run(app)
