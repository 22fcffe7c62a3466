"""docs/recipe.md: no key is missing or invented, and its examples build."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from romkit.recipe import build_rom, load_recipe
from romkit.recipe.load import key_of
from romkit.recipe.model import (
    CONTAINERS,
    TAIL_PARTS,
    AtomRecipe,
    EfiRecipe,
    ImageRecipe,
    NpdeRecipe,
    NvidiaRecipe,
    Patch,
    Recipe,
    RomPart,
    VbtRecipe,
)
from romkit.rom import parse_rom

TEXT = (Path(__file__).parents[3] / "docs" / "recipe.md").read_text(encoding="utf-8")

SECTIONS: dict[str, type] = {
    "## `[[image]]`": ImageRecipe,
    "### `[image.npde]`": NpdeRecipe,
    "### `[image.efi]`": EfiRecipe,
    "### `[image.nvidia]`": NvidiaRecipe,
    "### `[image.atom]`": AtomRecipe,
    "### `[image.vbt]`": VbtRecipe,
    **{f'### `kind = "{vars(c)["kind"]}"`': c for c in (*CONTAINERS, *TAIL_PARTS)},
}


def documented(heading: str) -> set[str]:
    """The keys in the first column of the section's table."""
    section = TEXT.split(f"\n{heading}\n", 1)[1]
    section = re.split(r"\n##", section, maxsplit=1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_explained_and_none_is_invented(heading: str) -> None:
    table = SECTIONS[heading]
    own = {key_of(field) for field in fields(table) if "kind" in field.metadata}
    if issubclass(table, Recipe):
        own.discard("truncate")
    assert documented(heading) == (set() if table is RomPart else own)


def test_the_file_itself() -> None:
    section = documented("## The file")
    keys = {key_of(field) for field in fields(Recipe)}
    assert {key.strip("[]") for key in section if key not in ("offset", "bytes")} == keys
    assert {key_of(field) for field in fields(Patch)} == {"offset", "bytes"}


def test_the_examples_build_what_the_text_says() -> None:
    small, large = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    rom = parse_rom(build_rom(load_recipe(small)))
    assert [image.code_type for image in rom.images] == [0, 3]
    assert rom.pcir_chain.complete
    gop = rom.images[1].efi
    assert gop is not None
    assert gop.gop_role.value == "producer"
    assert all(image.sum8 == 0 for image in rom.images)

    rom = parse_rom(build_rom(load_recipe(large)))
    assert len(rom.data) == 262144
    assert rom.container is not None
    assert rom.container.title == "NVGI version 2"
    assert rom.images[0].pcir.image_length == sum(image.size for image in rom.images)
    assert len(rom.npde_chain) == 3
    assert len(rom.pcir_chain) == 1
