"""The commands of `romkit acpi`."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from builders.rom import image, nvgi, nvidia_mobile, pcir, vfct

from romkit.acpi.chassis import CHASSIS
from romkit.acpi.table import parse_table
from romkit.cli.acpi import Chassis

ROMKIT = [sys.executable, "-c", "from romkit.cli import main; main()", "acpi"]


def run(*args: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*ROMKIT, *map(str, args)], input=stdin, capture_output=True, check=False)


@pytest.fixture
def rom(tmp_path: Path) -> Path:
    path = tmp_path / "gpu.rom"
    path.write_bytes(nvgi(2, nvidia_mobile(), rom_offset=0xA00))
    return path


def test_battery_writes_the_table_and_says_how_to_use_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("battery", "-o", out, "--charge", "50", "--dsl", "--c")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["battery.aml", "battery.dsl", "battery.h"]
    assert parse_table((out / "battery.aml").read_bytes()).sum8 == 0
    text = done.stdout.decode()
    assert f"-acpitable file={out}/battery.aml" in text
    assert f'<qemu:arg value="file={out}/battery.aml"/>' in text
    assert "0x61A8" in (out / "battery.dsl").read_text()  # 25000 of 50000 mWh


def test_libvirts_part_of_the_json_is_all_that_a_domain_needs(tmp_path: Path) -> None:
    told = json.loads(run("battery", "-o", tmp_path / "out", "--json").stdout)
    xml = f"<domain {told['libvirt_namespace']}>{told['libvirt']}</domain>"
    space = "{http://libvirt.org/schemas/domain/qemu/1.0}"
    arguments = ElementTree.fromstring(xml).iterfind(f"{space}commandline/{space}arg")
    assert [argument.get("value") for argument in arguments] == told["qemu"]
    assert any("AppArmor" in line and str(tmp_path) in line for line in told["libvirt_access"])


def test_people_are_told_that_libvirt_does_not_open_the_files(tmp_path: Path) -> None:
    text = run("chassis", "-o", tmp_path).stdout.decode()
    assert "abstractions/libvirt-qemu" in text
    assert "restorecon" in text


def test_a_shorter_vbios_says_what_is_left_of_the_longer_one(tmp_path: Path) -> None:
    long, short, out = tmp_path / "long.rom", tmp_path / "short.rom", tmp_path / "out"
    long.write_bytes(bytes(200 << 10))
    short.write_bytes(bytes(20 << 10))
    args = ("--as-is", "--at", "01.0/00.0", "--qemu", "7.2", "-o", out)
    assert b"left over" not in run("vbios", long, *args, "--dsl").stdout
    (out / "notes.aml").write_bytes(b"mine")
    done = run("vbios", short, *args, "--force")
    assert done.returncode == 0, done.stderr
    assert b"vbios02.aml" in done.stdout
    assert b"vbios04.dsl" in done.stdout
    assert b"notes.aml" not in done.stdout
    assert (out / "vbios04.aml").exists()  # said, and not removed


def test_a_vfct_of_several_roms_says_which_is_taken(tmp_path: Path) -> None:
    roms = [image(pcir(vendor=0x1002, device=0x1636 + n)) for n in range(2)]
    table = tmp_path / "VFCT"
    table.write_bytes(vfct(*roms))
    args = ("vbios", table, "--at", "01.0/00.0", "--qemu", "7.2", "--json")
    first = json.loads(run(*args, "-o", tmp_path / "a").stdout)
    assert first["rom_sha256"] == hashlib.sha256(roms[0]).hexdigest()
    assert any("entry 1" in note for note in first["notes"])
    assert any("--entry" in note for note in first["notes"])
    second = json.loads(run(*args, "-o", tmp_path / "b", "--entry", "1").stdout)
    assert second["rom_sha256"] == hashlib.sha256(roms[1]).hexdigest()
    absent = run(*args, "-o", tmp_path / "c", "--entry", "2")
    assert absent.returncode == 3
    assert b"VFCT entry 1" in absent.stderr
    assert not (tmp_path / "c").exists()


def test_no_node_where_qemu_makes_none_is_warned_of(rom: Path, tmp_path: Path) -> None:
    args = ("vbios", rom, "--at", "01.0/00.0", "--machine", "pc-q35-5.2", "-o")
    assert b"AE_NOT_FOUND" in run(*args, tmp_path / "a", "--no-node").stdout
    assert b"AE_NOT_FOUND" not in run(*args, tmp_path / "b").stdout


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("battery", "-o", out).returncode == 0
    before = (out / "battery.aml").read_bytes()
    assert run("battery", "-o", out).returncode == 0  # the same
    refused = run("battery", "-o", out, "--charge", "50")
    assert refused.returncode == 3
    assert b"exists already" in refused.stderr
    assert (out / "battery.aml").read_bytes() == before
    assert run("battery", "-o", out, "--charge", "50", "--force").returncode == 0
    assert (out / "battery.aml").read_bytes() != before


def test_vbios_serves_the_rom_without_its_container(rom: Path, tmp_path: Path) -> None:
    before = rom.read_bytes()
    out = tmp_path / "out"
    done = run("vbios", rom, "--at", "01.0/00.0", "--qemu", "7.2", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["path"] == r"\_SB.PCI0.S08.S00"
    assert told["rom_sha256"] == hashlib.sha256(before[0xA00:]).hexdigest()
    assert [Path(p).name for p in told["files"]] == sorted(p.name for p in out.iterdir())
    assert told["qemu"][::2] == ["-acpitable"] * len(told["files"])
    assert "cut off" in told["notes"][0]
    assert rom.read_bytes() == before


def test_vbios_by_fw_cfg_has_the_rom_beside_it(rom: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("vbios", rom, "--path", r"\_SB.PCI0.GFX0", "--fw-cfg", "-o", out)
    assert done.returncode == 0, done.stderr
    assert (out / "vbios.rom").read_bytes() == rom.read_bytes()[0xA00:]
    assert b"-fw_cfg" in done.stdout


def test_vbios_refuses_what_is_too_large(tmp_path: Path) -> None:
    big, out = tmp_path / "big.rom", tmp_path / "out"
    big.write_bytes(bytes(2 << 20))
    done = run("vbios", big, "--as-is", "--at", "01.0/00.0", "-o", out)
    assert done.returncode == 3
    assert b"2097152 bytes (2.00 MiB)" in done.stderr
    assert b"--fw-cfg" in done.stderr
    assert not out.exists()


def test_vbios_refuses_a_rom_with_faults_unless_told(tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.rom", tmp_path / "out"
    raw = bytearray(image(pcir(vendor=0x10DE)))
    raw[100] ^= 0xFF
    bad.write_bytes(bytes(raw))
    done = run("vbios", bad, "--at", "01.0/00.0", "-o", out)
    assert done.returncode == 3
    assert b"romkit verify" in done.stderr
    assert b"--as-is" in done.stderr
    assert run("vbios", bad, "--at", "01.0/00.0", "-o", out, "--as-is").returncode == 0


@pytest.mark.parametrize(
    "args",
    [
        ("vbios", "x.rom", "-o", "out"),
        ("vbios", "x.rom", "-o", "out", "--at", "01.0", "--path", r"\_SB"),
        ("vbios", "x.rom", "-o", "out", "--at", "99.0"),
        ("vbios", "x.rom", "-o", "out", "--at", "01.0", "--machine", "virt"),
        ("vbios", "x.rom", "-o", "out", "--at", "01.0", "--qemu", "new"),
        ("vbios", "x.rom", "-o", "out", "--path", "SB"),
        ("vbios", "x.rom", "--at", "01.0"),
        ("battery", "-o", "out", "--charge", "200"),
        ("vbios", "x.rom", "-o", "out", "--path", "\\"),
        ("vbios", "x.rom", "-o", "out", "--path", r"\_SB"),
        ("vbios", "x.rom", "-o", "out", "--path", ""),
        ("vbios", "x.rom", "-o", "out", "--at", ""),
        ("vbios", "x.rom", "-o", "out", "--at", "01.0", "--as-is", "--entry", "0"),
        ("vbios", "x.rom", "-o", "out", "--at", "01.0", "--entry", "-1"),
        ("battery", "-o", "out", "--rate", "5"),
        ("battery", "-o", "out", "--offline"),
        ("battery", "-o", "out", "--state", "charging"),
        ("battery", "-o", "out", "--state", "charging", "--charge", "50", "--offline"),
        ("battery", "-o", "out", "--missing", "--charge", "100"),
        ("battery", "-o", "out", "--missing", "--offline"),
        ("battery", "-o", "out", "--missing", "--capacity", "50000", "--rate", "0"),
        ("chassis", "-o", "out", "--kind", "toaster"),
        ("path", "nowhere"),
    ],
)
def test_wrong_usage_is_said_to_be_so(args: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run([*ROMKIT, *args], capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert b"Error: " in done.stderr
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_a_colon_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = run("battery", "-o", tmp_path / "a:b")
    assert done.returncode == 3
    assert b"colon" in done.stderr
    assert not (tmp_path / "a:b").exists()


def test_chassis_and_decode_and_path(tmp_path: Path) -> None:
    assert run("chassis", "-o", tmp_path).returncode == 0
    assert (tmp_path / "chassis.bin").read_bytes()[5] == 10
    assert run("battery", "-o", tmp_path).returncode == 0
    table = tmp_path / "battery.aml"
    shown = run("decode", table)
    assert shown.returncode == 0
    assert b"Device BAT0" in shown.stdout
    (told,) = json.loads(run("decode", table, "--json").stdout)
    assert (told["signature"], told["checksum_ok"]) == ("SSDT", True)
    assert [e["path"] for e in told["outline"] if e["kind"] == "Device"] == ["AC0", "BAT0"]
    path = json.loads(run("path", "01.0/00.0", "--qemu", "7.2", "--json").stdout)
    assert (path["path"], path["has_node"]) == (r"\_SB.PCI0.S08.S00", True)


def test_every_chassis_can_be_asked_for() -> None:
    assert {kind.value for kind in Chassis} == set(CHASSIS)


def test_decode_says_which_file_is_bad_and_goes_on(tmp_path: Path) -> None:
    assert run("battery", "-o", tmp_path).returncode == 0
    good = (tmp_path / "battery.aml").read_bytes()
    bad, worse = tmp_path / "bad.aml", tmp_path / "worse.aml"
    bad.write_bytes(good[:-1] + b"\xff")
    worse.write_bytes(b"nothing")
    done = run("decode", bad)
    assert done.returncode == 1
    assert "checksum should be" in done.stdout.decode()
    done = run("decode", worse, "-", tmp_path / "absent", stdin=good)
    assert done.returncode == 3
    assert b"Device BAT0" in done.stdout
    assert b"worse.aml" in done.stderr
    assert b"absent" in done.stderr
    assert b"Traceback" not in done.stderr


def test_decode_says_what_it_did_not_look_at(tmp_path: Path) -> None:
    assert run("battery", "-o", tmp_path).returncode == 0
    table = (tmp_path / "battery.aml").read_bytes()
    done = run("decode", "-", stdin=table + bytes(100) + b"junk")
    assert done.returncode == 0
    assert f"4 bytes at {len(table) + 100:#x}" in done.stdout.decode()
    (told,) = json.loads(run("decode", "-", "--json", stdin=table + bytes(100) + b"junk").stdout)
    assert [finding["check"] for finding in told["findings"]] == ["acpi.checksum", "acpi.rest"]


@pytest.mark.parametrize("data", [b"", b"SSDT", bytes(64), b"FACS" + bytes(60), b"SSDT\xff" * 20])
def test_whatever_is_no_table_comes_with_something_to_try(data: bytes) -> None:
    done = run("decode", "-", stdin=data)
    assert done.returncode == 3
    assert b"  try: " in done.stderr


def test_decode_writes_any_table_as_c(tmp_path: Path) -> None:
    assert run("battery", "-o", tmp_path).returncode == 0
    out = tmp_path / "table.h"
    assert run("decode", tmp_path / "battery.aml", "-o", out).returncode == 0
    assert "static const unsigned char ssdt_battery[] = {" in out.read_text()
    piped = run("decode", tmp_path / "battery.aml", "-o", "-")
    assert piped.stdout == out.read_bytes()
    assert run("decode", tmp_path / "battery.aml", "-o", tmp_path / "battery.aml").returncode == 3
