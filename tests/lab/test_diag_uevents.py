"""What diag hears of a real kernel: devices come late, come never, and are waited for rightly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.machine import CHECKOUT, Lab
from lab.topology import GPU

_WAITS = Path(__file__).parent / "waits.py"
_PYTHON = CHECKOUT / ".venv/bin/python"
NOWHERE = "0000:09:00.0"


def waits(lab: Lab, *words: str) -> dict[str, Any]:
    done = lab.run(_PYTHON, _WAITS, *words).check()
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


@contextmanager
def udev_daemon(lab: Lab) -> Iterator[None]:
    """The lab has no udev daemon. In here it has."""
    lab.run("/lib/systemd/systemd-udevd", "--daemon").check()
    try:
        yield
    finally:
        lab.run("udevadm", "control", "--exit").check()
        lab.sh("rm -rf /run/udev").check()


@pytest.mark.parametrize("lab", ["pluggable"], indirect=True)
def test_a_real_kernel_is_heard_and_waited_for(lab: Lab) -> None:
    """One start of the machine: each part leaves it changed."""
    the_kernel_is_heard_without_udev_and_udev_where_it_runs(lab)
    a_card_that_is_plugged_in_late_is_waited_for(lab)


def the_kernel_is_heard_without_udev_and_udev_where_it_runs(lab: Lab) -> None:
    lab.sh("modprobe vfio-pci").check()
    alone = waits(lab, "hear", GPU)
    assert alone["sources"].startswith("<Uevents kernel ")
    assert alone["settled"]
    # In the order of events; what the kernel tells beyond that depends on its release.
    wanted = [["bind", "vfio-pci"], ["unbind", None], ["remove", None], ["add", None]]
    told = [[action, driver] for _, action, _, name, driver in alone["heard"] if name == GPU]
    assert [event for event in told if event in wanted] == wanted
    assert any(event[1:3] == ["add", "vfio"] for event in alone["heard"])
    with udev_daemon(lab):
        both = waits(lab, "hear", GPU)
    assert both["sources"].startswith("<Uevents kernel+udev ")
    assert both["settled"]
    for source in ("kernel", "udev"):
        assert [source, "add", "pci", GPU] in [event[:4] for event in both["heard"]]


def a_card_that_is_plugged_in_late_is_waited_for(lab: Lab) -> None:
    lab.monitor.ask("device_del", id="gpu")
    lab.monitor.await_event("DEVICE_DELETED", device="gpu")
    job = lab.start(_PYTHON, _WAITS, "late", NOWHERE, GPU)
    job.read_until(b"waiting")
    assert GPU not in lab.devices()
    lab.monitor.ask("device_add", driver="secondary-vga", id="gpu", bus="gpuport", addr="0.0")
    found = json.loads(job.wait().check().out.splitlines()[-1])
    assert found["late"]["problem"] == ""
    assert found["late"]["seconds"] < 60
    assert GPU in lab.devices()
    # What never comes ends in time, and the message says what it was.
    never = found["never"]
    assert never["problem"] == f"not found within 0.5 s: {NOWHERE} (has it power?)"
    assert 0.5 <= never["seconds"] < 20
    # Whoever lists devices has the same ones, the one that has just come among them.
    assert GPU in found["devices"]["pci"][2]
    for name, (udevs, kernels, diags) in found["devices"].items():
        assert udevs == kernels == diags, name
