"""The engine, the journal and plans, without a kernel to change."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from steps_of_files import Desk, Put, PutForGood, known

from passthrough.engine import execute, find_kept, find_pending, history, recover, take_back
from passthrough.errors import (
    BadJournal,
    Locked,
    PassthroughError,
    Pending,
    Refused,
    StepFailed,
)
from passthrough.journal import Journal, Places, read_journal
from passthrough.plan import Plan
from romkit.finding import Finding, Severity, Verdict


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with known():
        yield Desk(tmp_path)


def crash(desk: Desk, plan: Plan, point: str, step: int) -> None:
    """Run a plan that is killed at a point, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:

            def watch(now: str, number: int) -> None:
                if (now, number) == (point, step):
                    os.kill(os.getpid(), signal.SIGKILL)

            execute(plan, desk.machine, desk.places, watch=watch)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)


# Plans that go well.


def test_a_plan_is_carried_out_in_its_order(desk: Desk) -> None:
    points: list[tuple[str, int]] = []
    execute(desk.plan("", ""), desk.machine, desk.places, watch=lambda p, n: points.append((p, n)))
    assert desk.texts == ["new0", "new1"]
    assert points == [("begin", 0), ("effect", 0), ("done", 0), ("begin", 1), ("effect", 1),
                      ("done", 1), ("end", 1)]  # fmt: skip
    (run,) = history(desk.places)
    assert not isinstance(run, BadJournal)
    assert (run.outcome, run.title, run.pid) == ("done", "a trial", os.getpid())
    assert [record.before for record in run.records] == ["old", "old"]
    assert [record.after for record in run.records] == ["new0", "new1"]
    assert find_pending(desk.places) == find_kept(desk.places) == ()


def test_what_was_before_is_on_disk_before_the_effect(desk: Desk) -> None:
    seen: list[tuple[str | None, str]] = []

    def watch(point: str, number: int) -> None:
        if point == "effect":
            record = read_journal(desk.journal()).records[number]
            seen.append((record.before, desk.texts[number]))

    execute(desk.plan("", ""), desk.machine, desk.places, watch=watch)
    assert seen == [("old", "old"), ("old", "old")]


def test_an_empty_plan_leaves_nothing_behind(desk: Desk) -> None:
    execute(Plan("nothing", ()), desk.machine, desk.places)
    assert history(desk.places) == ()


def test_a_plan_that_is_kept_is_taken_back_later(desk: Desk) -> None:
    execute(desk.plan("", "", keeps=True), desk.machine, desk.places)
    (kept,) = find_kept(desk.places)
    assert find_pending(desk.places) == ()
    assert take_back(kept, desk.machine, desk.places) == ()
    assert desk.texts == ["old", "old"]
    assert find_kept(desk.places) == ()


# Plans that fail.


@pytest.mark.parametrize("fault", ["refuse", "ignore"])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_step_that_fails_takes_all_back(desk: Desk, bad: int, fault: str) -> None:
    faults = [""] * 3
    faults[bad] = fault
    undone: list[int] = []

    def watch(point: str, number: int) -> None:
        if point == "undo":
            undone.append(number)

    with pytest.raises(StepFailed) as failed:
        execute(desk.plan(*faults), desk.machine, desk.places, watch=watch)
    assert (failed.value.step, failed.value.restored) == (bad + 1, True)
    words = {"refuse": "not in the mood", "ignore": "it still has 'old'"}
    assert words[fault] in failed.value.message
    assert undone == list(range(bad, -1, -1))
    assert desk.texts == ["old"] * 3
    assert find_pending(desk.places) == ()


