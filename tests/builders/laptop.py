"""Two laptops that do not exist: one in order, and the two of the field reports."""

from __future__ import annotations

from typing import Any

from builders.host import HostTree

PORT, GPU, AUDIO, INTEGRATED = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:00:02.0"
HYBRID, DISCRETE = (0x1558, 0x65A1), (0x1558, 0x65A2)

#: The BARs of a GTX 1060: 16 MiB, 256 MiB, 32 MiB, ports, and a ROM of 512 KiB.
RESOURCE = """0x00000000de000000 0x00000000deffffff 0x0000000000040200
0x00000000c0000000 0x00000000cfffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000d0000000 0x00000000d1ffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x000000000000e000 0x000000000000e07f 0x0000000000040101
0x00000000df000000 0x00000000df07ffff 0x0000000000046200"""


def laptop(*, audio: dict[str, Any] | None = None, **gpu: Any) -> HostTree:
    """An Optimus laptop in order: an awake GPU that vfio-pci has, its audio, an integrated GPU.

    Args:
        audio: what is different about the audio function.
        gpu: what is different about the GPU; both as `HostTree.device` takes it.
    """
    tree = HostTree().kernel("6.1.0-18-amd64").cmdline("quiet intel_iommu=on iommu=pt")
    tree.folder("/sys/class/power_supply/BAT0").module("vfio_pci", {"disable_idle_d3": "N"})
    tree.file("/proc/1/comm", "systemd").folder("/proc/1/fd")
    tree.device(
        INTEGRATED, vendor=0x8086, device=0x591B, driver="i915", boot_vga=True, group=0,
        reset_method="flr",
    )  # fmt: skip
    tree.device(PORT, device=0x1901, class_=0x060400, driver="pcieport", group=1)
    attributes = {"resource": RESOURCE, **gpu.pop("attributes", {})}
    values: dict[str, Any] = {
        "vendor": 0x10DE, "device": 0x1C20, "revision": 0xA1, "subsystem": HYBRID, "group": 1,
        "parent": PORT, "driver": "vfio-pci", "boot_vga": False, "power_control": "auto",
        "reset_method": "flr bus", **gpu,
    }  # fmt: skip
    tree.device(GPU, attributes=attributes, **values)
    sound: dict[str, Any] = {
        "vendor": 0x10DE, "device": 0x10F1, "class_": 0x040300, "subsystem": HYBRID, "group": 1,
        "parent": PORT, "driver": "vfio-pci", "reset_method": "flr", **(audio or {}),
    }  # fmt: skip
    return tree.device(AUDIO, **sound)


def clevo() -> HostTree:
    """The Clevo P650HP6 as its owner shows it: Linux 4.20, and bbswitch has the GPU off."""
    tree = HostTree().kernel("4.20.1-1-MANJARO")
    tree.cmdline(
        'root=/dev/mapper/LINUX-LINUX rw acpi_osi=! acpi_osi=Linux acpi_osi="Windows 2015" '
        "pcie_port_pm=off i915.enable_gvt=1 intel_iommu=on,igfx_off iommu=pt kvm.ignore_msrs=1 "
        "isolcpus=1,5,2,6"
    )
    tree.module("bbswitch", {"load_state": "0", "unload_state": "1"})
    tree.file("/proc/acpi/bbswitch", "0000:01:00.0 OFF").module("vfio_pci")
    tree.folder("/sys/class/power_supply/BAT0")
    old: dict[str, Any] = {"power_state": None}  # the file came with Linux 5.11
    tree.device(INTEGRATED, device=0x591B, driver="i915", boot_vga=True, **old)
    tree.device(PORT, device=0x1901, class_=0x060400, driver="pcieport", group=1, **old)
    tree.device(
        GPU, vendor=0x10DE, device=0x1C20, revision=0xA1, subsystem=HYBRID, group=1, parent=PORT,
        boot_vga=False, reset_method="bus", config=b"\xff" * 64, **old,
    )  # fmt: skip
    return tree


def acer() -> HostTree:
    """The Acer Nitro 5 AN515-51: a 3D controller, bbswitch and nvhda, all on, Linux 5.8."""
    tree = HostTree().kernel("5.8.0-2-amd64").cmdline("quiet intel_iommu=on pcie_port_pm=off")
    tree.module("bbswitch", {"load_state": "-1", "unload_state": "-1"}).module("nvhda")
    tree.file("/proc/acpi/bbswitch", "0000:01:00.0 ON").file("/proc/acpi/nvhda", "0000:01:00.0 ON")
    tree.module("nvidia").folder("/sys/class/power_supply/BAT1").os_release("debian")
    old: dict[str, Any] = {"power_state": None}
    tree.device(INTEGRATED, device=0x591B, driver="i915", boot_vga=True, group=0, **old)
    tree.device(PORT, device=0x1901, class_=0x060400, driver="pcieport", group=1, **old)
    board: dict[str, Any] = {"subsystem": (0x1025, 0x118B), "group": 1, "parent": PORT, **old}
    tree.device(
        GPU, vendor=0x10DE, device=0x1C8D, class_=0x030200, revision=0xA1, driver="nvidia",
        acpi_path="\\_SB_.PCI0.PEG0.PEGP", reset_method="bus", **board,
    )  # fmt: skip
    return tree.device(
        AUDIO, vendor=0x10DE, device=0x0FB9, class_=0x040300, driver="snd_hda_intel",
        reset_method=None, **board,
    )  # fmt: skip
