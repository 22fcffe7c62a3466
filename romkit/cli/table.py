"""The `catalogue` command: many ROMs into a table that can be asked."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from dataclasses import dataclass, field
from errno import EFBIG, ELOOP, ENOENT, ENOTDIR
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from romkit.cli.files import (
    MAX_FILE,
    NotWritten,
    complain,
    fail,
    opened,
    unreadable,
    unwritable,
    write_output,
)
from romkit.cli.options import Force, Json
from romkit.cli.search import progress_bar
from romkit.cli.status import FINE
from romkit.cli.terminal import print_json, say, shown
from romkit.cli.workers import executor
from romkit.errors import RomError

if TYPE_CHECKING:
    import sqlite3

#: Rows after which a database is saved: what a power cut may cost at most.
_SAVED_EVERY = 200

DATABASES = (".sqlite", ".db")
FORMATS = (*DATABASES, ".csv", ".json", ".parquet")

_TOO_LARGE = f"larger than {MAX_FILE >> 20} MiB: no option ROM"


def catalogue(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR...]",
            help="Directories and files; without any, the table is asked as it is.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A .sqlite, .csv, .json or .parquet file.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes.")] = 1,
    where: Annotated[
        str | None,
        typer.Option(help="Print the rows for which this SQL is true.", show_default=False),
    ] = None,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Read many ROMs into a table; a database goes on where it stopped."""
    import sqlite3

    suffix = output.suffix.lower() if output else ".sqlite"
    if suffix not in FORMATS:
        raise typer.BadParameter(f"the output ends with one of {', '.join(FORMATS)}")
    if output is None and where is None:
        raise typer.BadParameter("give -o OUT, --where SQL, or both")
    if as_json and where is None:
        raise typer.BadParameter("--json is for the rows of --where")
    if suffix == ".parquet":
        from romkit.cli.export import need_duckdb

        need_duckdb()
    try:
        if sources:
            status = _run(
                sources, output, suffix, jobs=jobs, where=where, as_json=as_json, force=force
            )
        elif output is None or where is None:
            raise typer.BadParameter("give DIR, or the table with -o and --where to ask it")
        else:
            status = _ask_only(output, suffix, where, as_json=as_json)
    except NotWritten as failed:
        fail(str(failed.path), failed.error, as_json=as_json)
    except (sqlite3.Error, UnicodeError) as err:
        fail(str(output or "--where"), RomError(str(err)), as_json=as_json)
    raise typer.Exit(status)


def _run(
    sources: list[Path],
    output: Path | None,
    suffix: str,
    *,
    jobs: int,
    where: str | None,
    as_json: bool,
    force: bool,
) -> int:
    import sqlite3

    from romkit.cli import database
    from romkit.cli.export import exported, loaded

    in_place = output is not None and _can_go_on(output, sources, suffix, force=force)
    found = _listing(sources, output)
    if not found.files and not found.listed:
        # Nothing that was asked for is there: nothing is made, or changed.
        if as_json:
            print_json([])
        return found.status
    with closing(sqlite3.connect(output if output and in_place else ":memory:")) as connection:
        database.create(connection)
        if output is not None and suffix not in DATABASES and output.exists():
            database.insert(connection, loaded(output, suffix) or ())
        files = {_key(path) for path in found.files}
        database.forget(connection, files, found.listed, found.unlisted)
        changed = _changed(connection, found.files)
        status, read = _fill(connection, changed, jobs)
        if output is not None:
            if not in_place:
                data = (
                    connection.serialize()
                    if suffix in DATABASES
                    else exported(database.select(connection), suffix)
                )
                write_output(output, data, force=force, as_json=as_json)
            say(f"{shown(output)}: {_summary(connection, files, len(changed), read)}", err=True)
        if where is not None:
            _print(connection, where, as_json=as_json)
    return max(status, found.status)


def _can_go_on(output: Path, sources: list[Path], suffix: str, *, force: bool) -> bool:
    """Whether the output is a database that can be written as it is.

    Raises:
        NotWritten: it may not be written at all.
        sqlite3.Error: it cannot be looked into.
    """
    from romkit.cli.database import is_catalogue, open_existing

    refused = None
    if any(_same(source, output) for source in sources):
        refused = RomError("is an input, which is never changed", hint="another name")
    elif not output.parent.exists():
        refused = unwritable(output, FileNotFoundError())
    elif suffix not in DATABASES:
        if output.exists() and not force:
            hint = "another name, or --force to bring it up to date"
            refused = RomError("exists already", hint=hint)
    elif not output.exists():
        return True
    else:
        with closing(open_existing(output)) as connection:
            if is_catalogue(connection):
                return True
        if not force:
            hint = "another name, or --force to replace it"
            refused = RomError("exists already, and is no catalogue", hint=hint)
    if refused is not None:
        raise NotWritten(output, refused)
    return False


def _ask_only(output: Path, suffix: str, where: str, *, as_json: bool) -> int:
    """Ask a table that is there already."""
    import sqlite3

    from romkit.cli import database
    from romkit.cli.export import loaded

    if suffix == ".parquet":
        raise typer.BadParameter("a .parquet file is for other programs, like duckdb, to ask")
    try:
        with opened(output):
            pass
    except OSError as err:
        fail(str(output), unreadable(output, err), as_json=as_json)
    known = suffix in DATABASES
    opening = database.open_existing(output) if known else sqlite3.connect(":memory:")
    with closing(opening) as connection:
        rows = [] if known else loaded(output, suffix)
        if rows is None or (known and not database.is_catalogue(connection)):
            fail(str(output), RomError("is no catalogue"), as_json=as_json)
        if not known:
            database.create(connection)
            database.insert(connection, rows)
        _print(connection, where, as_json=as_json)
    return FINE


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


