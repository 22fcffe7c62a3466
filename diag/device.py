"""A PCI function as sysfs shows it (Linux, Documentation/ABI/testing/sysfs-bus-pci)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diag.config_space import ConfigSpace
from diag.errors import Asleep, Unreadable
from diag.host import Host
from diag.pci import PciAddress, PciClass, PciId

DEVICES = "/sys/bus/pci/devices"

#: Lines of the file ``resource``: six BARs, then the ROM.
_BARS, _ROM_LINE = 6, 6

#: include/linux/ioport.h
_IO, _MEM, _PREFETCH, _MEM_64 = 0x100, 0x200, 0x2000, 0x100000

_AWAKE_RUNTIME = ("active", "unsupported", "error", None)
_SLEEP = ("D1", "D2", "D3hot", "D3cold")

#: Attributes that the kernel answers from the config space, which wakes the device (since 2025,
#: "PCI/sysfs: Ensure devices are powered for config reads").
_WAKING = (
    "config", "current_link_speed", "current_link_width", "max_link_speed", "max_link_width",
    "secondary_bus_number", "subordinate_bus_number",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """A region that a function decodes.

    Attributes:
        index: 0 to 5.
        start: where the kernel has put it; 0 where it has no place.
        size: bytes.
        memory: memory, not I/O ports.
        prefetchable: whether reads have no effect, so that it may be large and cached.
        bits64: whether it may lie above 4 GiB.
        sizes: what a resizable BAR can be, bytes; empty if it cannot be resized or cannot say so,
            and for a sleeping device, which is not asked.
    """

    index: int
    start: int
    size: int
    memory: bool
    prefetchable: bool
    bits64: bool
    sizes: tuple[int, ...] = ()

    @property
    def above_4g(self) -> bool:
        """Whether it lies above 4 GiB."""
        return self.start >= 1 << 32


@dataclass(frozen=True, slots=True)
class Link:
    """A PCI Express link as it is and as it could be, in the kernel's words ("8.0 GT/s PCIe")."""

    speed: str
    width: int
    max_speed: str | None = None
    max_width: int | None = None


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One function. A value is None where the kernel does not have it; what is there and could not
    be read is in `unread`, and `known` tells the two apart.

    Attributes:
        address: where it is.
        path: the functions that lead to it from the root, itself last.
        ids: vendor and device, as the kernel has kept them from its discovery.
        class_code: base class and subclass.
        prog_if: programming interface.
        revision: revision id, as the kernel has kept it.
        subsystem: ids of the board; None for a bridge.
        driver: the driver that is bound.
        driver_override: the only driver that may bind; None where any may.
        group: number of the IOMMU group.
        boot_vga: whether the firmware booted with it; None for what is no VGA controller.
        power_state: D0, D1, D2, D3hot, D3cold or unknown (Linux 5.11).
        runtime_status: of runtime power management: active, suspended, unsupported...
        power_control: ``on`` keeps it awake, ``auto`` lets it sleep.
        d3cold_allowed: whether its power may be cut.
        reset_methods: how the kernel can reset it, in its order; None where it cannot, or is
            older than 5.15: see `can_reset`.
        can_reset: whether the kernel offers a reset.
        virtual: whether it is a virtual function (SR-IOV) of another one.
        enabled: how often it was enabled.
        bars: the regions that are in use.
        rom_size: bytes of the ROM BAR; None where it has none.
        link: the PCI Express link; None where there is none.
        msi: interrupts by message: ``msi``, ``msix``, or None if none is set up.
        numa_node: None where the machine has one only.
        acpi_path: the device's name in the firmware's tables, like ``\\_SB_.PCI0.PEG0.PEGP``.
        modalias: what the kernel looks its driver up by.
        config: its configuration space; None where it was not read.
        unread: attribute → why it could not be read.
    """

    address: PciAddress
    path: tuple[PciAddress, ...]
    ids: PciId | None = None
    class_code: PciClass | None = None
    prog_if: int | None = None
    revision: int | None = None
    subsystem: PciId | None = None
    driver: str | None = None
    driver_override: str | None = None
    group: int | None = None
    boot_vga: bool | None = None
    power_state: str | None = None
    runtime_status: str | None = None
    power_control: str | None = None
    d3cold_allowed: bool | None = None
    reset_methods: tuple[str, ...] | None = None
    can_reset: bool = False
    virtual: bool = False
    enabled: int | None = None
    bars: tuple[Bar, ...] = ()
    rom_size: int | None = None
    link: Link | None = None
    msi: str | None = None
    numa_node: int | None = None
    acpi_path: str | None = None
    modalias: str | None = None
    config: ConfigSpace | None = None
    unread: Mapping[str, Unreadable] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<PciDevice {self.address} {self.ids} class {self.class_code} {self.driver}>"

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def parent(self) -> PciAddress | None:
        """The port or bridge above it."""
        return self.path[-2] if len(self.path) > 1 else None

    @property
    def is_gpu(self) -> bool:
        """VGA, 3D or other display controller."""
        return self.class_code is not None and self.class_code.is_display

    @property
    def asleep(self) -> bool:
        """Whether reading its config would wake it."""
        return self.power_state in _SLEEP or self.runtime_status not in _AWAKE_RUNTIME

    @property
    def answers(self) -> bool | None:
        """Whether its config is anything but ones; None where that was not read."""
        return None if self.config is None else self.config.answers

    def known(self, name: str) -> Any:
        """An attribute's value.

        Raises:
            Unreadable: it is None because it could not be read.
        """
        if name in self.unread:
            raise self.unread[name]
        return getattr(self, name)


class _Reader:
    """Reads attributes of one device and keeps what was refused."""

    def __init__(self, host: Host, address: PciAddress, asleep: bool) -> None:
        self.host = host
        self.folder = f"{DEVICES}/{address}"
        self.asleep = asleep
        self.unread: dict[str, Unreadable] = {}

    def text(self, attribute: str, name: str = "") -> str | None:
        """An attribute's text; None where it is absent or could not be read."""
        path = f"{self.folder}/{attribute}"
        if self.asleep and attribute in _WAKING:
            why = "the device, or a port above it, sleeps, and reading this would wake it"
            self.unread[name or attribute] = Asleep(path, why, hint="--wake reads it all the same")
            return None
        try:
            return self.host.text(path)
        except Unreadable as error:
            self.unread[name or attribute] = error
            return None

    def number(self, attribute: str, base: int = 10, name: str = "") -> int | None:
        """An attribute that is a number; None too where it is not."""
        text = self.text(attribute, name)
        try:
            return None if text is None else int(text, base)
        except ValueError:
            return None

    def flag(self, attribute: str) -> bool | None:
        """An attribute that is 0 or 1."""
        return {"0": False, "1": True}.get(self.text(attribute) or "")


