"""`passthrough power` and `passthrough status` on the real kernel, the real bbswitch, real faults.

One machine serves all tests of a topology: each gives the GPU and its audio function back with
power, and without a driver.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import faults, power, vfio
from lab.machine import CHECKOUT, Done, Lab, open_lab
from lab.packages import LabUnavailable
from lab.topology import AUDIO, GPU, PORT, TOPOLOGIES

PCI = "/sys/bus/pci/devices"
COMMAND = (sys.executable, "-c", "from passthrough.cli import main; main()")
TESTS = str(CHECKOUT / "tests")


@pytest.fixture(scope="module")
def laptop() -> Iterator[Lab]:
    try:
        with open_lab(TOPOLOGIES["laptop"]) as machine:
            yield machine
    except LabUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def flr() -> Iterator[Lab]:
    """Its GPU and audio function belong to vfio-pci, which lets an idle card sleep."""
    try:
        with open_lab(TOPOLOGIES["flr"]) as machine:
            for address in (GPU, AUDIO):
                vfio.bind(machine, address)
            yield machine
    except LabUnavailable as reason:
        pytest.skip(str(reason))


@contextlib.contextmanager
def switches(lab: Lab, way: str) -> Iterator[None]:
    try:
        with power.POWERS[way](lab):
            try:
                yield
            finally:
                power.restore_power(lab)
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def passthrough(lab: Lab, *argv: str, limit: float = 120) -> Done:
    return lab.run(*COMMAND, *argv, limit=limit)


def status(lab: Lab, *argv: str) -> Any:
    return json.loads(passthrough(lab, "status", "--json", *argv).check().out)


def parts(said: Any) -> dict[str, Any]:
    return {part["role"]: part for part in said["cards"][0]["parts"]}


def config(lab: Lab, address: str) -> bytes:
    return lab.read_bytes(f"{PCI}/{address}/config")


def has_bars(lab: Lab, address: str) -> bool:
    return config(lab, address)[0x10:0x14] != bytes(4)


def trial(lab: Lab, kind: str) -> Any:
    program = CHECKOUT / "tests/lab/trial.py"
    done = lab.run(sys.executable, program, GPU, AUDIO, PORT, kind, limit=400).check()
    return json.loads(done.out)


# bbswitch and nvhda.


def test_the_table_of_the_field_report_by_our_own_steps(laptop: Lab) -> None:
    program = CHECKOUT / "tests/lab/power_trial.py"
    with switches(laptop, "real"):
        done = laptop.run(sys.executable, program, GPU, AUDIO, "rows", env={"PYTHONPATH": TESTS})
        seen = json.loads(done.check().out)
    rows = [(row["before"], row["switch"], row["word"], row["after"]) for row in seen]
    assert tuple(rows) == power.TABLE
    # Only one write of the table is not obeyed: audio without its GPU. That is said.
    said = {(row["before"], row["switch"], row["word"]): row["said"] for row in seen if row["said"]}
    assert set(said) == {("OFF/OFF", "nvhda", "ON")}
    assert "it has taken ON and still shows OFF" in said["OFF/OFF", "nvhda", "ON"]
    assert "No nv audio device found" in said["OFF/OFF", "nvhda", "ON"]


def test_off_and_on_with_audio(laptop: Lab) -> None:
    laptop.run("modprobe", "snd-hda-intel").check()
    with switches(laptop, "real"):
        laptop.write("/sys/bus/pci/drivers_probe", AUDIO)
        before = status(laptop, "--wake")
        assert parts(before)["audio"]["driver"] == "snd_hda_intel"
        off = json.loads(passthrough(laptop, "power", "off", "--json").check().out)
        assert off["outcome"] == "done"
        assert config(laptop, GPU)[:4] == b"\xff" * 4
        seen = status(laptop)
        assert parts(seen)["GPU"]["power"] == "switched off"
        assert parts(seen)["GPU"]["power_by"] == "bbswitch"
        assert "audio" not in parts(seen)
        # The module's own file was not asked: that would have woken the port.
        assert seen["cards"][0]["switches"]["bbswitch"]["says"] is None
        again = passthrough(laptop, "power", "off").check()
        assert "nothing to do" in again.out
        passthrough(laptop, "power", "on").check()
        after = status(laptop, "--wake")
        assert after["runs"] == {"pending": [], "kept": [], "unknown": None}
        assert {role: part["driver"] for role, part in parts(after).items()} == {
            role: part["driver"] for role, part in parts(before).items()
        }
        assert [s["state"] for s in after["cards"][0]["switches"].values()] == ["ON", "ON"]
        assert (has_bars(laptop, GPU), has_bars(laptop, AUDIO)) == (True, True)
        runs = json.loads(passthrough(laptop, "history", "--json").check().out)
        assert [run["outcome"] for run in runs[:2]] == ["done", "done"]
        laptop.write(f"{PCI}/{AUDIO}/driver/unbind", AUDIO)
        laptop.run("modprobe", "-r", "snd-hda-intel").check()


@pytest.mark.trial
def test_off_and_on_without_nvhda_keep_the_audio_functions_settings(laptop: Lab) -> None:
    """The kernel restores what it has put to sleep itself."""
    from lab import modules

    try:
        with power.loaded(laptop, modules.bbswitch()):
            before = config(laptop, AUDIO)
            passthrough(laptop, "power", "off").check()
            assert config(laptop, AUDIO)[:4] == b"\xff" * 4
            passthrough(laptop, "power", "on").check()
            assert has_bars(laptop, AUDIO)
            assert config(laptop, AUDIO)[:0x40] == before[:0x40]
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def test_no_power_is_cut_under_a_driver(laptop: Lab) -> None:
    program = CHECKOUT / "tests/lab/power_trial.py"
    with switches(laptop, "real"):
        vfio.bind(laptop, GPU)
        try:
            done = passthrough(laptop, "power", "off")
            wrote = laptop.run(
                sys.executable, program, GPU, AUDIO, "refused", env={"PYTHONPATH": TESTS}
            ).check()
        finally:
            laptop.write(f"{PCI}/{GPU}/driver/unbind", GPU)
            laptop.write(f"{PCI}/{GPU}/driver_override", "\n")
        assert done.status == 1
        assert f"vfio-pci has {GPU}" in done.out
        assert "passthrough detach" in done.out
        # Bound between plan and write, bbswitch itself refuses, in the log alone.
        said = json.loads(wrote.out)
        assert "it has taken OFF and still shows ON" in said
        assert f"device {GPU} is in use by driver 'vfio-pci', refusing OFF" in said
        assert power.power_state(laptop) == "ON/ON"


@pytest.mark.parametrize("kind", ["power off", "power on"])
@pytest.mark.trial
def test_power_that_is_interrupted_anywhere_is_taken_back(laptop: Lab, kind: str) -> None:
    with switches(laptop, "real"):
        # A GPU that was never switched has no power state yet: it gets one.
        for word in ("OFF", "ON"):
            laptop.write(power.BBSWITCH, word)
        power.restore_power(laptop)
        if kind == "power on":
            passthrough(laptop, "power", "off").check()
        said = trial(laptop, kind)
    assert said["wrong"] == []
    assert said["trials"] >= 18


# Faults of the switches.


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("fail", errno.EIO, "the kernel refuses 'OFF': input/output error"),
        ("ignore", 1, "it has taken OFF and still shows ON, and the kernel's log does not say why"),
        ("delay_ms", 3_600_000, "the write has not returned after 15 s"),
    ],
)
def test_a_faulty_switch(laptop: Lab, name: str, value: int, words: str) -> None:
    with switches(laptop, "module"):
        with power.knob(laptop, name, value):
            started = time.monotonic()
            done = passthrough(laptop, "power", "off")
            took = time.monotonic() - started
        assert (done.status, words in done.err) == (4, True), done.err
        assert "everything was put back" in done.err
        assert took < 60
        # A write that was given up has no effect later.
        assert power.power_state(laptop) == "ON/ON"
        assert passthrough(laptop, "recover").check().out.startswith("nothing to recover")


# The kernel's own way.


@pytest.mark.trial
def test_the_kernel_puts_a_card_to_sleep_and_wakes_it(flr: Lab) -> None:
    passthrough(flr, "power", "on").check()
    assert flr.read(f"{PCI}/{GPU}/power_state") == "D0"
    passthrough(flr, "power", "off").check()
    assert flr.read(f"{PCI}/{GPU}/power_state") == "D3hot"
    seen = status(flr)
    assert parts(seen)["GPU"]["power"] == "asleep"
    # Looking did not wake it.
    assert flr.read(f"{PCI}/{GPU}/power_state") == "D3hot"
    assert "nothing to do" in passthrough(flr, "power", "off").check().out


@pytest.mark.parametrize("kind", ["power on", "power off"])
@pytest.mark.trial
def test_sleep_that_is_interrupted_anywhere_is_taken_back(flr: Lab, kind: str) -> None:
    passthrough(flr, "power", "off" if kind == "power on" else "on").check()
    said = trial(flr, kind)
    assert said["wrong"] == []
    assert said["trials"] >= 18


@pytest.mark.trial
def test_a_card_that_something_keeps_awake_is_told_and_left_as_it_was(flr: Lab) -> None:
    passthrough(flr, "power", "on").check()
    with faults.group_busy(flr, GPU):
        done = passthrough(flr, "power", "off")
    assert done.status == 4
    assert "it does not sleep: power_state D0" in done.err
    assert "vfio-pci keeps it awake" in done.err
    assert flr.read(f"{PCI}/{GPU}/power/control") == "on"


#: Unbinds what a guest has, in our own engine; prints how that ended.
_UNBIND = f"""
import json, tempfile, time
from pathlib import Path
from diag.host import Host
from passthrough.engine import execute
from passthrough.errors import StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.steps import Unbind
with tempfile.TemporaryDirectory() as folder:
    places, started = Places(Path(folder, 'run'), Path(folder, 'lib')), time.monotonic()
    try:
        execute(Plan('a trial', (Unbind({GPU!r}),)), Machine(Host(), write_limit=3), places)
    except StepFailed as failed:
        print(json.dumps([failed.message, failed.restored, time.monotonic() - started]))
"""


def test_a_write_that_blocks_is_reported_and_looking_still_works(flr: Lab) -> None:
    """Last of its machine: what hangs holds locks until its guest ends."""
    with faults.group_busy(flr, GPU):
        done = flr.run(sys.executable, "-c", _UNBIND, limit=120).check()
        message, restored, seconds = json.loads(done.out)
        assert "the write has not returned after 3 s" in message
        assert "it sleeps in vfio_unregister_group_dev" in message
        # The kernel does not give it up: when the guest ends, the card is let go.
        assert "still waits in the kernel" in message
        assert restored is False
        assert seconds < 20
        gpu = parts(status(flr))["GPU"]
        # The link to a driver that is letting go is gone already; that alone would look free.
        assert gpu["driver"] is None
        assert "a driver waits inside it" in gpu["unread"]["driver_override"]
        assert "a driver waits inside it" in passthrough(flr, "status").check().out
        shown = passthrough(flr, "power", "off", "--dry-run", "--json")
        assert json.loads(shown.out)["outcome"] == "planned"
