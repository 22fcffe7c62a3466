"""The commands under test remember what they do in a place of their own."""

from __future__ import annotations

import pytest

from passthrough import journal
from passthrough.journal import Places


@pytest.fixture(autouse=True)
def own_journals(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Places:
    """This machine's journals are neither written to nor read: they may be damaged, or root's."""
    folder = tmp_path_factory.mktemp("journals")
    places = Places(folder / "volatile", folder / "lasting")
    monkeypatch.setattr(journal, "Places", lambda: places)
    return places
