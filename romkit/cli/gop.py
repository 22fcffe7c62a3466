"""Commands that list, take out, put in and renew a GOP driver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from romkit.cli.files import blaming, input_name, is_standard, read_one, read_rom
from romkit.cli.options import File, Force, Json, only_once
from romkit.cli.outcome import DryRun, EditOut, edited, finish
from romkit.cli.program import new_group
from romkit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from romkit.edit import Edit
    from romkit.rom import Rom

Donor = Annotated[
    Path,
    typer.Argument(
        metavar="DONOR",
        help="A ROM with a GOP, a bare GOP, or an .efi driver.",
        show_default=False,
        readable=False,
    ),
]
Unfit = Annotated[
    bool, typer.Option("--unfit", help="Take a donor that is damaged, or for others, too.")
]

gop = new_group("List, extract, insert, update or remove the UEFI display driver.")


@gop.command("list")
def gop_list(file: File, as_json: Json = False) -> None:
    """Show the EFI images, and who reaches them.

    - is standard input.
    """
    from romkit.edit import gop_list as entries
    from romkit.render.edit import gop_text

    rom = read_rom(file, as_json=as_json)
    with blaming(input_name(file), as_json=as_json):
        found = entries(rom)
    if as_json:
        print_json([entry.as_json() for entry in found])
    else:
        say(gop_text(found))


@gop.command("extract")
def gop_extract(
    ctx: typer.Context,
    file: File,
    output: EditOut = None,
    image: Annotated[
        int | None, typer.Option(help="Only this image, by its number.", show_default=False)
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Write the GOP as a ROM of its own, which insert takes.

    - is standard input.
    """
    from romkit.edit import gop_extract as edit

    done = edited(file, lambda rom: edit(rom, image), output, as_json=as_json)
    finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def _insert(rom: Rom, donor: Rom, unfit: bool) -> Edit:
    """Put a donor's GOP where both chains reach it.

    - is standard input.
    """
    from romkit.edit import gop_insert

    return gop_insert(rom, donor, force=unfit)


def _update(rom: Rom, donor: Rom, unfit: bool) -> Edit:
    """Replace the GOP with a donor's.

    - is standard input.
    """
    from romkit.edit import gop_update

    return gop_update(rom, donor, force=unfit)


def _with_donor(edit: Callable[[Rom, Rom, bool], Edit]) -> Callable[..., None]:
    """The command that makes an edit out of a ROM and a donor."""

    def command(
        ctx: typer.Context,
        file: File,
        donor: Donor,
        output: EditOut = None,
        unfit: Unfit = False,
        dry_run: DryRun = False,
        as_json: Json = False,
        force: Force = False,
    ) -> None:
        done = _edited_with(
            file, donor, lambda rom, own: edit(rom, own, unfit), output, as_json=as_json
        )
        finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)

    return command


gop.command("insert", help=_insert.__doc__)(_with_donor(_insert))
gop.command("update", help=_update.__doc__)(_with_donor(_update))


@gop.command("remove")
def gop_remove(
    ctx: typer.Context,
    file: File,
    output: EditOut = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Take the GOP out.

    - is standard input.
    """
    from romkit.edit import gop_remove as edit

    done = edited(file, edit, output, as_json=as_json)
    finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def _edited_with(
    file: Path,
    donor: Path,
    edit: Callable[[Rom, Rom], Edit],
    output: Path | None,
    *,
    as_json: bool,
) -> Edit:
    """`edited` with a donor, which is blamed for its own faults."""
    from romkit.edit import read_donor

    only_once(file, donor)
    told = as_json and not is_standard(output)
    rom = read_rom(file, as_json=told)
    name, data = read_one(donor, as_json=told)
    with blaming(name, as_json=told):
        own = read_donor(data, rom)
    with blaming(input_name(file), as_json=told):
        return edit(rom, own)
