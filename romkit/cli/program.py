"""What the three commands have in common: how they start, and how they end.

A command is an `app` with its commands, and a `main` for its script::

    app = new_app("romkit", "Read PCI option ROMs.")
    app.command()(parse)

    def main() -> NoReturn:
        run(app)
"""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from romkit.cli.status import BAD_INPUT, INTERRUPTED, READER_GONE, SIGNALLED, USAGE
from romkit.cli.terminal import Color, OutputFailed, discard, prepare_streams, say

if TYPE_CHECKING:
    from collections.abc import Callable

#: What Typer raises at wrong usage; the name of its module differs between versions.
_UsageError: Any = typer.BadParameter.__mro__[1]

#: What ends a program politely, where the system knows it.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

#: Longer than the sentence about any command, in characters.
_LONGEST = 500


class _Commands(TyperGroup):
    """Says what each command does to the end of the sentence, not of the line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, own.get_short_help_str(_LONGEST))
            for name, own in known
            if own and not own.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def new_app(name: str, summary: str) -> typer.Typer:
    """An app without commands yet.

    Args:
        name: what it is called in a shell.
        summary: the sentence at the top of its help.
    """
    app = typer.Typer(
        name=name,
        cls=_Commands,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=summary)(_options)
    return app


def new_group(summary: str) -> typer.Typer:
    """Commands that belong together, to be added to an app.

    Args:
        summary: the sentence at the top of their help.
    """
    return typer.Typer(help=summary, cls=_Commands, no_args_is_help=True, rich_markup_mode=None)


def _version(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        from romkit.version import __version__

        say(f"{ctx.info_name} (dgpukit) {__version__}")
        raise typer.Exit


def _options(
    ctx: typer.Context,
    color: Annotated[Color, typer.Option(help="Use colours.")] = Color.AUTO,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    ctx.obj = color


def run(
    app: typer.Typer, answering: Callable[[], AbstractContextManager[None]] = nullcontext
) -> NoReturn:
    """Run the command that the user typed, and exit with its status.

    Args:
        app: what `new_app` made.
        answering: ends the command, by `typer.Exit`, at errors that commands leave to the end.
    """
    prepare_streams()
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _end)
    sys.exit(_status(app, answering))


def _end(number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that nothing half written is left behind."""
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)  # tidying up is short, and is not to be cut short
    raise SystemExit(SIGNALLED + number)


def _status(app: typer.Typer, answering: Callable[[], AbstractContextManager[None]]) -> int:
    """Run the command; what no command can mend itself ends here, in a line and a status."""
    stdout = sys.stdout
    name = app.info.name
    try:
        try:
            with answering():
                return app(prog_name=name, standalone_mode=False) or 0
        except _UsageError as err:
            err.show(file=sys.stderr)
            return USAGE
        except typer.Exit as ended:
            return ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OutputFailed as failed:
        return _output_failed(name, failed.error)
    except OSError as err:  # help and completion, which Typer prints
        if sys.stdout is not None:
            discard(sys.stdout)
        return _output_failed(name, err)
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return READER_GONE  # Typer puts another stream there when the reader is gone


def _output_failed(name: str | None, err: OSError) -> int:
    if isinstance(err, BrokenPipeError):
        return READER_GONE
    say(f"{name}: standard output: cannot be written: {err.strerror or err}", err=True)
    return BAD_INPUT
