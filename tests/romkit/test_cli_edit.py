"""The commands that make a new ROM out of one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from builders.rom import image, nvidia_desktop, pcir, vfct
from romkit_command import run

LEGACY = image(pcir(vendor=0x1002))


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


@pytest.mark.parametrize("ids", ["-5", "12345", "0", "xyz"])
def test_a_device_list_has_four_digits_each(mobile: Path, ids: str) -> None:
    done = run("patch", mobile, f"--device-list={ids}", "--dry-run")
    assert done.returncode == 2
    assert b"four hex digits" in done.stderr
