"""A process that waits inside the kernel: whether it still does, where, and what the log says."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

#: What drivers log when they wait for a user (vfio_main.c, nv-pci.c).
_SIGNS = ("device request", "currently in use", "non-zero usage count")


@dataclass(frozen=True, slots=True)
class Writer:
    """A process whose write, or whose program, has not returned.

    Attributes:
        pid: its number.
        started: when it began, in clock ticks since the start of the kernel: numbers are used
            again. 0 where that is not known.
    """

    pid: int
    started: int = 0

    @property
    def lives(self) -> bool:
        """Whether it is still there; one that has ended and was not asked how is not."""
        state, started = _stat(self.pid)
        return state not in ("", "Z", "X") and self.started in (0, started)


def writer_of(pid: int) -> Writer:
    """A process, known again by when it began."""
    return Writer(pid, _stat(pid)[1])


def _stat(pid: int) -> tuple[str, int]:
    """State and start of a process (proc(5), /proc/pid/stat); empty where there is none."""
    try:
        # The name in parentheses may have anything in it.
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return words[0].decode(), int(words[19])
    except (OSError, IndexError, ValueError):
        return "", 0


def wchan(pid: int) -> str:
    """The kernel function that a process sleeps in; empty where the kernel does not say."""
    for name in ("wchan", "stack"):
        with contextlib.suppress(OSError):
            said = Path(f"/proc/{pid}/{name}").read_text().strip()
            if said not in ("", "0"):
                return said.splitlines()[0].partition("] ")[2] or said.splitlines()[0]
    return ""


def last_words(pid: int) -> str:
    """The kernel's last line about a process, or about a device that is waited for."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    found = ""
    try:
        while True:
            try:
                line = os.read(log, 8192).decode("utf-8", "replace").partition(";")[2]
            except BrokenPipeError:  # the ring has moved on; the next read is at its new start
                continue
            except BlockingIOError:
                return found
            if any(word in line for word in (*_SIGNS, f"({pid})")):
                found = line.splitlines()[0]
    finally:
        os.close(log)
