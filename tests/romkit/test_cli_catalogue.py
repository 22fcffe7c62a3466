"""The `catalogue` command where something goes wrong, and tables that are there already."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from builders.rom import image, nvidia_desktop, nvidia_mobile, pcir
from romkit_command import argv, run

DENIED = "PermissionError(13, 'Permission denied', str(path))"


def catalogue(*args: str | Path, preamble: str = "") -> subprocess.CompletedProcess[bytes]:
    return run("catalogue", *args, preamble=preamble)


def known(table: Path) -> dict[str, str | None]:
    """The names in a database, with their errors."""
    with closing(sqlite3.connect(table)) as connection:
        rows = connection.execute("SELECT path, error FROM roms").fetchall()
    return {Path(path).name: error for path, error in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "roms"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.rom").write_bytes(nvidia_desktop())
    (folder / "deep/two.rom").write_bytes(nvidia_mobile())
    return folder


@pytest.fixture
def table(folder: Path, tmp_path: Path) -> Path:
    table = tmp_path / "roms.sqlite"
    assert catalogue(folder, "-o", table).returncode == 0
    assert set(known(table)) == {"one.rom", "two.rom"}
    return table


def test_rows_below_a_directory_that_is_away_are_kept(
    folder: Path, table: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folder.rename(tmp_path / "away")
    done = catalogue(folder, other, "-o", table)
    assert done.returncode == 3
    assert f"{folder}: No such file".encode() in done.stderr
    assert set(known(table)) == {"one.rom", "two.rom"}
    (tmp_path / "away").rename(folder)
    shutil.rmtree(folder / "deep")
    assert catalogue(folder, "-o", table).returncode == 0
    assert set(known(table)) == {"one.rom"}


def test_rows_below_a_directory_that_cannot_be_listed_are_kept(folder: Path, table: Path) -> None:
    locked = (
        "import os\n"
        "real = os.scandir\n"
        "def scandir(path='.'):\n"
        "    if str(path).endswith('deep'):\n"
        f"        raise {DENIED}\n"
        "    return real(path)\n"
        "os.scandir = scandir\n"
    )
    (folder / "one.rom").unlink()
    done = catalogue(folder, "-o", table, preamble=locked)
    assert done.returncode == 3
    assert f"{folder}/deep: Permission denied".encode() in done.stderr
    assert set(known(table)) == {"two.rom"}


def test_rows_of_another_directory_are_kept(folder: Path, table: Path, tmp_path: Path) -> None:
    """A name that starts with .. is not below the directory in which the command runs."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for source in ("../roms", "."):
        args = argv("catalogue", source, "-o", table)
        assert subprocess.run(args, cwd=inside, capture_output=True, check=False).returncode == 0
    with closing(sqlite3.connect(table)) as connection:
        paths = {row[0] for row in connection.execute("SELECT path FROM roms")}
    assert {"../roms/one.rom", "../roms/deep/two.rom"} <= paths


def test_unreadable_files_are_counted_apart(folder: Path, tmp_path: Path) -> None:
    locked = (
        "import pathlib\n"
        "real = pathlib.Path.read_bytes\n"
        "def read_bytes(path):\n"
        "    if path.name == 'locked':\n"
        f"        raise {DENIED}\n"
        "    return real(path)\n"
        "pathlib.Path.read_bytes = read_bytes\n"
    )
    (folder / "locked").write_bytes(nvidia_desktop())
    (folder / "notes").write_text("no ROM")
    table = tmp_path / "roms.sqlite"
    done = catalogue(folder, "-o", table, preamble=locked)
    assert done.returncode == 3
    assert f"{folder}/locked: Permission denied".encode() in done.stderr
    assert b"4 files, 4 read, 0 unchanged, 1 without a ROM, 1 unreadable" in done.stderr
    # It is read as soon as it can be.
    assert (
        b"4 files, 1 read, 3 unchanged, 1 without a ROM\n" in catalogue(folder, "-o", table).stderr
    )
    assert known(table)["locked"] is None