def device_path(host: Host, address: PciAddress) -> tuple[PciAddress, ...]:
    """The functions that lead to `address`, from the folders in /sys/devices; itself last."""
    place = host.chase(f"{DEVICES}/{address}")
    steps = []
    for part in place.split("/"):
        try:
            steps.append(PciAddress.parse(part))
        except ValueError:  # pci0000:00 and what is above it
            continue
    return tuple(steps) if steps and steps[-1] == address else (*steps, address)


def read_device(host: Host, address: PciAddress, *, wake: bool = False) -> PciDevice:
    """Read one function.

    Args:
        host: the machine.
        address: which function.
        wake: read the config of a sleeping device too, which wakes it.

    Raises:
        Unreadable: sysfs cannot be read at all.
    """
    path = device_path(host, address)
    asleep = not wake and any(sleeps(host, step) for step in path)
    read = _Reader(host, address, asleep)
    code = read.number("class", 16)
    vendor, device = read.number("vendor", 16), read.number("device", 16)
    board, model = read.number("subsystem_vendor", 16), read.number("subsystem_device", 16)
    override = read.text("driver_override")
    methods = read.text("reset_method", "reset_methods")
    numa = read.number("numa_node")
    bars, rom = _resources(read)
    group = host.link(f"{read.folder}/iommu_group")
    values: dict[str, Any] = {
        "ids": _ids(vendor, device),
        "class_code": None if code is None else PciClass(code >> 8 & 0xFFFF),
        "prog_if": None if code is None else code & 0xFF,
        "revision": read.number("revision", 16),
        "subsystem": _ids(board, model) if board else None,
        "driver": host.link(f"{read.folder}/driver"),
        # An override that is not set prints the C library's word for a null pointer.
        "driver_override": None if override in (None, "", "(null)") else override,
        "group": int(group) if group is not None and group.isdecimal() else None,
        "boot_vga": read.flag("boot_vga"),
        "power_state": read.text("power_state"),
        "runtime_status": read.text("power/runtime_status", "runtime_status"),
        "power_control": read.text("power/control", "power_control"),
        "d3cold_allowed": read.flag("d3cold_allowed"),
        "reset_methods": tuple(methods.split()) if methods else None,
        "can_reset": host.exists(f"{read.folder}/reset"),
        "virtual": host.exists(f"{read.folder}/physfn"),
        "enabled": read.number("enable", name="enabled"),
        "bars": bars,
        "rom_size": rom,
        "link": _link(read),
        "msi": _msi(read),
        "numa_node": None if numa is None or numa < 0 else numa,
        "acpi_path": read.text("firmware_node/path", "acpi_path"),
        "modalias": read.text("modalias"),
        "config": _config(read),
    }
    return PciDevice(address, path, **values, unread=read.unread)


