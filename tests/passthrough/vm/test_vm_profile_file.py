"""A profile is found by the VM's name, or by a path, in every command alike."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from passthrough.cli import app
from passthrough.cli.profile import offered
from passthrough.errors import PassthroughError
from passthrough.programs import User, find_user
from passthrough.vm.profile_file import (
    find_profile,
    profile_folder,
    profile_names,
    read_profile,
)

BIOS = '[firmware]\nkind = "bios"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, and another folder to be in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.delenv("PKEXEC_UID", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_new_writes_where_the_others_look(home: Path) -> None:
    made = run("vm", "new", "win10")
    place = home / ".config/dgpukit/win10.toml"
    assert (made.exit_code, made.stdout.strip()) == (0, str(place))
    assert stat.S_IMODE(place.stat().st_mode) & 0o600 == 0o600
    again = run("vm", "new", "win10")
    assert again.exit_code == 3
    assert "exists already" in again.output
    place.write_text(f'name = "win10"\n{BIOS}')
    assert run("vm", "new", "win10", "--force").exit_code == 0
    assert "[looking_glass]" in place.read_text()


def test_every_command_takes_a_name_and_a_path(home: Path) -> None:
    folder = home / ".config/dgpukit"
    folder.mkdir(parents=True)
    place = folder / "win10.toml"
    place.write_text(f'name = "win10"\n{BIOS}[media]\ninstall = "w.iso"\n')
    commands = (
        ("vm", "argv"), ("vm", "xml"), ("vm", "check"), ("launch", "--dry-run"),
        ("install", "--dry-run"),
    )  # fmt: skip
    for command in commands:
        by_name, by_path = run(*command, "win10"), run(*command, place)
        assert by_name.output == by_path.output
        assert by_name.exit_code == by_path.exit_code
        assert "win10.toml" not in by_name.output  # it was read
        gone = run(*command, "win11")
        assert gone.exit_code == 3
        assert f"{folder}/win11.toml: no such file or directory" in gone.output
        assert "there are win10; passthrough vm new win11 makes another" in gone.output
    # Paths in it start where it is.
    assert f"{folder}/w.iso" in run("vm", "argv", "win10", "--install").output


def test_stop_takes_the_name_that_the_profile_has(home: Path) -> None:
    folder = home / ".config/dgpukit"
    folder.mkdir(parents=True)
    (folder / "games.toml").write_text('name = "win10-of-the-games"')
    for word in ("games", folder / "games.toml"):
        told = run("stop", word)
        assert told.exit_code == 3
        assert "win10-of-the-games does not run" in told.output
    assert "nothing-of-this-name does not run" in run("stop", "nothing-of-this-name").output
    assert "no such file" in run("stop", "./gone.toml").output


def test_a_file_that_is_called_just_so_is_taken_too(home: Path) -> None:
    Path("profile").write_text('name = "a"')
    me = find_user()
    assert find_profile("profile", me) == Path("profile")
    assert find_profile("other", me) == home / ".config/dgpukit/other.toml"
    assert find_profile("./other", me) == Path("other")
    assert find_profile("other.toml", me) == Path("other.toml")
    assert read_profile("profile", me).folder == str(Path.cwd())
    run("vm", "new", "profile")
    assert find_profile("profile", me) == home / ".config/dgpukit/profile.toml"


def test_behind_sudo_the_folder_is_of_who_has_called(home: Path) -> None:
    caller = User(os.getuid() + 1, 1, "somebody", "/home/somebody")
    assert profile_folder(caller) == Path("/home/somebody/.config/dgpukit")


def test_what_cannot_be_read_is_told(home: Path) -> None:
    me = find_user()
    with pytest.raises(PassthroughError, match="is a directory"):
        read_profile(".", me)
    Path("b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PassthroughError, match="no UTF-8 text: byte 0x0"):
        read_profile("b.toml", me)
    with pytest.raises(PassthroughError, match="larger than any profile"):
        read_profile("/dev/zero", me)


def test_the_shell_is_offered_the_names(home: Path) -> None:
    assert offered("") == []
    assert profile_names(find_user()) == ()
    for name in ("win10", "win11", "linux"):
        assert run("vm", "new", name).exit_code == 0
    Path("here.toml").write_text("")
    assert offered("") == ["linux", "win10", "win11", "here.toml"]
    assert offered("wi") == ["win10", "win11"]
    assert offered(f"{home}/.config/dgpukit/l") == [f"{home}/.config/dgpukit/linux.toml"]


def test_a_shell_completes_them(home: Path) -> None:
    assert run("vm", "new", "win10").exit_code == 0
    for command in ("launch", "install", "stop", "vm check"):
        env = {**os.environ, "_PASSTHROUGH_COMPLETE": "complete_bash", "COMP_CWORD": "9"}
        env |= {
            "COMP_WORDS": f"passthrough {command} w",
            "COMP_CWORD": str(len(command.split()) + 1),
        }
        script = "import sys; sys.argv[0] = 'passthrough'; from passthrough.cli import main; main()"
        said = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
        )
        assert said.stdout.split() == ["win10"], said
