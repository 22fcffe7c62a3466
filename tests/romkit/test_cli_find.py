"""The `find` command: inputs of all kinds, and results that are not lost."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from builders.rom import image, nvidia_desktop, nvidia_mobile, pcir
from romkit_command import run

MIB = 1 << 20


def find(*args: str | Path, preamble: str = "") -> subprocess.CompletedProcess[bytes]:
    return run("find", *args, preamble=preamble)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is too large to be read as a whole, with a ROM at its end."""
    path = tmp_path / "memory.img"
    with path.open("wb") as stream:
        stream.seek(65 * MIB)
        stream.write(nvidia_desktop())
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.rom"
    path.write_bytes(nvidia_mobile())
    return path


def test_a_file_of_sysfs_is_read() -> None:
    """Such a file says that it is regular and 4096 bytes long, but cannot be mapped."""
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not path.exists():
        pytest.skip(f"{path} is not there")
    done = find(path)
    assert (done.returncode, done.stderr) == (1, b"no option ROM found\n")


def test_a_large_file_is_searched(large: Path, tmp_path: Path) -> None:
    assert find(large, "-d", tmp_path / "found").returncode == 0
    (found,) = (tmp_path / "found").iterdir()
    assert found.read_bytes() == nvidia_desktop()
    large.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(65 * MIB))
    refused = find(large)
    assert refused.returncode == 3
    assert b"7z archive: unpack it first" in refused.stderr


def test_a_large_file_that_cannot_be_mapped_is_read(large: Path) -> None:
    broken = (
        "import mmap\n"
        "def refused(*args, **kwargs):\n    raise OSError(19, 'No such device')\n"
        "mmap.mmap = refused\n"
    )
    done = find(large, preamble=broken)
    assert done.returncode == 0
    assert b"10de-1c03" in done.stdout


def test_a_file_that_gets_shorter_costs_only_itself(large: Path, small: Path) -> None:
    """Who looks at mapped bytes that are gone is killed by SIGBUS."""
    shrink = (
        "import os, romkit.find\n"
        "real = romkit.find.find_roms\n"
        "def find_roms(data, **options):\n"
        f"    if len(data) > {MIB}:\n"
        f"        os.truncate({str(large)!r}, 4096)\n"
        "    return real(data, **options)\n"
        "romkit.find.find_roms = find_roms\n"
    )
    done = find(large, small, preamble=shrink)
    assert done.returncode == 3
    assert b"memory.img: became shorter while it was searched" in done.stderr
    assert b"10de-1c" in done.stdout


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_what_cannot_be_written_does_not_hide_the_rest(
    large: Path, small: Path, tmp_path: Path, as_json: bool
) -> None:
    folder = tmp_path / "found"
    assert find(small, "-d", folder).returncode == 0
    (taken,) = folder.iterdir()
    taken.write_bytes(b"other")
    done = find(small, large, "-d", folder, *(["--json"] if as_json else []))
    assert done.returncode == 3
    assert b"exists already, with other contents" in done.stderr
    assert taken.read_bytes() == b"other"
    assert len(list(folder.iterdir())) == 2
    if as_json:
        error, unwritten, written = json.loads(done.stdout)
        assert error["file"] == str(taken)
        assert (unwritten["file"], unwritten["written"]) == (str(small), None)
        assert Path(written["written"]).read_bytes() == nvidia_desktop()
    else:
        assert str(large).encode() in done.stdout


def test_what_is_cut_off_says_so(tmp_path: Path) -> None:
    whole, cut, open_ended = (tmp_path / name for name in ("whole", "cut", "open"))
    whole.write_bytes(nvidia_desktop())
    cut.write_bytes(nvidia_desktop()[:-512])
    open_ended.write_bytes(image(pcir(indicator=0)))
    assert b"cut off" not in find(whole).stdout
    assert b"cut off: 512 bytes are missing at its end" in find(cut).stdout
    assert b"no image of it is the last" in find(open_ended).stdout
    records = json.loads(find(whole, cut, open_ended, "--json").stdout)
    assert [r["missing"] for r in records] == [0, 512, 0]
    assert [r["complete"] for r in records] == [True, True, False]


def test_find_writes_each_rom_once_and_says_where_it_lay(wrapped: Path, tmp_path: Path) -> None:
    archive, found = tmp_path / "update.zip", tmp_path / "found"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        stream.write(wrapped, "bios/one.bin")
        stream.write(wrapped, "bios/two.bin")
    done = find(archive, "-d", found)
    assert done.returncode == 0
    (path,) = found.iterdir()
    assert path.read_bytes() == nvidia_desktop()
    assert done.stdout.count(b"bios/") == 2
    assert find(archive, "-d", found).returncode == 0
    assert list(found.iterdir()) == [path]
    (record,) = json.loads(find(archive, "--json").stdout)
    assert record["ids"][0] == "10de:1c03"
    assert len(record["places"]) == 2


def test_find_picks_by_device_and_says_when_there_is_none(wrapped: Path, tmp_path: Path) -> None:
    assert find(wrapped, "--device", "10de:1c03").returncode == 0
    other = find(wrapped, "--device", "10de:1c8d")
    assert other.returncode == 1
    assert other.stderr == b"no option ROM for 10de:1c8d found, but 1 for other devices\n"
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert find(empty).returncode == 1
    assert find(tmp_path / "absent").returncode == 3
