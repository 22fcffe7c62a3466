"""What touches the operating system: reading inputs, writing outputs whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from romkit.cli.status import BAD_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romkit.errors import RomError
    from romkit.rom import Rom

#: Larger files are flashes of whole machines, or no ROM at all.
MAX_FILE = 256 << 20


def read_inputs(files: list[Path]) -> Iterator[tuple[str, bytes | RomError]]:
    """Name and bytes of each file; an unreadable one comes as the error that says why."""
    for path in files:
        try:
            yield _one_input(path)
        except OSError as err:
            from romkit.errors import RomError

            yield str(path), RomError(err.strerror or str(err), hint=_advice(err))


def _one_input(path: Path) -> tuple[str, bytes]:
    if str(path) == "-":
        return "standard input", _bounded(sys.stdin.buffer)
    with path.open("rb") as stream:
        return str(path), _bounded(stream)


def _bounded(stream: Any) -> bytes:
    data: bytes = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        from errno import EFBIG

        raise OSError(EFBIG, f"larger than {MAX_FILE >> 20} MiB: no option ROM")
    return data


def _advice(err: OSError) -> str:
    if isinstance(err, PermissionError):
        return "read it as a user who may, or copy it"
    if isinstance(err, FileNotFoundError):
        return "check the name"
    return ""


def read_one(path: Path) -> tuple[str, bytes]:
    """Name and bytes of one file; ends the command where it cannot be read."""
    ((name, data),) = read_inputs([path])
    if not isinstance(data, bytes):
        fail(name, data)
    return name, data


def read_rom(path: Path) -> Rom:
    """One file as a ROM; ends the command where it is none."""
    from romkit.errors import RomError

    name, data = read_one(path)
    try:
        return parsed(data)
    except RomError as err:
        fail(name, err)


def parsed(data: bytes | RomError) -> Rom:
    """An input as a ROM.

    Raises:
        RomError: it could not be read, or is no ROM.
    """
    from romkit.rom import parse_rom

    if isinstance(data, Exception):
        raise data
    return parse_rom(data)


def write_output(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file whole or not at all, and never over another unless told."""
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        _write_file(path, data, force=force)
    except FileExistsError:
        typer.echo(f"romkit: {path}: exists already\n  try: another name, or --force", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except OSError as err:
        typer.echo(f"romkit: {path}: cannot be written: {err.strerror or err}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def write_parts(directory: Path, parts: dict[str, bytes], *, force: bool) -> list[Path]:
    """Write files into a directory, which is made where it is not there.

    Nothing is written if one of them exists already with other contents, unless told.

    Returns:
        The files, in the order of `parts`; those that were there with the same contents too.
    """
    paths = {directory / name: data for name, data in parts.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        missing = {p: d for p, d in paths.items() if not p.exists() or p.read_bytes() != d}
        taken = [p for p in missing if p.exists()]
        if taken and not force:
            typer.echo(
                f"romkit: {taken[0]}: exists already, with other contents\n"
                "  try: an empty directory, or --force",
                err=True,
            )
            raise typer.Exit(BAD_INPUT)
        for path, data in missing.items():
            _write_file(path, data, force=force)
    except OSError as err:
        where = err.filename or directory
        typer.echo(f"romkit: {where}: cannot be written: {err.strerror or err}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    return list(paths)


def _write_file(path: Path, data: bytes, *, force: bool) -> None:
    import tempfile

    path = path.resolve()  # --force overwrites what a link leads to, not the link
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:  # a pipe or a device: nothing to replace
            stream.write(data)
        return
    if path.exists() and not force:
        raise FileExistsError
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if force:
            temporary.replace(path)
        else:
            _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    """Give the finished file its name; fails if somebody else took the name meanwhile."""
    from errno import EMLINK, ENOTSUP, EPERM

    try:
        path.hardlink_to(temporary)
    except OSError as err:
        if err.errno not in (EPERM, ENOTSUP, EMLINK):
            raise
        # A file system without links (FAT): take the name first, then fill it by renaming.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        temporary.replace(path)


def error_record(err: RomError) -> dict[str, Any]:
    """An error as JSON shows it."""
    return {"error": err.message, "error_offset": err.offset, "hint": err.hint}


def complain(name: str, err: RomError) -> int:
    """Say what is wrong with which file, and what to do; the exit status that follows."""
    typer.echo(f"romkit: {name}: {err}", err=True)
    if err.hint:
        typer.echo(f"  try: {err.hint}", err=True)
    return BAD_INPUT


def fail(name: str, err: RomError) -> NoReturn:
    """Say what is wrong, and end the command."""
    raise typer.Exit(complain(name, err))
