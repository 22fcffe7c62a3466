"""Commands over other files than ROMs, and over many ROMs."""

from __future__ import annotations

import mmap
import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from romkit.cli.files import (
    bounded,
    complain,
    error_record,
    input_name,
    is_standard,
    opened,
    unreadable,
    write_parts,
)
from romkit.cli.options import Json, device_of, once_each
from romkit.cli.status import BLOCKED, FINE
from romkit.cli.terminal import print_json, say, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romkit.find import Found


def find(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Anything a ROM may be in.",
            show_default=False,
            readable=False,
            callback=once_each,
        ),
    ],
    directory: Annotated[
        Path | None,
        typer.Option(
            "-d", "--directory", help="Write each ROM there.", show_default=False, readable=False
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Only for this device, like 10de:1c8d.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Find ROMs in BIOS updates, flash dumps, registry hives, ACPI tables, archives.

    - is standard input.
    """
    from romkit.errors import RomError

    wanted = device_of(device)
    status, records, seen = FINE, list[dict[str, Any]](), False
    for path in files:
        try:
            roms = _search(path)
        except (OSError, RomError) as error:
            err = error if isinstance(error, RomError) else unreadable(path, error)
            status = max(status, complain(input_name(path), err))
            records.append(error_record(input_name(path), err))
            continue
        for found in roms:
            if wanted and (wanted.vendor_id, wanted.device_id) not in found.ids:
                continue
            seen = True
            written = _write(directory, found)
            if as_json:
                records.append(_record(path, found, written))
            else:
                _show(path, found, written)
    if as_json:
        print_json(records)
    elif not seen and status == FINE:
        say("no option ROM found", err=True)
    raise typer.Exit(status if seen or status else BLOCKED)


def _search(path: Path) -> tuple[Found, ...]:
    from romkit.find import find_roms

    def note(text: str) -> None:
        say(f"romkit: {shown(input_name(path))}: {shown(text)}", err=True)

    with _mapped(path) as data, progress_bar(shown(input_name(path))) as tick:
        return tuple(find_roms(data, progress=tick, note=note))


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    """A file's bytes, mapped where it can be; a pipe is read."""
    with opened(path) as stream:
        status = os.fstat(stream.fileno())
        if is_standard(path) or not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            yield bounded(stream, hint="save it as a file")
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error while that is a terminal; nothing in a pipe."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    with typer.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def tick(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield tick


def _write(directory: Path | None, found: Found) -> Path | None:
    if directory is None:
        return None
    (path,) = write_parts(directory, {f"{found.name}.rom": found.data}, force=False)
    return path


def _show(path: Path, found: Found, written: Path | None) -> None:
    say(f"{shown(written or found.name)}: {len(found.data)} bytes")
    for place in found.where:
        say(f"  in {shown(input_name(path))} > {shown(place)}")


def _record(path: Path, found: Found, written: Path | None) -> dict[str, Any]:
    return {
        "file": input_name(path),
        "name": found.name,
        "written": None if written is None else str(written),
        "size": len(found.data),
        "sha256": found.rom.sha256,
        "version": found.version,
        "ids": [f"{v:04x}:{d:04x}" for v, d in found.ids],
        "places": [
            {"path": list(p.path), "offset": p.offset, "packed": p.packed} for p in found.where
        ],
    }
