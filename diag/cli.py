"""The ``diag`` command. It has no subcommands yet, and says so."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="diag",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from romkit.version import __version__

        typer.echo(f"diag (dgpukit) {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Say what will stop GPU passthrough on this machine, with evidence.

    This release has no diag commands yet: it brings romkit only.
    """
    typer.echo(ctx.get_help())
    raise typer.Exit(2)


def main() -> NoReturn:
    """Entry point of the ``diag`` script."""
    app(prog_name="diag")
    raise AssertionError("Typer exits")
