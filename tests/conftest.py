"""What all tests share."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import pytest
from corpus.conftest import corpus_dir

# A busy machine is slow, and that is no failure of what is tested.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

#: Dumps in the corpus that the counts and the named specimens in some tests refer to.
SURVEYED = 54


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that count, or that look for certain dumps, need the whole survey."""
    if item.get_closest_marker("survey") is None:
        return
    if len(json.loads((_dumps() / "expected.json").read_text())) < SURVEYED:
        pytest.skip("another corpus: this test counts what is in the survey of 54 dumps")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder with the real ROM dumps; without one the test is skipped."""
    return _dumps()


def _dumps() -> Path:
    folder = corpus_dir()
    if folder is None:
        pytest.skip("no corpus of real ROM dumps: set ROMKIT_CORPUS to its directory")
    return folder
