"""Standard streams, terminals, help and signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from romkit_command import ROMKIT, main_of, run


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


@pytest.mark.parametrize(
    ("words", "name", "status"),
    [
        ("romkit parse", "SIGINT", 130),
        ("romkit parse", "SIGTERM", 143),
        ("diag read", "SIGTERM", 143),
        ("passthrough vm argv", "SIGHUP", 129),
    ],
)
def test_a_signal_ends_a_command_quietly(
    tmp_path: Path, words: str, name: str, status: int
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    package, *args = words.split()
    process = subprocess.Popen(
        # A shell starts background jobs, and with them whole test runs, with SIGINT ignored.
        ["env", f"--default-signal={name[3:]}", *main_of(package), *args, str(pipe)],
        stderr=subprocess.PIPE,
    )
    try:
        with pipe.open("wb"):  # waits until the command has opened the other end
            process.send_signal(getattr(signal, name))
            _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (status, b"")


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


def test_an_empty_no_color_means_nothing(wrapped: Path) -> None:
    assert b"\x1b[" in on_terminal("parse", wrapped, NO_COLOR="")


@pytest.mark.parametrize("package", ["romkit", "diag", "passthrough"])
def test_help_and_version_work(package: str) -> None:
    for option in ("--help", "-h", "--version"):
        command = [*main_of(package), option]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert package in done.stdout


@pytest.mark.parametrize("package", ["romkit", "diag", "passthrough"])
def test_help_says_whole_sentences(package: str) -> None:
    """However narrow a terminal is, no word of what a command does is cut off."""
    told = {}
    for columns in ("60", "200"):
        done = subprocess.run(
            [*main_of(package), "--help"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": columns},
        )
        told[columns] = done.stdout.split("Commands:")[1]
    assert told["60"].split() == told["200"].split()
    assert "..." not in told["60"]


def test_completion_is_offered() -> None:
    shell = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run("--show-completion", "bash", **shell)
    assert done.returncode == 0
    assert b"_ROMKIT_COMPLETE=complete_bash" in done.stdout
    assert b"complete -o default -F _romkit_completion romkit" in done.stdout
    asked = run(_ROMKIT_COMPLETE="complete_bash", COMP_WORDS="romkit ver", COMP_CWORD="1")
    assert asked.stdout.split() == [b"verify"]


COMMANDS = ["parse", "verify", "map", "diff", "strip", "split", "join", "patch", "fix", "find"]


@pytest.mark.parametrize(
    "command", [*COMMANDS, "recipe", "build", "gop list", "gop extract", "gop insert"]
)
def test_help_says_what_a_hyphen_is(command: str) -> None:
    described = run(*command.split(), "--help").stdout.decode().split("Options:")[0]
    assert "- is standard input" in " ".join(described.split("Arguments:")[0].split())


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