def test_a_huge_file_is_no_rom_and_is_not_looked_at_again(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "roms.sqlite"
    with (folder / "huge.iso").open("wb") as stream:
        stream.truncate(1 << 40)
    done = catalogue(folder, "-o", table)
    assert (done.returncode, "larger than" in str(known(table)["huge.iso"])) == (0, True)
    assert b"3 files, 3 read, 0 unchanged, 1 without a ROM\n" in done.stderr
    os.utime(folder / "huge.iso", (1, 1))
    assert b"1 read, 2 unchanged" in catalogue(folder, "-o", table).stderr


def test_nothing_is_made_where_nothing_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out.sqlite"
    assert catalogue(tmp_path / "absent", "-o", out).returncode == 3
    assert not out.exists()


def test_a_missing_output_directory_is_named(folder: Path, tmp_path: Path) -> None:
    done = catalogue(folder, "-o", tmp_path / "absent/roms.sqlite")
    assert done.returncode == 3
    assert f"try: mkdir -p {tmp_path}/absent".encode() in done.stderr


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


def same_name(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE roms (path TEXT, game TEXT)")


@pytest.mark.parametrize("make", [foreign, same_name, lambda path: path.write_text("a text" * 99)])
def test_what_is_no_catalogue_is_not_touched_unless_told(
    folder: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    table = tmp_path / "other.sqlite"
    make(table)
    before = table.read_bytes()
    for args in ([folder], ["--where", "1"]):
        refused = catalogue(*args, "-o", table)
        assert refused.returncode == 3
        assert b"is no catalogue" in refused.stderr
        assert table.read_bytes() == before
    assert catalogue(folder, "-o", table, "--force").returncode == 0
    assert set(known(table)) == {"one.rom", "two.rom"}
    with closing(sqlite3.connect(table)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert "bookmarks" not in names
    assert b"0 read, 2 unchanged" in catalogue(folder, "-o", table).stderr


@pytest.mark.parametrize("suffix", ["sqlite", "csv", "json"])
def test_a_table_is_asked_without_the_files(folder: Path, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"roms.{suffix}"
    assert catalogue(folder, "-o", table).returncode == 0
    before = table.read_bytes()
    shutil.rmtree(folder)
    done = catalogue("-o", table, "--where", "rom_size > 1 and images like '%03%'", "--json")
    assert done.returncode == 0
    (row,) = json.loads(done.stdout)
    assert row["path"] == str(folder / "one.rom")
    assert (row["vendor"], row["rom_size"]) == ("10de", len(nvidia_desktop()))
    assert b"two.rom" in catalogue("-o", table, "--where", "1").stdout
    assert table.read_bytes() == before


def test_a_table_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for suffix in ("sqlite", "csv"):
        table = tmp_path / f"absent.{suffix}"
        done = catalogue("-o", table, "--where", "1", "--json")
        assert done.returncode == 3
        assert json.loads(done.stdout)["file"] == str(table)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [[], ["--where", "1"], ["-o", "a.csv"], ["DIR", "-o", "a.txt"]])
def test_half_a_question_is_a_usage_error(tmp_path: Path, args: list[str]) -> None:
    done = subprocess.run(argv("catalogue", *args), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_rows_as_json(folder: Path) -> None:
    done = catalogue(folder, "--where", "1", "--json")
    assert {Path(row["path"]).name for row in json.loads(done.stdout)} == {"one.rom", "two.rom"}
    assert catalogue(folder, "-o", "x.csv", "--json").returncode == 2
    wrong = catalogue(folder, "--where", "no_such_column = 1", "--json")
    assert wrong.returncode == 3
    assert "no such column" in json.loads(wrong.stdout)["error"]


# Section: workers


def in_workers(folder: Path, code: str) -> dict[str, str]:
    """An environment in which every worker, and nothing else, starts with this code."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, sys\nif any('spawn_main' in a for a in sys.orig_argv):\n    " + code + "\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_workers_that_do_not_start_cost_no_traceback(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "roms.sqlite"
    done = subprocess.run(
        argv("catalogue", folder, "-o", table, "-j", "2"),
        env=in_workers(tmp_path / "site", "os._exit(9)"),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert b"--jobs 2: a worker could not go on" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"2 files, 0 read" in done.stderr


def test_rows_that_were_read_before_a_worker_died_are_kept(folder: Path, tmp_path: Path) -> None:
    dies = (
        "import romkit.cli.table\n"
        "from concurrent.futures import Future\n"
        "from concurrent.futures.process import BrokenProcessPool\n"
        "from contextlib import nullcontext\n"
        "class Dying:\n"
        "    def submit(self, work, read, path):\n"
        "        future = Future()\n"
        "        if path.name == 'three.rom':\n"
        "            raise BrokenProcessPool('killed')\n"
        "        future.set_result(work(read, path))\n"
        "        return future\n"
        "romkit.cli.table.executor = lambda jobs: nullcontext(Dying())\n"
        "import romkit.catalogue\n"
        "real = romkit.catalogue.catalogue\n"
        "romkit.catalogue.catalogue = lambda *args: real(*args, window=1)\n"
    )
    table = tmp_path / "roms.sqlite"
    (folder / "three.rom").write_bytes(image(pcir()))
    done = catalogue(folder, "-o", table, preamble=dies)
    assert done.returncode == 3
    assert b"killed" in done.stderr
    assert set(known(table)) == {"one.rom", "two.rom"}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_no_worker_outlives_the_command(folder: Path, tmp_path: Path, name: str) -> None:
    """Each says that it has begun to read a file, and would do so for ever."""
    started, number = tmp_path / "started", getattr(signal, name)
    os.mkfifo(started)
    descriptor = os.open(started, os.O_RDWR)  # both ends: no one has to wait to open it
    endless = (
        "import pathlib, threading\n"
        "    def read_bytes(path):\n"
        f"        open({str(started)!r}, 'w').write('x')\n"
        "        threading.Event().wait()\n"
        "    pathlib.Path.read_bytes = read_bytes"
    )
    args = argv("catalogue", folder, "-o", tmp_path / "t.csv", "-j", "2")
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *args],
        env=in_workers(tmp_path / "site", endless),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert select.select([descriptor], [], [], 60)[0]
        process.send_signal(number)
        # The workers have these pipes too: they end when the last of them does.
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(descriptor)
    assert process.returncode == (-number if name == "SIGKILL" else 128 + number)
    assert b"Traceback" not in errors
