"""The command as a user meets it: its text, its JSON, its exit statuses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from builders.host import HostTree
from steps_of_files import Desk, known
from test_power_plan import AUDIO, GPU, PORT, laptop

from diag.errors import DiagError, Unreadable
from diag.inventory import Inventory
from passthrough.card import Runs, read_cards, read_runs
from passthrough.cli import app, outcome
from passthrough.cli import history as history_command
from passthrough.cli.outcome import carry_out
from passthrough.engine import execute
from passthrough.errors import BadJournal, Locked, NeedsRoot, Pending, Refused, StepFailed
from passthrough.plan import Plan
from passthrough.render.status import status_record, status_text
from romkit.cli.terminal import Color
from romkit.finding import Finding, Severity, Verdict
from romkit.render.style import Style

COMMAND = [sys.executable, "-c", "from passthrough.cli import main; main()"]


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, args)], capture_output=True, check=False, text=True,
        env={**os.environ, "COLUMNS": "140", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with known():
        made = Desk(tmp_path)
        for module in (outcome, history_command):
            monkeypatch.setattr(module, "places", lambda: made.places)
            monkeypatch.setattr(module, "this_machine", lambda: made.machine)
        yield made


def context() -> typer.Context:
    made = typer.Context(typer.main.get_command(app))
    made.obj = Color.NEVER
    return made


def status_of(call: Callable[[], None]) -> int:
    try:
        call()
    except typer.Exit as left:
        return left.exit_code
    return 0


# What every command ends with.


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused("no"), 1),
        (DiagError("no such GPU"), 3),
        (Unreadable("/sys", "gone"), 3),
        (NeedsRoot("no"), 3),
        (Locked("no"), 3),
        (BadJournal("no"), 3),
        (StepFailed(1, "no", restored=True), 4),
        (StepFailed(1, "no", restored=False), 5),
        (Pending("no"), 5),
    ],
)
def test_every_error_has_its_status(error: DiagError, status: int) -> None:
    assert outcome.exit_status(error) == status


def test_a_plan_is_carried_out(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(lambda: carry_out(context(), desk.plan("", ""))) == 0
    assert desk.texts == ["new0", "new1"]
    out, err = capsys.readouterr()
    assert out == "a trial: done, 2 steps verified\n"
    assert err == ""


def test_a_terminal_sees_each_step(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert status_of(lambda: carry_out(context(), desk.plan("", "refuse"))) == 4
    assert capsys.readouterr().err.splitlines()[:4] == [
        "  1/2 put 'new0' into file0",
        "  2/2 put 'new1' into file1",
        "  taking back put 'new1' into file1",
        "  taking back put 'new0' into file0",
    ]


def test_a_dry_run_touches_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    plan = desk.plan("", "")
    assert status_of(lambda: carry_out(context(), plan, dry_run=True)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a trial: 2 steps", "  1. put 'new0' into file0", "  2. put 'new1' into file1",
    ]  # fmt: skip
    status_of(lambda: carry_out(context(), plan, dry_run=True, as_json=True))
    said = json.loads(capsys.readouterr().out)
    assert said["outcome"] == "planned"
    assert [step["name"] for step in said["steps"]] == [step.name for step in plan.steps]
    assert desk.texts == ["old", "old"]
    assert not desk.places.volatile.exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_blocks_is_shown(
    desk: Desk, dry_run: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding("a.b", Verdict.FAIL, Severity.BLOCKER, "x", "it is no good", remedy="wait")
    plan = Plan("a trial", desk.plan("").steps, (finding,))
    assert status_of(lambda: carry_out(context(), plan, dry_run=dry_run)) == 1
    out = capsys.readouterr().out
    assert "1 blocking" in out
    assert "it is no good" in out
    assert "→ wait" in out
    assert desk.texts == ["old"]


def test_a_failure_that_was_rolled_back(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    plan = desk.plan("", "refuse")
    assert status_of(lambda: carry_out(context(), plan, as_json=True)) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == 4
    assert "not in the mood" in err
    assert "everything was put back" in err
    assert "try: ask again" in err


def test_a_failure_that_was_not_and_its_recovery(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(lambda: carry_out(context(), desk.plan("stuck", "refuse"))) == 5
    err = capsys.readouterr().err
    assert "passthrough recover" in err
    assert "put 'new0' into file0" in err
    # Until then nothing else is done.
    assert status_of(lambda: carry_out(context(), desk.plan(""))) == 5
    (desk.folder / "file0").write_text("new0")
    capsys.readouterr()
    history_command.recover(context(), dry_run=True)
    assert "still changed: 1. put 'new0' into file0" in capsys.readouterr().out
    assert status_of(lambda: history_command.recover(context())) == 5
    assert "it does not come off" in capsys.readouterr().out
    (desk.folder / "file0").write_text("old")
    assert status_of(lambda: history_command.recover(context())) == 0
    assert "as it was before" in capsys.readouterr().out
    history_command.recover(context(), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
            "runs": [], "outcome": "done", "left": [], "damaged": [],
        }  # fmt: skip


def test_history_shows_all_runs_and_what_is_damaged(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    history_command.history(context())
    assert "nothing was done" in capsys.readouterr().out
    execute(desk.plan(""), desk.machine, desk.places)
    execute(Plan("kept one", desk.plan("").steps, keeps=True), desk.machine, desk.places)
    (desk.places.volatile / "000009.journal").write_text("what?\n")
    history_command.history(context())
    lines = capsys.readouterr().out.splitlines()
    assert "kept one: kept, 1 step" in lines[0]
    assert "a trial: done, 1 step" in lines[1]
    assert lines[2].startswith("damaged")
    assert "000009.journal" in lines[2]
    history_command.history(context(), as_json=True)
    records = json.loads(capsys.readouterr().out)
    assert [record.get("outcome") for record in records] == ["kept", "done", None]
    assert records[0]["steps"][0]["name"] == "put 'new0' into file0"


# Processes.


def test_power_is_planned_for_a_machine_that_is_not_this_one(tmp_path: Path) -> None:
    root = laptop().write(tmp_path)
    done = run("power", "off", "--dry-run", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"switch {GPU} off with bbswitch" in done.stdout
    said = json.loads(run("power", "off", GPU, "--dry-run", "--root", root, "--json").stdout)
    assert [step["kind"] for step in said["steps"]] == ["nvhda", "bbswitch"]


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("power",), 2, "Missing argument"),
        (("power", "maybe"), 2, "maybe"),
        (("power", "off", "nonsense", "--dry-run"), 2, "nonsense"),
        (("power", "off", "--root", "/"), 2, "--dry-run"),
        (("power", "off", "--dry-run", "--root", "/no/such/place"), 3, "/no/such/place"),
        (("power", "off", "09:00.0", "--dry-run", "--root", "ROOT"), 3, "no device at"),
        (("status", "--root", "/no/such/place"), 3, "/no/such/place"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    tmp_path: Path, args: tuple[str, ...], status: int, words: str
) -> None:
    root = str(laptop().write(tmp_path))
    done = run(*(root if arg == "ROOT" else arg for arg in args))
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_root_a_change_says_what_is_needed_and_a_look_ahead_works(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan, said = desk.plan(""), tmp_path_factory.mktemp("said") / "text"
    said.touch(0o666)
    said.chmod(0o666)
    desk.folder.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.dup2(os.open(said, os.O_WRONLY), 2)
            sys.stderr = os.fdopen(2, "w")
            if os.geteuid() == 0:
                os.setuid(65534)
            dry = status_of(lambda: carry_out(context(), plan, dry_run=True))
            code = 10 * dry + status_of(lambda: carry_out(context(), plan))
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert "changing this machine needs root" in said.read_text()
    assert "try: run it with sudo" in said.read_text()
    assert desk.texts == ["old"]


# Status.


def seen(tree: HostTree, *, wake: bool = False) -> Any:
    return status_record(read_cards(Inventory(tree.host(), wake=wake)), None)


def test_status_of_a_laptop() -> None:
    tree = laptop(driver="nouveau", audio_driver="snd_hda_intel")
    (card,) = seen(tree)["cards"]
    roles = {part["role"]: part for part in card["parts"]}
    assert [part["address"] for part in card["parts"]] == [GPU, AUDIO, PORT]
    assert [roles[role]["driver"] for role in ("GPU", "audio", "port")] == [
        "nouveau", "snd_hda_intel", "pcieport",
    ]  # fmt: skip
    assert {part["group"] for part in card["parts"]} == {1}
    assert roles["GPU"]["power"] == "awake"
    # The files of both modules were not read: reading them wakes the port.
    assert card["switches"]["bbswitch"] == {"file": True, "says": None, "state": None}
    assert not [path for path in tree.reads if path.startswith("/proc/acpi")]


def test_status_asks_the_switches_if_it_may_wake() -> None:
    (card,) = seen(laptop(on=False), wake=True)["cards"]
    assert card["switches"]["nvhda"]["says"] == f"{GPU} OFF"
    gpu = card["parts"][0]
    assert (gpu["power"], gpu["power_by"]) == ("switched off", "bbswitch")


def test_status_names_who_holds_a_card() -> None:
    tree = laptop(driver="nouveau")
    tree.folder(f"{tree.place(GPU)}/drm/card1").file("/dev/dri/card1")
    tree.file("/proc/88/comm", "Xorg").link("/proc/88/fd/7", "/dev/dri/card1")
    cards = read_cards(Inventory(tree.host()))
    assert "held by Xorg (88)" in status_text(cards, None, Style())
    gpu, audio, _ = seen(tree)["cards"][0]["parts"]
    assert gpu["holders"] == [{"pid": 88, "name": "Xorg", "nodes": ["/dev/dri/card1"]}]
    assert audio["holders"] == []


def test_status_says_what_it_does_not_know() -> None:
    tree = laptop(driver="nouveau")
    tree.folder(f"{tree.place(GPU)}/drm/card1").file("/dev/dri/card1")
    tree.file("/proc/88/comm", "Xorg").folder("/proc/88/fd").refused("/proc/88/fd")
    tree.refused(f"{tree.place(GPU)}/driver_override", errno.EIO)
    gpu = seen(tree)["cards"][0]["parts"][0]
    assert gpu["processes_not_looked_into"] == 1
    assert "driver_override" in gpu["unread"]
    text = status_text(read_cards(Inventory(tree.host())), None, Style())
    assert "1 process not looked into" in text


def test_status_without_a_gpu() -> None:
    assert seen(HostTree()) == {"cards": [], "runs": None}
    assert status_text((), Runs(), Style()) == "there is no GPU here"


def test_status_shows_runs_whose_effect_is_still_there(desk: Desk) -> None:
    with pytest.raises(StepFailed):
        execute(desk.plan("stuck", "refuse"), desk.machine, desk.places)
    runs = read_runs(desk.places)
    text = status_text((), runs, Style())
    assert "a trial: incomplete" in text
    assert "passthrough recover" in text
    (desk.places.volatile / "000009.journal").write_text("what?\n")
    unknown = read_runs(desk.places)
    assert (unknown.pending, unknown.kept) == ((), ())
    assert "runs: not known" in status_text((), unknown, Style())
    assert "000009" in status_record((), unknown)["runs"]["unknown"]
