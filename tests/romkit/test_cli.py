"""The command as a user meets it: a process, files, a status."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders.rom import image, nvgi, nvidia_desktop, pcir

ROMKIT = [sys.executable, "-c", "from romkit.cli import main; main()"]
RECIPE = Path(__file__).parent.parent / "fixtures/recipes/nvidia_desktop_pascal_nvgi2.toml"


def run(*args: str | Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*ROMKIT, *map(str, args)],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "120", **env},
    )


@pytest.fixture
def rom(tmp_path: Path) -> Path:
    path = tmp_path / "good.rom"
    path.write_bytes(image(pcir(vendor=0x1002)))
    return path


@pytest.fixture
def wrapped(tmp_path: Path) -> Path:
    path = tmp_path / "wrapped.rom"
    path.write_bytes(nvgi(2, nvidia_desktop()))
    return path


def test_parse_reports_and_succeeds(wrapped: Path) -> None:
    done = run("parse", wrapped)
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.startswith(
        f"{wrapped}: 4608 bytes, ROM at 0x400 behind NVGI version 2 data, 3 images"
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


def test_input_files_are_only_read(rom: Path) -> None:
    before = rom.read_bytes()
    rom.chmod(0o400)
    for command in (["parse"], ["verify"], ["map"], ["recipe"]):
        assert run(*command, rom).returncode in (0, 1)
    assert rom.read_bytes() == before


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
    assert "0x400" in done.stdout.decode()
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


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.write_bytes(b"precious")
    done = run("build", RECIPE, "-o", out)
    assert done.returncode == 3
    assert b"exists already" in done.stderr
    assert out.read_bytes() == b"precious"
    assert run("build", RECIPE, "-o", out, "--force").returncode == 0
    assert out.read_bytes() != b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["precious"]


def test_force_through_a_link_writes_the_file_it_leads_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    assert run("build", RECIPE, "-o", link, "--force").returncode == 0
    assert link.is_symlink()
    assert real.read_bytes() != b"old"


def test_output_follows_the_umask(tmp_path: Path) -> None:
    out = tmp_path / "built.rom"
    old = os.umask(0o027)
    try:
        run("build", RECIPE, "-o", out)
    finally:
        os.umask(old)
    assert out.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """A limit on file size is what a full disk looks like to one process."""
    out = tmp_path / "built.rom"
    script = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "import sys\n"
        f"sys.argv = ['romkit', 'build', {str(RECIPE)!r}, '-o', {str(out)!r}]\n"
        "from romkit.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 3
    assert b"cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_directory_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    done = run("build", RECIPE, "-o", "/proc/self/built.rom")
    assert done.returncode == 3
    assert b"cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text", [b"", b"[[image", b"x = 1", b"\xff\xfe", b"[[image]]\nvendor = 'x'"]
)
def test_a_bad_recipe_is_an_error_and_not_a_traceback(text: bytes, tmp_path: Path) -> None:
    done = run("build", "-", "-o", tmp_path / "out", stdin=text)
    assert done.returncode == 3
    assert done.stderr.startswith(b"romkit: standard input: ")
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)
    done = run("parse", huge)
    assert done.returncode == 3
    assert b"larger than 256 MiB" in done.stderr


def test_a_reader_that_goes_away_costs_no_traceback(rom: Path) -> None:
    with subprocess.Popen(
        [*ROMKIT, "parse", *[str(rom)] * 50], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert b"Traceback" not in errors


def test_interrupting_ends_quietly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen([*ROMKIT, "parse", str(pipe)], stderr=subprocess.PIPE)
    with pipe.open("wb"):  # waits until the command has opened the other end
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode not in (0, 3)
    assert b"Traceback" not in errors


def on_terminal(*args: str | Path, **env: str) -> bytes:
    """What the command prints when its output is a terminal."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [*ROMKIT, *map(str, args)], stdout=slave, env={**environment, "TERM": "xterm", **env}
    )
    os.close(slave)
    output = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        output += chunk
    process.wait()
    os.close(master)
    return output


def test_colours_are_for_terminals_and_can_be_switched_off(wrapped: Path) -> None:
    assert b"\x1b[" in on_terminal("parse", wrapped)
    assert b"\x1b[" not in on_terminal("parse", wrapped, NO_COLOR="1")
    assert b"\x1b[" not in on_terminal("--color", "never", "parse", wrapped)
    assert b"\x1b[" in run("--color", "always", "parse", wrapped).stdout


@pytest.mark.parametrize("package", ["romkit", "diag", "passthrough"])
def test_help_and_version_work(package: str) -> None:
    command = [sys.executable, "-c", f"from {package}.cli import main; main()"]
    for option in ("--help", "-h", "--version"):
        done = subprocess.run([*command, option], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert package in done.stdout


def test_completion_is_offered() -> None:
    done = run("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert b"romkit" in done.stdout or done.returncode == 0
