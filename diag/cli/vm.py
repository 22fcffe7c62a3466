"""The option that names a VM's description, and how it becomes text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diag.cli.files import fail
from diag.errors import DiagError

VmOption = Annotated[
    Path | None,
    typer.Option(
        "--vm",
        metavar="FILE",
        help="The VM that is meant: libvirt's XML (virsh dumpxml), or its QEMU command.",
        show_default=False,
        readable=False,
    ),
]


def vm_text(path: Path | None, *, as_json: bool = False) -> str | None:
    """A VM's description; ends the command (3) where it cannot be read or is none."""
    if path is None:
        return None
    from diag.vm_file import parse_vm_file
    from romkit.cli.files import bounded, input_name, opened

    name = input_name(path)
    try:
        with opened(path) as stream:
            text = bounded(stream, "description of a VM").decode("utf-8", "replace")
        parse_vm_file(text)
    except OSError as err:
        hint = "check the name" if isinstance(err, FileNotFoundError) else ""
        fail(name, DiagError(err.strerror or str(err), hint=hint), as_json=as_json)
    except DiagError as err:
        fail(name, err, as_json=as_json)
    return text
