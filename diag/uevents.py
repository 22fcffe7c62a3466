"""Waiting for what the kernel tells of its devices: added, removed, bound (uevents).

Linux, lib/kobject_uevent.c and Documentation/ABI/testing/sysfs-uevent. An event is a reason to look
again and no proof: what counts is what sysfs shows then.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

#: Seconds between two looks where no event comes: from the first to the longest, doubled each time.
_FIRST, _LONGEST = 0.01, 0.1

#: Events that are remembered: a dock brings some hundred.
_MEMORY = 4096


@dataclass(frozen=True, slots=True)
class Uevent:
    """What was told.

    Attributes:
        action: ``add``, ``remove``, ``bind``, ``unbind``, ``change`` or ``move``.
        subsystem: as sysfs has it: ``pci``, ``module``, ``vfio``.
        name: of the device in its subsystem: an address.
        source: ``kernel``; or ``udev``, whose rules have been applied to it by then.
        driver: that has the device, where the event says so.
    """

    action: str
    subsystem: str
    name: str
    source: str = "kernel"
    driver: str | None = None


class Source(Protocol):
    """Where events come from."""

    kind: str

    def fileno(self) -> int:
        """What poll(2) watches."""

    def read(self) -> Uevent | None:
        """The next event; None where there is none yet. It does not wait."""


def _go_on() -> None:
    """Nobody wants an end."""


class Uevents:
    """The events since this was made: make it before the effect, and no event is lost.

    Args:
        sources: who tells them. Without any, `until` looks again and again: in a sandbox, or in a
            network namespace of its own, the kernel tells nothing.
        still: whether nothing ever changes: a capture.
    """

    def __init__(self, sources: Iterable[Source] = (), *, still: bool = False) -> None:
        self._sources: Sequence[Source] = tuple(sources)
        self._still = still
        self._heard: deque[Uevent] = deque(maxlen=_MEMORY)

    def __repr__(self) -> str:
        kinds = "+".join(source.kind for source in self._sources) or "none"
        return f"<Uevents {kinds} {len(self._heard)} heard>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sources = ()  # pyudev closes a socket that nobody has any longer

    @property
    def heard(self) -> tuple[Uevent, ...]:
        """All that has been told so far, oldest first."""
        self._listen()
        return tuple(self._heard)

    def settled(self, *names: str, subsystem: str) -> bool:
        """Whether udev is done with these new devices: its rules give nodes their owners, and load
        the modules that fit. True where no udev is listened to.
        """
        if not any(source.kind == "udev" for source in self._sources):
            return True
        done = {
            event.name
            for event in self.heard
            if (event.source, event.action, event.subsystem) == ("udev", "add", subsystem)
        }
        return done.issuperset(names)

    def until(
        self, reached: Callable[[], bool], seconds: float, *, ask: Callable[[], None] = _go_on
    ) -> bool:
        """Wait until something is so; whether it is.

        It is looked at first, so that an event from before does no harm, and after every event.
        Between events it is looked at too, at least ten times a second: some changes are told by
        no event, and somebody may want an end.

        Args:
            reached: looks.
            seconds: how long at most.
            ask: called after each look; what it raises ends the wait.
        """
        end = time.monotonic() + seconds
        pause = _FIRST
        while True:
            self._listen()
            if reached():
                return True
            ask()
            left = end - time.monotonic()
            if left <= 0 or self._still:
                return False
            self._pause(min(left, pause))
            pause = min(pause * 2, _LONGEST)

    def _pause(self, seconds: float) -> None:
        """Sleep until an event comes, `seconds` at most."""
        ready = select.poll()
        for source in self._sources:
            ready.register(source.fileno(), select.POLLIN)
        # Rounded up: a rest of less than a millisecond would be spent in a loop.
        ready.poll(int(seconds * 1000) + 1)

    def _listen(self) -> None:
        for source in self._sources:
            # Bounded: a driver in trouble can tell events faster than they are read.
            for _ in range(_MEMORY):
                try:
                    event = source.read()
                except OSError:  # more came than the kernel keeps: the look counts, not the event
                    break
                if event is None:
                    break
                self._heard.append(event)
