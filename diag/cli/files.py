"""Reading what the user names, and saying what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import typer

from diag.errors import DiagError
from romkit.cli.files import input_name, opened
from romkit.cli.status import BAD_INPUT
from romkit.cli.terminal import print_json, say, shown

if TYPE_CHECKING:
    from diag.text.reading import Reading

_CHUNK = 1 << 20


def read_text(path: Path, *, as_json: bool = False) -> tuple[str, Reading]:
    """Name and reading of a pasted text; ends the command where it cannot be read."""
    from diag.errors import NotHostText
    from diag.text.kinds import FORMATS
    from diag.text.lines import MAX_BYTES
    from diag.text.reading import read_bytes

    name = input_name(path)
    try:
        with opened(path) as stream:
            data = _start_of(stream, MAX_BYTES + 1)
        reading = read_bytes(data)
        if reading.format is None:
            known = ", ".join(dict.fromkeys(title.split(",")[0] for title in FORMATS.values()))
            raise NotHostText("nothing in this text is known", hint=known)
    except OSError as err:
        fail(name, DiagError(err.strerror or str(err), hint=_hint(err)), as_json=as_json)
    except DiagError as err:
        fail(name, err, as_json=as_json)
    return name, reading


def _start_of(stream: BinaryIO, limit: int) -> bytes:
    """Up to `limit` bytes; memory is taken as they come."""
    data = bytearray()
    while len(data) < limit and (chunk := stream.read(min(_CHUNK, limit - len(data)))):
        data += chunk
    return bytes(data)


def _hint(err: OSError) -> str:
    if isinstance(err, PermissionError):
        return "read it as a user who may, or copy it"
    if isinstance(err, FileNotFoundError):
        return "check the name"
    return "name a file in it" if isinstance(err, IsADirectoryError) else ""


def complain(name: str, err: DiagError) -> int:
    """Say what is wrong with what, and what to do; the exit status that follows."""
    say(f"diag: {shown(name)}: {shown(err.message)}", err=True)
    if err.hint:
        say(f"  try: {shown(err.hint)}", err=True)
    return BAD_INPUT


def fail(name: str, err: DiagError, *, as_json: bool = False) -> NoReturn:
    """Say what is wrong, as JSON too where that was asked for, and end the command."""
    if as_json:
        print_json({"file": name, "error": err.message, "hint": err.hint})
    raise typer.Exit(complain(name, err))
