"""What is read: never changed, never too large, and named where it is at fault."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from builders.rom import image, pcir
from romkit_command import RECIPE, ROMKIT, argv, run, unprivileged

WATCHED = """
import os, sys
from pathlib import Path
name = sys.argv.pop(1)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.remove", "os.rename", "os.chmod", "os.chown", "os.truncate", "os.utime", "os.link")

def hook(event, args):
    if event == "open" and str(args[0]) == name:
        print("opened", file=sys.__stderr__)
        if args[2] & WRITES:
            os._exit(99)
    if event in CHANGES and name in map(str, args):
        os._exit(99)

sys.addaudithook(hook)
"""


@pytest.mark.parametrize(
    "args",
    [
        ["parse"],
        ["verify"],
        ["map"],
        ["recipe"],
        ["diff"],
        ["find"],
        ["strip", "-o", "out"],
        ["fix", "-o", "out"],
        ["patch", "--device", "1002:1", "-o", "out"],
        ["split", "-d", "parts"],
        ["gop", "list"],
        ["catalogue", "-o", "out.csv"],
    ],
    ids=lambda args: str(args[0]),
)
def test_input_files_are_only_read(rom: Path, tmp_path: Path, args: list[str]) -> None:
    """Each opening of the file is seen by a hook that ends the command where it could write."""
    os.utime(rom, (1, 1))
    before, data = rom.stat(), rom.read_bytes()
    done = subprocess.run(
        argv(rom, *args, *[rom] * (1 + (args == ["diff"])), preamble=WATCHED),
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1, 3), done.stderr
    assert b"opened" in done.stderr
    after = rom.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
        before.st_ctime_ns,
    )
    assert rom.read_bytes() == data


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)
    done = run("parse", huge)
    assert done.returncode == 3
    assert b"larger than 256 MiB" in done.stderr


@pytest.mark.parametrize("command", ["parse", "verify", "find", "strip", "gop list", "build"])
def test_a_file_that_may_not_be_read_is_bad_input(rom: Path, tmp_path: Path, command: str) -> None:
    secret = tmp_path / "secret.rom"
    secret.write_bytes(rom.read_bytes())
    secret.chmod(0)
    more = [str(rom)] if command == "parse" else []
    out = ["-o", str(tmp_path / "out")] if command in ("strip", "build") else []
    done = subprocess.run(
        [*unprivileged(), *ROMKIT, *command.split(), str(secret), *more, *out],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert f"romkit: {secret}: Permission denied" in done.stderr.decode()
    assert (b"good.rom: 1024 bytes" in done.stdout) == bool(more)


def test_a_rom_that_is_too_large_for_a_recipe(tmp_path: Path) -> None:
    large = tmp_path / "large.rom"
    large.write_bytes(image(pcir(vendor=0x1002)) + b"\xff" * (70 << 20))
    done = run("recipe", large)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"large.rom: the file has" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_input_takes_no_more_memory_than_it_has(rom: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (220 << 20, 220 << 20))\n"
    done = run("parse", "-", stdin=rom.read_bytes(), preamble=limit)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["parse", "diff", "find", "join", "gop insert", "gop update"])
def test_standard_input_is_read_once(command: str) -> None:
    done = run(*command.split(), "-", "-")
    assert done.returncode == 2
    assert b"standard input can be read only once" in done.stderr


def test_errors_are_json_too(rom: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    (record,) = json.loads(run("verify", "--json", "/nonexist").stdout)
    assert (record["file"], record["error"]) == ("/nonexist", "No such file or directory")
    done = run("diff", "--json", empty, rom)
    assert done.returncode == 3
    assert done.stderr
    assert json.loads(done.stdout)["file"] == str(empty)
    assert json.loads(run("strip", "--json", "--dry-run", empty).stdout)["file"] == str(empty)
    (record,) = json.loads(run("find", "--json", "/nonexist").stdout)
    assert record["file"] == "/nonexist"


def test_too_large_a_recipe_is_no_recipe() -> None:
    with Path("/dev/zero").open("rb") as stream:
        done = subprocess.run(
            [*ROMKIT, "build", "-", "-o", "-"], stdin=stream, capture_output=True, check=False
        )
    assert done.returncode == 3
    assert done.stderr == b"romkit: standard input: larger than 256 MiB: no recipe\n"


def test_a_directory_is_for_the_catalogue(tmp_path: Path) -> None:
    done = run("parse", tmp_path)
    assert done.returncode == 3
    assert f"try: `romkit catalogue {tmp_path}`, or name the files in it" in done.stderr.decode()
    out = run("build", RECIPE, "-o", tmp_path, "--force")
    assert out.returncode == 3
    assert b"is a directory" in out.stderr
