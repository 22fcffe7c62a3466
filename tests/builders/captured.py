"""A laptop to take captures of, and what comes back when one is opened."""

from __future__ import annotations

from builders.host import HostTree

from diag.capture import archive_capture, open_capture, read_capture
from diag.host import Host

GPU, AUDIO, PORT = "0000:01:00.0", "0000:01:00.1", "0000:00:01.0"
TAKEN = "2024-05-01T12:00:00Z"


def laptop(*, asleep: bool = False) -> HostTree:
    state = {"power_state": "D3cold", "runtime_status": "suspended"} if asleep else {}
    tree = HostTree().kernel(config={"CONFIG_VFIO": "m", "CONFIG_KVM": "y"})
    tree.cmdline("quiet intel_iommu=on").module("vfio_pci").os_release("debian", version="12")
    tree.device(PORT, class_=0x060400, driver="pcieport", group=1, **state)
    tree.device(GPU, vendor=0x10DE, device=0x1C20, class_=0x030200, group=1, parent=PORT,
                driver="nvidia", boot_vga=False, rom=1 << 19, **state)  # fmt: skip
    return tree.device(AUDIO, vendor=0x10DE, device=0x10F1, class_=0x040300, group=1, parent=PORT)


def reopened(host: Host, **options: bool) -> Host:
    return open_capture(archive_capture(read_capture(host, taken=TAKEN, **options)))
