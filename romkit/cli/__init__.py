"""The ``romkit`` command: parse the arguments, call the library, print, exit.

The only part of romkit that knows an operating system. Every command imports what it needs when it
runs, so that ``romkit --help`` costs no more than Typer does.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from romkit.cli import edit, read, recipes, search, table
from romkit.cli.terminal import Color

app = typer.Typer(
    name="romkit",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from romkit.version import __version__

        typer.echo(f"romkit (dgpukit) {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    color: Annotated[Color, typer.Option(help="Use colours.")] = Color.AUTO,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Read PCI option ROMs and video BIOSes: what is in them, whose they are, what is wrong."""
    ctx.obj = color
    # Typer takes escape codes out of what goes into a pipe, unless told.
    ctx.color = True if color is Color.ALWAYS else None


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


def main() -> NoReturn:
    """Entry point of the ``romkit`` script."""
    app(prog_name="romkit")
    raise AssertionError("Typer exits")
