"""The command as a user meets it: a process, files, a status."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, nvgi, nvidia_desktop, pcir

from romkit.cli.files import write_output

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
from romkit.cli import main
main()
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
        [sys.executable, "-c", WATCHED, str(rom), *args, *[str(rom)] * (1 + (args == ["diff"]))],
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


@pytest.mark.parametrize("args", [["parse", "ROM"], ["recipe", "ROM"], ["--help"]])
def test_a_reader_that_goes_away_costs_no_traceback(rom: Path, args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*ROMKIT, *(str(rom) if a == "ROM" else a for a in args)],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_interrupting_ends_quietly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        # A shell starts background jobs, and with them whole test runs, with SIGINT ignored.
        ["env", "--default-signal=INT", *ROMKIT, "parse", str(pipe)],
        stderr=subprocess.PIPE,
    )
    try:
        with pipe.open("wb"):  # waits until the command has opened the other end
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, b"")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    """It comes when the bytes are written, but the file has not its name yet."""
    number = getattr(signal, name)
    script = (
        "import os, signal, sys\n"
        f"signal.signal({number}, signal.SIG_DFL)\n"
        f"os.fsync = lambda descriptor: os.kill(os.getpid(), {number})\n"
        "from romkit.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", script, "build", RECIPE, "-o", tmp_path / "built.rom"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_respected(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGHUP)\n"
        "from romkit.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", script, "build", RECIPE, "-o", tmp_path / "built.rom"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["built.rom"]


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
    shell = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run("--show-completion", "bash", **shell)
    assert done.returncode == 0
    assert b"_ROMKIT_COMPLETE=complete_bash" in done.stdout
    assert b"complete -o default -F _romkit_completion romkit" in done.stdout
    asked = run(_ROMKIT_COMPLETE="complete_bash", COMP_WORDS="romkit ver", COMP_CWORD="1")
    assert asked.stdout.split() == [b"verify"]


def test_a_parse_loads_what_it_needs_and_no_more(tmp_path: Path) -> None:
    plain, efi = tmp_path / "plain.rom", tmp_path / "efi.rom"
    plain.write_bytes(image(pcir(vendor=0x1002)))
    efi.write_bytes(efi_image(build_pe(GOP_GUID)))
    script = (
        "import sys\n"
        "from romkit.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "parse", plain, efi], capture_output=True, check=False
    )
    assert done.returncode == 0
    heavy = "pydantic rich tabulate cryptography pyudev pefile uefi_firmware asyncio"
    loaded = set(done.stderr.decode().split())
    assert {"romkit", "construct"} <= loaded
    assert loaded & {*heavy.split(), "multiprocessing", "sqlite3"} == set()


UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def unprivileged() -> list[str]:
    """What takes root's right to read everything; nothing where we have no such right."""
    if os.geteuid() != 0:
        return []
    try:
        done = subprocess.run([*UNPRIVILEGED, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("root, without setpriv, reads every file")
    if done.returncode:
        pytest.skip("root may not drop its rights here")
    return UNPRIVILEGED


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


def test_an_output_that_may_not_be_read_is_no_wrong_usage(tmp_path: Path) -> None:
    out = tmp_path / "out.rom"
    out.write_bytes(b"precious")
    out.chmod(0)
    command = [*unprivileged(), *ROMKIT, "build", str(RECIPE), "-o", str(out)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 3
    forced = subprocess.run([*command, "--force"], capture_output=True, check=False)
    assert forced.returncode == 0, forced.stderr


def test_force_keeps_the_mode_and_owner_of_what_it_replaces(tmp_path: Path) -> None:
    out = tmp_path / "out.rom"
    out.write_bytes(b"old")
    out.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(out, 65534, 65534)
    before = out.stat()
    assert run("build", RECIPE, "-o", out, "--force").returncode == 0
    after = out.stat()
    assert after.st_size > 3
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_block_device_is_never_written(
    tmp_path: Path, force: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "disk"
    device.write_bytes(b"precious")
    real = Path.stat

    def block(self: Path, **options: bool) -> os.stat_result:
        status = real(self, **options)
        if self.name != "disk":
            return status
        return os.stat_result([stat.S_IFBLK | 0o600, *status[1:]])

    monkeypatch.setattr(Path, "stat", block)
    with pytest.raises(typer.Exit) as ended:
        write_output(device, b"ROM", force=bool(force))
    assert ended.value.exit_code == 3
    assert device.read_bytes() == b"precious"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([*ROMKIT, "build", str(RECIPE), "-o", str(pipe)]) as process:
        data = pipe.read_bytes()
    assert process.returncode == 0
    assert data == run("build", RECIPE, "-o", "-").stdout
    assert pipe.is_fifo()


@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "standard input"])
def test_an_input_is_never_an_output(tmp_path: Path, kind: str) -> None:
    given, out = tmp_path / "in.toml", tmp_path / "out"
    given.write_bytes(RECIPE.read_bytes())
    if kind == "symbolic link":
        out.symlink_to(given)
    elif kind == "hard link":
        out.hardlink_to(given)
    else:
        out = given
    with given.open("rb") as stream:
        done = subprocess.run(
            [*ROMKIT, "build", *([given, "-"][kind == "standard input"],), "-o", out, "--force"],
            stdin=stream,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 3
    assert b"is an input, which is never changed" in done.stderr
    assert given.read_bytes() == RECIPE.read_bytes()


@pytest.mark.parametrize(
    "command", [["map", "ROM", "--svg", "ROM"], ["recipe", "ROM", "-o", "ROM"]]
)
def test_a_picture_or_a_recipe_does_not_replace_its_rom(rom: Path, command: list[str]) -> None:
    before = rom.read_bytes()
    done = run(*(rom if a == "ROM" else a for a in command), "--force")
    assert done.returncode == 3
    assert rom.read_bytes() == before


def test_a_rom_that_is_too_large_for_a_recipe(tmp_path: Path) -> None:
    large = tmp_path / "large.rom"
    large.write_bytes(image(pcir(vendor=0x1002)) + b"\xff" * (70 << 20))
    done = run("recipe", large)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"large.rom: the file has" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
    ],
    ids=str,
)
def test_a_terminal_without_unicode_gets_what_it_can_show(
    wrapped: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff\xc3\xa9\xe2\x86\x92.rom"
    Path(os.fsdecode(odd)).write_bytes(wrapped.read_bytes())
    for command in (["parse"], ["verify"], ["map"], ["strip", "--dry-run"], ["recipe"], ["find"]):
        done = subprocess.run(
            [*ROMKIT, *command, odd], capture_output=True, check=False, env={**os.environ, **env}
        )
        assert done.returncode in (0, 1), done.stderr
        assert b"Traceback" not in done.stderr
        if env.get("PYTHONIOENCODING") and command != ["recipe"]:
            assert "→" not in done.stdout.decode("utf-8", "replace")
    if env.get("PYTHONIOENCODING") == "ascii":
        done = subprocess.run(
            [*ROMKIT, "parse", odd], capture_output=True, check=False, env={**os.environ, **env}
        )
        assert done.stdout.isascii()
        assert b"PCIR chain 0 -> 1" in done.stdout
        assert b"  x rom.container" in done.stdout


def test_a_name_that_is_no_text_makes_valid_json(rom: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.rom"))
    odd.write_bytes(rom.read_bytes())
    done = run("parse", "--json", odd, tmp_path / "\udcfe")
    assert done.stdout.isascii()
    good, bad = json.loads(done.stdout)
    assert (good["file"], bad["file"]) == (str(odd), str(tmp_path / "\udcfe"))


HOSTILE = "a\x1b[31m\x1b]0;x\x07\n\u202eb"


@pytest.mark.parametrize("command", ["parse", "verify", "strip", "find", "build", "split"])
def test_a_name_does_nothing_to_a_terminal(rom: Path, tmp_path: Path, command: str) -> None:
    hostile = tmp_path / HOSTILE
    hostile.write_bytes(rom.read_bytes() if command in ("parse", "verify", "find") else b"")
    more = ["-d", tmp_path / HOSTILE / "x"] if command == "split" else []
    more = more or (["-o", tmp_path / "out"] if command in ("strip", "build") else [])
    done = run("--color", "never", command, hostile, *more)
    said = done.stdout + done.stderr
    assert b"a\xef\xbf\xbd[31m" in said
    for acting in (b"\x1b", b"\x07", "\u202e".encode(), b"\xef\xbf\xbdb\n\n"):
        assert acting not in said
    assert not any(line.startswith(("\u202eb", "b")) for line in said.decode().splitlines())


@pytest.mark.parametrize("args", [["parse"], ["recipe"], ["map"], ["verify", "--json"], ["--help"]])
def test_a_full_or_closed_output_is_one_line_and_a_status(rom: Path, args: list[str]) -> None:
    command = [*ROMKIT, *args, *([] if args == ["--help"] else [str(rom)])]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3
    assert done.stderr == b"romkit: standard output: cannot be written: No space left on device\n"
    if args == ["--help"]:
        return
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 3
    assert done.stderr == b"romkit: standard output: cannot be written: it is closed\n"


def test_closed_input_and_closed_errors(rom: Path) -> None:
    for command in ("parse", "find"):
        line = ["sh", "-c", 'exec "$@" <&-', "sh", *ROMKIT, command, "-"]
        done = subprocess.run(line, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (
            3,
            b"romkit: standard input: it is closed\n",
        )
    silent = ["sh", "-c", 'exec "$@" 2>&-', "sh", *ROMKIT, "parse", "/nonexistent", str(rom)]
    assert subprocess.run(silent, capture_output=True, check=False).returncode == 3


def test_an_input_takes_no_more_memory_than_it_has(rom: Path) -> None:
    script = (
        "import resource, sys\n"
        "from romkit.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_AS, (220 << 20, 220 << 20))\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "parse", "-"],
        input=rom.read_bytes(),
        capture_output=True,
        check=False,
    )
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


def test_ids_are_taken_as_sysfs_writes_them(rom: Path) -> None:
    assert run("verify", rom, "--device", "0x1002:0x1c03", "--class", "0x0300").returncode == 0


def test_an_empty_no_color_means_nothing(wrapped: Path) -> None:
    assert b"\x1b[" in on_terminal("parse", wrapped, NO_COLOR="")


COMMANDS = ["parse", "verify", "map", "diff", "strip", "split", "join", "patch", "fix", "find"]


@pytest.mark.parametrize(
    "command", [*COMMANDS, "recipe", "build", "gop list", "gop extract", "gop insert"]
)
def test_help_says_what_a_hyphen_is(command: str) -> None:
    described = run(*command.split(), "--help").stdout.decode().split("Options:")[0]
    assert "- is standard input" in " ".join(described.split("Arguments:")[0].split())


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    out = tmp_path / ("n" * 254)
    assert run("build", RECIPE, "-o", out).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_links(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    out = tmp_path / "out"
    write_output(out, b"ROM", force=False)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("out", b"ROM")]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    done = run("build", RECIPE, "-o", tmp_path / "nodir/deep/out.rom")
    assert done.returncode == 3
    errors = done.stderr.decode()
    assert f"cannot be written: there is no directory {tmp_path}/nodir\n" in errors
    assert f"  try: mkdir -p {tmp_path}/nodir/deep\n" in errors


def test_a_directory_is_for_the_catalogue(tmp_path: Path) -> None:
    done = run("parse", tmp_path)
    assert done.returncode == 3
    assert f"try: `romkit catalogue {tmp_path}`, or name the files in it" in done.stderr.decode()
    out = run("build", RECIPE, "-o", tmp_path, "--force")
    assert out.returncode == 3
    assert b"is a directory" in out.stderr
