"""`diag read` and `diag lspci` as a user meets them: a process, a text, a status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from builders.config_space import Function, dump
from diag_samples import BOOT, GROUPS, LISTING, LOG

DIAG = [sys.executable, "-c", "from diag.cli import main; main()"]


def run(*args: str | Path, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*DIAG, *map(str, args)],
        input=data,
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "140", "PYTHONIOENCODING": "utf-8"},
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def test_a_listing_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "paste.txt"
    path.write_text(LISTING)
    done = run("read", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: lspci -nnk (")
    gpu = next(line for line in done.stdout.splitlines() if line.startswith("0000:01:00.0  "))
    for word in ("0300", "10de:1234", "1558:0042", "a1", "vfio-pci"):
        assert word in gpu.split()
    assert "No answer from 0000:01:00.1" in done.stdout
    assert "the text does not say: IOMMU group" in done.stdout
    assert "\x1b" not in done.stdout


def test_strangers_are_no_failure_of_the_command() -> None:
    done = run("read", "-", stdin=GROUPS)
    assert done.returncode == 0
    assert "1 stranger" in done.stdout
    assert "shares its group with 0000:02:00.0 SATA controller: Acme Disk" in done.stdout


def test_problems_of_a_log_are_explained() -> None:
    done = run("read", "-", stdin=LOG)
    assert done.returncode == 0
    assert "Intel VT-d is on" in done.stdout
    assert "not_ready_flr 0000:01:00.0: The device did not come back" in done.stdout
    assert "Xid numbers: 79" in done.stdout


def test_a_command_line_is_shown_with_its_traps() -> None:
    done = run("read", "-", stdin=BOOT)
    assert done.returncode == 0
    assert "acpi_osi=Windows 2015" in done.stdout
    assert "! amd_iommu=on means nothing" in done.stdout


def test_json_has_every_part() -> None:
    done = run("read", "-", "--json", stdin=LISTING + LOG + BOOT)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["file"] == "standard input"
    assert {part["format"] for part in found["parts"]} == {"lspci-nnk", "dmesg", "cmdline"}
    (gpu,) = found["gpus"]
    assert gpu["address"] == "0000:01:00.0"
    # The log names the group, the listing the classes; the bridge is not in the log's group.
    assert (gpu["group"], gpu["verdict"]) == (1, "isolated")
    assert found["dead"] == ["0000:01:00.1"]
    assert found["problems"] == ["fallen_off_bus", "not_ready_flr", "xid"]
    assert found["vfio_ids"] == ["10de:1234"]


def test_text_acts_on_no_terminal() -> None:
    hostile = LISTING.replace("GX1", "GX\x1b]0;owned\x07\u202e1").replace("vfio-pci", "v\x1b[31m")
    for command in ("read", "lspci"):
        done = run(command, "-", stdin=hostile)
        assert done.returncode == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "nothing in this text is known"),
        (b"Dear list,\nmy GPU does not work.\n", "nothing in this text is known"),
        (b"\x7fELF" + bytes(5000), "no text"),
        (b"\n" * ((64 << 20) + 1), "larger than 64 MiB"),
    ],
    ids=["empty", "a letter", "a program", "too much"],
)
def test_bad_input(data: bytes, word: str) -> None:
    for options in ([], ["--json"]):
        done = run("read", "-", *options, stdin=data)
        assert done.returncode == 3
        assert done.stderr.startswith(f"diag: standard input: {word}")
        assert "Traceback" not in done.stderr
        if options:
            assert json.loads(done.stdout)["error"].startswith(word)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        done = run("read", path)
        assert done.returncode == 3
        assert "try: " in done.stderr


def test_lspci_lists_all_devices() -> None:
    for arguments in (["lspci"], ["lspci", "-"]):
        done = run(*arguments, stdin=LISTING)
        assert done.returncode == 0
        rows = [line.split() for line in done.stdout.splitlines() if line.startswith("0000:")]
        assert [row[0] for row in rows] == ["0000:00:01.0", "0000:01:00.0", "0000:01:00.1"]


def test_what_only_the_bytes_say_is_shown() -> None:
    card = Function(power=3, link=(3, 8), acs=(0x1F, 0x01))
    done = run("read", "-", stdin=dump(card))
    assert {"10de:1c20", "1558:65a1", "a1", "D3"} <= set(done.stdout.split())
    assert "link: 8GT/s x8" in done.stdout
    assert "0000:01:00.0: ReqRedir, CmpltRedir, UpstreamFwd" in done.stdout
    assert "10de:1c20" in run("lspci", stdin=dump(card)).stdout


def test_lspci_needs_devices() -> None:
    done = run("lspci", stdin=LOG)
    assert done.returncode == 3
    assert "no devices in this text" in done.stderr


def test_lspci_at_a_terminal_says_what_to_pipe() -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*DIAG, "lspci"], stdin=theirs, capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert "lspci -nnk | diag lspci" in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -c 'from diag.cli import main; main()' read - --json | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        input=(GROUPS * 40).encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
