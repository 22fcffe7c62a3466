"""The documents keep up with the code."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

from romkit.recipe import build_rom, load_recipe, model

ROOT = Path(__file__).parent.parent
RECIPE = (ROOT / "docs/recipe.md").read_text(encoding="utf-8")


def test_the_recipe_document_names_every_key() -> None:
    tables = [c for c in vars(model).values() if dataclasses.is_dataclass(c)]
    keys = {
        field.metadata.get("name") or field.name
        for table in tables
        for field in dataclasses.fields(table)
        if "kind" in field.metadata
    }
    assert len(keys) > 50
    assert {key for key in keys if f"`{key}`" not in RECIPE} == set()


def test_the_examples_of_the_recipe_document_build() -> None:
    examples = re.findall(r"```toml\n(.*?)```", RECIPE, re.DOTALL)
    assert examples
    for example in examples:
        tomllib.loads(example)
        assert build_rom(load_recipe(example)).startswith(b"\x55\xaa")


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.name + "/" if path.is_dir() else path.name
        for path in (ROOT / "romkit").iterdir()
        if path.name not in ("__pycache__", "__init__.py", "__main__.py", "py.typed")
    }
    assert {room for room in rooms if f"`{room}`" not in text} == set()


def test_the_readme_names_every_command() -> None:
    from romkit.cli import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    names += [group.name or "" for group in app.registered_groups]
    assert [name for name in names if f"romkit {name}" not in text] == []
