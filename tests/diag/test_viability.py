"""VFIO's rule for a viable group, before and after Linux 5.19."""

from __future__ import annotations

import pytest
from builders.host import HostTree
from builders.pci_tree import CONVENTIONAL, ENDPOINT, ROOT, add

from diag.inventory import Inventory
from diag.viability import is_vfio_driver, viability

PORT, GPU, AUDIO = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1"


def machine(release: str, *, port: str | None, gpu: str | None, audio: str | None) -> HostTree:
    tree = HostTree().kernel(release)
    add(tree, PORT, ROOT, group=1, driver=port)
    add(tree, GPU, ENDPOINT, PORT, group=1, driver=gpu)
    return add(tree, AUDIO, ENDPOINT, PORT, class_code=0x0403, group=1, driver=audio)


@pytest.mark.parametrize(
    ("port", "gpu", "audio", "old", "new"),
    [
        ("pcieport", "vfio-pci", "vfio-pci", True, True),
        ("pcieport", "vfio-pci", None, True, True),
        ("pcieport", "vfio-pci", "pci-stub", True, True),
        ("pcieport", None, None, True, True),
        ("pcieport", "vfio-pci", "snd_hda_intel", False, False),
        ("pcieport", "nvidia", "snd_hda_intel", False, False),
        ("pcieport", "nvgrace_gpu_vfio_pci", None, True, True),
        # What drives a bridge was of no interest; now only those that leave DMA to others may.
        ("shpchp", "vfio-pci", "vfio-pci", True, False),
    ],
)
def test_the_rule(
    port: str | None, gpu: str | None, audio: str | None, old: bool, new: bool
) -> None:
    for release, wanted in (
        ("5.10.0-30-amd64", old), ("5.18.9", old), ("5.19.0", new), ("6.1.0-18-amd64", new),
    ):  # fmt: skip
        tree = machine(release, port=port, gpu=gpu, audio=audio)
        inventory = Inventory(tree.host())
        found = viability(inventory, inventory.groups[0])
        assert found.viable is wanted, release
        assert bool(found.holders) is not wanted


def test_a_kernel_that_is_not_known_gets_the_stricter_rule() -> None:
    tree = machine("", port="shpchp", gpu=None, audio=None).without("/proc/sys/kernel/osrelease")
    inventory = Inventory(tree.host())
    assert viability(inventory, inventory.groups[0]).viable is False


def test_a_host_bridge_is_an_ordinary_device_by_its_header() -> None:
    tree = add(
        HostTree().kernel("5.10"), "0000:00:00.0", CONVENTIONAL, class_code=0x0600, group=0,
        driver="agpgart",
    )  # fmt: skip
    inventory = Inventory(tree.host())
    assert viability(inventory, inventory.groups[0]).viable is False


def test_a_sleeping_bridge_is_told_by_its_class() -> None:
    tree = HostTree().kernel("5.10")
    add(tree, PORT, ROOT, group=1, driver="shpchp", power_state="D3hot")
    inventory = Inventory(tree.host())
    assert viability(inventory, inventory.groups[0]).viable is True


def test_a_member_that_is_not_there_is_no_answer_unless_another_holds_it() -> None:
    for driver, wanted in ((None, None), ("nvidia", False)):
        tree = machine("6.1", port="pcieport", gpu=driver, audio=None)
        tree.link("/sys/kernel/iommu_groups/1/devices/0000:05:00.0", "/sys/devices/gone")
        inventory = Inventory(tree.host())
        assert viability(inventory, inventory.groups[0]).viable is wanted


@pytest.mark.parametrize("name", ["vfio-pci", "mlx5_vfio_pci", "xe-vfio-pci", "vfio-noiommu"])
def test_vfios_drivers_are_known_by_their_names(name: str) -> None:
    assert is_vfio_driver(name)
    assert not is_vfio_driver(name.replace("vfio", "vfiox"))
