"""The commands that reset, hand over, refresh and read, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.card import GPU, card
from typer.testing import CliRunner, Result

from passthrough.cli import app


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A laptop with its card at the host's drivers."""
    tree = card(driver="nvidia", audio_driver="snd_hda_intel", switches=True, reset="flr bus")
    return tree.file("/usr/bin/nvidia-smi").write(tmp_path / "laptop")


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (("reset", "--full"), f"reset {GPU} (full)"),
        (("reset", "--short", "01:00.0"), f"reset {GPU} (short)"),
        (("reset", "gpu", "--short"), f"reset {GPU} (short)"),
        (("detach",), f"detach {GPU}"),
        (("detach", "gpu", "--audio", "none"), f"detach {GPU}"),
        (("reattach", "01:00.0"), f"reattach {GPU}"),
        (("refresh",), f"refresh {GPU}"),
        (("refresh", "gpu"), f"refresh {GPU}"),
    ],
)
def test_the_plan_is_shown_as_text_and_as_json(
    folder: Path, words: tuple[str, ...], title: str
) -> None:
    told = run(*words, "--dry-run", "--root", folder)
    assert told.exit_code == 0
    assert told.output.startswith(f"{title}: ")
    said = json.loads(run(*words, "--dry-run", "--root", folder, "--json").output)
    assert (said["title"], said["outcome"]) == (title, "planned")
    for step in said["steps"]:
        assert step["name"] in told.output


def test_without_a_form_all_ways_are_shown_the_gentlest_first(folder: Path) -> None:
    told = run("reset", "--dry-run", "--root", folder).output
    places = [told.index(f"({form})") for form in ("function", "short", "full")]
    assert places == sorted(places)
    said = json.loads(run("reset", "--dry-run", "--root", folder, "--json").output)
    assert [plan["title"] for plan in said["plans"]] == [
        f"reset {GPU} ({form})" for form in ("function", "short", "full")
    ]


def test_what_stands_in_the_way_ends_with_1_and_is_shown(tmp_path: Path) -> None:
    root = card(group=None).write(tmp_path / "no-iommu")
    told = run("detach", "--dry-run", "--root", root)
    assert told.exit_code == 1
    assert "no IOMMU group" in told.output
    off = card(power="off").write(tmp_path / "off")
    assert run("reset", "--dry-run", "--root", off).exit_code == 1


@pytest.mark.parametrize(
    "words",
    [
        ("reset", "--full", "--short"),
        ("detach", "--option", "disable_idle_d3"),
        ("detach", "--audio", "nobody"),
        ("refresh", "nonsense"),
        ("rom", "dump", "01:00.0"),
        ("rom", "dump", "01:00.0", "-o", "x", "--via", "magic"),
    ],
)
def test_wrong_usage_is_told_from_everything_else(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_a_card_that_is_not_there_is_said_so(folder: Path) -> None:
    told = run("detach", "02:00.0", "--dry-run", "--root", folder)
    assert told.exit_code == 3
    assert "no device at 0000:02:00.0" in told.output


def test_only_this_machine_is_changed(folder: Path) -> None:
    for words in (("reset",), ("detach",), ("reattach",), ("refresh",)):
        assert run(*words, "--root", folder).exit_code == 2
