"""The commands that make new ROMs, find them, and list many."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct

LEGACY = image(pcir(vendor=0x1002))
ROMKIT = [sys.executable, "-c", "from romkit.cli import main; main()"]


def run(*args: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*ROMKIT, *map(str, args)], input=stdin, capture_output=True, check=False)


@pytest.fixture
def wrapped(tmp_path: Path) -> Path:
    path = tmp_path / "wrapped.rom"
    path.write_bytes(nvgi(2, nvidia_desktop(), rom_offset=0xA00))
    return path


@pytest.fixture
def mobile(tmp_path: Path) -> Path:
    path = tmp_path / "mobile.rom"
    path.write_bytes(nvidia_mobile())
    return path


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    name = "NVIDIA GPU UEFI Driver".encode("utf-16-le")
    path = tmp_path / "donor.efirom"
    extension = npde(blocks=2, length=16, gop=0x30009, last=0x80)
    path.write_bytes(efi_image(build_pe(GOP_GUID + name), extension=extension))
    return path


def test_strip_gives_a_romfile_and_leaves_its_input_alone(wrapped: Path, tmp_path: Path) -> None:
    before = wrapped.read_bytes()
    out = tmp_path / "stripped.rom"
    done = run("strip", wrapped, "-o", out)
    assert done.returncode == 0
    assert out.read_bytes() == nvidia_desktop()
    assert b"0x0-0xa00 2560 bytes dropped" in done.stdout
    assert wrapped.read_bytes() == before
    again = run("strip", out, "-o", tmp_path / "again.rom")
    assert again.returncode == 0
    assert b"nothing to strip" in again.stdout
    assert (tmp_path / "again.rom").read_bytes() == out.read_bytes()


def test_strip_takes_the_entry_of_a_vfct_that_is_asked_for(tmp_path: Path) -> None:
    first, second = (image(pcir(vendor=0x1002, device=d)) for d in (0x1636, 0x1637))
    table, out = tmp_path / "VFCT", tmp_path / "out.rom"
    table.write_bytes(vfct(first, second))
    assert b"`romkit strip --entry 1` keeps that" in run("strip", table, "-o", out).stdout
    assert out.read_bytes() == first
    assert run("strip", table, "--entry", "1", "-o", out, "--force").returncode == 0
    assert out.read_bytes() == second
    done = run("strip", table, "--entry", "2", "-o", out, "--force")
    assert done.returncode == 3
    assert b"has no entry 2" in done.stderr


def test_a_dry_run_writes_nothing(wrapped: Path, tmp_path: Path) -> None:
    done = run("strip", wrapped, "--dry-run", "-o", tmp_path / "out.rom")
    assert done.returncode == 0
    assert b"dropped" in done.stdout
    assert not (tmp_path / "out.rom").exists()


def test_an_edit_without_an_output_is_a_usage_error(wrapped: Path) -> None:
    assert run("strip", wrapped).returncode == 2


def test_an_edit_writes_into_a_pipe_and_talks_beside_it(wrapped: Path) -> None:
    done = run("strip", "-", "-o", "-", stdin=wrapped.read_bytes())
    assert done.stdout == nvidia_desktop()
    assert b"dropped" in done.stderr


def test_what_an_edit_did_as_json(wrapped: Path, tmp_path: Path) -> None:
    done = run("strip", wrapped, "-o", tmp_path / "out.rom", "--json")
    (change,) = json.loads(done.stdout)["changes"]
    assert (change["kind"], change["offset"], change["old_size"]) == ("dropped", 0, 0xA00)


def test_split_and_join_are_inverse(wrapped: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "joined.rom"
    done = run("split", wrapped, "-d", parts)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(list(parts.iterdir()))
    assert run("join", parts, "-o", out).returncode == 0
    assert out.read_bytes() == wrapped.read_bytes()
    # Again, into the same directory: nothing is lost, nothing is refused.
    assert run("split", wrapped, "-d", parts).returncode == 0


def test_split_does_not_overwrite_another_roms_parts(
    wrapped: Path, mobile: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    run("split", wrapped, "-d", parts)
    before = {p.name: p.read_bytes() for p in parts.iterdir()}
    done = run("split", mobile, "-d", parts)
    assert done.returncode == 3
    assert b"exists already" in done.stderr
    assert {p.name: p.read_bytes() for p in parts.iterdir()} == before


def test_join_makes_a_rom_from_an_image_and_a_driver(tmp_path: Path) -> None:
    legacy, driver, out = (tmp_path / n for n in ("a.rom", "b.efi", "out.rom"))
    legacy.write_bytes(image(pcir(vendor=0x1002)))
    driver.write_bytes(build_pe(GOP_GUID))
    done = run("join", legacy, driver, "-o", out)
    assert done.returncode == 0
    (record,) = json.loads(run("parse", "--json", out).stdout)
    assert [i["code_type"] for i in record["images"]] == [0, 3]
    assert [i["last"] for i in record["images"]] == [False, True]
    assert record["images"][1]["vendor"] == "1002"


def test_gop_insert_reaches_both_chains(mobile: Path, donor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.rom"
    done = run("gop", "insert", mobile, donor, "--unfit", "-o", out)
    assert done.returncode == 0, done.stderr
    assert b"both chains reach it" in run("gop", "list", out).stdout
    assert run("verify", out).returncode == 0
    removed = tmp_path / "removed.rom"
    assert run("gop", "remove", out, "-o", removed).returncode == 0
    assert b"no EFI image" in run("gop", "list", removed).stdout
    extracted = tmp_path / "extracted.rom"
    assert run("gop", "extract", out, "-o", extracted).returncode == 0
    refused = run("gop", "insert", out, donor, "--unfit", "-o", tmp_path / "twice.rom")
    assert refused.returncode == 3
    assert b"romkit gop update" in refused.stderr


def test_the_file_at_fault_is_blamed(mobile: Path, tmp_path: Path) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out.rom"
    empty.write_bytes(b"")
    for args in (("gop", "insert", mobile, empty), ("join", mobile, empty)):
        done = run(*args, "-o", out)
        assert done.returncode == 3
        assert done.stderr.startswith(b"romkit: " + os.fsencode(empty) + b": ")
        told = json.loads(run(*args, "-o", out, "--json").stdout)
        assert told["file"] == str(empty)
    done = run("gop", "insert", mobile, mobile, "-o", out)
    assert b"the donor has no GOP driver" in done.stderr


def test_gop_list_and_extract_as_json(mobile: Path, donor: Path, tmp_path: Path) -> None:
    board, out = tmp_path / "board.rom", tmp_path / "gop.rom"
    assert run("gop", "insert", mobile, donor, "--unfit", "-o", board).returncode == 0
    (entry,) = json.loads(run("gop", "list", board, "--json").stdout)
    assert (entry["number"], entry["machine"], entry["role"]) == (3, "X64", "producer")
    assert entry["firmware_reaches"] is entry["driver_reaches"] is True
    assert (entry["vendor"], entry["gop_vendor"]) == ("10de", "NVIDIA")
    assert json.loads(run("gop", "list", mobile, "--json").stdout) == []
    assert "error" in json.loads(run("gop", "list", tmp_path / "no", "--json").stdout)
    dry = run("gop", "extract", board, "-o", out, "--dry-run", "--json")
    assert not out.exists()
    assert json.loads(dry.stdout)["new_size"] == entry["size"]
    assert run("gop", "extract", board, "--dry-run").returncode == 0
    assert run("gop", "extract", board).returncode == 2


def test_join_takes_a_device_list(tmp_path: Path) -> None:
    driver, out = tmp_path / "b.efi", tmp_path / "out.rom"
    driver.write_bytes(build_pe(GOP_GUID))
    lost = run("join", driver, "-o", out)
    assert b"`--device 10de:1c8d`" in lost.stderr
    assert run("join", driver, "-o", out, "--device-list", "1c20").returncode == 2
    ids = ("--device", "10de:1c8d", "--device-list", "1c20,1c60")
    assert run("join", driver, "-o", out, *ids).returncode == 0
    (found,) = json.loads(run("find", out, "--json").stdout)
    assert found["ids"] == ["10de:1c8d", "10de:1c20", "10de:1c60"]


def test_patch_and_its_inverse_restore_the_file(mobile: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.rom", tmp_path / "back.rom"
    assert run("patch", mobile, "--device", "10de:1c8d", "-o", there).returncode == 0
    assert there.read_bytes() != mobile.read_bytes()
    assert run("patch", there, "--device", "10de:1c03", "-o", back).returncode == 0
    assert back.read_bytes() == mobile.read_bytes()


def test_patch_refuses_what_the_user_did_not_expect(mobile: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.rom"
    args = ("--device", "10de:1c8d", "--expect", "10de:ffff", "-o", out)
    done = run("patch", mobile, *args)
    assert done.returncode == 3
    assert not out.exists()


@pytest.mark.parametrize("args", [[], ["--device", "1c8d"], ["--device-list", "xyz"]])
def test_patch_with_nothing_or_nonsense_is_a_usage_error(mobile: Path, args: list[str]) -> None:
    assert run("patch", mobile, *args, "--dry-run").returncode == 2


def test_fix_mends_a_checksum(tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.rom", tmp_path / "fixed.rom"
    raw = bytearray(image(pcir(vendor=0x1002), body={0x200: bytes(512)}))
    raw[0x130] ^= 0x55
    broken.write_bytes(bytes(raw))
    assert run("verify", broken).returncode == 1
    assert run("fix", broken, "-o", out).returncode == 0
    assert run("verify", out).returncode == 0


def test_find_writes_each_rom_once_and_says_where_it_lay(wrapped: Path, tmp_path: Path) -> None:
    archive, found = tmp_path / "update.zip", tmp_path / "found"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        stream.write(wrapped, "bios/one.bin")
        stream.write(wrapped, "bios/two.bin")
    done = run("find", archive, "-d", found)
    assert done.returncode == 0
    (path,) = found.iterdir()
    assert path.read_bytes() == nvidia_desktop()
    assert done.stdout.count(b"bios/") == 2
    assert run("find", archive, "-d", found).returncode == 0
    assert list(found.iterdir()) == [path]
    (record,) = json.loads(run("find", archive, "--json").stdout)
    assert record["ids"][0] == "10de:1c03"
    assert len(record["places"]) == 2


def test_find_picks_by_device_and_says_when_there_is_none(wrapped: Path, tmp_path: Path) -> None:
    assert run("find", wrapped, "--device", "10de:1c03").returncode == 0
    other = run("find", wrapped, "--device", "10de:1c8d")
    assert other.returncode == 1
    assert b"no option ROM found" in other.stderr
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert run("find", empty).returncode == 1
    assert run("find", tmp_path / "absent").returncode == 3


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
    assert b"3 files, 3 read, 0 unchanged, 1 no ROMs" in first.stderr
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
    assert b"2 files, 1 read, 1 unchanged, 0 no ROMs" in again.stderr
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


@pytest.mark.parametrize(
    "command",
    [
        ["strip", "A"],
        ["fix", "A"],
        ["patch", "A", "--device", "10de:1"],
        ["gop", "insert", "B", "A", "--unfit"],
        ["gop", "update", "A", "A", "--unfit"],
        ["join", "A"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_an_edit_never_replaces_its_input(
    mobile: Path, donor: Path, tmp_path: Path, command: list[str]
) -> None:
    link, given = tmp_path / "link", tmp_path / "given.rom"
    given.write_bytes(donor.read_bytes() if command[1] in ("insert", "update") else LEGACY)
    before = given.read_bytes()
    link.hardlink_to(given)
    args = [{"A": given, "B": mobile}.get(a, a) for a in command]
    done = run(*args, "-o", link, "--force")
    assert done.returncode == 3
    assert b"link: is an input, which is never changed" in done.stderr
    assert given.read_bytes() == before


def test_split_never_replaces_its_input(wrapped: Path, mobile: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    assert run("split", wrapped, "-d", parts).returncode == 0
    given = sorted(parts.glob("*.rom"))[0]
    given.write_bytes(mobile.read_bytes())
    before = {p.name: p.read_bytes() for p in parts.iterdir()}
    done = run("split", given, "-d", parts, "--force")
    assert done.returncode == 3
    assert b"is an input, which is never changed" in done.stderr
    assert {p.name: p.read_bytes() for p in parts.iterdir()} == before


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


@pytest.mark.parametrize("ids", ["-5", "12345", "0", "xyz"])
def test_a_device_list_has_four_digits_each(mobile: Path, ids: str) -> None:
    done = run("patch", mobile, f"--device-list={ids}", "--dry-run")
    assert done.returncode == 2
    assert b"four hex digits" in done.stderr


def run_with(preamble: str, *args: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command after some Python."""
    script = f"{preamble}\nfrom romkit.cli import main\nmain()\n"
    command = [sys.executable, "-B", "-c", script, *map(str, args)]
    return subprocess.run(command, capture_output=True, check=False)


