"""What the terminal can show, and the only way to it."""

from __future__ import annotations

import codecs
import os
import re
import sys
from contextlib import contextmanager
from enum import StrEnum
from errno import EBADF
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from romkit.render.style import Style

#: What stands for a character that an encoding lacks.
_ASCII = {
    "✗": "x", "✓": "+", "·": "-", "→": "->", "×": "x", "…": "...", "–": "-", "—": "-",
    "\ufffd": "?",
}  # fmt: skip

#: Our own colours, and the characters that a terminal acts on.
_ACTING = re.compile(
    r"(\x1b\[[0-9]{1,2}m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class Color(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class OutputFailed(Exception):
    """Standard output takes no more; not an OSError, which Typer would take for its own.

    Attributes:
        error: why.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def prepare_streams() -> None:
    """Let standard output and error take any text, whatever their encoding."""
    codecs.register_error("romkit", _translated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="romkit")


def _translated(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    mark = _ASCII.get(error.object[error.start])
    if mark is not None:
        return mark, error.start + 1
    error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


def say(text: str = "", *, err: bool = False) -> None:
    """Print a line, without what a terminal would act on but for our colours.

    Raises:
        OutputFailed: standard output is closed or full. Nobody is left to be told that standard
            error is.
    """
    line = _ACTING.sub(lambda found: found[1] or "\ufffd", text) + "\n"
    try:
        with _written(sys.stderr if err else sys.stdout) as stream:
            stream.write(line)
    except OutputFailed:
        if not err:
            raise


def emit(data: bytes) -> None:
    """Write bytes to standard output.

    Raises:
        OutputFailed: it is closed or full.
    """
    with _written(sys.stdout) as stream:
        stream.buffer.write(data)


@contextmanager
def _written(stream: TextIO | None) -> Iterator[TextIO]:
    if stream is None:
        raise OutputFailed(OSError(EBADF, "it is closed"))
    try:
        yield stream
        stream.flush()
    except OSError as err:
        discard(stream)
        raise OutputFailed(err) from None


def discard(stream: TextIO) -> None:
    """Lead what is still in a stream's buffer nowhere, or Python complains when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_json(value: object, *, err: bool = False) -> None:
    """Print a value as indented JSON, in ASCII: file names need not be Unicode."""
    import json

    say(json.dumps(value, indent=2), err=err)


def shown(name: object) -> str:
    """A file's name, or other text of strangers, on one line and harmless."""
    from romkit.render.text import plain

    return plain(str(name))


def style_of(ctx: typer.Context) -> Style:
    """The colours that the user and the terminal allow."""
    from romkit.render.style import Style

    if ctx.obj is Color.AUTO:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return Style(sys.stdout is not None and sys.stdout.isatty() and not plain)
    return Style(ctx.obj is Color.ALWAYS)


def terminal_width() -> int:
    """Columns, within what reads well."""
    from shutil import get_terminal_size

    return max(60, min(get_terminal_size((100, 24)).columns, 160))


def line_width() -> int | None:
    """Columns to break sentences to; None in a pipe, where a line each serves other programs."""
    return terminal_width() if sys.stdout is not None and sys.stdout.isatty() else None


def speaks_unicode() -> bool:
    """Whether the output takes more than ASCII."""
    encoding = sys.stdout.encoding if sys.stdout is not None else None
    return (encoding or "").lower().replace("-", "") == "utf8"
