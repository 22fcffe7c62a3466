"""A disc with drivers for a guest: what Windows Setup and Device Manager can read.

It has three directories of the same files: ISO 9660 (ECMA-119), Joliet, and UDF 2.60 (ECMA-167),
which Windows prefers. The same files make the same disc, byte for byte.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

from passthrough.errors import PassthroughError

if TYPE_CHECKING:
    from pycdlib import PyCdlib

#: Characters of a name in Joliet's directory (Joliet specification, 1995). pycdlib counts a letter
#: outside ASCII as the two or three bytes that it has in UTF-8.
JOLIET_NAME = 64
#: UTF-16 units of a path that Windows opens by its usual functions (MAX_PATH, with its drive).
WINDOWS_PATH = 256
#: What no name on Windows may hold.
_FORBIDDEN = frozenset('"*/:<>?\\|') | frozenset(map(chr, range(32)))
#: Levels of directories, the root among them, and one for the file (ECMA-119, 6.8.2.1).
_DEPTH = 7

#: What is called with bytes done and bytes in all.
Tick = Callable[[int, int], None]


class MediaError(PassthroughError):
    """Something cannot be on a disc, or a disc cannot be read."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to be on a disc.

    Attributes:
        source: its bytes, the path of a file that has them, or an open one.
        size: bytes.
    """

    source: bytes | str | BinaryIO
    size: int


@dataclass(slots=True)
class _Names:
    """Names of the plain ISO 9660 tree: eight and three letters, each once in a directory."""

    used: set[str] = field(default_factory=set)

    def take(self, folder: str, name: str, *, is_file: bool) -> str:
        stem, _, ending = name.rpartition(".") if "." in name[1:] and is_file else (name, "", "")
        letters = _plain(stem)[:8] or "_"
        ending = _plain(ending)[:3]
        for number in range(1_000_000):
            tail = f"{number}" if number else ""
            short = letters[: 8 - len(tail)] + tail + (f".{ending}" if is_file else "")
            path = f"{folder}/{short}" + (";1" if is_file else "")
            if path not in self.used:
                self.used.add(path)
                return path
        raise MediaError(f"{folder}: too many files in one directory")


def _plain(text: str) -> str:
    return "".join(c if c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" else "_" for c in text.upper())


def check_names(names: Mapping[str, object]) -> None:
    """Whether Windows can have files of these names in one tree.

    Raises:
        MediaError: it cannot; says which and why.
    """
    seen: dict[str, str] = {}
    for path in names:
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            whole = "/".join(parts[:end])
            # Windows knows no capitals in names.
            other = seen.setdefault(whole.casefold(), whole)
            if other != whole:
                raise MediaError(f"{whole}: Windows takes it and {other} for the same name")
        for part in parts:
            bad = sorted(_FORBIDDEN & set(part))
            if part in ("", ".", "..") or part[-1] in " ." or bad:
                what = f" ({' '.join(map(repr, bad))})" if bad else ""
                raise MediaError(f"{path}: Windows cannot have a file of this name{what}")
            if _units(part, path) > JOLIET_NAME or len(part.encode()) > JOLIET_NAME:
                raise MediaError(
                    f"{path}: {part} is longer than the {JOLIET_NAME} characters of Joliet"
                )
        if _units(path, path) > WINDOWS_PATH - 3:
            raise MediaError(f"{path}: the path is longer than Windows can open")
    for path in names:
        above = path.rpartition("/")[0]
        while above:
            if above in names:
                raise MediaError(f"{above}: it is both a file and a directory")
            above = above.rpartition("/")[0]


def _units(text: str, path: str) -> int:
    """How long a name is in UTF-16."""
    try:
        return len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise MediaError(f"{path!r}: the name is not in UTF-8") from None


def write_disc(
    files: Mapping[str, File],
    stream: BinaryIO,
    *,
    date: float,
    label: str = "DRIVERS",
    tick: Tick | None = None,
) -> None:
    """Write a disc.

    Args:
        files: by their paths on the disc, ``/`` between the parts.
        stream: gets the disc; it must be able to seek.
        date: of everything on it, seconds since the epoch: the clock has no part in its bytes.
        label: its name, as Windows shows it.
        tick: is told of the progress.

    Raises:
        MediaError: a file cannot be on it, or has changed meanwhile.
        OSError: a file cannot be read, or the disc cannot be written.
    """
    from pycdlib import PyCdlib
    from pycdlib.pycdlibexception import PyCdlibException

    check_names(files)
    disc = PyCdlib()
    with _clock_stands(date):
        try:
            disc.new(
                interchange_level=3, joliet=3, udf="2.60", vol_ident=_plain(label)[:16],
                sys_ident="", set_size=1, seqnum=1,
            )  # fmt: skip
            try:
                _add_all(disc, files, date)
                disc.write_fp(stream, progress_cb=_three(tick))
            finally:
                disc.close()
        except PyCdlibException as error:
            raise MediaError(f"the disc cannot be made: {error}") from None


def _three(tick: Tick | None) -> Callable[[int, int, Any], None] | None:
    if tick is None:
        return None
    return lambda done, total, _: tick(done, total)


def _add_all(disc: PyCdlib, files: Mapping[str, File], date: float) -> None:
    names, plain = _Names(), {"": ""}
    for path in sorted(files):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder, above = "/".join(parts[:depth]), "/".join(parts[: depth - 1])
            if folder in plain:
                continue
            if depth < _DEPTH:
                plain[folder] = names.take(plain[above], parts[depth - 1], is_file=False)
                disc.add_directory(plain[folder], joliet_path=f"/{folder}", udf_path=f"/{folder}")
            else:  # the plain tree is not that deep: what is below is in the last directory
                plain[folder] = plain[above]
                disc.add_directory(joliet_path=f"/{folder}", udf_path=f"/{folder}")
        file = files[path]
        short = names.take(plain["/".join(parts[:-1])], parts[-1], is_file=True)
        if isinstance(file.source, str):
            disc.add_file(
                file.source, short, joliet_path=f"/{path}", udf_path=f"/{path}",
                creation_time=date,
            )  # fmt: skip
        else:
            made = io.BytesIO(file.source) if isinstance(file.source, bytes) else file.source
            disc.add_fp(
                made, file.size, short, joliet_path=f"/{path}", udf_path=f"/{path}",
                creation_time=date,
            )  # fmt: skip


@contextlib.contextmanager
def _clock_stands(date: float) -> Iterator[None]:
    """pycdlib asks the clock for every directory, the time zone, and chance for UDF's volume."""
    import random
    import time

    from pycdlib import dates, headervd, pycdlib, udf

    clock = SimpleNamespace(
        time=lambda: date, localtime=time.gmtime, gmtime=time.gmtime, strftime=time.strftime
    )
    instead: list[tuple[Any, str, Any]] = [
        (module, "time", clock) for module in (dates, headervd, pycdlib, udf)
    ]
    instead.append((udf, "random", random.Random(int(date))))
    with contextlib.ExitStack() as stack:
        for module, name, value in instead:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


