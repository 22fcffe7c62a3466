"""`passthrough launch` and `stop` as a user meets them, before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.card import card
from typer.testing import CliRunner, Result

from passthrough.cli import app, outcome
from passthrough.journal import Places

PROFILE = """
name = "win10"
[firmware]
kind = "bios"
[gpu]
address = "01:00.0"
"""


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    tree = card(driver="nvidia", audio_driver="snd_hda_intel", reset="flr bus")
    tree.file("/dev/kvm").file("/usr/bin/qemu-system-x86_64")
    return tree.write(tmp_path / "laptop")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "win10.toml"
    path.write_text(PROFILE, encoding="utf-8")
    return path


def test_the_plan_is_shown_as_text_and_as_json(laptop: Path, profile: Path) -> None:
    words = ("launch", profile, "--user", "nobody", "--dry-run", "--root", laptop)
    told = run(*words)
    assert told.exit_code == 0
    assert told.output.startswith("launch win10: ")
    assert "start qemu-system-x86_64 as the user number 65534" in told.output
    said = json.loads(run(*words, "--json").output)
    assert (said["title"], said["outcome"]) == ("launch win10", "planned")
    argv = said["steps"][-1]["argv"]
    # The whole command is there to be looked at, with the card in it.
    assert any("host=0000:01:00.0" in word for word in argv)
    assert all(step["name"] in told.output for step in said["steps"])
    assert [path.name for path in profile.parent.iterdir() if path.suffix == ".vm"] == []


def test_who_would_run_qemu_as_root_is_warned(laptop: Path, profile: Path) -> None:
    words = ("launch", profile, "--user", "root", "--dry-run", "--root", laptop)
    told = run(*words)
    assert told.exit_code == 0
    assert "would run as root" in told.output


def test_what_stands_in_the_way_ends_with_1(laptop: Path, profile: Path) -> None:
    (laptop / "dev/kvm").unlink()
    told = run("launch", profile, "--user", "nobody", "--dry-run", "--root", laptop)
    assert told.exit_code == 1
    assert "there is no /dev/kvm" in told.output


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "no such file"), ("name = 3", "win10.toml:1: name"), ("[gpu", "win10.toml:1: ")],
)
def test_a_bad_profile_is_told_with_its_line(
    tmp_path: Path, laptop: Path, text: str | None, says: str
) -> None:
    path = tmp_path / "win10.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    told = run("launch", path, "--user", "nobody", "--dry-run", "--root", laptop)
    assert told.exit_code == 3
    assert says in told.output


@pytest.mark.parametrize(
    "words", [("launch",), ("launch", "x", "--patience", "-1"), ("launch", "x", "--root", "/")]
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_nobody_runs_as_a_user_who_is_not_there(laptop: Path, profile: Path) -> None:
    words = ("launch", profile, "--user", "no-such-user", "--dry-run", "--root", laptop)
    told = run(*words)
    assert told.exit_code == 3
    assert "there is no user no-such-user" in told.output


def test_what_does_not_run_cannot_be_stopped() -> None:
    told = run("stop", "no-such-guest")
    assert told.exit_code == 3
    assert "no-such-guest" in told.output


def test_commands_remember_in_the_places_of_the_tests(own_journals: Places) -> None:
    """Or who tests on a machine where guests run would find them in the history, and stop one."""
    assert outcome.places() is own_journals
    assert run("history").stdout == "nothing was done to this machine since its start\n"


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon"])
@pytest.mark.parametrize("option", ["--patience", "--keys"])
def test_a_time_that_never_ends_is_wrong_usage(profile: Path, option: str, text: str) -> None:
    told = run("install", profile, option, text, "--dry-run")
    assert told.exit_code == 2
    assert option in told.output
