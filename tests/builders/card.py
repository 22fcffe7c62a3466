"""A laptop's card in its slot, on a machine that does not exist."""

from __future__ import annotations

from builders.host import HostTree

from diag.device import PciDevice
from diag.inventory import Inventory
from diag.pci import PciAddress

PORT, GPU, AUDIO = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1"
RELEASE = "6.1.0-18-amd64"
DEAD = b"\xff" * 256

#: Modules that modprobe finds.
AVAILABLE = ("nvidia", "nvidia_drm", "nvidia_modeset", "nouveau", "vfio-pci", "pci-stub")


def card(
    *,
    power: str = "awake",
    driver: str | None = None,
    audio: bool = True,
    audio_driver: str | None = None,
    switches: bool = False,
    group: int | None = 1,
    reset: str | None = "bus",
    control: str = "on",
    boot_vga: bool = False,
    rom: int | None = 1 << 17,
    available: tuple[str, ...] = AVAILABLE,
    vendor: int = 0x10DE,
) -> HostTree:
    """An Optimus laptop: an NVIDIA card with its audio function behind a port without ACS.

    Args:
        power: ``awake``, ``asleep``, ``off`` (by bbswitch) or ``gone`` (off the bus).
        driver: who has the GPU; its module is loaded, named as the driver is.
        audio: whether the audio function is there.
        audio_driver: who has it.
        switches: whether bbswitch and nvhda are loaded.
        group: of the IOMMU; None for no IOMMU.
        reset: what reset_method says of the GPU; None for no reset.
        control: power/control of both functions.
        boot_vga: whether the firmware has booted with it.
        rom: size of the ROM BAR.
        available: modules that are installed.
        vendor: of the card.
    """
    tree = HostTree().kernel(RELEASE).cmdline("quiet intel_iommu=on")
    dep = "".join(f"kernel/{name}.ko: \n" for name in available)
    tree.file(f"/lib/modules/{RELEASE}/modules.dep", dep)
    tree.file(f"/lib/modules/{RELEASE}/modules.builtin", "")
    tree.device("0000:00:02.0", class_=0x030000, boot_vga=not boot_vga)
    tree.device(PORT, class_=0x060400, driver="pcieport", group=group)
    dead = power in ("off", "gone")
    tree.device(
        GPU, vendor=vendor, device=0x1C20, group=group, parent=PORT, driver=driver, rom=rom,
        power_state={"off": "D3cold", "asleep": "D3hot"}.get(power, "D0"), power_control=control,
        runtime_status="suspended" if power == "asleep" else "active", boot_vga=boot_vga,
        config=DEAD if dead else None, reset_method=reset,
    )  # fmt: skip
    if audio:
        tree.device(
            AUDIO, vendor=vendor, device=0x10F1, class_=0x040300, group=group, parent=PORT,
            driver=audio_driver, config=DEAD if dead else None, reset_method=None,
            power_control=control,
        )  # fmt: skip
    for name, address in ((driver, GPU), (audio_driver, AUDIO)):
        if name is not None:
            loaded(tree, name, address)
    for name in ("bbswitch", "nvhda") if switches else ():
        tree.module(name, {"load_state": "-1", "unload_state": "-1"})
        tree.file(f"/proc/acpi/{name}", f"{GPU} {'OFF' if power == 'off' else 'ON'}")
    return tree.folder("/proc/1/fd").file("/proc/1/comm", "init")


def loaded(tree: HostTree, driver: str, *addresses: str) -> HostTree:
    """A module with a PCI driver of its name, and what that has."""
    module = driver.replace("-", "_")
    folder = f"/sys/bus/pci/drivers/{driver}"
    tree.module(module).link(f"/sys/module/{module}/drivers/pci:{driver}", folder).folder(folder)
    tree.link(f"{folder}/module", f"/sys/module/{module}")
    for address in addresses:
        tree.link(f"{folder}/{address}", tree.place(address))
    return tree


def program(tree: HostTree, pid: int, name: str, *nodes: str, unit: str | None = None) -> HostTree:
    """A process that has nodes open; one of a service where that is named."""
    tree.folder(f"/proc/{pid}/fd").file(f"/proc/{pid}/comm", name)
    place = f"/system.slice/{unit}" if unit else "/user.slice/user-1000.slice/session-2.scope"
    tree.file(f"/proc/{pid}/cgroup", f"0::{place}")
    for number, node in enumerate(nodes, 3):
        tree.link(f"/proc/{pid}/fd/{number}", node)
        tree.file(node)
    return tree


def machine_of(tree: HostTree, address: str = GPU) -> tuple[Inventory, PciDevice]:
    """The machine as a planner gets it, with one of its functions."""
    machine = Inventory(tree.host())
    device = machine.device(PciAddress.parse(address))
    assert device is not None
    return machine, device
