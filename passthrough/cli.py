"""The ``passthrough`` command. It has no subcommands yet, and says so."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="passthrough",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from romkit.version import __version__

        typer.echo(f"passthrough (dgpukit) {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Hand a GPU to a virtual machine, and take it back.

    This release has no passthrough commands yet: it brings romkit only.
    """
    typer.echo(ctx.get_help())
    raise typer.Exit(2)


def main() -> NoReturn:
    """Entry point of the ``passthrough`` script."""
    app(prog_name="passthrough")
    raise AssertionError("Typer exits")
