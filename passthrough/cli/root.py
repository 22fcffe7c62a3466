"""The machine that a command looks at: this one, or for a look ahead a directory or a capture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diag.host import Host
    from diag.inventory import Inventory
    from diag.pci import PciAddress

Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="DIR|CAPTURE",
        help="Look at this directory, or a capture, in place of this machine.",
        show_default=False,
        readable=False,
    ),
]
Wake = Annotated[
    bool, typer.Option("--wake", help="Read sleeping devices, bbswitch and nvhda: it wakes them.")
]
Address = Annotated[
    str | None,
    typer.Argument(
        metavar="[ADDRESS|gpu]",
        help="Which GPU, like 01:00.0; gpu, or nothing, for the one that would be handed over.",
        show_default=False,
    ),
]


def inventory_of(root: Path | None = None, *, wake: bool = False) -> Inventory:
    """What is known of the machine.

    Raises:
        DiagError: `root` cannot be read, or is no capture.
    """
    from diag.inventory import Inventory

    return Inventory(_host(root), wake=wake)


def _host(root: Path | None) -> Host:
    from diag.capture import open_capture
    from diag.errors import DiagError
    from diag.host import Host
    from romkit.cli.files import bounded, input_name, is_standard, opened

    if root is None:
        return Host()
    try:
        if not is_standard(root) and root.is_dir():
            return Host(root)
        with opened(root) as stream:
            data = bounded(stream, "capture")
    except OSError as err:
        raise DiagError(f"{root}: {(err.strerror or str(err)).lower()}") from None
    return open_capture(data, note=input_name(root))


def only_to_look(root: Path | None, *, dry_run: bool) -> None:
    """What is not this machine is only looked at; a usage error otherwise."""
    if root is not None and not dry_run:
        raise typer.BadParameter("--root needs --dry-run: only this machine can be changed")


def address_of(text: str | None) -> PciAddress | None:
    """An address; None for ``gpu``, the one that would be handed over. Else a usage error."""
    if text is None or text == "gpu":
        return None
    from diag.pci import PciAddress

    try:
        return PciAddress.parse(text)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
