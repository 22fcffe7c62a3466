"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from romkit.checks import DeviceId


def only_once(*paths: Path) -> None:
    """Refuse to read standard input twice.

    Raises:
        BadParameter: ``-`` stands there more than once.
    """
    if sum(str(path) == "-" for path in paths) > 1:
        raise typer.BadParameter("standard input can be read only once")


def once_each(paths: list[Path]) -> list[Path]:
    """`only_once` as a callback."""
    only_once(*paths)
    return paths


# Typer would call an unreadable file wrong usage and not look at the others: `readable=False`
# leaves it to the command, which says why and goes on.
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="ROM files; - is standard input.",
        show_default=False,
        readable=False,
        callback=once_each,
    ),
]
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A ROM file; - is standard input.",
        show_default=False,
        readable=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OUTPUT = typer.Option(
    "-o",
    "--output",
    help="Where to write; - is standard output.",
    show_default=False,
    readable=False,
)
Out = Annotated[Path, OUTPUT]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]


def device_of(
    device: str | None, subsystem: str | None = None, class_code: str | None = None
) -> DeviceId | None:
    """A device from what was typed; a usage error where it is none."""
    if device is None:
        if subsystem or class_code:
            raise typer.BadParameter("--subsystem and --class need --device")
        return None
    from romkit.checks import DeviceId

    try:
        return DeviceId.parse(device, subsystem, class_code)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