@contextlib.contextmanager
def open_disc(stream: BinaryIO, name: str) -> Iterator[dict[str, File]]:
    """The files of a disc, by their paths; to be read while it is open.

    Args:
        stream: the disc.
        name: of it, for messages.

    Raises:
        MediaError: it is no disc that can be read.
    """
    from pycdlib import PyCdlib
    from pycdlib.pycdlibexception import PyCdlibException

    disc = PyCdlib()
    with contextlib.ExitStack() as stack:
        try:
            disc.open_fp(stream)
            stack.callback(disc.close)
            found = _read_tree(disc, stack)
        except (PyCdlibException, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise MediaError(f"{name}: not a disc that can be read ({error})") from None
        except Exception as error:  # struct.error, and whatever else its bytes lead to
            raise MediaError(f"{name}: not a disc that can be read ({error!r})") from None
        yield found


def _read_tree(disc: PyCdlib, stack: contextlib.ExitStack) -> dict[str, File]:
    kind = next(
        (kind for kind, has in (("joliet_path", disc.has_joliet), ("udf_path", disc.has_udf),
                                ("rr_path", disc.has_rock_ridge)) if has()),
        "iso_path",
    )  # fmt: skip
    found = {}
    for folder, _, names in disc.walk(**{kind: "/"}):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            # Its directory is walked again for each; the bytes stay where they are.
            opened = stack.enter_context(disc.open_file_from_iso(**{kind: path}))
            shown = path.lstrip("/")
            if kind == "iso_path":
                shown = shown.partition(";")[0].rstrip(".").lower()
            found[shown] = File(opened, opened.length())
    return found
