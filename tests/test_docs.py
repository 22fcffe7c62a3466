"""The documents keep up with the code."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


PACKAGES = ("romkit", "diag", "passthrough")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_names_every_room(package: str) -> None:
    whole = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    text = whole.partition(f"## The rooms of {package}")[2].partition("\n## ")[0]
    rooms = {
        path.name + "/" if path.is_dir() else path.name
        for path in (ROOT / package).iterdir()
        if path.name not in ("__pycache__", "__init__.py", "__main__.py", "py.typed")
    }
    assert {room for room in rooms if f"`{room}`" not in text} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_names_every_command(package: str) -> None:
    app = importlib.import_module(f"{package}.cli").app
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    names += [group.name or "" for group in app.registered_groups]
    assert [name for name in names if f"{package} {name}" not in text] == []
