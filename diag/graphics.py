"""Which of a machine's GPUs one would hand to a guest."""

from __future__ import annotations

from diag.device import PciDevice
from diag.inventory import Inventory
from diag.pci import PciClass, PciId

NVIDIA, AMD = 0x10DE, 0x1002

#: Displays that are part of a server's board, for its remote console: vendor, and which devices;
#: None: all (Linux, drivers/gpu/drm: ast, mgag200, hisilicon/hibmc; pci.ids for XGI).
_CONSOLES: dict[int, tuple[int, ...] | None] = {
    0x1A03: None,  # ASPEED
    0x102B: (0x0522, 0x0524, 0x0530, 0x0532, 0x0533, 0x0534, 0x0536, 0x0538, 0x053A),  # G200
    0x19E5: (0x1711,),  # Huawei
    0x18CA: None,  # XGI
}

#: A Clevo P650HP6 in its two modes: the same card's subsystem ids, as its owner has seen them.
_CLEVO_MODES = {PciId(0x1558, 0x65A1): "mshybrid", PciId(0x1558, 0x65A2): "discrete"}

#: 3D controller: it has no outputs of its own.
MUXLESS = PciClass(0x0302)
#: The security processor that is part of AMD's processors, and stands beside their GPU.
_ENCRYPTION = PciClass(0x1080)


def is_integrated(inventory: Inventory, gpu: PciDevice) -> bool:
    """Whether a GPU is part of the processor.

    Intel's is on the root bus; AMD's is behind a port of its own, but shares its slot with the
    processor's other parts. NVIDIA's on the root bus is a card that was passed to this machine,
    which is virtual itself.
    """
    beside = (other.class_code for other in inventory.siblings(gpu))
    passed_on = gpu.ids is not None and gpu.ids.vendor == NVIDIA
    return (gpu.address.bus == 0 and not passed_on) or _ENCRYPTION in beside


def is_console(gpu: PciDevice) -> bool:
    """Whether a display is that of a server's remote console, which is soldered to the board."""
    if gpu.ids is None or gpu.ids.vendor not in _CONSOLES:
        return False
    devices = _CONSOLES[gpu.ids.vendor]
    return devices is None or gpu.ids.device in devices


def is_muxless(inventory: Inventory, gpu: PciDevice) -> bool:
    """Whether a GPU is a laptop's 3D controller, whose ROM the firmware has and not the card.

    A server's accelerator is a 3D controller too, with a ROM of its own.

    Raises:
        Unreadable: whether the machine is a laptop cannot be read.
    """
    if gpu.class_code != MUXLESS or gpu.rom_size:
        return False
    return is_laptop(inventory) is not False


def candidates(inventory: Inventory) -> tuple[PciDevice, ...]:
    """The GPUs that can be handed over: neither the processor's own nor a server's console.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    return tuple(
        gpu for gpu in inventory.gpus if not is_integrated(inventory, gpu) and not is_console(gpu)
    )


def is_laptop(inventory: Inventory) -> bool | None:
    """Whether the machine has a battery of its own; None where neither that nor DMI is known.

    Raises:
        Unreadable: they are there and cannot be read.
    """
    supplies = inventory.host.devices("power_supply")
    if any(name.startswith(("BAT", "CMB")) for name in supplies or ()):
        return True
    # SMBIOS 7.4.1: portable, laptop, notebook, sub notebook, tablet, convertible, detachable.
    chassis = inventory.host.text("/sys/class/dmi/id/chassis_type")
    if chassis is not None and chassis.isdecimal():
        return int(chassis) in (8, 9, 10, 14, 30, 31, 32)
    return None if supplies is None else False


def before_kepler(device_id: int) -> bool:
    """Whether an NVIDIA card is of a family before Kepler (GK1xx), by the order of its ids.

    pci.ids: GF1xx and older lie below 0x0fc0 and in four ranges between those of GK1xx.
    """
    islands = ((0x1040, 0x10A0), (0x1140, 0x1180), (0x1200, 0x1260), (0x10C0, 0x10E0))
    return device_id < 0x0FC0 or any(low <= device_id < high for low, high in islands)


def clevo_mode(gpu: PciDevice) -> str | None:
    """The MUX mode that a card's subsystem ids tell, ``mshybrid`` or ``discrete``; else None."""
    return None if gpu.subsystem is None else _CLEVO_MODES.get(gpu.subsystem)
