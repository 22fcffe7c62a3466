"""Evidence from files, with the path that a user can read again."""

from __future__ import annotations

from collections.abc import Iterable

from diag.device import DEVICES, PciDevice
from diag.inventory import Inventory
from romkit.finding import Evidence

ABI_PCI = "Linux, Documentation/ABI/testing/sysfs-bus-pci"
ABI_ASUS = (
    "Linux, Documentation/ABI/testing/sysfs-platform-asus-wmi; drivers/platform/x86/asus-armoury.c"
)


def attribute(device: PciDevice, name: str, value: object) -> Evidence:
    """One attribute of a device as it was read."""
    return Evidence(f"{DEVICES}/{device.address}/{name}", str(value))


def first_of(machine: Inventory, paths: Iterable[str]) -> Evidence | None:
    """The first of these files that is there, and what it says; None where none is.

    Raises:
        Unreadable: one is there and cannot be read.
    """
    for path in paths:
        text = machine.host.text(path, 64)
        if text is not None:
            return Evidence(path, text)
    return None
