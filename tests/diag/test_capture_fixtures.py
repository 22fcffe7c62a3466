"""Captures of the lab's machines, read without the lab: they say what their topologies say.

`cd tests && python -m lab.captures` takes them anew.
"""

from __future__ import annotations

import pytest
from lab.captures import FIXTURES
from lab.topology import TOPOLOGIES, Topology

from diag.capture import archive_capture, open_capture, parse_capture
from diag.inventory import Inventory
from diag.iommu import Isolation
from diag.pci import PciAddress

#: Who shares the group of the GPU, of those that are neither bridges nor its own functions.
STRANGERS = {"strangers": ["0000:02:00.0"], "bridge": ["0000:01:02.0"]}

every = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)


def read(topology: Topology) -> Inventory:
    return Inventory(open_capture((FIXTURES / f"{topology.name}.tar.xz").read_bytes()))


@every
def test_groups_are_those_of_the_topology(topology: Topology) -> None:
    groups = {frozenset(map(str, group.addresses)) for group in read(topology).groups}
    assert set(topology.groups) <= groups
    assert bool(groups) == bool(topology.groups)


@every
def test_the_gpu_and_its_sound_are_found(topology: Topology) -> None:
    machine = read(topology)
    gpu = machine.device(PciAddress.parse(topology.gpu))
    assert gpu is not None
    assert gpu in machine.gpus
    audio = machine.audio_of(gpu)
    assert (str(audio.address) if audio else None) == topology.audio
    booted = [str(device.address) for device in machine.gpus if device.boot_vga]
    assert booted == [topology.boot_vga]
    assert gpu.answers is True


@every
def test_the_gpu_is_isolated_or_the_strangers_are_named(topology: Topology) -> None:
    machine = read(topology)
    gpu = machine.device(PciAddress.parse(topology.gpu))
    assert gpu is not None
    group = machine.group_of(gpu)
    if not topology.groups:
        assert group is None
        return
    assert group is not None
    verdict = group.verdict(gpu.address)
    strangers = STRANGERS.get(topology.name, [])
    assert [str(address) for address in verdict.strangers] == strangers
    assert verdict.isolation is (Isolation.STRANGERS if strangers else Isolation.ISOLATED)


@every
def test_a_fixture_is_small_holds_no_firmware_and_names_nobody(topology: Topology) -> None:
    data = (FIXTURES / f"{topology.name}.tar.xz").read_bytes()
    capture = parse_capture(data)
    assert len(data) < 40_000
    assert archive_capture(capture) == data
    assert not [path for path in capture.files if path.endswith(("DSDT", "/rom")) or "SSDT" in path]
    assert {path.split("/")[1] for path in capture.files} == {"sys", "proc"}
    assert topology.append in (capture.host().text("/proc/cmdline") or "")
