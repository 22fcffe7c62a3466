"""Commands over other files than ROMs, and over many ROMs."""

from __future__ import annotations

import mmap
import os
import signal
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from romkit.cli.files import (
    NotWritten,
    bounded,
    complain,
    error_record,
    input_name,
    is_standard,
    opened,
    save_parts,
    unreadable,
)
from romkit.cli.options import Json, device_of, once_each
from romkit.cli.status import BLOCKED, FINE
from romkit.cli.terminal import print_json, say, shown
from romkit.errors import RomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from romkit.find import Found

#: Larger files are mapped, not read: memory images of whole machines.
_READ_WHOLE = 64 << 20


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
    wanted = device_of(device)
    status, records, seen, others = FINE, list[dict[str, Any]](), False, 0

    def wrong(name: str, err: RomError) -> None:
        nonlocal status
        status = max(status, complain(name, err))
        records.append(error_record(name, err))

    for path in files:
        try:
            roms = _search(path)
        except (OSError, RomError) as error:
            wrong(
                input_name(path), error if isinstance(error, RomError) else unreadable(path, error)
            )
            continue
        for found in roms:
            if wanted and (wanted.vendor_id, wanted.device_id) not in found.ids:
                others += 1
                continue
            seen = True
            written = None
            try:
                written = _write(directory, found)
            except NotWritten as failed:
                wrong(str(failed.path), failed.error)
            if as_json:
                records.append(_record(path, found, written))
            else:
                _show(path, found, written)
    if as_json:
        print_json(records)
    elif not seen and status == FINE:
        say(_nothing(device, others), err=True)
    raise typer.Exit(status if seen or status else BLOCKED)


def _nothing(device: str | None, others: int) -> str:
    if device is None or not others:
        return "no option ROM found"
    return f"no option ROM for {shown(device)} found, but {others} for other devices"


def _search(path: Path) -> list[Found]:
    """What is found in a file: one that is large is mapped; sysfs and pipes can only be read."""
    with opened(path) as stream:
        status = os.fstat(stream.fileno())
        if not is_standard(path) and stat.S_ISREG(status.st_mode) and status.st_size > _READ_WHOLE:
            try:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError:
                return _roms(path, bounded(stream))
            with mapped, memoryview(mapped) as view:
                return _apart(path, view)
        return _roms(path, bounded(stream, hint="save it as a file"))


def _roms(path: Path, data: bytes | memoryview) -> list[Found]:
    from romkit.find import find_roms

    def note(text: str) -> None:
        say(f"romkit: {shown(input_name(path))}: {shown(text)}", err=True)

    with progress_bar(shown(input_name(path))) as tick:
        return list(find_roms(data, progress=tick, note=note))


def _apart(path: Path, mapped: memoryview) -> list[Found]:
    """Search a mapped file in a process of its own.

    If the file gets shorter meanwhile, the system kills whoever looks at what is gone (SIGBUS).
    """
    from multiprocessing import get_all_start_methods, get_context

    if "fork" not in get_all_start_methods():  # such systems do not let a mapped file get shorter
        return _roms(path, mapped)
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_roms, args=(receiver, sender, path, mapped))
    child.start()
    sender.close()
    try:
        outcome: list[Found] | RomError = receiver.recv()
    except EOFError:
        child.join()
        if child.exitcode == -signal.SIGBUS:
            outcome = RomError("became shorter while it was searched", hint="search a copy")
        else:
            outcome = RomError(f"the search ended early (exit status {child.exitcode})")
    finally:
        child.kill()
        child.join()
        receiver.close()
    if isinstance(outcome, RomError):
        raise outcome
    return outcome


def _send_roms(receiver: Connection, sender: Connection, path: Path, mapped: memoryview) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    receiver.close()
    outcome: list[Found] | RomError
    try:
        outcome = _roms(path, mapped)
    except RomError as err:
        outcome = err
    sender.send(outcome)


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
    (path,) = save_parts(directory, {f"{found.name}.rom": found.data}, force=False)
    return path


def _show(path: Path, found: Found, written: Path | None) -> None:
    say(f"{shown(written or found.name)}: {len(found.data)} bytes")
    if found.missing:
        say(f"  cut off: {found.missing} bytes are missing at its end")
    elif not found.complete:
        say("  no image of it is the last: more may belong to it")
    for place in found.where:
        say(f"  in {shown(input_name(path))} > {shown(place)}")


def _record(path: Path, found: Found, written: Path | None) -> dict[str, Any]:
    return {
        "file": input_name(path),
        "name": found.name,
        "written": None if written is None else str(written),
        "size": len(found.data),
        "missing": found.missing,
        "complete": found.complete,
        "sha256": found.rom.sha256,
        "version": found.version,
        "ids": [f"{v:04x}:{d:04x}" for v, d in found.ids],
        "places": [
            {"path": list(p.path), "offset": p.offset, "packed": p.packed} for p in found.where
        ],
    }
