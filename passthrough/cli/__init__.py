"""The ``passthrough`` command: parse the arguments, call the library, print, exit.

Every command imports what it needs when it runs, so that ``passthrough --help`` costs no more than
Typer.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from diag.errors import DiagError
from passthrough.cli import detach, history, launch, media, power, refresh, reset, rom, status, vm
from passthrough.cli.outcome import complain
from romkit.cli.status import INTERRUPTED, READER_GONE, SIGNALLED, USAGE
from romkit.cli.terminal import Color, OutputFailed, discard, prepare_streams, say

#: What Typer raises at wrong usage; the name of its module differs between versions.
_UsageError: Any = typer.BadParameter.__mro__[1]

#: What ends a program politely. While a plan runs the engine keeps them until a step has ended.
_ENDING = (signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(
    name="passthrough",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from romkit.version import __version__

        say(f"passthrough (dgpukit) {__version__}")
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
    """Hand a GPU to a virtual machine, and take it back."""
    ctx.obj = color


app.command()(status.status)
app.command()(power.power)
app.command()(reset.reset)
app.command()(detach.detach)
app.command()(detach.reattach)
app.command()(refresh.refresh)
app.add_typer(rom.app, name="rom")
app.command()(launch.launch)
app.command()(launch.stop)
app.add_typer(media.app, name="media")
app.add_typer(vm.app, name="vm")
app.command()(history.history)
app.command()(history.recover)


def main() -> NoReturn:
    """Entry point of the ``passthrough`` script."""
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
            return app(prog_name="passthrough", standalone_mode=False) or 0
        except _UsageError as err:
            err.show(file=sys.stderr)
            return USAGE
        except DiagError as err:
            return complain(err)
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
    return complain(DiagError(f"standard output cannot be written: {err.strerror or err}"))
