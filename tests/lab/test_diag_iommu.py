"""`diag iommu` against a kernel: its groups, its word on viability, and why groups are shared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab import vfio
from lab.check import functions
from lab.machine import Lab
from lab.topology import AUDIO, GPU, PORT, TOPOLOGIES

every_lab = pytest.mark.parametrize("lab", list(TOPOLOGIES), indirect=True)
with_groups = pytest.mark.parametrize(
    "lab", [name for name, topology in TOPOLOGIES.items() if topology.groups], indirect=True
)
ALL = ["SrcValid", "ReqRedir", "CmpltRedir", "UpstreamFwd"]

#: What joins the GPU's group: reason, where, missing bits.
MERGES: dict[str, set[tuple[str, tuple[str, ...], tuple[str, ...]]]] = {
    "laptop": {("path", (PORT,), tuple(ALL))},
    "desktop": {("functions", (GPU, AUDIO), tuple(ALL))},
    "flr": {("functions", (GPU, AUDIO), tuple(ALL))},
    "amd": {("functions", (GPU, AUDIO), tuple(ALL))},
    "strangers": {
        ("path", (PORT,), tuple(ALL)),
        ("path", ("0000:00:01.1",), tuple(ALL)),
        ("functions", (PORT, "0000:00:01.1"), tuple(ALL)),
    },
    "bridge": {("bridge", (PORT,), tuple(ALL))},
    "switch": {("path", ("0000:02:00.0",), tuple(ALL))},
    "no-iommu": set(),
    "iommu-off": set(),
    "pluggable": set(),
}


#: The same report, once its modules are loaded, as an ordinary user of the machine.
_AS_USER = """
import json, os
from diag.host import Host
from diag.inventory import Inventory
from diag.iommu_report import read_iommu, record
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
print(json.dumps(record(read_iommu(Inventory(Host())))))
"""


def asked(lab: Lab) -> dict[str, Any]:
    done = lab.run("diag", "iommu", "--json")
    assert done.status in (0, 1), done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def gpu_of(lab: Lab, found: dict[str, Any]) -> dict[str, Any]:
    return next(gpu for gpu in found["gpus"] if gpu["address"] == lab.topology.gpu)


@every_lab
def test_its_groups_are_the_kernels_and_its_reasons_those_of_the_machine(lab: Lab) -> None:
    found = asked(lab)
    assert {frozenset(group) for group in found["groups"].values()} == lab.groups()
    gpu = gpu_of(lab, found)
    wanted = MERGES[lab.topology.name]
    merges = {(m["reason"], tuple(m["at"]), tuple(m["missing"])) for m in gpu["merges"]}
    assert merges == wanted
    assert all(merge["certain"] for merge in gpu["merges"])
    assert gpu["unexplained"] == []
    mine = next((group for group in lab.topology.groups if lab.topology.gpu in group), frozenset())
    assert found["in_use"] is bool(mine)
    if mine:
        outside = {a for a in mine if a not in functions(lab)}
        assert set(gpu["strangers"]) | set(gpu["bridges_in_group"]) == outside
        assert gpu["verdict"] == ("strangers" if gpu["strangers"] else "isolated")


@with_groups
def test_every_group_of_the_machine_follows_from_its_acs(lab: Lab) -> None:
    """All devices, not only the GPU: nobody is joined without a reason, or apart without one."""
    source = """
