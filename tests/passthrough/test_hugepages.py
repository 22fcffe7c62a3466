"""Huge pages for a guest: how many, and what is said where there are not enough."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.host import HostTree

from diag.host import Host
from passthrough.engine import execute, find_kept, take_back
from passthrough.errors import StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.steps import SetPagesApart
from passthrough.steps.hugepages import pages_folder
from passthrough.vm.machine_sections import Memory
from passthrough.vm.memory import page_findings, page_steps

FOLDER = "/sys/kernel/mm/hugepages/hugepages-2048kB"
GIB = 1 << 30


def host(have: int, free: int, available: int = 8 * GIB) -> HostTree:
    tree = HostTree().file(f"{FOLDER}/nr_hugepages", str(have))
    tree.file(f"{FOLDER}/free_hugepages", str(free))
    return tree.file("/proc/meminfo", f"MemTotal: 1 kB\nMemAvailable: {available >> 10} kB\n")


def steps(tree: HostTree, size: int = 4 * GIB, pages: str = "2M") -> list[object]:
    return list(page_steps(tree.host(), Memory(size=size, hugepages=pages)))


def test_what_is_free_is_used_and_the_rest_set_apart() -> None:
    assert steps(host(100, 48)) == [SetPagesApart("2M", 100 + 2048 - 48)]
    assert steps(host(3000, 2048)) == []
    assert steps(host(0, 0), 3 << 20) == [SetPagesApart("2M", 2)]  # the last one is half empty
    assert steps(host(0, 0), pages="none") == []


def found(tree: HostTree, pages: str = "2M") -> list[str]:
    return [f.title for f in page_findings(tree.host(), Memory(size=4 * GIB, hugepages=pages))]


def test_a_host_without_memory_is_not_starved() -> None:
    assert found(host(0, 0)) == []
    assert found(host(0, 0, 3 * GIB)) == [
        "4 GiB of huge pages are missing, and 3 GiB are free, of which the host keeps 256 MiB"
    ]
    assert len(found(host(0, 0, 4 * GIB))) == 1
    assert found(host(0, 0, 4 * GIB + (256 << 20))) == []
    assert found(host(2048, 2048, GIB)) == []  # they are there already
    assert found(host(0, 0), "1G") == ["this kernel has no huge pages of 1G"]
    assert found(host(0, 0, 0), "none") == []


class Memories(Machine):
    """A kernel that finds so many pages at first, and so many when memory was put together."""

    def __init__(self, root: Path, *found: int) -> None:
        super().__init__(Host(root))
        self.root, self.found, self.asked = root, list(found), list[str]()

    def write(self, path: str, text: str, *, limit: float | None = None) -> None:
        self.asked.append(path.rpartition("/")[2])
        if path.endswith("compact_memory"):
            del self.found[:1]
        else:
            count = min(int(text), self.found[0])
            (self.root / path.removeprefix("/")).write_text(f"{count}\n")


@pytest.mark.parametrize(("found", "times"), [((100,), 1), ((30, 100), 2)])
def test_pages_are_set_apart_and_given_back(
    tmp_path: Path, found: tuple[int, ...], times: int
) -> None:
    machine = Memories(host(7, 0).write(tmp_path / "host"), *found)
    places = Places(tmp_path / "run", tmp_path / "lib")
    execute(Plan("it", (SetPagesApart("2M", 96),), keeps=True), machine, places)
    pages = tmp_path / f"host{pages_folder('2M')}/nr_hugepages"
    assert pages.read_text() == "96\n"
    assert machine.asked.count("nr_hugepages") == times
    assert take_back(find_kept(places)[0], machine, places) == ()
    assert pages.read_text() == "7\n"


def test_too_few_are_said_and_given_back(tmp_path: Path) -> None:
    machine = Memories(host(7, 0).write(tmp_path / "host"), 30, 40)
    plan = Plan("it", (SetPagesApart("2M", 96),))
    with pytest.raises(StepFailed, match="memory for 40 of 96 pages only") as failed:
        execute(plan, machine, Places(tmp_path / "run", tmp_path / "lib"))
    assert failed.value.restored
    assert "hugepagesz=2M hugepages=96" in failed.value.hint
    assert (tmp_path / f"host{FOLDER}/nr_hugepages").read_text() == "7\n"
