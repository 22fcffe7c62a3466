"""A guest's run is held from its first step to its last: nobody takes it for a crashed one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from steps_of_files import Desk, known
from typer.testing import CliRunner

from passthrough import engine
from passthrough.cli import app
from passthrough.engine import executed, find_kept, find_pending, recover, take_back
from passthrough.errors import Locked, Pending, Refused, StepFailed
from passthrough.journal import is_held
from passthrough.launch import title_of
from passthrough.plan import Plan
from passthrough.session import find_session, refuse_running, run_session
from passthrough.vm.monitor import Ending


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with known():
        yield Desk(tmp_path)


def held_plan(desk: Desk, *faults: str, title: str = "launch it") -> Plan:
    return Plan(title, desk.plan(*faults).steps, keeps=True, held=True)


def test_a_run_is_held_at_every_point_and_when_the_lock_is_let_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def watch(point: str, _step: int) -> None:
        seen.append((point, is_held(desk.journal())))

    @contextlib.contextmanager
    def locked(folder: Path, *, wait: float = 0) -> Iterator[None]:
        with real(folder, wait=wait):
            yield
            # Here others may begin: they must find it held.
            seen.append(("unlocked", is_held(desk.journal())))

    real = engine.locked
    monkeypatch.setattr(engine, "locked", locked)
    with executed(held_plan(desk, "", ""), desk.machine, desk.places, watch=watch) as entry:
        assert entry is not None
        assert find_pending(desk.places) == ()
        assert recover(desk.machine, desk.places) == ()
        assert desk.texts == ["new0", "new1"]  # nobody has taken it back
        assert take_back(entry, desk.machine, desk.places) == ()
    assert [point for point, _ in seen if point in ("end", "unlocked")][:2] == ["end", "unlocked"]
    assert all(held for _, held in seen)
    assert not is_held(desk.journal())
    assert desk.texts == ["old", "old"]


def test_who_does_not_give_back_leaves_a_pending_run(desk: Desk) -> None:
    with (
        contextlib.suppress(ZeroDivisionError),
        executed(held_plan(desk, ""), desk.machine, desk.places),
    ):
        raise ZeroDivisionError
    assert [entry.title for entry in find_pending(desk.places)] == ["launch it"]
    assert recover(desk.machine, desk.places) == ()
    assert desk.texts == ["old"]


def test_a_run_that_fails_is_not_held_any_longer(desk: Desk) -> None:
    plan = held_plan(desk, "", "refuse")
    with pytest.raises(StepFailed), executed(plan, desk.machine, desk.places):
        pytest.fail("it has not begun")
    assert desk.texts == ["old", "old"]
    assert not is_held(desk.journal())


def test_what_may_not_run_is_asked_when_nobody_else_can_begin(desk: Desk) -> None:
    def permit() -> None:
        with (desk.places.volatile / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise Refused("it runs already")

    with (
        pytest.raises(Refused, match="it runs already"),
        executed(held_plan(desk, ""), desk.machine, desk.places, permit=permit),
    ):
        pytest.fail("it has begun")
    assert desk.texts == ["old"]


def test_a_signal_after_the_last_step_is_heard_by_who_watches(desk: Desk) -> None:
    heard: list[int] = []

    def watch(point: str, _step: int) -> None:
        if point == "end":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        plan = held_plan(desk, "")
        with executed(plan, desk.machine, desk.places, watch=watch) as entry:
            assert heard == [signal.SIGINT]
            assert entry is not None
            take_back(entry, desk.machine, desk.places)
    finally:
        signal.signal(signal.SIGINT, before)


def test_giving_back_waits_for_another_run(desk: Desk) -> None:
    with executed(held_plan(desk, ""), desk.machine, desk.places) as entry:
        assert entry is not None
        lock = (desk.places.volatile / "lock").open()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Locked):
            take_back(entry, desk.machine, desk.places)
        waiting = threading.Timer(0.2, lock.close)
        waiting.start()
        # Signals are the main thread's: this is it.
        assert take_back(entry, desk.machine, desk.places, wait=60) == ()
        waiting.join()
    assert desk.texts == ["old"]


def test_a_session_gives_back_what_its_plan_took(desk: Desk) -> None:
    told: list[str] = []
    outcome = run_session(
        held_plan(desk, ""), "it", desk.machine, desk.places, watch=lambda *_: None,
        undo=lambda *_: None, tell=told.append,
    )  # fmt: skip
    assert (outcome.ending, outcome.left) == (Ending.GONE, ())  # there was no QEMU in its plan
    assert desk.texts == ["old"]
    assert "it runs" in told[0]


@pytest.mark.parametrize("install", [False, True])
def test_a_guest_that_is_installed_runs_too(desk: Desk, install: bool) -> None:
    plan = held_plan(desk, "", title=title_of("it", install=install))
    with executed(plan, desk.machine, desk.places) as entry:
        found = find_session("it", desk.places)
        assert entry is not None
        assert found is not None
        assert found.path == entry.path
        with pytest.raises(Refused, match="it runs already"):
            refuse_running("it", desk.places)
        refuse_running("another", desk.places)
    with pytest.raises(Pending):
        refuse_running("it", desk.places)
    assert recover(desk.machine, desk.places) == ()
    assert find_kept(desk.places) == ()


def test_a_stop_is_shown_before_it_is_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from passthrough.cli import launch

    monkeypatch.setattr(launch, "places", lambda: desk.places)
    with executed(held_plan(desk, "", title="launch it"), desk.machine, desk.places) as entry:
        told = CliRunner().invoke(app, ["stop", "it", "--dry-run"])
        assert (told.exit_code, told.stderr) == (0, "")
        first, *steps = told.stdout.splitlines()
        assert first == "stop it: would ask it to shut down, and wait until it has"
        assert len(steps) == 1
        assert steps[0].startswith("  take back: ")
        now = CliRunner().invoke(app, ["stop", "it", "--dry-run", "--now", "--json"])
        said = json.loads(now.stdout)
        assert (said["outcome"], len(said["undoes"]), said["left"]) == ("planned", 1, [])
        assert entry is not None
        assert is_held(entry.path)
        assert desk.texts != ["old"]  # nothing was taken back
    gone = CliRunner().invoke(app, ["stop", "other", "--dry-run"])
    assert gone.exit_code == 3
    assert "other does not run" in gone.stderr
    recover(desk.machine, desk.places)
