"""Captures taken inside a lab: they say what the lab's kernel says, and wake nothing."""

from __future__ import annotations

import json
import sys

import pytest
from builders.known import known

from diag.errors import Asleep
from diag.inventory import Inventory
from diag.pci import PciAddress
from lab import vfio
from lab.captures import FIXTURES, take, trimmed
from lab.machine import Lab
from lab.topology import TOPOLOGIES

PCI = "/sys/bus/pci/devices"

#: Run in the lab: what diag knows of it, as JSON.
_LIVE = """
import sys
sys.path.insert(0, "tests")
from builders.known import known
import json
from diag.host import Host
print(json.dumps(known(Host())))
"""


#: The others are trials: each takes ten seconds.
OFTEN = ("laptop", "amd", "flr", "switch", "no-iommu")


@pytest.mark.parametrize(
    "lab",
    [*OFTEN, *(pytest.param(n, marks=pytest.mark.trial) for n in TOPOLOGIES if n not in OFTEN)],
    indirect=True,
)
def test_a_capture_knows_what_the_lab_knows(lab: Lab) -> None:
    live = json.loads(lab.run(sys.executable, "-c", _LIVE).check().out)
    capture = take(lab)
    devices, groups_read, findings = known(capture.host())
    assert [devices, groups_read] == live[:2]
    # Evidence may count the lines of a log, which grows.
    assert [finding[:5] for finding in findings] == [finding[:5] for finding in live[2]]
    expected = {frozenset(group) for group in TOPOLOGIES[lab.topology.name].groups}
    groups = {frozenset(map(str, g.addresses)) for g in Inventory(capture.host()).groups}
    assert expected <= groups == lab.groups()
    # The fixture of this topology is such a capture.
    fixture = FIXTURES / f"{lab.topology.name}.tar.xz"
    assert fixture.is_file(), "take it: cd tests && python -m lab.captures"
    assert {p for p in trimmed(capture).files if p.endswith("/config")}


@pytest.mark.parametrize("lab", ["flr"], indirect=True)
def test_a_sleeping_device_stays_asleep(lab: Lab) -> None:
    gpu, audio = lab.topology.gpu, lab.topology.audio
    assert audio is not None
    for address in (gpu, audio):
        vfio.bind(lab, address)
    assert lab.read(f"{PCI}/{gpu}/power_state") == "D3hot"
    woken = lab.read(f"{PCI}/{gpu}/power/runtime_active_time")
    capture = take(lab)
    assert lab.read(f"{PCI}/{gpu}/power_state") == "D3hot"
    # Not for a moment: the kernel counts the milliseconds that it is awake.
    assert lab.read(f"{PCI}/{gpu}/power/runtime_active_time") == woken
    assert gpu in capture.asleep
    assert {"lspci -nnk", "lspci -Dnnk"} <= set(capture.left_out)
    device = Inventory(capture.host()).device(PciAddress.parse(gpu))
    assert device is not None
    assert (device.power_state, device.config) == ("D3hot", None)
    with pytest.raises(Asleep):
        device.known("config")
    # The counter would have told.
    lab.write(f"{PCI}/{gpu}/power/control", "on\n")
    assert lab.read(f"{PCI}/{gpu}/power_state") == "D0"
    assert lab.read(f"{PCI}/{gpu}/power/runtime_active_time") != woken


#: Run in the lab: a capture as an ordinary user. The one that root takes first loads all modules,
#: which the user may not be able to reach.
_AS_USER = """
import json, os, sys
sys.path.insert(0, "tests")
from builders.known import known
from diag.capture import archive_capture, open_capture, parse_capture, read_capture
from diag.host import Host
known(open_capture(archive_capture(read_capture(Host()))))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
capture = parse_capture(archive_capture(read_capture(Host())))
same = known(capture.host())[:2] == known(Host())[:2]
print(json.dumps([capture.root, same, len(known(capture.host())[0]), capture.root_would_add]))
"""


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_user_gets_a_capture_and_learns_what_root_would_add(lab: Lab) -> None:
    done = lab.run(sys.executable, "-c", _AS_USER).check()
    root, same, devices, missing = json.loads(done.out)
    assert (root, same, devices) == (False, True, len(lab.devices()))
    assert "/sys/firmware/acpi/tables/DMAR" in missing
    assert sum(path.endswith("/config") for path in missing) == devices