def read_devices(host: Host, *, wake: bool = False) -> tuple[PciDevice, ...]:
    """All functions, in the order of their addresses; none where there is no PCI.

    Raises:
        Unreadable: sysfs cannot be read at all.
    """
    found = []
    for name in host.devices("pci") or ():
        try:
            found.append(PciAddress.parse(name))
        except ValueError:
            continue
    return tuple(read_device(host, address, wake=wake) for address in sorted(found))


def sleeps(host: Host, address: PciAddress) -> bool:
    """Whether one function sleeps, as far as that can be read; ports above it do not count."""
    read = _Reader(host, address, asleep=False)
    state, status = read.text("power_state"), read.text("power/runtime_status")
    return state in _SLEEP or status not in _AWAKE_RUNTIME


def _ids(vendor: int | None, device: int | None) -> PciId | None:
    if vendor is None or device is None:
        return None
    return PciId(vendor & 0xFFFF, device & 0xFFFF)


_RESOURCE = re.compile(r"0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+)")


def _resources(read: _Reader) -> tuple[tuple[Bar, ...], int | None]:
    """The regions in use and the size of the ROM BAR (bytes), from the file ``resource``."""
    bars, rom = [], None
    for index, line in enumerate((read.text("resource", "bars") or "").splitlines()):
        found = _RESOURCE.fullmatch(line.strip())
        if found is None:
            continue
        start, end, flags = (int(part, 16) for part in found.groups())
        if flags == 0 or end < start:
            continue
        size = end - start + 1
        if index < _BARS and flags & (_IO | _MEM):
            sizes = _resizable(read, index)
            memory, bits64 = bool(flags & _MEM), bool(flags & _MEM_64)
            bars.append(Bar(index, start, size, memory, bool(flags & _PREFETCH), bits64, sizes))
        elif index == _ROM_LINE:
            rom = size
    return tuple(bars), rom


def _resizable(read: _Reader, index: int) -> tuple[int, ...]:
    """What ``resourceN_resize`` allows: bit n stands for 2^n MiB."""
    if read.asleep:  # the kernel answers from the config space
        return ()
    path = f"{read.folder}/resource{index}_resize"
    try:
        said = read.host.text(path)
    except Unreadable:  # write-only on some kernels
        return ()
    try:
        bits = int(said or "0", 16)
    except ValueError:
        return ()
    return tuple(1 << (20 + bit) for bit in range(44) if bits >> bit & 1)


def _link(read: _Reader) -> Link | None:
    speed, width = read.text("current_link_speed", "link"), read.number("current_link_width")
    if not speed or not width:
        return None
    return Link(speed, width, read.text("max_link_speed"), read.number("max_link_width"))


def _msi(read: _Reader) -> str | None:
    try:
        vectors = read.host.names(f"{read.folder}/msi_irqs")
    except Unreadable as error:
        read.unread["msi"] = error
        return None
    if not vectors:
        return None
    return read.text(f"msi_irqs/{vectors[0]}", "msi") or "msi"


def _config(read: _Reader) -> ConfigSpace | None:
    if read.asleep:
        read.text("config")  # notes why not
        return None
    try:
        data = read.host.data(f"{read.folder}/config")
    except Unreadable as error:
        read.unread["config"] = error
        return None
    return ConfigSpace(data) if data else None
