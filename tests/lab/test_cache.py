"""The cache holds whole things or none, and says what is wrong with its folder."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from lab.cache import cached
from lab.packages import LabUnavailable


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DGPUKIT_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(folder: Path) -> None:
    (folder / "file").write_text("whole")


def never(folder: Path) -> None:
    raise AssertionError(f"{folder} is filled again")


def test_it_is_filled_once() -> None:
    assert (cached("thing", fill) / "file").read_text() == "whole"
    assert (cached("thing", never) / "file").read_text() == "whole"


def test_what_fails_leaves_nothing(folder: Path) -> None:
    def fail(room: Path) -> None:
        fill(room)
        raise LabUnavailable("no connection")

    with pytest.raises(LabUnavailable, match="no connection"):
        cached("thing", fail)
    assert [path.name for path in folder.iterdir()] == [".thing.lock"]
    assert (cached("thing", fill) / "file").read_text() == "whole"


def test_what_a_killed_run_has_left_is_thrown_away(folder: Path) -> None:
    left = folder / ".thing.unfinished"
    left.mkdir(parents=True)
    (left / "half").touch()
    assert [path.name for path in cached("thing", fill).iterdir()] == ["file"]
    assert not left.exists()


def test_two_runs_make_a_thing_once() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(room: Path) -> None:
        begun.set()
        assert go_on.wait(60)
        fill(room)

    found: list[Path] = []
    first = threading.Thread(target=lambda: found.append(cached("thing", slow)))
    second = threading.Thread(target=lambda: found.append(cached("thing", never)))
    first.start()
    assert begun.wait(60)
    second.start()
    go_on.set()
    first.join(60)
    second.join(60)
    assert len(found) == 2


def test_what_was_not_asked_for_lately_goes_when_something_new_comes(folder: Path) -> None:
    day = 86400
    ages = {
        "kernel-1": 20 * day,
        "kernel-2": 20 * day,
        "headers-1": 10 * day,
        "initramfs-1": 2 * day,
    }
    for name in ages:
        cached(name, fill)
    for name, age in ages.items():
        os.utime(folder / name, (time.time() - age,) * 2)
    cached("kernel-2", never)  # asked for again
    cached("kernel-3", fill)
    left = {path.name for path in folder.iterdir() if path.is_dir()}
    assert left == {"kernel-2", "kernel-3", "headers-1"}


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DGPUKIT_LAB_CACHE", "/proc/none")
    with pytest.raises(LabUnavailable, match=r"/proc/none.*DGPUKIT_LAB_CACHE names another folder"):
        cached("thing", never)
