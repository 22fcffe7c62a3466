"""Lists of CPUs as the kernel writes them: ``0-3,6`` (Linux, Documentation/admin-guide/
cputopology.rst)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise


def parse_cpus(text: str) -> tuple[int, ...]:
    """The CPUs of a list. Anything in it that is no number is left out."""
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip(), re.ASCII)
        if ends is not None:
            found.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return tuple(sorted(found))


def cpus_text(cpus: Iterable[int]) -> str:
    """A list of CPUs."""
    numbers = sorted(set(cpus))
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)] if numbers else []
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]] if numbers else []
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