def test_parts_are_written_together_or_not_at_all(
    wrapped: Path, mobile: Path, tmp_path: Path
) -> None:
    """The disk is full after the first small parts: none of them may be there."""
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
    )
    parts, fresh = tmp_path / "parts", tmp_path / "fresh"
    assert run("split", mobile, "-d", parts).returncode == 0
    before = {p.name: p.read_bytes() for p in parts.iterdir()}
    small = tmp_path / "small.rom"
    small.write_bytes(image(pcir(vendor=0x1002, blocks=1), blocks=1) + bytes(700))
    for folder, source in ((parts, wrapped), (fresh, small)):
        failed = run_with(limit, "split", source, "-d", folder, "--force")
        assert failed.returncode == 3
        assert b"cannot be written" in failed.stderr
    assert {p.name: p.read_bytes() for p in parts.iterdir()} == before
    assert list(fresh.iterdir()) == []


def test_the_manifest_comes_last(mobile: Path, tmp_path: Path) -> None:
    """What is interrupted between two names has none that vouches for the others."""
    broken = (
        "from pathlib import Path\n"
        "real = Path.hardlink_to\n"
        "def hardlink_to(self, target):\n"
        "    if self.name.startswith('manifest'):\n"
        "        raise OSError(28, 'No space left on device')\n"
        "    real(self, target)\n"
        "Path.hardlink_to = hardlink_to\n"
    )
    parts = tmp_path / "parts"
    failed = run_with(broken, "split", mobile, "-d", parts)
    assert failed.returncode == 3
    assert b"manifest.toml: cannot be written" in failed.stderr
    assert not [p.name for p in parts.iterdir() if p.name.startswith((".", "manifest"))]
    joined = run("join", parts, "-o", tmp_path / "out.rom")
    assert joined.returncode == 3
    assert b"manifest.toml is missing" in joined.stderr


