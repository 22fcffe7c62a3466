"""Real texts that people pasted, which are no part of the project.

DGPUKIT_HOSTTEXT names a directory with ``files/`` and ``expected/``: for each text a JSON file
with what a careful reader found in it, written without this program.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def hosttext_dir() -> Path | None:
    named = os.environ.get("DGPUKIT_HOSTTEXT")
    return Path(named) if named and (Path(named) / "expected").is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is the corpus tier."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("corpus")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `text_name` once a text."""
    if "text_name" in metafunc.fixturenames:
        folder = hosttext_dir()
        names = sorted(path.stem for path in (folder / "expected").glob("*.json")) if folder else []
        metafunc.parametrize("text_name", names or [None])


@pytest.fixture(scope="session")
def hosttext() -> Path:
    folder = hosttext_dir()
    if folder is None:
        pytest.skip("no collection of pasted texts: set DGPUKIT_HOSTTEXT to its directory")
    return folder
