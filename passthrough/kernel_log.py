"""What the kernel logs while something is done: some refuse a write in the log alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

#: The kernel's log, one record a read, from which a reader hears only what comes after it.
_LOG = "/dev/kmsg"
#: Bytes; the kernel gives a whole record or none (kernel/printk/printk.c, PRINTK_MESSAGE_MAX).
_RECORD = 8192


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], list[str]]]:
    """Listen to the kernel's log: the yielded function gives the lines since the last call.

    Nothing is heard where the log may not be read.
    """
    try:
        log = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield list
        return
    try:
        with contextlib.suppress(OSError):
            os.lseek(log, 0, os.SEEK_END)
        yield lambda: _lines(log)
    finally:
        os.close(log)


def _lines(log: int) -> list[str]:
    found: list[str] = []
    while True:
        try:
            record = os.read(log, _RECORD).decode("utf-8", "replace")
        except BrokenPipeError:  # the ring has moved on; the next read is at its new start
            continue
        except OSError:
            return found
        if not record:
            return found
        found.append(record.partition(";")[2].partition("\n")[0])