import json
from diag.host import Host
from diag.inventory import Inventory
from diag.isolation import Hierarchy
hierarchy = Hierarchy(Inventory(Host()))
unexplained = [
    [str(device.address), [str(place) for place in hierarchy.explain(device).unexplained]]
    for device in hierarchy.machine.devices if hierarchy.explain(device).unexplained
]
print(json.dumps([unexplained, [merge.text for merge in hierarchy.torn()]]))
"""
    done = lab.run(".venv/bin/python", "-c", source).check()
    assert json.loads(done.out) == [[], []]


@pytest.mark.parametrize("lab", ["laptop", "strangers", "bridge"], indirect=True)
def test_its_word_on_viability_is_that_of_vfio(lab: Lab) -> None:
    gpu, audio = functions(lab)
    vfio.bind(lab, gpu)
    assert gpu_of(lab, asked(lab))["viable"] is True
    assert vfio.open_device(lab, gpu).viable is True
    # A driver of the host takes another member.
    lab.run("modprobe", "snd-hda-intel").check()
    holder = lab.driver(audio)
    assert holder == "snd_hda_intel"
    held = gpu_of(lab, asked(lab))
    assert (held["viable"], held["holders"]) == (False, [[audio, holder]])
    assert vfio.open_device(lab, gpu).viable is False
    vfio.bind(lab, audio)
    assert gpu_of(lab, asked(lab))["viable"] is True
    assert vfio.open_device(lab, gpu).opened is True


@pytest.mark.parametrize("lab", ["strangers"], indirect=True)
def test_a_stranger_with_a_driver_blocks_until_it_is_given_up(lab: Lab) -> None:
    gpu, nic = lab.topology.gpu, "0000:02:00.0"
    for address in functions(lab):
        vfio.bind(lab, address)
    assert lab.run("diag", "iommu").status == 0
    lab.run("modprobe", "e1000e").check()
    assert lab.driver(nic) == "e1000e"
    done = lab.run("diag", "iommu", "--json")
    found = json.loads(done.out)
    blocking = {f["check"] for f in found["findings"] if f["verdict"] == "fail"}
    assert (done.status, "iommu.viable" in blocking) == (1, True)
    assert vfio.open_device(lab, gpu).viable is False
    vfio.bind(lab, nic)
    assert lab.run("diag", "iommu").status == 0
    assert vfio.open_device(lab, gpu).opened is True


@pytest.mark.parametrize("lab", ["no-iommu", "iommu-off"], indirect=True)
def test_without_an_iommu_it_names_what_is_missing(lab: Lab) -> None:
    done = lab.run("diag", "iommu", "--json")
    found = json.loads(done.out)
    states = {part["name"]: part["state"] for part in found["support"]["parts"]}
    assert done.status == 1
    blame, fine = "firmware", "command line"
    if lab.topology.name == "iommu-off":
        blame, fine = fine, blame
    assert (states[blame], states[fine]) == ("missing", "there")


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_an_ordinary_user_is_told_what_root_would_see(lab: Lab) -> None:
    found = json.loads(lab.run(".venv/bin/python", "-c", _AS_USER).check().out)
    gpu = gpu_of(lab, found)
    assert {frozenset(group) for group in found["groups"].values()} == lab.groups()
    assert (gpu["verdict"], gpu["measured"]) == ("isolated", False)
    port = next(hop for hop in gpu["path"] if hop["address"] == PORT)
    assert (port["separates"], "run as root" in port["text"]) == (None, True)
    assert not any(merge["certain"] for merge in gpu["merges"])


@pytest.mark.parametrize("lab", ["flr"], indirect=True)
def test_a_sleeping_gpu_sleeps_on(lab: Lab) -> None:
    state = f"/sys/bus/pci/devices/{lab.topology.gpu}/power_state"
    vfio.bind(lab, lab.topology.gpu)
    assert lab.read(state) == "D3hot"
    assert gpu_of(lab, asked(lab))["verdict"] == "isolated"
    assert lab.read(state) == "D3hot"


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_the_list_has_lspcis_words(lab: Lab) -> None:
    """Each line is that of lspci -nn behind the number of the group."""
    listed = lab.run("diag", "iommu", "--format", "list").check().out.splitlines()
    wanted = {line.split(" ", 1)[0]: line for line in lab.run("lspci", "-nn").out.splitlines()}
    assert len(listed) == sum(map(len, lab.groups()))
    for line in listed:
        _, _, number, rest = line.split(" ", 3)
        place = rest.split(" ", 1)[0]
        assert number.isdecimal()
        assert wanted[place].startswith(rest)
