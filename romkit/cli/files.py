"""What touches the operating system: reading inputs, writing outputs whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import typer

from romkit.cli.status import BAD_INPUT
from romkit.cli.terminal import emit, print_json, say, shown
from romkit.errors import RomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romkit.rom import Rom

#: Larger files are flashes of whole machines, or no ROM at all.
MAX_FILE = 256 << 20

_CHUNK = 1 << 20

#: The regular files that this command has read (device, inode): it may not write them.
_read: set[tuple[int, int]] = set()


def read_inputs(
    files: list[Path], *, kind: str = "option ROM"
) -> Iterator[tuple[str, bytes | RomError]]:
    """Name and bytes of each file; an unreadable one comes as the error that says why.

    Args:
        files: their paths; ``-`` is standard input.
        kind: what a file that is too large is not.
    """
    for path in files:
        name = input_name(path)
        try:
            with opened(path) as stream:
                yield name, bounded(stream, kind)
        except OSError as err:
            yield name, unreadable(path, err)


def is_standard(path: Path | None) -> bool:
    """Whether a path is ``-``."""
    return str(path) == "-"


def input_name(path: Path) -> str:
    """What an input is called in messages."""
    return "standard input" if is_standard(path) else str(path)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """An input, read only; from now on nothing is written over it.

    Raises:
        OSError: it cannot be opened.
    """
    if is_standard(path):
        if sys.stdin is None:
            from errno import EBADF

            raise OSError(EBADF, "it is closed")
        note_input(os.fstat(sys.stdin.fileno()))
        yield sys.stdin.buffer
        return
    with path.open("rb") as stream:
        note_input(os.fstat(stream.fileno()))
        yield stream


def note_input(status: os.stat_result) -> None:
    """Remember a file as read; devices and pipes may be input and output at once."""
    if stat.S_ISREG(status.st_mode):
        _read.add((status.st_dev, status.st_ino))


def bounded(stream: BinaryIO, kind: str = "option ROM", hint: str = "") -> bytes:
    """All bytes of an input, as long as memory for them is not taken before they are there.

    Raises:
        OSError: it cannot be read, or is larger than `MAX_FILE`.
    """
    from io import BytesIO

    whole = BytesIO()
    if _size_of(stream) <= MAX_FILE:
        while chunk := stream.read(_CHUNK):
            whole.write(chunk)
            if whole.tell() > MAX_FILE:
                break
        else:
            return whole.getvalue()
    raise OSError(errno.EFBIG, f"larger than {MAX_FILE >> 20} MiB: {hint or f'no {kind}'}")


def _size_of(stream: BinaryIO) -> int:
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def unreadable(path: Path, err: OSError) -> RomError:
    """Why a file cannot be read, and what to do."""
    hint = ""
    if isinstance(err, PermissionError):
        hint = "read it as a user who may, or copy it"
    elif isinstance(err, FileNotFoundError):
        hint = "check the name"
    elif isinstance(err, IsADirectoryError):
        hint = f"`romkit catalogue {shown(path)}`, or name the files in it"
    return RomError(err.strerror or str(err), hint=hint)


def read_one(path: Path, *, as_json: bool = False, kind: str = "option ROM") -> tuple[str, bytes]:
    """Name and bytes of one file; ends the command where it cannot be read."""
    ((name, data),) = read_inputs([path], kind=kind)
    if not isinstance(data, bytes):
        fail(name, data, as_json=as_json)
    return name, data


def read_rom(path: Path, *, as_json: bool = False) -> Rom:
    """One file as a ROM; ends the command where it is none."""
    name, data = read_one(path, as_json=as_json)
    with blaming(name, as_json=as_json):
        return parsed(data)


def parsed(data: bytes | RomError) -> Rom:
    """An input as a ROM.

    Raises:
        RomError: it could not be read, or is no ROM.
    """
    from romkit.rom import parse_rom

    if isinstance(data, Exception):
        raise data
    return parse_rom(data)


def write_output(path: Path, data: bytes, *, force: bool, as_json: bool = False) -> None:
    """Write a file whole or not at all, and never over another unless told, or over an input."""
    if is_standard(path):
        if sys.stdout is not None:
            with blaming("standard output"):
                _refuse(os.fstat(sys.stdout.fileno()))
        emit(data)
        return
    try:
        _write_file(path, data, force=force)
    except FileExistsError:
        err = RomError("exists already", hint="another name, or --force")
        fail(str(path), err, as_json=as_json)
    except RomError as refused:
        fail(str(path), refused, as_json=as_json)
    except OSError as error:
        fail(str(path), unwritable(path, error), as_json=as_json)


def write_parts(
    directory: Path, parts: dict[str, bytes], *, force: bool, as_json: bool = False
) -> list[Path]:
    """`save_parts`; ends the command where they cannot be written."""
    try:
        return save_parts(directory, parts, force=force)
    except NotWritten as failed:
        fail(str(failed.path), failed.error, as_json=as_json)


class NotWritten(Exception):
    """A file cannot be written.

    Attributes:
        path: which.
        error: why.
    """

    def __init__(self, path: Path, error: RomError) -> None:
        super().__init__(path, error)
        self.path = path
        self.error = error


def save_parts(directory: Path, parts: dict[str, bytes], *, force: bool) -> list[Path]:
    """Write files that belong together into a directory, which is made where it is not there.

    Nothing is written if one of them exists already with other contents, unless told. All of them
    are on the disk before the first gets its name; they get them in the order of `parts`.

    Returns:
        The files, in the order of `parts`; those that were there with the same contents too.

    Raises:
        NotWritten: one cannot be written, or may not.
    """
    paths = {directory / name: data for name, data in parts.items()}
    path = directory
    try:
        _refuse_file(directory)
        directory.mkdir(parents=True, exist_ok=True)
        missing = {p: d for p, d in paths.items() if not p.is_file() or p.read_bytes() != d}
        taken = [p for p in missing if p.exists()]
        if taken and not force:
            path = taken[0]
            _refuse_existing()
        with ExitStack() as stack:
            staged = {}
            for path, data in missing.items():
                staged[path] = stack.enter_context(_staged(path, data, force=force))
            for path in missing:
                staged[path]()
    except RomError as refused:
        raise NotWritten(path, refused) from refused
    except OSError as error:
        raise NotWritten(path, unwritable(path, error)) from error
    return list(paths)


def _refuse_file(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise RomError("is no directory", hint="another name")


def _refuse_existing() -> NoReturn:
    raise RomError("exists already, with other contents", hint="an empty directory, or --force")


def unwritable(path: Path, err: OSError) -> RomError:
    """Why a file cannot be written, and what to do."""
    missing = next((p for p in reversed(path.parents) if not p.exists()), None)
    if isinstance(err, FileNotFoundError) and missing is not None:
        return RomError(
            f"cannot be written: there is no directory {shown(missing)}",
            hint=f"mkdir -p {shown(path.parent)}",
        )
    hint = {
        errno.ENOSPC: "make room there, or write elsewhere",
        errno.EDQUOT: "make room there, or write elsewhere",
        errno.EROFS: "a directory that can be written",
        errno.EACCES: "a directory of your own",
        errno.EPERM: "a directory of your own",
    }.get(err.errno or 0, "")
    return RomError(f"cannot be written: {err.strerror or err}", hint=hint)


def refuse_input(path: Path) -> None:
    """Let nobody write over what this command read: not under another name either.

    Raises:
        RomError: it is one of the inputs.
        OSError: it is there, but cannot be asked.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    _refuse(status)


