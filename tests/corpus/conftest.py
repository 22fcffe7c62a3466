"""The corpus: real ROM dumps that are no part of the project.

ROMKIT_CORPUS names a directory with ``roms/``, ``expected.json`` (an independent survey) and
``rom-parser/`` (what awilliam's rom-parser printed of each).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def corpus_dir() -> Path | None:
    named = os.environ.get("ROMKIT_CORPUS")
    return Path(named) if named and (Path(named) / "expected.json").is_file() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is the corpus tier."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("corpus")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `rom_name` once a file."""
    if "rom_name" in metafunc.fixturenames:
        folder = corpus_dir()
        names = sorted(json.loads((folder / "expected.json").read_text())) if folder else []
        metafunc.parametrize("rom_name", names or [None])


@pytest.fixture(scope="session")
def expected(corpus: Path) -> dict[str, Any]:
    return json.loads((corpus / "expected.json").read_text())


@pytest.fixture
def rom_data(corpus: Path, rom_name: str) -> bytes:
    return (corpus / "roms" / rom_name).read_bytes()