def test_join_refuses_the_parts_of_another_rom(mobile: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out.rom"
    assert run("split", mobile, "-d", parts).returncode == 0
    part = sorted(parts.glob("*.rom"))[0]
    other = bytearray(part.read_bytes())
    other[0x100] ^= 1
    part.write_bytes(other)
    refused = run("join", parts, "-o", out, "--force")
    assert refused.returncode == 3
    assert b"changed since the split" in refused.stderr
    assert b"--changed" in refused.stderr
    assert not out.exists()
    assert run("join", parts, "-o", out, "--changed").returncode == 0
    assert out.read_bytes()[: len(other)] == other


def test_join_reads_only_what_the_manifest_names(wrapped: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out.rom"
    assert run("split", wrapped, "-d", parts).returncode == 0
    with (parts / "notes.img").open("wb") as stream:
        stream.truncate(300 << 20)
    (parts / "loop").symlink_to("loop")
    assert run("join", parts, "-o", out).returncode == 0
    assert out.read_bytes() == wrapped.read_bytes()
    (parts / "manifest.toml").unlink()
    refused = run("join", parts, "-o", tmp_path / "none.rom")
    assert refused.returncode == 3
    assert b"manifest.toml is missing" in refused.stderr


def test_split_says_as_json_what_it_wrote(wrapped: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    records = json.loads(run("split", wrapped, "-d", parts, "--json").stdout)
    assert [r["kind"] for r in records] == ["container", "image", "image", "image", "manifest"]
    assert [r["offset"] for r in records][:2] == [0, 0xA00]
    for record in records:
        data = Path(record["file"]).read_bytes()
        assert (record["size"], record["sha256"]) == (len(data), sha256(data).hexdigest())
    refused = run("split", tmp_path / "absent", "-d", parts, "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["file"].endswith("absent")
