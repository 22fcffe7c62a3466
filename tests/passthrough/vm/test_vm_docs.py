"""docs/profile.md has every key, as the model has it, and its example is a profile."""

from __future__ import annotations

import re
from pathlib import Path

from builders.vm import guest, profile

from passthrough.vm.looks import LOOKS
from passthrough.vm.parse import parse_profile
from passthrough.vm.template import reference_lines

TEXT = (Path(__file__).parents[3] / "docs" / "profile.md").read_text(encoding="utf-8")


def test_every_key_stands_there_as_it_is() -> None:
    """Made by ``"\\n".join(reference_lines())``."""
    _, _, reference = TEXT.partition("## Every key")
    assert [row for row in reference.splitlines() if row.startswith("|")] == list(reference_lines())


def test_the_example_is_a_profile() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    made = parse_profile(text, folder="/home/me/virt")
    assert made.acpi.vbios
    assert guest(text.replace('name = "win10"', "")).gpu is not None
    assert made.memory.size == profile('[memory]\nsize = "8G"').memory.size


def test_every_check_stands_there() -> None:
    assert {slug for slug, *_ in LOOKS} <= set(re.findall(r"`(guest\.\w+)`", TEXT))