def _refuse(status: os.stat_result) -> None:
    if (status.st_dev, status.st_ino) in _read:
        raise RomError("is an input, which is never changed", hint="another name")


def _write_file(path: Path, data: bytes, *, force: bool) -> None:
    with _staged(path, data, force=force) as place:
        place()


@contextmanager
def _staged(path: Path, data: bytes, *, force: bool) -> Iterator[Callable[[], None]]:
    """Write a file under another name beside its own; call what comes out to give it its own.

    What has not got its name by then is gone in the end.
    """
    import tempfile

    path = Path(os.path.realpath(path))  # --force overwrites what a link leads to, not the link
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        _refuse_special(old.st_mode)
        yield lambda: _write_special(path, data)
        return
    refuse_input(path)
    if old is not None and not force:
        raise FileExistsError
    # A short name, since the file's own may be as long as a name can be.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".romkit-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        _set_mode(temporary, old)
        yield lambda: _place(temporary, path, force=force)
    finally:
        temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        temporary.replace(path)
    else:
        _link(temporary, path)


def _refuse_special(mode: int) -> None:
    if stat.S_ISBLK(mode):
        raise RomError("is a block device: writing a ROM there would destroy what is on it")
    if stat.S_ISDIR(mode):
        raise RomError("is a directory", hint="a file in it")


def _write_special(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:  # a pipe, a socket or a character device: nothing to replace
        stream.write(data)


def _set_mode(temporary: Path, old: os.stat_result | None) -> None:
    """Give a new file the mode that others get, or the mode and owner of the one it replaces."""
    if old is None:
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        return
    for owner in (old.st_uid, -1):
        try:
            os.chown(temporary, owner, old.st_gid)
        except OSError:
            continue  # only root gives files away
        break
    temporary.chmod(old.st_mode & 0o777)


def _link(temporary: Path, path: Path) -> None:
    """Give the finished file its name; fails if somebody else took the name meanwhile."""
    from errno import EMLINK, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM

    try:
        path.hardlink_to(temporary)
    except OSError as err:
        if err.errno not in (EPERM, ENOTSUP, EOPNOTSUPP, ENOSYS, EMLINK):
            raise
        # A file system without links (FAT): take the name first, then fill it by renaming.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        temporary.replace(path)


def error_record(name: str, err: RomError) -> dict[str, Any]:
    """An error as JSON shows it."""
    return {"file": name, "error": err.message, "error_offset": err.offset, "hint": err.hint}


def complain(name: str, err: RomError) -> int:
    """Say what is wrong with which file, and what to do; the exit status that follows."""
    say(f"romkit: {shown(name)}: {shown(err)}", err=True)
    if err.hint:
        say(f"  try: {shown(err.hint)}", err=True)
    return BAD_INPUT


def fail(name: str, err: RomError, *, as_json: bool = False) -> NoReturn:
    """Say what is wrong, as JSON too where that was asked for, and end the command."""
    if as_json:
        print_json(error_record(name, err))
    raise typer.Exit(complain(name, err))


@contextmanager
def blaming(name: str, *, as_json: bool = False) -> Iterator[None]:
    """End the command at a RomError, which is this file's fault."""
    try:
        yield
    except RomError as err:
        fail(name, err, as_json=as_json)
