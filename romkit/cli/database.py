"""The catalogue's table in SQLite, where it is kept, brought up to date and asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from romkit.catalogue import COLUMNS

if TYPE_CHECKING:
    from romkit.catalogue import Row

NAMES = ("path", "mtime_ns", *COLUMNS)


def create(connection: sqlite3.Connection) -> None:
    """Make the table where there is none."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS roms (path TEXT PRIMARY KEY, mtime_ns INTEGER, {columns})"
    )


def open_existing(path: Path) -> sqlite3.Connection:
    """A database that is there: none is made.

    Not read only, or one that a power cut left in the middle could not be read.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)


def is_catalogue(connection: sqlite3.Connection) -> bool:
    """Whether a database is a catalogue's; one that is empty can become one.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    try:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(roms)")]
        things = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.DatabaseError as err:
        if err.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return False
        raise
    return columns == list(NAMES) or not things


def insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Add rows; each takes the place of the one with its path."""
    marks = ", ".join("?" * len(NAMES))
    connection.executemany(
        f"INSERT OR REPLACE INTO roms ({', '.join(NAMES)}) VALUES ({marks})",
        ([row.get(name) for name in NAMES] for row in rows),
    )


def select(connection: sqlite3.Connection, where: str = "1") -> Iterator[Row]:
    """The rows for which this SQL is true, by path."""
    connection.row_factory = sqlite3.Row
    for row in connection.execute(f"SELECT * FROM roms WHERE {where} ORDER BY path"):
        yield dict(row)


def forget(
    connection: sqlite3.Connection, files: set[str], listed: set[str], unlisted: set[str]
) -> None:
    """Take out the rows of files that are gone.

    Args:
        files: the files that there are.
        listed: the directories whose files these are.
        unlisted: directories whose files could not be listed: nothing is known of what is below.
    """
    known = [row[0] for row in connection.execute("SELECT path FROM roms")]
    gone = []
    for path in known:
        above = _above(path)
        if path not in files and above & listed and not above & unlisted:
            gone.append((path,))
    connection.executemany("DELETE FROM roms WHERE path = ?", gone)
    connection.commit()


def _above(path: str) -> set[str]:
    """The directories that a path names; ``.`` is not above ``../file``."""
    whole = Path(path)
    return {str(p) for p in whole.parents if p.parts or whole.parts[0] != ".."}
