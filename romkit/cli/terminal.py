"""What the terminal can show."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from romkit.render.style import Style


class Color(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def print_json(value: object, *, err: bool = False) -> None:
    """Print a value as indented JSON."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False), err=err)


def style_of(ctx: typer.Context) -> Style:
    """The colours that the user and the terminal allow."""
    from romkit.render.style import Style

    if ctx.obj is Color.AUTO:
        plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return Style(sys.stdout.isatty() and not plain)
    return Style(ctx.obj is Color.ALWAYS)


def terminal_width() -> int:
    """Columns, within what reads well."""
    from shutil import get_terminal_size

    return max(60, min(get_terminal_size((100, 24)).columns, 160))


def speaks_unicode() -> bool:
    """Whether the output takes more than ASCII."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
