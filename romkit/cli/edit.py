"""Commands that make a new ROM out of one: the input is never touched."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from romkit.cli.files import (
    blaming,
    fail,
    input_name,
    is_standard,
    read_one,
    read_rom,
    unreadable,
    write_parts,
)
from romkit.cli.gop import gop
from romkit.cli.options import File, Force, Json, device_of, once_each
from romkit.cli.outcome import DryRun, EditOut, edited, finish
from romkit.cli.terminal import print_json, say, shown

__all__ = ["fix", "gop", "join", "patch", "split", "strip"]


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
    entry: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of a VFCT, the entry whose ROM is wanted, from 0 on.", show_default=False
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Cut off all that surrounds a ROM, so that it can be a romfile.

    - is standard input.
    """
    from romkit.edit import strip as edit

    done = edited(
        file,
        lambda rom: edit(rom, keep_tail=keep_tail, images=images.value, entry=entry),
        output,
        as_json=as_json,
    )
    finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def split(
    file: File,
    directory: Annotated[
        Path, typer.Option("-d", "--directory", help="Where to write.", readable=False)
    ],
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Take a ROM apart: images, drivers, certificates, and how they go together.

    - is standard input.
    """
    from romkit.edit import split as take_apart

    rom = read_rom(file, as_json=as_json)
    with blaming(input_name(file), as_json=as_json):
        parts = take_apart(rom)
    files = {p.name: p.data for p in parts}
    written = write_parts(directory, files, force=force, as_json=as_json)
    if as_json:
        print_json(
            [{"file": str(p), **part.as_json()} for p, part in zip(written, parts, strict=True)]
        )
        return
    for path in written:
        say(shown(path))


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
    device_list: Annotated[
        str | None,
        typer.Option(help="Further device ids for drivers, like 1c20,1c60.", show_default=False),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Do not compress drivers.")] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Take parts that were changed since the split.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Put parts together: a split ROM as it was, or loose images with both chains set.

    - is standard input.
    """
    from romkit.edit import EfiIds, PieceRefused, join_images
    from romkit.edit import join as put_together

    listed = _ids(device_list or "")
    if listed and device is None:
        raise typer.BadParameter("--device-list needs --device")
    wanted = device_of(device, class_code=class_code)
    ids = None
    if wanted is not None:
        code = 0x030000 if wanted.class_code is None else wanted.class_code
        ids = EfiIds(wanted.vendor_id, wanted.device_id, code, listed)
    told = as_json and not is_standard(output)
    if len(pieces) == 1 and _is_directory(pieces[0]):
        parts = _parts_in(pieces[0], as_json=told)
        with blaming(str(pieces[0]), as_json=told):
            done = put_together(parts, changed=changed)
    else:
        data = [read_one(path, as_json=told)[1] for path in pieces]
        with blaming(str(pieces[0]), as_json=told):
            try:
                done = join_images(data, ids=ids, compressed=not plain)
            except PieceRefused as err:
                fail(input_name(pieces[err.number]), err.error, as_json=told)
    finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


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
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
    listed = None if device_list is None else _ids(device_list)
    expected = device_of(expect)
    done = edited(
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
    finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


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
    done = edited(
        file,
        lambda rom: edit(rom, [fault for fault in FAULTS if fault in wanted]),
        output,
        as_json=as_json,
    )
    finish(ctx, done, output, dry_run=dry_run, as_json=as_json, force=force)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # reading it will say why
        return False


def _parts_in(directory: Path, *, as_json: bool) -> dict[str, bytes]:
    """The manifest in a directory and the files of it that it names, whatever else is there."""
    from romkit.edit.join import part_names
    from romkit.edit.split import MANIFEST

    try:
        there = {path.name for path in directory.iterdir()}
    except OSError as err:
        fail(str(directory), unreadable(directory, err), as_json=as_json)
    if MANIFEST not in there:
        return {}
    _, manifest = read_one(directory / MANIFEST, as_json=as_json)
    with blaming(str(directory), as_json=as_json):
        names = [name for name in part_names(manifest) if name in there]
    files = {name: read_one(directory / name, as_json=as_json)[1] for name in names}
    return {**files, MANIFEST: manifest}


def _ids(text: str) -> tuple[int, ...]:
    """Device ids from what was typed; a usage error where they are none."""
    try:
        ids = tuple(int(part, 16) for part in text.split(",") if part.strip())
    except ValueError:
        ids = (0,)
    if any(not 0 < number <= 0xFFFF for number in ids):
        raise typer.BadParameter(f"device ids are four hex digits like 1c20, not {text!r}")
    return ids
