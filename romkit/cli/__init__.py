"""The ``romkit`` command: parse the arguments, call the library, print, exit.

The only part of romkit that knows an operating system. Every command imports what it needs when it
runs, so that ``romkit --help`` costs no more than Typer does.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from romkit.cli import acpi, edit, read, recipes, search, table
from romkit.cli.files import complain
from romkit.cli.status import INTERRUPTED, READER_GONE, SIGNALLED, USAGE
from romkit.cli.terminal import Color, OutputFailed, discard, prepare_streams, say
from romkit.errors import RomError

#: What Typer raises at wrong usage; the name of its module differs between versions.
_UsageError: Any = typer.BadParameter.__mro__[1]

#: What ends a program politely, where the system knows it.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

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

        say(f"romkit (dgpukit) {__version__}")
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
    prepare_streams()
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _end)
    sys.exit(_status())


def _end(number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that nothing half written is left behind."""
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)  # tidying up is short, and is not to be cut short
    raise SystemExit(SIGNALLED + number)


def _status() -> int:
    """Run the command; what no command can mend itself ends here, in a line and a status."""
    stdout = sys.stdout
    try:
        try:
            return app(prog_name="romkit", standalone_mode=False) or 0
        except _UsageError as err:
            err.show(file=sys.stderr)
            return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OutputFailed as failed:
        return _output_failed(failed.error)
    except OSError as err:  # help and completion, which Typer prints
        if sys.stdout is not None:
            discard(sys.stdout)
        return _output_failed(err)
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return READER_GONE  # Typer puts another stream there when the reader is gone


def _output_failed(err: OSError) -> int:
    if isinstance(err, BrokenPipeError):
        return READER_GONE
    return complain("standard output", RomError(f"cannot be written: {err.strerror or err}"))
