"""The commands that look at a ROM, and that build one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, pcir
from romkit_command import RECIPE, run


def test_parse_reports_and_succeeds(wrapped: Path) -> None:
    done = run("parse", wrapped)
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.startswith(
        f"{wrapped}: 6144 bytes, ROM at 0xa00 behind NVGI version 2 data, 3 images"
    )
    assert "10de:1c03" in text
    assert "rom.container" in text
    assert "\x1b" not in text


def test_parse_reads_standard_input(rom: Path) -> None:
    done = run("parse", "-", stdin=rom.read_bytes())
    assert done.returncode == 0
    assert b"standard input: 1024 bytes" in done.stdout


def test_one_bad_file_does_not_stop_the_rest(rom: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.rom"
    bad.write_bytes(b"PK\x03\x04" + bytes(100))
    done = run("parse", bad, tmp_path / "absent.rom", tmp_path, rom)
    assert done.returncode == 3
    errors = done.stderr.decode()
    assert f"romkit: {bad}: not an option ROM but a ZIP archive" in errors
    assert "try: look inside with `romkit find`" in errors
    assert "absent.rom: No such file or directory" in errors
    assert f"{tmp_path}: Is a directory" in errors
    assert str(rom) in done.stdout.decode()
    assert "Traceback" not in errors


def test_json_is_one_array_with_an_object_per_file(rom: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.rom"
    bad.write_bytes(b"")
    done = run("parse", "--json", rom, bad)
    assert done.returncode == 3
    good, failed = json.loads(done.stdout)
    assert good["file"] == str(rom)
    assert good["images"][0]["vendor"] == "1002"
    assert good["images"][0]["image_length"] == 1024
    assert failed["file"] == str(bad)
    assert "empty" in failed["error"]


def test_rom_parser_format(rom: Path) -> None:
    done = run("parse", "--format", "rom-parser", rom)
    assert done.returncode == 0
    assert done.stdout.decode() == (
        "Valid ROM signature found @0h, PCIR offset 40h\n"
        "\tPCIR: type 0 (x86 PC-AT), vendor: 1002, device: 1c03, class: 030000\n"
        "\tPCIR: revision 0, vendor revision: 1\n"
        "\tLast image\n"
    )


def test_rom_parser_format_fails_without_a_last_image(tmp_path: Path) -> None:
    path = tmp_path / "open.rom"
    path.write_bytes(image(pcir(indicator=0)))
    done = run("parse", "--format", "rom-parser", path)
    assert done.returncode != 0
    assert b"ran off the end" in done.stdout


def test_verify_says_what_blocks(wrapped: Path) -> None:
    done = run("verify", wrapped, "--json")
    assert done.returncode == 1
    findings = {f["check"]: f for f in json.loads(done.stdout)}
    assert findings["rom.container"]["severity"] == "blocker"
    assert findings["rom.container"]["evidence"]
    assert findings["rom.container"]["remedy"]


def test_verify_against_the_right_and_the_wrong_device(rom: Path) -> None:
    right = run("verify", rom, "--device", "1002:1c03")
    wrong = run("verify", rom, "--device", "1002:1c04")
    assert right.returncode == 0
    assert wrong.returncode == 1
    assert b"another card" in wrong.stdout


def test_verify_of_what_is_no_rom_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "blank"
    path.write_bytes(b"\xff" * 4096)
    done = run("verify", path)
    assert done.returncode == 3
    assert b"every byte is FF" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["--device", "10de"],
        ["--device", "10de:xyzw"],
        ["--device", "10de:1c03", "--class", "03"],
        ["--device", "10de:1c03", "--subsystem", "1"],
        ["--class", "0300"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_is_status_2(rom: Path, args: list[str]) -> None:
    done = run("verify", rom, *args)
    assert done.returncode == 2
    assert b"Usage" in done.stderr
    assert b"Traceback" not in done.stderr


def test_map_draws_and_writes_a_picture(wrapped: Path, tmp_path: Path) -> None:
    picture = tmp_path / "map.svg"
    done = run("map", wrapped, "--svg", picture)
    assert done.returncode == 0
    assert "0xa00" in done.stdout.decode()
    assert picture.read_text().startswith(("<svg", "<?xml"))
    assert run("map", "--ascii", wrapped).stdout.isascii()


def test_diff_tells_equal_from_different(rom: Path, wrapped: Path) -> None:
    assert run("diff", rom, rom).returncode == 0
    done = run("diff", rom, wrapped)
    assert done.returncode == 1
    assert b"container" in done.stdout


def test_build_writes_what_the_recipe_says(tmp_path: Path) -> None:
    out = tmp_path / "built.rom"
    done = run("build", RECIPE, "-o", out)
    assert (done.returncode, done.stderr) == (0, b"")
    piped = run("build", "-", "-o", "-", stdin=RECIPE.read_bytes())
    assert piped.stdout == out.read_bytes()
    assert run("parse", out).returncode == 0


def test_recipe_and_build_are_inverse(tmp_path: Path) -> None:
    out, text = tmp_path / "built.rom", tmp_path / "again.toml"
    run("build", RECIPE, "-o", out)
    assert run("recipe", out, "-o", text).returncode == 0
    assert run("build", text, "-o", "-").stdout == out.read_bytes()


@pytest.mark.parametrize(
    "text", [b"", b"[[image", b"x = 1", b"\xff\xfe", b"[[image]]\nvendor = 'x'"]
)
def test_a_bad_recipe_is_an_error_and_not_a_traceback(text: bytes, tmp_path: Path) -> None:
    done = run("build", "-", "-o", tmp_path / "out", stdin=text)
    assert done.returncode == 3
    assert done.stderr.startswith(b"romkit: standard input: ")
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_parse_loads_what_it_needs_and_no_more(tmp_path: Path) -> None:
    plain, efi = tmp_path / "plain.rom", tmp_path / "efi.rom"
    plain.write_bytes(image(pcir(vendor=0x1002)))
    efi.write_bytes(efi_image(build_pe(GOP_GUID)))
    tell = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr))\n"
    )
    done = run("parse", plain, efi, preamble=tell)
    assert done.returncode == 0
    heavy = "pydantic rich tabulate cryptography pyudev pefile uefi_firmware asyncio"
    loaded = set(done.stderr.decode().split())
    assert {"romkit", "construct"} <= loaded
    assert loaded & {*heavy.split(), "multiprocessing", "sqlite3"} == set()


def test_ids_are_taken_as_sysfs_writes_them(rom: Path) -> None:
    assert run("verify", rom, "--device", "0x1002:0x1c03", "--class", "0x0300").returncode == 0
