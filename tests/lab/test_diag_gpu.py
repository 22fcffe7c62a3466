"""What `diag gpu` sees of a GPU that sleeps, is gone, or is held, in front of a real kernel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab import faults, power, vfio
from lab.machine import Lab
from lab.packages import LabUnavailable

PCI = "/sys/bus/pci/devices"

#: Waits for the kernel to suspend a device: it announces nothing, so its file is asked.
_SUSPENDED = """
import time
end = time.monotonic() + 60
while open({path!r}).read() != 'suspended\\n':
    assert time.monotonic() < end, 'not suspended within a minute'
    time.sleep(0.05)
"""


#: Runs a command that may not look into programs with more rights, as an ordinary user may not.
#: (The lab's own files are root's, so that no other user can start anything there.)
BLIND = ("setpriv", "--bounding-set=-sys_ptrace")


def gpu(lab: Lab, *before: str, options: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    done = lab.run(*before, "diag", "gpu", "--json", *options)
    assert done.err == ""
    return done.status, json.loads(done.out)


def verdict(record: dict[str, Any], check: str) -> str:
    (found,) = [f["verdict"] for f in record["findings"] if f["check"] == check]
    return str(found)


@pytest.mark.parametrize("lab", ["flr"], indirect=True)
def test_a_sleeping_gpu_is_still_asleep_after_all_questions(lab: Lab) -> None:
    place = f"{PCI}/{lab.topology.gpu}"
    vfio.bind(lab, lab.topology.gpu)
    lab.python(_SUSPENDED.format(path=f"{place}/power/runtime_status")).check()
    names = ("power_state", "power/runtime_status", "power/runtime_active_time")
    before = [lab.read(f"{place}/{name}") for name in names]
    assert before[:2] == ["D3hot", "suspended"]
    _, record = gpu(lab)
    lab.run("diag", "report", "--json")
    # The time that it was active has not grown: it was not woken for a moment either.
    assert [lab.read(f"{place}/{name}") for name in names] == before
    assert (record["address"], record["power"], record["power_state"]) == (
        lab.topology.gpu, "asleep", "D3hot",
    )  # fmt: skip
    assert (record["driver"], verdict(record, "power.state")) == ("vfio-pci", "pass")
    assert verdict(record, "gpu.link") == "unknown"
    # lspci asks libkmod which modules fit. It may wake the card: it comes last.
    said = lab.run("lspci", "-k", "-s", lab.topology.gpu).check().out
    (fitting,) = [line for line in said.splitlines() if "Kernel modules:" in line]
    names = fitting.partition(": ")[2].replace("-", "_").split(", ")
    assert record["modules"] == sorted(names)


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_gpu_off_the_bus_is_recognised(lab: Lab) -> None:
    assert gpu(lab)[1]["power"] == "awake"
    with faults.off_the_bus(lab):
        status, record = gpu(lab)
        assert (status, record["power"], record["awake"]) == (1, "off the bus", False)
        assert verdict(record, "power.state") == "fail"
        # What the kernel remembers is still shown.
        assert record["ids"] == "1234:1111"
    assert gpu(lab)[1]["power"] == "awake"


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_guest_that_holds_the_gpu_is_found(lab: Lab) -> None:
    address = lab.topology.gpu
    vfio.bind(lab, address)
    assert gpu(lab)[1]["holders"]["found"] == []
    with faults.group_busy(lab, address) as guest:
        _, record = gpu(lab)
        (holder,) = record["holders"]["found"]
        assert holder["pid"] == guest.pid
        assert holder["nodes"] == [f"/dev/vfio/{record['group']['number']}"]
        assert verdict(record, "driver.holders") == "fail"
        # Who may not look into other users' processes does not say that nobody has it.
        _, record = gpu(lab, *BLIND)
        assert (record["holders"]["found"], record["holders"]["hidden"] > 0) == ([], True)
        assert verdict(record, "driver.holders") == "unknown"


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_gpu_that_bbswitch_has_switched_off_is_told_from_one_that_sleeps(lab: Lab) -> None:
    """With Debian's own bbswitch, and nothing is asked of its file: that would wake the port."""
    try:
        with power.real_power(lab):
            lab.write(power.BBSWITCH, "OFF\n")
            status, record = gpu(lab)
            _, asked = gpu(lab, options=("--wake",))
            power.restore_power(lab)
    except LabUnavailable as reason:
        pytest.skip(str(reason))
    assert (status, record["power"], record["power_state"]) == (1, "switched off", "D3cold")
    (found,) = [f for f in record["findings"] if f["check"] == "power.state"]
    assert found["title"] == "bbswitch has switched it off"
    assert record["switches"]["bbswitch"]["state"] is None
    assert asked["switches"]["bbswitch"]["state"] == "OFF"
    assert asked["power"] == "switched off"
