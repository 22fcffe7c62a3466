"""The documents keep up with the code."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent


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