@dataclass(slots=True)
class _Listing:
    """The files below the sources, and the directories that were listed for it, or could not be."""

    files: list[Path] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)
    status: int = FINE

    def failed(self, err: OSError) -> None:
        """Note what could not be looked into: the error names it."""
        path = Path(err.filename)
        self.unlisted.add(_key(path))
        self.status = complain(str(path), unreadable(path, err))


def _listing(sources: list[Path], output: Path | None) -> _Listing:
    """Every file below the sources, each once, in a fixed order; not the table itself."""
    listing, found = _Listing(), dict[Path, None]()
    for source in sources:
        try:
            mode = source.stat().st_mode
        except OSError as err:
            listing.failed(err)
            continue
        if stat.S_ISDIR(mode):
            below = []
            for root, _, names in os.walk(source, onerror=listing.failed):
                listing.listed.add(_key(Path(root)))
                below += [path for name in names if _is_file(path := Path(root, name))]
            found.update(dict.fromkeys(sorted(below)))
        elif stat.S_ISREG(mode):
            found[source] = None
        else:
            listing.status = complain(str(source), RomError("is no file or directory"))
    listing.files = [path for path in found if output is None or not _same(path, output)]
    return listing


def _is_file(path: Path) -> bool:
    """Whether there is a file, not a pipe, a device or a link to nowhere; also if none can tell."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as err:
        return err.errno not in (ENOENT, ENOTDIR, ELOOP)  # its row will say why


def _key(path: Path) -> str:
    """A path as text that any table takes: names need not be Unicode."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _changed(connection: sqlite3.Connection, files: list[Path]) -> list[Path]:
    """The files whose size and time are not those of their row; the same contents just move on."""
    import hashlib

    known = {
        path: (size, mtime, sha256)
        for path, size, mtime, sha256 in connection.execute(
            "SELECT path, size, mtime_ns, sha256 FROM roms"
        )
    }
    changed = []
    for path in files:
        row = known.get(_key(path))
        try:
            now = path.stat()
            if row is None or row[0] != now.st_size:
                changed.append(path)
            elif row[1] != now.st_mtime_ns:
                if row[2] is None or hashlib.sha256(path.read_bytes()).hexdigest() != row[2]:
                    changed.append(path)
                else:
                    connection.execute(
                        "UPDATE roms SET mtime_ns = ? WHERE path = ?",
                        (now.st_mtime_ns, _key(path)),
                    )
        except OSError:
            changed.append(path)  # its row will say why
    connection.commit()
    return changed


def _fill(connection: sqlite3.Connection, files: list[Path], jobs: int) -> tuple[int, int]:
    """Read files into rows; the status that follows, and how many were read."""
    from concurrent.futures import BrokenExecutor

    from romkit.catalogue import catalogue as rows
    from romkit.cli.database import insert

    status, read, errors = FINE, 0, list[tuple[Path, str]]()
    try:
        with executor(jobs) as workers, progress_bar("reading") as tick:
            for read, (path, row) in enumerate(rows(files, read_file, workers), start=1):
                size, row["mtime_ns"] = _state(path)
                if row["error"] == _TOO_LARGE:
                    row["size"] = size
                elif row["size"] is None:
                    errors.append((path, row["error"]))
                insert(connection, [{"path": _key(path), **row}])
                if read % _SAVED_EVERY == 0:
                    connection.commit()
                if tick is not None:
                    tick(read, len(files))
    except (BrokenExecutor, OSError) as err:
        hint = "fewer --jobs; what was read is kept"
        status = complain(f"--jobs {jobs}", RomError(f"a worker could not go on: {err}", hint=hint))
    finally:
        connection.commit()
    for path, why in errors:
        status = complain(str(path), RomError(why))
    return status, read


def read_file(path: Path) -> bytes:
    """A file's bytes; runs in the workers.

    Raises:
        OSError: it cannot be read, or is larger than any ROM.
    """
    if path.stat().st_size > MAX_FILE:
        raise OSError(EFBIG, _TOO_LARGE)
    return path.read_bytes()


def _state(path: Path) -> tuple[int | None, int | None]:
    """Size and time, if they can be had."""
    try:
        now = path.stat()
    except OSError:
        return None, None
    return now.st_size, now.st_mtime_ns


def _summary(connection: sqlite3.Connection, files: set[str], changed: int, read: int) -> str:
    sizes = [
        size
        for path, size in connection.execute("SELECT path, size FROM roms WHERE error IS NOT NULL")
        if path in files
    ]
    unread = sizes.count(None)
    return (
        f"{len(files)} files, {read} read, {len(files) - changed} unchanged, "
        f"{len(sizes) - unread} without a ROM" + (f", {unread} unreadable" if unread else "")
    )


def _print(connection: sqlite3.Connection, where: str, *, as_json: bool) -> None:
    from romkit.cli.database import select

    # A condition is all that is asked for: nothing in it may change the table.
    connection.execute("PRAGMA query_only = 1")
    rows = list(select(connection, f"({where})"))
    if as_json:
        print_json(rows)
        return
    from tabulate import tabulate

    columns = ("path", "vendor", "device", "family", "version", "images", "gop_version", "blockers")
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    say(tabulate(cells, headers=columns, disable_numparse=True, missingval="-"))


def _cell(value: object) -> object:
    return shown(value) if isinstance(value, str) else value