def test_what_does_not_come_off_is_named_and_the_rest_is_taken_back(desk: Desk) -> None:
    with pytest.raises(StepFailed) as failed:
        execute(desk.plan("", "stuck", "refuse"), desk.machine, desk.places)
    assert failed.value.restored is False
    assert "put 'new1' into file1 (it does not come off)" in failed.value.message
    assert desk.texts == ["old", "new1", "old"]
    (pending,) = find_pending(desk.places)
    assert [number for number, _ in pending.open_records] == [1]
    left = recover(desk.machine, desk.places)
    assert [part.why for part in left] == ["it does not come off"]
    # Whoever mends it by hand is believed.
    Path(desk.folder / "file1").write_text("old")
    assert recover(desk.machine, desk.places) == ()
    assert find_pending(desk.places) == ()


def test_what_somebody_else_has_changed_since_is_left_alone(desk: Desk) -> None:
    execute(desk.plan("", keeps=True), desk.machine, desk.places)
    (desk.folder / "file0").write_text("mine")
    (kept,) = find_kept(desk.places)
    (left,) = take_back(kept, desk.machine, desk.places)
    assert "somebody else" in left.why
    assert desk.texts == ["mine"]


def test_a_step_without_a_way_back_is_said_before_and_named_after(desk: Desk) -> None:
    plan = Plan(
        "for good", (PutForGood(desk.file("a"), "new"), Put(desk.file("b"), "new", "refuse"))
    )
    assert [step.name for step in plan.irreversible] == ["put 'new' into a"]
    assert "cannot be undone" in str(plan).splitlines()[1]
    with pytest.raises(StepFailed, match="cannot be undone") as failed:
        execute(plan, desk.machine, desk.places)
    assert failed.value.restored is False
    # What outlives a reboot is remembered where a reboot does not forget.
    assert list(desk.places.lasting.glob("*.journal"))


