"""Waiting for the kernel's word: at once when it comes, right without it, and never for ever."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator

import pytest

from diag import uevents
from diag.uevents import Uevent, Uevents

ADDED = Uevent("add", "pci", "0000:01:00.0")
DONE = Uevent("add", "pci", "0000:01:00.0", source="udev")

#: Seconds that no test has. Whoever waits for a time to pass, and not for an event, fails by it.
LONG = 600.0


class Told:
    """A source that tells what it is given."""

    def __init__(self, kind: str = "kernel") -> None:
        self.kind = kind
        self.events: list[Uevent | OSError] = []
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        return self._read

    def tell(self, event: Uevent | OSError) -> None:
        self.events.append(event)
        os.write(self._write, b"!")

    def read(self) -> Uevent | None:
        if not self.events:
            return None
        os.read(self._read, 1)
        event = self.events.pop(0)
        if isinstance(event, OSError):
            raise event
        return event

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def told() -> Iterator[Told]:
    source = Told()
    yield source
    source.close()


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uevents, "_FIRST", LONG)
    monkeypatch.setattr(uevents, "_LONGEST", LONG)


def after(looks: int, effect: Callable[[], None] = lambda: None) -> Callable[[], bool]:
    """Something that is so at the look of this number; `effect` comes right after the first."""
    seen = 0

    def reached() -> bool:
        nonlocal seen
        seen += 1
        if seen == 1:
            effect()
        return seen >= looks

    return reached


@pytest.mark.usefixtures("only_events")
def test_what_is_so_already_is_not_waited_for(told: Told) -> None:
    told.tell(ADDED)  # before anybody waits
    assert Uevents([told]).until(after(1), LONG)


@pytest.mark.usefixtures("only_events")
def test_an_event_ends_the_wait_at_once(told: Told) -> None:
    with Uevents([told]) as events:
        assert events.until(after(2, lambda: told.tell(ADDED)), LONG)
        assert events.heard == (ADDED,)


@pytest.mark.usefixtures("only_events")
def test_an_event_alone_proves_nothing(told: Told) -> None:
    def look() -> bool:
        if not told.events:
            told.tell(Uevent("change", "pci", "0000:00:1f.3"))
        return reached()

    reached = after(50)
    assert Uevents([told]).until(look, LONG)


@pytest.mark.usefixtures("only_events")
def test_events_that_were_lost_are_a_reason_to_look(told: Told) -> None:
    full = OSError(errno.ENOBUFS, "no buffer space")
    assert Uevents([told]).until(after(2, lambda: told.tell(full)), LONG)


def test_without_events_it_looks_again_by_itself() -> None:
    assert Uevents().until(after(6), LONG)


def test_what_never_comes_ends_in_time_and_costs_little(told: Told) -> None:
    looks = 0

    def never() -> bool:
        nonlocal looks
        looks += 1
        return False

    begun = time.monotonic()
    assert not Uevents([told]).until(never, 0.5)
    assert 0.5 <= time.monotonic() - begun < 5
    # 10, 20, 40, 80 ms, then ten times a second.
    assert 3 <= looks <= 12


def test_a_source_that_never_stops_talking_holds_nothing_up() -> None:
    class Chatter(Told):
        def read(self) -> Uevent | None:
            return ADDED

    source = Chatter()
    try:
        assert not Uevents([source]).until(lambda: False, 0.05)
    finally:
        source.close()


def test_whoever_is_asked_may_end_it(told: Told) -> None:
    class Enough(Exception):
        pass

    def ask() -> None:
        raise Enough

    with pytest.raises(Enough):
        Uevents([told]).until(lambda: False, LONG, ask=ask)
    # What has been reached counts all the same.
    assert Uevents([told]).until(lambda: True, LONG, ask=ask)


def test_a_capture_is_looked_at_once() -> None:
    assert not Uevents(still=True).until(after(2), LONG)
    assert Uevents(still=True).until(after(1), LONG)


def test_udev_is_done_when_udev_says_so(told: Told) -> None:
    assert Uevents([told]).settled("0000:01:00.0", subsystem="pci")  # nobody to wait for
    daemon = Told("udev")
    try:
        events = Uevents([told, daemon])
        told.tell(ADDED)
        assert not events.settled("0000:01:00.0", subsystem="pci")
        daemon.tell(Uevent("bind", "pci", "0000:01:00.0", source="udev"))
        daemon.tell(Uevent("add", "vfio", "0000:01:00.0", source="udev"))
        assert not events.settled("0000:01:00.0", subsystem="pci")
        daemon.tell(DONE)
        assert events.settled("0000:01:00.0", subsystem="pci")
        assert not events.settled("0000:01:00.0", "0000:01:00.1", subsystem="pci")
    finally:
        daemon.close()
