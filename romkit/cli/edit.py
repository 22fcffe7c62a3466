"""Commands that make a new ROM out of one: the input is never touched."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from romkit.cli.files import fail, parsed, read_one, read_rom, write_output, write_parts
from romkit.cli.options import File, Force, Json, Out, device_of
from romkit.cli.terminal import print_json, style_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from romkit.edit import Edit
    from romkit.rom import Rom

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
EditOut = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Where to write; - is standard output.", show_default=False
    ),
]
Donor = Annotated[
    Path,
    typer.Argument(
        metavar="DONOR", help="A ROM with a GOP, a bare GOP, or an .efi driver.", show_default=False
    ),
]
Unfit = Annotated[
    bool, typer.Option("--unfit", help="Take a donor for another vendor, family or machine too.")
]


class Images(StrEnum):
    """What `strip` keeps."""

    ALL = "all"
    LEGACY = "legacy"
    EFI = "efi"
    FIRMWARE = "firmware"


class FaultName(StrEnum):
    """What `fix` mends."""

    GOP = "gop"
    LENGTH = "length"
    LAST = "last"
    VENDOR = "vendor"
    CHECKSUM = "checksum"


def strip(
    ctx: typer.Context,
    file: File,
    output: EditOut = None,
    keep_tail: Annotated[bool, typer.Option("--keep-tail", help="Cut only the head.")] = False,
    images: Annotated[Images, typer.Option(help="Keep only some of the images.")] = Images.ALL,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Cut off all that surrounds a ROM, so that it can be a romfile."""
    from romkit.edit import strip as edit

    done = _edited(file, lambda rom: edit(rom, keep_tail=keep_tail, images=images.value))
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def split(
    file: File,
    directory: Annotated[Path, typer.Option("-d", "--directory", help="Where to write.")],
    force: Force = False,
) -> None:
    """Take a ROM apart: images, drivers, certificates, and how they go together."""
    from romkit.edit import split as take_apart

    parts = take_apart(read_rom(file))
    for written in write_parts(directory, {p.name: p.data for p in parts}, force=force):
        typer.echo(written)


def join(
    ctx: typer.Context,
    pieces: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART...",
            help="The directory that split wrote, or images and .efi drivers in order.",
            show_default=False,
        ),
    ],
    output: EditOut = None,
    device: Annotated[
        str | None, typer.Option(help="Ids for drivers, like 10de:1c8d.", show_default=False)
    ] = None,
    class_code: Annotated[
        str | None, typer.Option("--class", help="Class for drivers.", show_default="0300")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Do not compress drivers.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Put parts together: a split ROM as it was, or loose images with both chains set."""
    from romkit.edit import EfiIds, join_images
    from romkit.edit import join as put_together
    from romkit.errors import RomError

    try:
        if len(pieces) == 1 and pieces[0].is_dir():
            done = put_together(
                {p.name: read_one(p)[1] for p in sorted(pieces[0].iterdir()) if p.is_file()}
            )
        else:
            wanted = device_of(device, class_code=class_code)
            ids = None
            if wanted is not None:
                code = 0x030000 if wanted.class_code is None else wanted.class_code
                ids = EfiIds(wanted.vendor_id, wanted.device_id, code)
            data = [read_one(piece)[1] for piece in pieces]
            done = join_images(data, ids=ids, compressed=not plain)
    except RomError as err:
        fail(str(pieces[0]), err)
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def patch(
    ctx: typer.Context,
    file: File,
    output: EditOut = None,
    device: Annotated[
        str | None, typer.Option(help="New ids, like 10de:1c8d.", show_default=False)
    ] = None,
    subsystem: Annotated[
        str | None, typer.Option(help="New subsystem, like 1025:118b.", show_default=False)
    ] = None,
    class_code: Annotated[
        str | None, typer.Option("--class", help="New class, like 0300.", show_default=False)
    ] = None,
    device_list: Annotated[
        str | None,
        typer.Option(help="Further device ids, like 1c20,1c60; '' for none.", show_default=False),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(help="Refuse unless it is for this device.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Replace ids wherever a ROM states them, checksums mended."""
    from romkit.checks import DeviceId
    from romkit.edit import patch as edit

    if device is subsystem is class_code is device_list is None:
        raise typer.BadParameter("nothing to patch: give --device, --subsystem, --class …")
    try:
        # The ids that stay are not known here: any that parse will do where none are given.
        wanted = DeviceId.parse(device or "0:0", subsystem, class_code)
        listed = None if device_list is None else _ids(device_list)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
    expected = device_of(expect)
    done = _edited(
        file,
        lambda rom: edit(
            rom,
            vendor=wanted.vendor_id if device else None,
            device=wanted.device_id if device else None,
            class_code=wanted.class_code,
            subsystem=wanted.subsystem,
            device_list=listed,
            expect=expected,
        ),
    )
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def fix(
    ctx: typer.Context,
    file: File,
    output: EditOut = None,
    only: Annotated[
        list[FaultName] | None, typer.Option(help="Mend only this; may be repeated.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Mend what is wrong, as far as the ROM itself says what would be right."""
    from romkit.edit import FAULTS
    from romkit.edit import fix as edit

    wanted = {fault.value for fault in only} if only else set(FAULTS)
    done = _edited(file, lambda rom: edit(rom, [fault for fault in FAULTS if fault in wanted]))
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


gop = typer.Typer(
    help="List, extract, insert, update or remove the UEFI display driver.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@gop.command("list")
def gop_list(file: File) -> None:
    """Show the EFI images, and who reaches them."""
    from romkit.edit import gop_list as entries
    from romkit.render.edit import gop_text

    typer.echo(gop_text(entries(read_rom(file))))


@gop.command("extract")
def gop_extract(
    ctx: typer.Context,
    file: File,
    output: Out,
    image: Annotated[
        int | None, typer.Option(help="Only this image, by its number.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Write the GOP as a ROM of its own, which insert takes."""
    from romkit.edit import gop_extract as edit

    done = _edited(file, lambda rom: edit(rom, image))
    _finish(ctx, done, output, force=force)


@gop.command("insert")
def gop_insert(
    ctx: typer.Context,
    file: File,
    donor: Donor,
    output: EditOut = None,
    unfit: Unfit = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Put a donor's GOP where both chains reach it."""
    from romkit.edit import gop_insert as edit
    from romkit.edit import read_donor

    _, data = read_one(donor)
    done = _edited(file, lambda rom: edit(rom, read_donor(data, rom), force=unfit))
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


@gop.command("update")
def gop_update(
    ctx: typer.Context,
    file: File,
    donor: Donor,
    output: EditOut = None,
    unfit: Unfit = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Replace the GOP with a donor's."""
    from romkit.edit import gop_update as edit
    from romkit.edit import read_donor

    _, data = read_one(donor)
    done = _edited(file, lambda rom: edit(rom, read_donor(data, rom), force=unfit))
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


@gop.command("remove")
def gop_remove(
    ctx: typer.Context,
    file: File,
    output: EditOut = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Take the GOP out."""
    from romkit.edit import gop_remove as edit

    done = _edited(file, edit)
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def _edited(file: Path, edit: Callable[[Rom], Edit]) -> Edit:
    from romkit.errors import RomError

    name, data = read_one(file)
    try:
        return edit(parsed(data))
    except RomError as err:
        fail(name, err)


def _finish(
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
        write_output(output, edit.data, force=force)
    if as_json:
        print_json(edit.as_json(), err=str(output) == "-")
    else:
        typer.echo(edit_text(edit, style_of(ctx)), err=str(output) == "-")


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(part, 16) for part in text.split(",") if part.strip())
