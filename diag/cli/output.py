"""Writing what a command was asked to make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.cli.files import fail
from diag.errors import DiagError
from romkit.cli.terminal import emit

if TYPE_CHECKING:
    from pathlib import Path


def write_output(path: Path, data: bytes, *, force: bool, as_json: bool = False) -> None:
    """Write a file whole or not at all, and over no other unless told; - is standard output."""
    from romkit.cli.files import NotWritten, is_standard, save_parts

    if is_standard(path):
        emit(data)
        return
    try:
        if path.exists() and not force:
            known = DiagError("exists already", hint="another name, or --force")
            fail(str(path), known, as_json=as_json)
        if not path.parent.is_dir():
            wanted = DiagError(f"there is no directory {path.parent}", hint="check the name")
            fail(str(path), wanted, as_json=as_json)
        save_parts(path.parent, {path.name: data}, force=force)
    except NotWritten as refused:
        error = DiagError(refused.error.message, hint=refused.error.hint)
        fail(str(path), error, as_json=as_json)
    except OSError as err:
        error = DiagError(f"cannot be written: {err.strerror or err}")
        fail(str(path), error, as_json=as_json)
