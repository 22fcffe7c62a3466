"""Writing what a command was asked to make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romkit.cli.terminal import emit, shown

if TYPE_CHECKING:
    from pathlib import Path


def check_output(path: Path, *, force: bool) -> None:
    """Refuse before anything is touched.

    Raises:
        DiagError: it is there already, or its folder is not.
    """
    from diag.errors import DiagError
    from romkit.cli.files import is_standard

    if is_standard(path):
        return
    try:
        is_folder, there = path.is_dir(), path.exists()
        has_place = path.parent.is_dir()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DiagError(f"{shown(path)}: cannot be written: {why}", hint="another place") from None
    if is_folder:
        raise DiagError(f"{shown(path)}: is a directory", hint="name a file in it")
    if there and not force:
        raise DiagError(f"{shown(path)} exists already", hint="another name, or --force")
    if not has_place:
        raise DiagError(f"{shown(path)}: there is no directory {shown(path.parent)}",
                        hint="check the name")  # fmt: skip


def write_output(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file whole or not at all, and over no other unless told; - is standard output.

    Raises:
        DiagError: it cannot be written, or may not.
    """
    from diag.errors import DiagError
    from romkit.cli.files import NotWritten, is_standard, save_parts

    if is_standard(path):
        emit(data)
        return
    try:
        check_output(path, force=force)
        save_parts(path.parent, {path.name: data}, force=force)
    except NotWritten as refused:
        error = refused.error
        raise DiagError(f"{shown(path)}: {error.message}", hint=error.hint) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DiagError(f"{shown(path)}: cannot be written: {why}", hint="another place") from None
