"""Commands that read pasted text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diag.cli.files import fail, read_text
from diag.errors import NotHostText
from romkit.cli.options import Json
from romkit.cli.terminal import print_json, say, shown, style_of, terminal_width

TextFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A text that somebody pasted; - is standard input.",
        show_default=False,
        readable=False,
    ),
]


def read(ctx: typer.Context, file: TextFile, as_json: Json = False) -> None:
    """Read pasted text: lspci in all its forms, IOMMU groups, kernel logs and command lines.

    What a text is, is found out. Fails (3) only on a file in which nothing is known.
    """
    from diag.text.record import record

    name, reading = read_text(file, as_json=as_json)
    if as_json:
        print_json({"file": name, **record(reading)})
        return
    from diag.render.reading import reading_text

    say(reading_text(shown(name), reading, style_of(ctx), terminal_width()))


def lspci(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="What lspci printed; - and nothing are standard input.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the devices in what lspci printed, in whatever form.

    Fails (3) on a text without devices.
    """
    from diag.text.record import record

    name, reading = read_text(file or _piped(), as_json=as_json)
    if not reading.devices:
        fail(name, NotHostText("no devices in this text", hint="lspci -nnk"), as_json=as_json)
    if as_json:
        print_json({"file": name, **record(reading)})
        return
    from diag.render.reading import devices_text

    say(devices_text(reading, style_of(ctx), terminal_width()))


def _piped() -> Path:
    """Standard input, where something comes from it; this is where reading sysfs will stand."""
    if sys.stdin is None or sys.stdin.isatty():
        raise typer.BadParameter("nothing to read; try: lspci -nnk | diag lspci")
    return Path("-")
