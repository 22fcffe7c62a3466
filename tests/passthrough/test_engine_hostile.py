"""The engine where others are at work too: signals, clocks that jump, numbers that come again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from steps_of_files import Desk, Put, PutForGood, known

from diag.host import Host
from passthrough import machine as machine_module
from passthrough.engine import (
    execute,
    find_kept,
    find_pending,
    find_unfinished,
    history,
    recover,
    take_back,
)
from passthrough.errors import (
    BadJournal,
    PassthroughError,
    ProgramBlocked,
    Refused,
    StepFailed,
    WriteBlocked,
)
from passthrough.journal import Journal, Places, boot_id, locked, read_journal
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.steps import KINDS
from passthrough.waiting import Writer, writer_of


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with known():
        yield Desk(tmp_path)


@dataclass(frozen=True, slots=True)
class Broken(Put):
    """A step with a mistake in it."""

    kind: ClassVar[str] = "broken"

    def apply(self, machine: Machine) -> None:
        Path(self.path).write_text("half")
        raise ValueError("nobody has thought of this")


def began(desk: Desk, title: str, *, time: float, since: float) -> Path:
    """A run that crashed, and when that was by either clock."""
    file = desk.file(title)
    desk.places.volatile.mkdir(exist_ok=True)
    path = desk.places.volatile / f"{len(desk.names):06}.journal"
    journal = Journal(path)
    step = Put(file, "new")
    journal._add(event="plan", format=1, title=title, time=time, since=since, boot=boot_id(),
                 pid=1, keeps=False, steps=[step.as_json()])  # fmt: skip
    journal.begun(0, "old")
    journal.close()
    (desk.folder / title).write_text("new")
    return path


def test_what_nobody_has_thought_of_is_taken_back_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "broken", Broken)
    plan = Plan("a trial", (*desk.plan("").steps, Broken(desk.file("b"), "new")))
    with pytest.raises(StepFailed, match="ValueError: nobody has thought of this") as failed:
        execute(plan, desk.machine, desk.places)
    assert failed.value.restored
    assert desk.texts == ["old", "old"]
    assert find_pending(desk.places) == ()


def test_one_who_watches_and_fails_does_not_hold_up_the_way_back(desk: Desk) -> None:
    def watch(point: str, number: int) -> None:
        if point == "undo" or (point, number) == ("effect", 1):
            raise RuntimeError("the terminal is gone")

    with pytest.raises(StepFailed, match="the terminal is gone") as failed:
        execute(desk.plan("", ""), desk.machine, desk.places, watch=watch)
    assert failed.value.restored
    assert desk.texts == ["old", "old"]


def test_a_run_that_has_ended_since_it_was_seen_is_not_taken_back(desk: Desk) -> None:
    """`recover` reads the journals, and then gets the lock."""
    seen = []

    def watch(point: str, number: int) -> None:
        if point == "done":
            seen.append(find_pending(desk.places)[0])

    execute(desk.plan(""), desk.machine, desk.places, watch=watch)
    assert take_back(seen[0], desk.machine, desk.places) == ()
    assert desk.texts == ["new0"]
    (run,) = history(desk.places)
    assert not isinstance(run, BadJournal)
    assert run.outcome == "done"


def test_of_two_who_keep_the_same_the_second_is_refused(desk: Desk) -> None:
    plan = desk.plan("", keeps=True)
    execute(plan, desk.machine, desk.places)
    with pytest.raises(Refused, match="done already"):
        execute(plan, desk.machine, desk.places)
    assert len(find_kept(desk.places)) == 1


def test_a_clock_that_was_set_back_does_not_turn_the_order(desk: Desk) -> None:
    began(desk, "first", time=2_000_000_000, since=100)
    began(desk, "second", time=1_000_000_000, since=200)
    assert [entry.title for entry in find_pending(desk.places)] == ["second", "first"]
    assert [e.title for e in history(desk.places) if not isinstance(e, BadJournal)] == [
        "second", "first",
    ]  # fmt: skip


def test_a_journal_of_a_newer_version_is_left_to_that_one_and_the_others_are_read(
    desk: Desk,
) -> None:
    began(desk, "ours", time=1, since=1)
    newer = began(desk, "newer", time=2, since=2)
    text = newer.read_text()
    newer.write_text(text.replace('"format": 1', '"format": 2'))
    pending, damaged = find_unfinished(desk.places)
    assert [entry.title for entry in pending] == ["ours"]
    assert "a newer passthrough has written it" in damaged[0].message
    with pytest.raises(BadJournal, match="newer"):
        recover(desk.machine, desk.places)
    # What can be put back is, and the rest is as it was.
    assert desk.texts == ["old", "new"]
    assert newer.read_text() == text.replace('"format": 1', '"format": 2')


def test_a_reboot_has_undone_the_passing_steps_of_a_lasting_plan(desk: Desk) -> None:
    plan = Plan("both", (PutForGood(desk.file("a"), "new"), *desk.plan("").steps), keeps=True)
    execute(plan, desk.machine, desk.places)
    (path,) = desk.places.lasting.glob("*.journal")
    path.write_text(path.read_text().replace(boot_id(), "another"))
    # Since the reboot somebody uses what the plan had for a while.
    (desk.folder / "file0").write_text("theirs")
    (desk.folder / "a").write_text("old")
    assert take_back(find_kept(desk.places)[0], desk.machine, desk.places) == ()
    assert desk.texts == ["old", "theirs"]


def test_what_cannot_be_undone_is_named_where_it_was_passed(desk: Desk) -> None:
    plan = Plan(
        "for good", (PutForGood(desk.file("a"), "old"), Put(desk.file("b"), "new", "refuse"))
    )
    with pytest.raises(StepFailed) as failed:
        execute(plan, desk.machine, desk.places)
    assert (failed.value.restored, failed.value.passed) == (True, ("put 'old' into a",))


# Processes whose numbers come again.


def test_a_number_that_is_used_again_is_not_the_writer() -> None:
    other = writer_of(os.getpid())
    assert other.lives
    assert not Writer(other.pid, other.started + 1).lives
    assert Writer(other.pid).lives


def test_a_writer_that_has_ended_and_was_not_asked_how_does_not_live() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    writer = writer_of(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{pid}").exists()
    assert not writer.lives
    os.waitpid(pid, 0)
    assert not writer.lives


def test_a_writer_is_remembered_with_its_start(desk: Desk) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as writer:
        with pytest.raises(StepFailed):
            execute(desk.plan(str(writer.pid)), desk.machine, desk.places)
        (record,) = read_journal(desk.journal()).records
        assert record.writer == writer_of(writer.pid)
        writer.communicate()
    assert recover(desk.machine, desk.places) == ()


# Signals.


def test_nohup_is_obeyed(desk: Desk) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        execute(desk.plan("", ""), desk.machine, desk.places,
                watch=lambda _point, _step: os.kill(os.getpid(), signal.SIGHUP))  # fmt: skip
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert desk.texts == ["new0", "new1"]


def test_impatience_does_not_cut_the_way_back_short(desk: Desk) -> None:
    def watch(point: str, number: int) -> None:
        if point in ("effect", "undo"):
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), one)

    with pytest.raises(StepFailed, match="ended by SIGINT") as failed:
        execute(desk.plan("", ""), desk.machine, desk.places, watch=watch)
    assert failed.value.restored
    assert desk.texts == ["old", "old"]


def test_a_plan_can_run_beside_the_main_thread(desk: Desk) -> None:
    thread = threading.Thread(target=execute, args=(desk.plan(""), desk.machine, desk.places))
    thread.start()
    thread.join()
    assert desk.texts == ["new0"]


# What hangs holds on to nothing.


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "_TELL_AFTER", 0.05)


@pytest.mark.usefixtures("soon")
def test_a_writer_that_waits_holds_neither_the_lock_nor_the_terminal(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.write(filler, bytes(4096)):
            pass
    told: list[str] = []
    opened: list[list[str]] = []

    def tell(text: str) -> None:
        told.append(text)
        (pid,) = re.findall(r"process (\d+)", text)
        opened.append(sorted(str(p.readlink()) for p in Path("/proc", pid, "fd").iterdir()))

    places = Places(tmp_path / "run", tmp_path / "lib")
    with locked(places.volatile), pytest.raises(WriteBlocked) as blocked:
        Machine(Host(tmp_path), write_limit=0.2, tell=tell).write(str(fifo), "x")
    assert told == [told[0]]
    assert told[0].startswith(f"still waiting for {fifo} (process {blocked.value.writer.pid} ")
    assert opened == [["/dev/null"] * 3 + [str(fifo)]]
    # A FIFO lets its writer be killed, where a driver does not.
    assert (blocked.value.goes_on, blocked.value.writer.lives) == (False, False)
    os.close(reader)
    os.close(filler)


@pytest.mark.usefixtures("soon")
def test_a_program_that_hangs_is_told_and_ended(tmp_path: Path) -> None:
    told: list[str] = []
    machine = Machine(Host(tmp_path), tell=told.append)
    # It ignores what asks it to end.
    with pytest.raises(ProgramBlocked, match=r"has not ended within 0\.1 s") as blocked:
        machine.run("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", limit=0.1)
    assert told[0].startswith("still waiting for sh -c")
    assert (blocked.value.goes_on, blocked.value.writer.lives) == (False, False)


def test_a_program_that_goes_on_is_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As modprobe that sleeps in a driver: the step is not taken for undone while it is at it."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as program:

        def apply(self: Put, machine: Machine) -> None:
            del self, machine
            raise ProgramBlocked(("modprobe", "-r", "x"), 1, writer_of(program.pid), "msleep")

        monkeypatch.setattr(Put, "apply", apply)
        with pytest.raises(StepFailed, match="it sleeps in msleep") as failed:
            execute(desk.plan(""), desk.machine, desk.places)
        assert failed.value.restored is False
        (left,) = recover(desk.machine, desk.places)
        assert f"(process {program.pid})" in left.why
        program.communicate()
    assert recover(desk.machine, desk.places) == ()


def test_no_link_leads_a_journal_or_the_lock_elsewhere(desk: Desk, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    desk.places.volatile.mkdir()
    lock = desk.places.volatile / "lock"
    lock.symlink_to(victim)
    with pytest.raises(PassthroughError, match="lock"):
        execute(desk.plan(""), desk.machine, desk.places)
    lock.unlink()
    journal = lock.with_name("000001.journal")
    journal.symlink_to(victim)
    with pytest.raises(PassthroughError, match="cannot be written"):
        Journal(journal)
    execute(desk.plan(""), desk.machine, desk.places)
    assert victim.read_text() == "mine"


def test_recover_names_what_it_cannot_read_after_all_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    from passthrough.cli import history as command

    began(desk, "ours", time=1, since=1)
    (desk.places.volatile / "000099.journal").write_bytes(b"garbage\n")
    monkeypatch.setattr(command, "places", lambda: desk.places)
    monkeypatch.setattr(command, "this_machine", lambda: desk.machine)
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)), obj=None)
    with pytest.raises(typer.Exit) as ended:
        command.recover(context)
    said = capsys.readouterr()
    assert ended.value.exit_code == 3
    assert "recovered" in said.out
    assert "000099.journal: damaged" in said.err
    assert desk.texts == ["old"]
    with pytest.raises(typer.Exit):
        command.recover(context, as_json=True)
    assert "000099" in json.loads(capsys.readouterr().out)["damaged"][0]["error"]
