"""Steps wait for what their effect brings: what is late, what never comes, and Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from diag.host import Host
from diag.uevents import Uevents
from passthrough.engine import execute
from passthrough.errors import StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.steps import driver as drivers
from passthrough.steps import module as modules
from passthrough.steps import presence
from passthrough.steps.module import LoadModule
from passthrough.steps.presence import Rescan
from passthrough.steps.runtime_pm import AwaitPower

GPU = "0000:01:00.0"


class Changing(Host):
    """A directory in which something happens at the look of a certain number."""

    def __init__(self, root: Path, at: int, effect: Callable[[], None]) -> None:
        super().__init__(root)
        self.root, self.at, self.effect, self.looks = root, at, effect, 0

    def uevents(self, *_subsystems: str) -> Uevents:
        return Uevents()

    def exists(self, path: str) -> bool:
        self._looked()
        return super().exists(path)

    def text(self, path: str, limit: int = 1 << 16) -> str | None:
        self._looked()
        return super().text(path, limit)

    def _looked(self) -> None:
        self.looks += 1
        if self.looks == self.at:
            self.effect()


def nothing() -> None:
    """Nothing happens."""


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    for place in ("sys/bus/pci/devices", "sys/module"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "sys/bus/pci/rescan").touch()
    return tmp_path


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to the kernel, which here does nothing by itself."""
    paths: list[str] = []

    def write(_machine: Machine, path: str, _text: str, **_: object) -> None:
        paths.append(path)

    monkeypatch.setattr(Machine, "write", write)
    return paths


def test_a_function_that_appears_late_is_waited_for(sysfs: Path, written: list[str]) -> None:
    host = Changing(sysfs, 5, (sysfs / "sys/bus/pci/devices" / GPU).mkdir)
    step = Rescan((GPU,))
    step.apply(Machine(host))
    assert written == ["/sys/bus/pci/rescan"]
    assert host.looks >= 5
    assert step.verify(host) == ""


def test_a_function_that_never_appears_is_named_in_time(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "PATIENCE", 0.05)
    host = Changing(sysfs, 0, nothing)
    step = Rescan((GPU, "0000:01:00.1"))
    step.apply(Machine(host))
    assert step.verify(host) == (
        f"not found within 0.05 s: {GPU}, 0000:01:00.1 (has it power?)"
    )  # fmt: skip


def module(root: Path, state: str) -> Path:
    place = root / "sys/module/nvidia/initstate"
    place.parent.mkdir()
    place.write_text(f"{state}\n")
    return place


def test_a_module_that_somebody_else_is_loading_is_waited_for(sysfs: Path) -> None:
    """Its folder is there before its drivers are: whoever goes on then finds no driver to bind."""
    state = module(sysfs, "coming")
    host = Changing(sysfs, 8, lambda: state.write_text("live\n") and None)
    step = LoadModule("nvidia")
    step.apply(Machine(host))
    assert host.looks >= 8
    assert step.verify(host) == ""


def test_a_module_that_never_starts_is_told(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "PATIENCE", 0.05)
    module(sysfs, "coming")
    host = Changing(sysfs, 0, nothing)
    step = LoadModule("nvidia")
    step.apply(Machine(host))
    assert "not started within 0.05 s" in step.verify(host)


@pytest.mark.parametrize("step", [Rescan((GPU,)), AwaitPower(GPU, "D3", 600.0)])
def test_ctrl_c_ends_a_wait_at_once(
    step: Rescan | AwaitPower, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is changed by waiting, so there is nothing that would have to be brought to its end.

    Whoever does not hear the signal waits for ten minutes.
    """
    monkeypatch.setattr(presence, "PATIENCE", 600.0)
    host = Changing(sysfs, 6, lambda: os.kill(os.getpid(), signal.SIGINT))
    places = Places(sysfs / "run", sysfs / "lib")
    with pytest.raises(StepFailed, match="SIGINT") as ended:
        execute(Plan("a trial", (step,)), Machine(host), places)
    assert ended.value.restored


def test_a_driver_that_waits_for_another_one_is_waited_for(
    sysfs: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its probe is put off, which the write does not tell, and comes later by itself."""
    device = sysfs / "sys/bus/pci/devices" / GPU
    device.mkdir()
    (sysfs / "sys/bus/pci/drivers/snd_hda_intel").mkdir(parents=True)
    (device / "driver_override").write_text("(null)\n")
    looks = 0

    def bound(_host: Host, _address: str) -> str | None:
        nonlocal looks
        looks += 1
        return "snd_hda_intel" if looks > 6 else None

    monkeypatch.setattr(drivers, "driver_of", bound)
    host = Changing(sysfs, 0, nothing)
    step = drivers.Bind(GPU, "snd_hda_intel")
    step.apply(Machine(host))
    override = f"/sys/bus/pci/devices/{GPU}/driver_override"
    # The override is taken back only when it is no longer needed.
    assert written == [override, "/sys/bus/pci/drivers_probe", override]
    assert looks == 7
    assert step.verify(host) == ""
