"""The kernel's log of this start, as dmesg or the journal gives it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from diag.errors import Unreadable
from diag.host import Host
from diag.messages import DRIVER_MESSAGES
from diag.pci import PciAddress
from diag.text.dmesg import Log, parse_log
from diag.text.lines import MAX_COLUMNS, Line
from diag.text.problems import Problem

#: How the log is asked for, in this order. `diag capture` runs the same.
DMESG = ("dmesg",)
JOURNAL = ("journalctl", "--dmesg", "--boot", "--no-pager", "--quiet", "--output=short-monotonic")

#: Lines from the end, which take a third of a second; a log that repeats one fault for days has
#: millions.
MAX_LINES = 20_000


@dataclass(frozen=True, slots=True)
class HostLog:
    """A kernel log and where it came from.

    Attributes:
        source: the command that printed it.
        lines: its lines, times and all, at most the last 20 000.
        log: what they say of passthrough.
        complete: whether it goes back to the start of the kernel.
    """

    source: str
    lines: tuple[str, ...]
    log: Log
    complete: bool

    @property
    def driver_messages(self) -> tuple[tuple[Problem, str], ...]:
        """Each known message of a driver with the last line that holds it."""
        text = "\n".join(self.lines)
        found = []
        for message in DRIVER_MESSAGES:
            seen = deque(message.pattern.finditer(text), maxlen=1)
            for last in seen:
                start = text.rfind("\n", 0, last.start()) + 1
                end = text.find("\n", last.end())
                found.append((message, text[start : end if end >= 0 else len(text)].strip()))
        return tuple(found)

    def devices(self, problem: str) -> tuple[PciAddress, ...]:
        """The functions that lines with a problem name."""
        lines = (line for line in self.log.problems if problem in line.problems)
        return tuple(dict.fromkeys(address for line in lines for address in line.devices))


def read_log(host: Host) -> HostLog | None:
    """The kernel's log; None where neither program is there, or a capture has no such transcript.

    Raises:
        Unreadable: this user may not read it (sysctl kernel.dmesg_restrict).
    """
    refused = None
    for argv in (DMESG, JOURNAL):
        said = host.run(*argv)
        if said is None:
            continue
        if said.status == 0 and said.out.strip():
            lines = said.out.splitlines()[-MAX_LINES:]
            numbered = (Line(n, text[:MAX_COLUMNS]) for n, text in enumerate(lines, 1) if text)
            complete = any("Linux version " in line for line in lines[:50])
            return HostLog(" ".join(argv), tuple(lines), parse_log(numbered), complete)
        why = (said.err.strip().splitlines() or ["it is empty"])[-1]
        refused = refused or Unreadable(
            argv[0], why, needs_root="not permitted" in why or "denied" in why,
            hint="run it again as root, or with sudo",
        )  # fmt: skip
    if refused is not None:
        raise refused
    return None