def test_a_blocking_finding_forbids_it(desk: Desk) -> None:
    finding = Finding("a.b", Verdict.FAIL, Severity.BLOCKER, "x", "it is no good", remedy="wait")
    plan = Plan("blocked", desk.plan("").steps, (finding,))
    with pytest.raises(Refused, match="no good"):
        execute(plan, desk.machine, desk.places)
    assert (desk.texts, history(desk.places)) == (["old"], ())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_after_a_step(desk: Desk, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def watch(point: str, step: int) -> None:
        if (point, step) == ("effect", 0):
            os.kill(os.getpid(), number)

    with pytest.raises(StepFailed, match=f"ended by {number.name}") as failed:
        execute(desk.plan("", ""), desk.machine, desk.places, watch=watch)
    assert failed.value.restored is True
    assert desk.texts == ["old", "old"]
    assert signal.getsignal(number) == before


def test_a_write_that_still_waits_is_not_taken_for_undone(desk: Desk) -> None:
    """It has its effect when the kernel lets it go on: until then the host is not as it was."""
    writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with pytest.raises(StepFailed, match="it sleeps in some_driver_remove") as failed:
        execute(desk.plan("", str(writer.pid)), desk.machine, desk.places)
    assert failed.value.restored is False
    assert "recover" in failed.value.hint
    assert desk.texts == ["old", "old"]
    for _ in range(2):
        (left,) = recover(desk.machine, desk.places)
        assert f"still waits in the kernel (process {writer.pid})" in left.why
    # The guest has ended, the write has gone on.
    writer.communicate()
    (desk.folder / "file1").write_text("new1")
    assert recover(desk.machine, desk.places) == ()
    assert desk.texts == ["old", "old"]
    assert find_pending(desk.places) == ()


# Crashes.


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("point", ["begin", "effect", "done"])
def test_after_a_crash_recover_comes_first(desk: Desk, point: str, step: int) -> None:
    plan = desk.plan("", "")
    crash(desk, plan, point, step)
    if (point, step) != ("begin", 0):
        with pytest.raises(Pending, match="a trial") as refused:
            execute(plan, desk.machine, desk.places)
        assert "passthrough recover" in refused.value.hint
    assert recover(desk.machine, desk.places) == ()
    assert desk.texts == ["old", "old"]
    execute(plan, desk.machine, desk.places)
    assert desk.texts == ["new0", "new1"]


def test_a_journal_cut_anywhere_in_its_last_line_is_as_good_as_without_it(desk: Desk) -> None:
    crash(desk, desk.plan("", ""), "effect", 1)
    path = desk.journal()
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    without = read_without(path, whole[:last])
    for end in range(last, len(whole)):
        assert read_without(path, whole[:end]) == without
    path.write_bytes(whole[: last + 5])
    assert recover(desk.machine, desk.places) == ()
    assert desk.texts == ["old", "old"]


def read_without(path: Path, data: bytes) -> object:
    path.write_bytes(data)
    return read_journal(path)


def test_a_journal_that_goes_on_after_a_cut_is_read(desk: Desk) -> None:
    """`recover` adds to the file that the crash has cut."""
    crash(desk, desk.plan("", ""), "done", 1)
    path = desk.journal()
    path.write_bytes(path.read_bytes() + b'{"event": "do')
    assert recover(desk.machine, desk.places) == ()
    assert desk.texts == ["old", "old"]
    assert find_pending(desk.places) == ()
    (run,) = history(desk.places)
    assert not isinstance(run, BadJournal)
    assert run.outcome == "rolled back"


@pytest.mark.parametrize(
    "damage",
    [b"\n", b"garbage\n", b"[]\n", b"{}\n", b'{"event": "done", "step": 0}\n', b"\xff\xfe\n",
     b'{"event": "plan"}\n', b"null\n"],
)  # fmt: skip
def test_a_damaged_journal_is_named_and_forbids_changes(desk: Desk, damage: bytes) -> None:
    desk.places.volatile.mkdir()
    path = desk.places.volatile / "000001.journal"
    path.write_bytes(damage)
    (run,) = history(desk.places)
    assert isinstance(run, BadJournal)
    assert str(path) in run.message
    with pytest.raises(BadJournal):
        execute(desk.plan(""), desk.machine, desk.places)
    with pytest.raises(BadJournal):
        recover(desk.machine, desk.places)
    assert desk.texts == ["old"]


@pytest.mark.parametrize("start", [b"", b'{"event": "pl'])
def test_a_run_that_ended_before_its_plan_was_on_disk_has_touched_nothing(
    desk: Desk, start: bytes
) -> None:
    desk.places.volatile.mkdir()
    (desk.places.volatile / "000001.journal").write_bytes(start)
    assert history(desk.places) == ()
    assert recover(desk.machine, desk.places) == ()
    execute(desk.plan(""), desk.machine, desk.places)
    assert desk.texts == ["new0"]


def test_damage_in_the_middle_of_a_journal_is_damage(desk: Desk) -> None:
    execute(desk.plan("", ""), desk.machine, desk.places)
    lines = desk.journal().read_bytes().splitlines(keepends=True)
    for number in range(len(lines)):
        damaged = [*lines[:number], lines[number][:-5] + b"\n", *lines[number + 1 :]]
        desk.journal().write_bytes(b"".join(damaged))
        with pytest.raises(BadJournal, match="damaged"):
            read_journal(desk.journal())


def test_a_reboot_has_undone_what_was_not_lasting(desk: Desk) -> None:
    crash(desk, desk.plan(""), "done", 0)
    path = desk.journal()
    lines = path.read_text().splitlines(keepends=True)
    plan = json.loads(lines[0])
    assert find_pending(desk.places)
    path.write_text("".join([json.dumps({**plan, "boot": "another"}) + "\n", *lines[1:]]))
    assert find_pending(desk.places) == ()
    desk.places.lasting.mkdir()
    path.rename(desk.places.lasting / path.name)
    assert len(find_pending(desk.places)) == 1


# No room.


@pytest.mark.parametrize("faults", [("", ""), ("", "refuse")])
def test_a_disk_that_is_full_at_any_byte_changes_nothing(desk: Desk, faults: tuple[str]) -> None:
    """A limit of the file's size cuts a write as a full disk does (EFBIG in place of ENOSPC)."""
    plan = desk.plan(*faults)
    with contextlib.suppress(StepFailed):
        execute(plan, desk.machine, desk.places)
    size = desk.journal().stat().st_size
    outcomes = set()
    for limit in range(0, size + 1, 13):
        for name in desk.names:
            (desk.folder / name).write_text("old")
        places = Places(desk.folder / f"run{limit}", desk.folder / f"lib{limit}")
        outcome = limited(desk, plan, places, limit)
        outcomes.add(outcome)
        done = outcome == 0
        assert desk.texts == (["new0", "new1"] if done else ["old", "old"]), limit
        # Whatever it wrote can be read, and `recover` finds nothing amiss.
        assert recover(desk.machine, places) == ()
        assert desk.texts == (["new0", "new1"] if done else ["old", "old"])
    assert 1 in outcomes


def limited(desk: Desk, plan: Plan, places: Places, limit: int) -> int:
    """Execute in a process whose files may have `limit` bytes: 0, or 1 for a clear error."""
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            places.volatile.mkdir()
            (places.volatile / "lock").write_text("")
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 16), -1))
            execute(plan, desk.machine, places)
            status = 0
        except PassthroughError:
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1)
    return code


