"""The option that names the machine to read, and how it becomes a host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diag.cli.files import fail
from diag.errors import DiagError

if TYPE_CHECKING:
    from diag.host import Host

Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="DIR|CAPTURE",
        help="Read this directory, or a capture, in place of this machine.",
        show_default=False,
        readable=False,
    ),
]
Wake = Annotated[
    bool, typer.Option("--wake", help="Read the configuration of sleeping devices: it wakes them.")
]


def open_host(root: Path | None, *, as_json: bool = False) -> Host:
    """The machine that a command reads: this one, a directory, or a capture.

    Ends the command (3) where `root` cannot be read or is no capture.
    """
    from diag.host import Host
    from romkit.cli.files import is_standard

    if root is None:
        return Host()
    try:
        if not is_standard(root) and root.is_dir():
            return Host(root)
        return _open_capture(root)
    except OSError as err:
        fail(str(root), _unreadable(root, err), as_json=as_json)
    except DiagError as err:
        fail(str(root), err, as_json=as_json)


def _open_capture(path: Path) -> Host:
    from diag.capture import open_capture
    from romkit.cli.files import bounded, input_name, opened

    with opened(path) as stream:
        data = bounded(stream, "capture")
    return open_capture(data, note=input_name(path))


def _unreadable(path: Path, err: OSError) -> DiagError:
    from romkit.cli.files import unreadable

    error = unreadable(path, err)
    return DiagError(error.message, hint=error.hint)
