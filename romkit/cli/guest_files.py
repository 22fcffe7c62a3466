"""Files for a guest, written, and how QEMU and libvirt are told of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from romkit.cli.files import blaming, input_name, write_parts
from romkit.cli.terminal import print_json, say, shown, style_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

    from romkit.acpi.qemu import GuestFile


def deliver(
    ctx: typer.Context,
    files: Sequence[GuestFile],
    output: Path,
    *,
    notes: Sequence[str] = (),
    dsl: bool = False,
    c: bool = False,
    as_json: bool = False,
    force: bool = False,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write the files, then say how a guest gets them.

    Args:
        ctx: of the command.
        files: what the guest is given.
        output: the directory.
        notes: what else there is to know.
        dsl: write tables as ASL too.
        c: write all as C arrays too.
        as_json: print JSON.
        force: overwrite.
        facts: more for JSON.
    """
    from romkit.acpi.qemu import (
        NAMESPACE,
        left_over,
        libvirt_access,
        libvirt_text,
        qemu_arguments,
        sources,
    )
    from romkit.render.acpi import files_text

    # libvirt starts QEMU elsewhere.
    directory = os.path.abspath(output)  # noqa: PTH100  links in it stay as they are
    with blaming(input_name(output), as_json=as_json):
        arguments = qemu_arguments(files, directory)
    parts = {file.name: file.data for file in files}
    written = write_parts(
        output, {**parts, **sources(files, asl=dsl, c=c)}, force=force, as_json=as_json
    )
    old = left_over(_names_in(output), (path.name for path in written))
    if old:
        notes = [*notes, f"left over from an earlier build, not part of this one: {', '.join(old)}"]
    access = libvirt_access(directory)
    if as_json:
        print_json(
            {
                **(facts or {}),
                "files": [str(path) for path in written],
                "qemu": [part for pair in arguments for part in pair],
                "libvirt_namespace": NAMESPACE,
                "libvirt": libvirt_text(arguments),
                "libvirt_access": list(access),
                "notes": list(notes),
            }
        )
    else:
        style = style_of(ctx)
        say(files_text([shown(path) for path in written], arguments, notes, access, style))


def _names_in(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except OSError:
        return []  # may be written to, and not be listed
