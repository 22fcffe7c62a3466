"""Whether VFIO takes a group as it is now: VFIO's own rule for *viable*.

Up to Linux 5.18 (`vfio_dev_viable` in drivers/vfio/vfio.c) every member has to be without a
driver, with a VFIO driver or pci-stub, or no ordinary device by its header (a bridge). From 5.19 on
a driver takes the group for the kernel's own use when it binds, whatever it drives, unless it
leaves DMA to others (`driver_managed_dma`: VFIO's drivers, pci-stub, pcieport).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.inventory import Inventory
    from diag.iommu import IommuGroup
    from diag.pci import PciAddress

#: The first Linux in which drivers claim the group.
OWNERSHIP = (5, 19)

#: Drivers of PCI devices that leave the group to others, besides those of VFIO.
_HARMLESS = ("pci-stub", "pcieport")


@dataclass(frozen=True, slots=True)
class Viability:
    """A group, and what stands in its way now.

    Attributes:
        group: its number.
        viable: whether VFIO would take it now; None where a member could not be looked at.
        holders: members whose driver is in the way, each with that driver's name.
        unknown: members that could not be looked at.
        rule: which rule was applied, in words.
    """

    group: int
    viable: bool | None
    holders: tuple[tuple[PciAddress, str], ...]
    unknown: tuple[PciAddress, ...]
    rule: str


def is_vfio_driver(name: str) -> bool:
    """Whether a driver is one of VFIO's: vfio-pci, and those for certain devices.

    All of them have it in their names (mlx5_vfio_pci, xe-vfio-pci, nvgrace-gpu-vfio-pci).
    """
    return "vfio" in name.replace("_", "-").split("-")


def viability(machine: Inventory, group: IommuGroup) -> Viability:
    """VFIO's answer for a group.

    Raises:
        Unreadable: the kernel's release cannot be read.
    """
    since = machine.kernel.since(*OWNERSHIP)
    # A kernel that is not known is taken for a newer one: its rule is the stricter one.
    newer = since is not False
    holders, unknown = [], []
    for place in group.addresses:
        device = machine.device(place)
        if device is None:
            unknown.append(place)
        elif device.driver is not None and not _may_stay(device, device.driver, newer=newer):
            holders.append((place, device.driver))
    viable = False if holders else None if unknown else True
    rule = "no driver claims the group (Linux 5.19 and later)"
    if not newer:
        rule = "no driver, a VFIO driver, pci-stub or a bridge (before Linux 5.19)"
    return Viability(group.number, viable, tuple(holders), tuple(unknown), rule)


def _may_stay(device: PciDevice, driver: str, *, newer: bool) -> bool:
    if is_vfio_driver(driver) or driver == "pci-stub":
        return True
    return driver in _HARMLESS if newer else _is_bridge_by_header(device)


def _is_bridge_by_header(device: PciDevice) -> bool:
    header = None
    if device.config is not None and device.config.answers:
        header = device.config.header_type
    if header is not None:
        return header != 0
    code = device.class_code
    return code is not None and code.code in (0x0604, 0x0607)
