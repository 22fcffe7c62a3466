"""The catalogue's table as a CSV, JSON or Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from romkit.cli.files import fail
from romkit.errors import RomError

if TYPE_CHECKING:
    from romkit.catalogue import Row


def loaded(path: Path, suffix: str) -> list[Row] | None:
    """The rows of an earlier export; None where it is none, or cannot be read back."""
    import csv

    try:
        if suffix == ".json":
            rows = json.loads(path.read_text(encoding="utf-8"))
            return rows if all(isinstance(row, dict) and "path" in row for row in rows) else None
        if suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                table = csv.DictReader(stream)
                if "path" not in (table.fieldnames or ()):
                    return None
                return [{k: v or None for k, v in row.items()} for row in table if row.get("path")]
    except (OSError, ValueError, TypeError, csv.Error):
        pass
    return None


def exported(rows: Iterable[Row], suffix: str) -> bytes:
    """Rows as a file with this suffix."""
    if suffix == ".csv":
        return _csv(rows)
    if suffix == ".json":
        return (json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n").encode()
    return _parquet(list(rows))


def _csv(rows: Iterable[Row]) -> bytes:
    import csv
    from io import StringIO

    from romkit.cli.database import NAMES

    text = StringIO(newline="")
    writer = csv.DictWriter(text, NAMES)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def need_duckdb() -> Any:
    """The module that writes Parquet; ends the command where it is not installed."""
    try:
        import duckdb
    except ImportError:
        fail("parquet", RomError("needs duckdb", hint="pip install 'dgpukit[catalogue]'"))
    return duckdb


def _parquet(rows: list[Row]) -> bytes:
    import tempfile

    duckdb = need_duckdb()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "rows.json", Path(folder) / "rows.parquet"
        source.write_text(json.dumps(rows))
        duckdb.sql(
            f"COPY (SELECT * FROM read_json('{source}', format = 'array')) "
            f"TO '{target}' (FORMAT parquet)"
        )
        return target.read_bytes()
