"""Huge pages are set apart for a guest (Linux, Documentation/admin-guide/mm/hugetlbpage.rst)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.errors import WriteFailed
from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: Folders of the sizes, and their bytes.
PAGES = {"2M": ("hugepages-2048kB", 2 << 20), "1G": ("hugepages-1048576kB", 1 << 30)}

#: Seconds that the kernel may take to put memory together: it moves what others have in it.
_LIMIT = 120.0

#: Asks the kernel to move what is in the way (Linux, Documentation/admin-guide/sysctl/vm.rst).
_COMPACT = "/proc/sys/vm/compact_memory"


def pages_folder(size: str) -> str:
    """Where the kernel has the pages of a size, ``2M`` or ``1G``."""
    return f"/sys/kernel/mm/hugepages/{PAGES[size][0]}"


@dataclass(frozen=True, slots=True)
class SetPagesApart(Step):
    """Have so many huge pages in all.

    Attributes:
        size: ``2M`` or ``1G``.
        count: of pages, with those that are there already.
    """

    kind: ClassVar[str] = "hugepages"

    size: str
    count: int

    @property
    def name(self) -> str:
        """What it does."""
        return f"set {self.count} huge pages of {self.size} apart"

    @property
    def _path(self) -> str:
        return f"{pages_folder(self.size)}/nr_hugepages"

    def observe(self, host: Host) -> State:
        """How many there are; None where the kernel has none of this size."""
        text = host.text(self._path)
        return None if text is None else int(text)

    def apply(self, machine: Machine) -> None:
        """Ask for them; where memory is in pieces, once more when it was put together.

        Raises:
            WriteFailed: the kernel has not found enough.
        """
        for compact in (False, True):
            if compact:
                machine.write(_COMPACT, "1", limit=_LIMIT)
            machine.write(self._path, str(self.count), limit=_LIMIT)
            now = self.observe(machine.host)
            if now == self.count:
                return
        raise WriteFailed(
            self._path, f"the kernel has found memory for {now} of {self.count} pages only",
            hint="end programs and try again, or set them apart when the machine starts: "
            f"hugepagesz={self.size} hugepages={self.count} on the kernel's command line",
        )  # fmt: skip

    def verify(self, host: Host) -> str:
        """Whether they are there."""
        now = self.observe(host)
        return "" if now == self.count else f"there are {now}"

    def restore(self, machine: Machine, before: State) -> None:
        """As many as before."""
        if before is not None:
            machine.write(self._path, str(before), limit=_LIMIT)
