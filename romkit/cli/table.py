"""The `catalogue` command: many ROMs into a table that can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from romkit.cli.files import MAX_FILE, complain, fail, unreadable, write_output
from romkit.cli.options import Force
from romkit.cli.search import progress_bar
from romkit.cli.status import FINE
from romkit.cli.terminal import say, shown

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import Executor

    from romkit.catalogue import Row

#: Rows after which a database is saved: what Ctrl-C may cost at most.
_SAVED_EVERY = 200

FORMATS = (".sqlite", ".db", ".csv", ".json", ".parquet")


def catalogue(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Directories and files.", show_default=False, readable=False
        ),
    ],
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
    force: Force = False,
) -> None:
    """Read many ROMs into a table; a database goes on where it stopped."""
    import sqlite3

    suffix = output.suffix.lower() if output else ".sqlite"
    if suffix not in FORMATS:
        raise typer.BadParameter(f"the output ends with one of {', '.join(FORMATS)}")
    if output is None and where is None:
        raise typer.BadParameter("give -o OUT, --where SQL, or both")
    if suffix == ".parquet":
        _duckdb()
    database = output if output and suffix in (".sqlite", ".db") else None
    try:
        status = _run(sources, output, database, suffix, jobs=jobs, where=where, force=force)
    except (sqlite3.Error, UnicodeError) as err:
        from romkit.errors import RomError

        status = complain(str(output or "--where"), RomError(str(err)))
    raise typer.Exit(status)


def _run(
    sources: list[Path],
    output: Path | None,
    database: Path | None,
    suffix: str,
    *,
    jobs: int,
    where: str | None,
    force: bool,
) -> int:
    import sqlite3

    from romkit.errors import RomError

    if output is not None and any(_same(source, output) for source in sources):
        fail(str(output), RomError("is an input, which is never changed", hint="another name"))
    with closing(sqlite3.connect(database or ":memory:")) as connection:
        _create(connection)
        if output is not None and database is None and output.exists():
            if not force:
                hint = "another name, or --force to bring it up to date"
                fail(str(output), RomError("exists already", hint=hint))
            _insert(connection, _loaded(output, suffix))
        status, files = _files(sources, output)
        _forget(connection, sources, files)
        changed = _changed(connection, files)
        read = _fill(connection, changed, jobs)
        if output is not None and database is None:
            write_output(output, _exported(connection, suffix), force=force)
        if output is not None:
            bad = connection.execute("SELECT count(*) FROM roms WHERE error IS NOT NULL")
            say(
                f"{shown(output)}: {len(files)} files, {read} read, {len(files) - read} unchanged, "
                f"{bad.fetchone()[0]} no ROMs",
                err=True,
            )
        if where is not None:
            _print(connection, where)
    return status


def _create(connection: sqlite3.Connection) -> None:
    from romkit.catalogue import COLUMNS

    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS roms (path TEXT PRIMARY KEY, mtime_ns INTEGER, {columns})"
    )


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _files(sources: list[Path], output: Path | None) -> tuple[int, list[Path]]:
    """Every file below the sources, each once, in a fixed order; not the table itself."""
    from romkit.errors import RomError

    status, found = FINE, dict[Path, None]()
    for source in sources:
        try:
            if source.is_dir():
                found.update(dict.fromkeys(sorted(p for p in source.rglob("*") if p.is_file())))
            elif source.is_file():
                found[source] = None
            else:
                status = complain(str(source), RomError("no such file or directory"))
        except OSError as err:
            status = complain(str(source), unreadable(source, err))
    return status, [path for path in found if output is None or not _same(path, output)]


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
            stat = path.stat()
            if row is None or row[0] != stat.st_size:
                changed.append(path)
            elif row[1] != stat.st_mtime_ns:
                if hashlib.sha256(path.read_bytes()).hexdigest() != row[2]:
                    changed.append(path)
                else:
                    connection.execute(
                        "UPDATE roms SET mtime_ns = ? WHERE path = ?",
                        (stat.st_mtime_ns, _key(path)),
                    )
        except OSError:
            changed.append(path)  # its row will say why
    connection.commit()
    return changed


def _forget(connection: sqlite3.Connection, sources: list[Path], files: list[Path]) -> None:
    """Take out the rows of files that were below these directories and are gone."""
    here = {_key(path) for path in files}
    below = [Path(_key(source)) for source in sources]
    known = [row[0] for row in connection.execute("SELECT path FROM roms")]
    gone = [p for p in known if p not in here and any(s in Path(p).parents for s in below)]
    connection.executemany("DELETE FROM roms WHERE path = ?", [(path,) for path in gone])


def _fill(connection: sqlite3.Connection, files: list[Path], jobs: int) -> int:
    from romkit.catalogue import catalogue as rows

    with _executor(jobs) as executor, progress_bar("reading") as tick:
        for done, (path, row) in enumerate(rows(files, read_file, executor), start=1):
            _insert(connection, [{"path": _key(path), "mtime_ns": _mtime(path), **row}])
            if done % _SAVED_EVERY == 0:
                connection.commit()
            if tick is not None:
                tick(done, len(files))
    connection.commit()
    return len(files)


def _insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    from romkit.catalogue import COLUMNS

    names = ["path", "mtime_ns", *COLUMNS]
    marks = ", ".join("?" * len(names))
    connection.executemany(
        f"INSERT OR REPLACE INTO roms ({', '.join(names)}) VALUES ({marks})",
        ([row.get(name) for name in names] for row in rows),
    )


def _loaded(path: Path, suffix: str) -> list[Row]:
    """The rows of an earlier export, so that unchanged files need not be read again.

    A file that cannot be read so is no reason to stop: all ROMs are then read.
    """
    import csv

    try:
        if suffix == ".json":
            rows = json.loads(path.read_text(encoding="utf-8"))
            return rows if all(isinstance(row, dict) and "path" in row for row in rows) else []
        if suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                return [
                    {k: v or None for k, v in row.items()}
                    for row in csv.DictReader(stream)
                    if row.get("path")
                ]
    except (OSError, ValueError, TypeError, csv.Error):
        pass
    return []


def _executor(jobs: int) -> Executor:
    if jobs == 1:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(1)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def read_file(path: Path) -> bytes:
    """A file's bytes; runs in the workers.

    Raises:
        OSError: it cannot be read, or is larger than any ROM.
    """
    if path.stat().st_size > MAX_FILE:
        from errno import EFBIG

        raise OSError(EFBIG, f"larger than {MAX_FILE >> 20} MiB: no option ROM")
    return path.read_bytes()


def _mtime(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _rows(connection: sqlite3.Connection, where: str = "1") -> Iterator[Row]:
    import sqlite3

    connection.row_factory = sqlite3.Row
    for row in connection.execute(f"SELECT * FROM roms WHERE {where} ORDER BY path"):
        yield dict(row)


def _exported(connection: sqlite3.Connection, suffix: str) -> bytes:
    rows = list(_rows(connection))
    if suffix == ".json":
        return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
    if suffix == ".csv":
        return _csv(rows)
    return _parquet(rows)


def _csv(rows: Iterable[Row]) -> bytes:
    import csv
    from io import StringIO

    from romkit.catalogue import COLUMNS

    text = StringIO(newline="")
    writer = csv.DictWriter(text, ["path", "mtime_ns", *COLUMNS])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        from romkit.errors import RomError

        fail("parquet", RomError("needs duckdb", hint="pip install 'dgpukit[catalogue]'"))
    return duckdb


def _parquet(rows: list[Row]) -> bytes:
    import tempfile

    duckdb = _duckdb()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "rows.json", Path(folder) / "rows.parquet"
        source.write_text(json.dumps(rows))
        duckdb.sql(
            f"COPY (SELECT * FROM read_json('{source}', format = 'array')) "
            f"TO '{target}' (FORMAT parquet)"
        )
        return target.read_bytes()


def _print(connection: sqlite3.Connection, where: str) -> None:
    from tabulate import tabulate

    # A condition is all that is asked for: nothing in it may change the table.
    connection.execute("PRAGMA query_only = 1")
    columns = ("path", "vendor", "device", "family", "version", "images", "gop_version", "blockers")
    rows = [[_cell(row[name]) for name in columns] for row in _rows(connection, f"({where})")]
    say(tabulate(rows, headers=columns, disable_numparse=True, missingval="-"))


def _cell(value: object) -> object:
    return shown(value) if isinstance(value, str) else value
