"""The command that takes a capture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diag.cli.files import fail
from diag.cli.root import Root, Wake, open_host
from diag.errors import DiagError
from romkit.cli.options import Force
from romkit.cli.terminal import emit, say, shown, style_of

if TYPE_CHECKING:
    from diag.capture import Capture
    from diag.host import Host

Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to write, like machine.tar.xz; - is standard output.",
        show_default=False,
        readable=False,
    ),
]
Listing = Annotated[
    bool, typer.Option("--list", help="Show what would be taken, and write nothing.")
]


def capture(
    ctx: typer.Context,
    output: Out = None,
    root: Root = None,
    wake: Wake = False,
    force: Force = False,
    listing: Listing = False,
) -> None:
    """Put what diag reads of this machine into one file that can be mailed.

    Serial numbers, MAC addresses, UUIDs and the names of the machine and its users are redacted.
    Sleeping devices stay asleep, and no root is needed: what root would add is said. Every diag
    command reads the file with --root FILE.
    """
    if (output is None) != listing:
        raise typer.BadParameter("--list writes nothing" if listing else "-o FILE, or --list")
    from diag.capture import archive_capture
    from diag.render.capture import capture_list, capture_summary

    taken = _taken(open_host(root), root, wake)
    if output is None:
        say(capture_list(taken))
        say(capture_summary(taken, None, style_of(ctx)), err=True)
        return
    data = archive_capture(taken)
    _write(output, data, force=force)
    name = "standard output" if str(output) == "-" else shown(output)
    say(capture_summary(taken, f"{name}: {len(data)} bytes", style_of(ctx)), err=str(output) == "-")


def _taken(host: Host, root: Path | None, wake: bool) -> Capture:
    from diag.capture import read_capture
    from romkit.cli.search import progress_bar

    try:
        with progress_bar("reading") as tick:
            return read_capture(host, wake=wake, progress=tick)
    except DiagError as err:
        fail(str(root or "this machine"), err)


def _write(path: Path, data: bytes, *, force: bool) -> None:
    """Write the file whole or not at all, and over no other unless told."""
    from romkit.cli.files import NotWritten, save_parts

    if str(path) == "-":
        emit(data)
        return
    try:
        if path.exists() and not force:
            fail(str(path), DiagError("exists already", hint="another name, or --force"))
        if not path.parent.is_dir():
            parent = shown(path.parent)
            wanted = DiagError(f"there is no directory {parent}", hint=f"mkdir -p {parent}")
            fail(str(path), wanted)
        save_parts(path.parent, {path.name: data}, force=force)
    except NotWritten as refused:
        fail(str(path), DiagError(refused.error.message, hint=refused.error.hint))
    except OSError as err:
        fail(str(path), DiagError(f"cannot be written: {err.strerror or err}"))
