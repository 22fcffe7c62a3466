"""The ``diag`` command: parse the arguments, call the library, print, exit.

Every command imports what it needs when it runs, so that ``diag --help`` costs no more than Typer.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from diag.cli import capture, explain, gpu, iommu, read, report
from diag.cli.files import complain
from diag.errors import DiagError
from romkit.cli.status import INTERRUPTED, READER_GONE, USAGE
from romkit.cli.terminal import Color, OutputFailed, discard, prepare_streams, say

#: What Typer raises at wrong usage; the name of its module differs between versions.
_UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="diag",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from romkit.version import __version__

        say(f"diag (dgpukit) {__version__}")
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
    """Say what will stop GPU passthrough on this machine, with evidence."""
    ctx.obj = color


app.command()(iommu.iommu)
app.command()(gpu.gpu)
app.command()(read.read)
app.command()(read.lspci)
app.command()(report.report)
app.command()(capture.capture)
app.command()(explain.explain)


def main() -> NoReturn:
    """Entry point of the ``diag`` script."""
    prepare_streams()
    sys.exit(_status())


def _status() -> int:
    """Run the command; what no command can mend itself ends here, in a line and a status."""
    stdout = sys.stdout
    try:
        try:
            return app(prog_name="diag", standalone_mode=False) or 0
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
    return complain("standard output", DiagError(f"cannot be written: {err.strerror or err}"))
