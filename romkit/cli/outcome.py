"""What all commands that edit have in common: read, edit, write, and say what was done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from romkit.cli.files import blaming, is_standard, parsed, read_one, write_output
from romkit.cli.options import OUTPUT
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from romkit.edit import Edit
    from romkit.rom import Rom

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
EditOut = Annotated[Path | None, OUTPUT]


def edited(
    file: Path, edit: Callable[[Rom], Edit], output: Path | None, *, as_json: bool = False
) -> Edit:
    """A file, edited; ends the command where that cannot be."""
    told = as_json and not is_standard(output)
    name, data = read_one(file, as_json=told)
    with blaming(name, as_json=told):
        return edit(parsed(data))


def finish(
    ctx: typer.Context,
    edit: Edit,
    output: Path | None,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    force: bool = False,
) -> None:
    """Write the outcome, then say what was done."""
    from romkit.render.edit import edit_text

    if output is None and not dry_run:
        raise typer.BadParameter("give -o OUT, or --dry-run to see what would be done")
    if output is not None and not dry_run:
        beside = as_json and not is_standard(output)
        write_output(output, edit.data, force=force, as_json=beside)
    if as_json:
        print_json(edit.as_json(), err=is_standard(output))
    else:
        say(edit_text(edit, style_of(ctx)), err=is_standard(output))