def test_a_full_disk_is_told(desk: Desk) -> None:
    desk.places.volatile.mkdir()
    options = "size=4k,mode=755"
    mount = ["mount", "-t", "tmpfs", "-o", options, "full", str(desk.places.volatile)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount the small disk that this test fills")
    try:
        (desk.places.volatile / "lock").write_bytes(b"x" * 4096)
        with pytest.raises(PassthroughError, match="no space left") as error:
            execute(desk.plan(""), desk.machine, desk.places)
    finally:
        subprocess.run(["umount", str(desk.places.volatile)], check=True)
    assert "room" in error.value.hint or error.value.hint == ""
    assert desk.texts == ["old"]


# Two at a time.


def test_a_second_run_at_the_same_time_is_refused(desk: Desk) -> None:
    desk.places.volatile.mkdir()
    with (desk.places.volatile / "lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Locked, match="4711"):
            execute(desk.plan(""), desk.machine, desk.places)
    assert desk.texts == ["old"]
    execute(desk.plan(""), desk.machine, desk.places)


def test_journals_are_for_root_alone(desk: Desk) -> None:
    execute(desk.plan(""), desk.machine, desk.places)
    assert desk.journal().stat().st_mode & 0o777 == 0o600


# Plans.


def test_a_plan_prints_itself_and_is_plain_json(desk: Desk) -> None:
    plan = Plan("a trial", desk.plan("", "").steps, notes=("mind the gap",))
    assert str(plan).splitlines() == [
        "a trial",
        "  1. put 'new0' into file0",
        "  2. put 'new1' into file1",
        "  note: mind the gap",
    ]
    record = json.loads(json.dumps(plan.as_json()))
    assert [step["reversal"] for step in record["steps"]] == ["exact", "exact"]
    assert record["notes"] == ["mind the gap"]


def test_numbers_of_journals_go_on(desk: Desk) -> None:
    for _ in range(3):
        execute(desk.plan(""), desk.machine, desk.places)
        (desk.folder / "file0").write_text("old")
    names = sorted(path.name for path in desk.places.volatile.glob("*.journal"))
    assert names == ["000001.journal", "000002.journal", "000003.journal"]
    runs = [run.path.name for run in history(desk.places) if not isinstance(run, BadJournal)]
    assert runs == names[::-1]


def test_a_step_of_another_version_is_not_taken_back_and_named(desk: Desk) -> None:
    execute(desk.plan("", keeps=True), desk.machine, desk.places)
    text = desk.journal().read_text()
    desk.journal().write_text(text.replace('"kind": "put"', '"kind": "pot"'))
    (kept,) = find_kept(desk.places)
    (left,) = take_back(kept, desk.machine, desk.places)
    assert left.name == "pot"
    assert desk.texts == ["new0"]


def test_a_journal_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PassthroughError, match="cannot be written") as error:
        Journal(tmp_path / "no" / "such.journal")
    assert "nothing is touched" in error.value.hint
