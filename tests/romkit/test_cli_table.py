"""The `catalogue` command: the tables that it makes, and asks."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from pathlib import Path

import pytest
from builders.rom import nvidia_desktop, nvidia_mobile
from romkit_command import run


@pytest.fixture
def collection(tmp_path: Path, wrapped: Path, mobile: Path) -> Path:
    folder = tmp_path / "roms"
    (folder / "deep").mkdir(parents=True)
    wrapped.rename(folder / "wrapped.rom")
    mobile.rename(folder / "deep/mobile.rom")
    (folder / "notes.txt").write_text("no ROM")
    return folder


def rows(database: Path) -> dict[str, dict[str, object]]:
    with sqlite3.connect(database) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute("SELECT * FROM roms")]
    connection.close()
    return {Path(str(row["path"])).name: row for row in found}


def test_catalogue_goes_on_where_it_stopped(collection: Path, tmp_path: Path) -> None:
    database = tmp_path / "roms.sqlite"
    first = run("catalogue", collection, "-o", database, "--jobs", "2")
    assert first.returncode == 0
    assert b"3 files, 3 read, 0 unchanged, 1 without a ROM" in first.stderr
    table = rows(database)
    assert table["wrapped.rom"]["container"] == "NVGI"
    assert table["wrapped.rom"]["blockers"] == "rom.container"
    assert table["mobile.rom"]["images"] == "00 e0 70"
    assert "text" in str(table["notes.txt"]["error"])
    assert b"0 read, 3 unchanged" in run("catalogue", collection, "-o", database).stderr
    # Touched, but the same: not read as a ROM again. Changed: read. Gone: forgotten.
    os.utime(collection / "wrapped.rom", (1, 1))
    (collection / "notes.txt").unlink()
    (collection / "deep/mobile.rom").write_bytes(nvidia_desktop())
    again = run("catalogue", collection, "-o", database)
    assert b"2 files, 1 read, 1 unchanged, 0 without a ROM" in again.stderr
    assert rows(database)["mobile.rom"]["images"] == "00 03 e0"
    assert set(rows(database)) == {"wrapped.rom", "mobile.rom"}


def test_catalogue_answers_questions(collection: Path) -> None:
    done = run("catalogue", collection, "--where", "images like '%03%'")
    assert done.returncode == 0
    assert b"wrapped.rom" in done.stdout
    assert b"mobile.rom" not in done.stdout
    for bad in ("no_such_column = 1", "1; DROP TABLE roms", "1) UNION SELECT (1"):
        refused = run("catalogue", collection, "--where", bad)
        assert refused.returncode == 3
        assert b"Traceback" not in refused.stderr


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_catalogue_exports(collection: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"roms.{suffix}"
    assert run("catalogue", collection, "-o", out).returncode == 0
    with out.open(newline="") as stream:
        table = list(csv.DictReader(stream)) if suffix == "csv" else json.load(stream)
    assert {Path(row["path"]).name for row in table} == {"wrapped.rom", "mobile.rom", "notes.txt"}
    assert run("catalogue", collection, "-o", out).returncode == 3
    again = run("catalogue", collection, "-o", out, "--force")
    assert b"0 read, 3 unchanged" in again.stderr


def test_catalogue_writes_parquet(collection: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="pip install 'dgpukit[catalogue]'")
    out = tmp_path / "roms.parquet"
    assert run("catalogue", collection, "-o", out).returncode == 0
    found = duckdb.sql(f"SELECT images FROM '{out}' WHERE container = 'NVGI'").fetchall()
    assert found == [("00 03 e0",)]


def test_a_file_that_is_no_database_is_not_touched(collection: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.sqlite"
    precious.write_bytes(b"precious" * 100)
    done = run("catalogue", collection, "-o", precious)
    assert done.returncode == 3
    assert precious.read_bytes() == b"precious" * 100


def test_a_catalogue_never_replaces_what_it_is_given(collection: Path, tmp_path: Path) -> None:
    table, link = tmp_path / "rom.csv", tmp_path / "link.csv"
    table.write_bytes((collection / "wrapped.rom").read_bytes())
    link.symlink_to(table)
    before = table.read_bytes()
    for out in (table, link):
        assert run("catalogue", table, "-o", out, "--force").returncode == 3
    assert table.read_bytes() == before


def test_a_catalogue_is_not_in_itself(collection: Path) -> None:
    out = collection / "roms.csv"
    assert b"3 files, 3 read" in run("catalogue", collection, "-o", out).stderr
    again = run("catalogue", collection, "-o", out, "--force")
    assert b"3 files, 0 read, 3 unchanged" in again.stderr


@pytest.mark.parametrize("suffix", ["sqlite", "csv", "json"])
def test_a_catalogue_takes_names_that_are_no_text(
    collection: Path, tmp_path: Path, suffix: str
) -> None:
    odd = Path(os.fsdecode(os.fsencode(collection) + b"/\xff\x1b.rom"))
    odd.write_bytes(nvidia_mobile())
    out = tmp_path / f"roms.{suffix}"
    first = run("catalogue", collection, "-o", out, "--force", "--where", "images like '00 e0%'")
    assert first.returncode == 0, first.stderr
    assert b"4 files, 4 read" in first.stderr
    assert b"\\udcff\xef\xbf\xbd.rom" in first.stdout
    again = run("catalogue", collection, "-o", out, "--force")
    assert b"4 files, 0 read, 4 unchanged" in again.stderr


def test_a_condition_that_is_no_text_is_refused(collection: Path) -> None:
    done = run("catalogue", collection, "--where", "path = '\udcff'")
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
