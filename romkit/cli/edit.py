"""Commands that make a new ROM out of one: the input is never touched."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from romkit.cli.files import (
    blaming,
    fail,
    input_name,
    is_standard,
    parsed,
    read_one,
    read_rom,
    unreadable,
    write_output,
    write_parts,
)
from romkit.cli.options import File, Force, Json, Out, device_of, once_each, only_once
from romkit.cli.terminal import print_json, say, shown, style_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from romkit.edit import Edit
    from romkit.rom import Rom

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
EditOut = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Where to write; - is standard output.",
        show_default=False,
        readable=False,
    ),
]
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
    """Cut off all that surrounds a ROM, so that it can be a romfile.

    - is standard input.
    """
    from romkit.edit import strip as edit

    done = _edited(
        file,
        lambda rom: edit(rom, keep_tail=keep_tail, images=images.value),
        output,
        as_json=as_json,
    )
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def split(
    file: File,
    directory: Annotated[
        Path, typer.Option("-d", "--directory", help="Where to write.", readable=False)
    ],
    force: Force = False,
) -> None:
    """Take a ROM apart: images, drivers, certificates, and how they go together.

    - is standard input.
    """
    from romkit.edit import split as take_apart

    rom = read_rom(file)
    with blaming(input_name(file)):
        parts = take_apart(rom)
    for written in write_parts(directory, {p.name: p.data for p in parts}, force=force):
        say(shown(written))


def join(
    ctx: typer.Context,
    pieces: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART...",
            help="The directory that split wrote, or images and .efi drivers in order.",
            show_default=False,
            readable=False,
            callback=once_each,
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
    """Put parts together: a split ROM as it was, or loose images with both chains set.

    - is standard input.
    """
    from romkit.edit import EfiIds, join_images
    from romkit.edit import join as put_together

    wanted = device_of(device, class_code=class_code)
    ids = None
    if wanted is not None:
        code = 0x030000 if wanted.class_code is None else wanted.class_code
        ids = EfiIds(wanted.vendor_id, wanted.device_id, code)
    told = as_json and not is_standard(output)
    directory, files = _pieces(pieces, as_json=told)
    data = {path: read_one(path, as_json=told)[1] for path in files}
    with blaming(str(pieces[0]), as_json=told):
        if directory:
            done = put_together({path.name: data[path] for path in files})
        else:
            done = join_images([data[path] for path in files], ids=ids, compressed=not plain)
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
    """Replace ids wherever a ROM states them, checksums mended.

    - is standard input.
    """
    from romkit.checks import DeviceId
    from romkit.edit import patch as edit

    if device is subsystem is class_code is device_list is None:
        raise typer.BadParameter("nothing to patch: give --device, --subsystem, --class ...")
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
        output,
        as_json=as_json,
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
    """Mend what is wrong, as far as the ROM itself says what would be right.

    - is standard input.
    """
    from romkit.edit import FAULTS
    from romkit.edit import fix as edit

    wanted = {fault.value for fault in only} if only else set(FAULTS)
    done = _edited(
        file,
        lambda rom: edit(rom, [fault for fault in FAULTS if fault in wanted]),
        output,
        as_json=as_json,
    )
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


gop = typer.Typer(
    help="List, extract, insert, update or remove the UEFI display driver.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@gop.command("list")
def gop_list(file: File) -> None:
    """Show the EFI images, and who reaches them.

    - is standard input.
    """
    from romkit.edit import gop_list as entries
    from romkit.render.edit import gop_text

    rom = read_rom(file)
    with blaming(input_name(file)):
        text = gop_text(entries(rom))
    say(text)


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
    """Write the GOP as a ROM of its own, which insert takes.

    - is standard input.
    """
    from romkit.edit import gop_extract as edit

    done = _edited(file, lambda rom: edit(rom, image), output)
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
    """Put a donor's GOP where both chains reach it.

    - is standard input.
    """
    from romkit.edit import gop_insert as edit
    from romkit.edit import read_donor

    only_once(file, donor)
    _, data = read_one(donor, as_json=as_json and not is_standard(output))
    done = _edited(
        file, lambda rom: edit(rom, read_donor(data, rom), force=unfit), output, as_json=as_json
    )
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
    """Replace the GOP with a donor's.

    - is standard input.
    """
    from romkit.edit import gop_update as edit
    from romkit.edit import read_donor

    only_once(file, donor)
    _, data = read_one(donor, as_json=as_json and not is_standard(output))
    done = _edited(
        file, lambda rom: edit(rom, read_donor(data, rom), force=unfit), output, as_json=as_json
    )
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
    """Take the GOP out.

    - is standard input.
    """
    from romkit.edit import gop_remove as edit

    done = _edited(file, edit, output, as_json=as_json)
    _finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def _edited(
    file: Path, edit: Callable[[Rom], Edit], output: Path | None, *, as_json: bool = False
) -> Edit:
    told = as_json and not is_standard(output)
    name, data = read_one(file, as_json=told)
    with blaming(name, as_json=told):
        return edit(parsed(data))


def _pieces(pieces: list[Path], *, as_json: bool) -> tuple[bool, list[Path]]:
    """Whether a directory is to be joined, and the files."""
    try:
        if len(pieces) == 1 and pieces[0].is_dir():
            return True, [path for path in sorted(pieces[0].iterdir()) if path.is_file()]
    except OSError as err:
        fail(str(pieces[0]), unreadable(pieces[0], err), as_json=as_json)
    return False, pieces


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
        beside = as_json and not is_standard(output)
        write_output(output, edit.data, force=force, as_json=beside)
    if as_json:
        print_json(edit.as_json(), err=is_standard(output))
    else:
        say(edit_text(edit, style_of(ctx)), err=is_standard(output))


def _ids(text: str) -> tuple[int, ...]:
    ids = tuple(int(part, 16) for part in text.split(",") if part.strip())
    if any(not 0 < number <= 0xFFFF for number in ids):
        raise ValueError(f"device ids are four hex digits like 1c20, not {text!r}")
    return ids
