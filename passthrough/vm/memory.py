"""A guest's memory: what is free, and the huge pages that are set apart for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from passthrough.steps.hugepages import PAGES, SetPagesApart, pages_folder
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.render.text import human_size

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.step import Step
    from passthrough.vm.machine_sections import Memory

MEMINFO = "/proc/meminfo"
#: Bytes that the host keeps: without any it kills programs, ours too, to make room for pages.
_REST = 256 << 20


def available_memory(host: Host) -> int | None:
    """Bytes that programs can have without swapping (proc(5), MemAvailable); None if not known."""
    found = re.search(r"^MemAvailable:\s+(\d{1,15}) kB", host.text(MEMINFO) or "", re.MULTILINE)
    return None if found is None else int(found[1]) << 10


def _pages(host: Host, size: str) -> tuple[int, int] | None:
    """Huge pages of a size, and those of them that are free; None where the kernel has none."""
    counts = [host.text(f"{pages_folder(size)}/{part}_hugepages") for part in ("nr", "free")]
    return None if None in counts else (int(counts[0] or 0), int(counts[1] or 0))


def _missing(host: Host, memory: Memory) -> int:
    """Huge pages that a guest needs besides those that are free."""
    found = _pages(host, memory.hugepages)
    need = -(-memory.size // PAGES[memory.hugepages][1])
    return 0 if found is None else max(need - found[1], 0)


def page_steps(host: Host, memory: Memory) -> Iterator[Step]:
    """The huge pages that are missing are set apart. Early: memory in pieces has none.

    Raises:
        Unreadable: the kernel's counts cannot be read.
    """
    if memory.hugepages == "none":
        return
    found, missing = _pages(host, memory.hugepages), _missing(host, memory)
    if found is not None and missing:
        yield SetPagesApart(memory.hugepages, found[0] + missing)


def page_findings(host: Host, memory: Memory) -> Iterator[Finding]:
    """Why there cannot be so many huge pages: the host would be left without memory.

    Raises:
        Unreadable: the kernel's counts cannot be read.
    """
    size = memory.hugepages
    if size == "none":
        return
    if _pages(host, size) is None:
        yield _blocks(f"this kernel has no huge pages of {size}", "another memory.hugepages",
                      Evidence(pages_folder(size), "not there"))  # fmt: skip
        return
    wanted, free = _missing(host, memory) * PAGES[size][1], available_memory(host)
    if free is not None and wanted and wanted + _REST > free:
        title = f"{human_size(wanted)} of huge pages are missing, and {human_size(free)} are free"
        yield _blocks(
            f"{title}, of which the host keeps {human_size(_REST)}",
            "end programs, or memory.size smaller",
            Evidence(f"{MEMINFO}: MemAvailable", human_size(free)),
        )


def _blocks(title: str, remedy: str, seen: Evidence) -> Finding:
    return Finding("launch.hugepages", Verdict.FAIL, Severity.BLOCKER, "memory", title, (seen,),
                   remedy, "Linux, Documentation/admin-guide/mm/hugetlbpage.rst")  # fmt: skip
