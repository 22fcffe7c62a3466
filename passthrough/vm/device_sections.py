"""The sections of a profile that say what devices the guest has."""

from __future__ import annotations

from dataclasses import dataclass

from diag.pci import PciAddress
from passthrough.vm import kinds
from passthrough.vm.key import INSTALLED, LAUNCHED, key
from passthrough.vm.kinds import choice, list_of, matching, number, size


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk: a file, a volume or a device. Several may stand there; the first is started from."""

    path: str = key(
        kinds.PATH, "", "A file, or a device like `/dev/disk/by-id/...`.", example='"win10.qcow2"'
    )
    volume: str = key(kinds.VOLUME, "", "An LVM volume, in place of `path`.", example='"LINUX/VM"')
    format: str = key(
        choice("auto", "raw", "qcow2"),
        "auto",
        "`auto` takes files called `.qcow2` for qcow2 and everything else for raw.",
    )
    size: int = key(
        size(1 << 20, 1 << 44, empty=True),
        0,
        "How large it is made where it is not there; 64G where nothing is said, as Windows 11 "
        "asks.",
        example='"128G"',
        where=INSTALLED,
    )
    bus: str = key(
        choice("virtio", "nvme", "sata"),
        "virtio",
        "What the guest sees it as. Windows has no virtio driver of its own.",
    )
    cache: str = key(
        choice("none", "writeback", "writethrough", "directsync", "unsafe"),
        "none",
        "How the host caches it.",
    )
    discard: bool = key(kinds.FLAG, False, "Give blocks back that the guest has freed.")
    read_only: bool = key(kinds.FLAG, False, "The guest may not write to it.")
    serial: str = key(matching(r"[A-Za-z0-9_.-]{1,20}", "up to 20 letters, digits and _ . -",
                               empty=True),
                      "", "Its serial number.", example='"DISK1"')  # fmt: skip


@dataclass(frozen=True, slots=True)
class Media:
    """What stands in the guest's CD-ROM drives."""

    install: str = key(
        kinds.PATH,
        "",
        "What is started from for the installation; not there otherwise.",
        example='"resources/Win10.iso"',
    )
    drivers: tuple[str, ...] = key(
        list_of(kinds.PATH),
        (),
        "Drivers for the guest: virtio's, the GPU's.",
        example='["resources/virtio-win.iso", "drivers.iso"]',
    )


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that is handed over."""

    address: PciAddress | None = key(
        kinds.ADDRESS,
        None,
        "Where it is on the host. Without it the guest gets none.",
        example='"01:00.0"',
    )
    rom: str = key(
        kinds.PATH,
        "",
        "The file with its ROM, where its own is not to be used.",
        example='"vbios.rom"',
    )
    rom_bar: bool = key(kinds.FLAG, True, "Show the ROM in the ROM BAR.")
    subsystem: tuple[int, int] | str = key(
        kinds.SUBSYSTEM,
        "host",
        "The subsystem ids that the guest sees: those of the card on this host, others, or "
        "`none`: what the card shows by itself.",
        example='"1025:118b"',
    )
    guest_address: PciAddress = key(
        kinds.PLACE,
        PciAddress(0, 1, 0, 0),
        "Where the guest sees it. Drivers of laptops' GPUs look at 01:00.0; on bus 00 it stands "
        "there without a root port.",
    )
    port: PciAddress = key(
        kinds.PLACE, PciAddress(0, 0, 1, 0), "Where the root port above it stands in the guest."
    )
    hotplug: bool = key(
        kinds.FLAG,
        False,
        "Let the port be unplugged. It adds a _DSM that NVIDIA's driver takes for its own.",
    )
    audio: str = key(
        choice("pass", "vfio-pci", "none", "pci-stub"),
        "pass",
        "Its audio function: passed to the guest as the next function, or left out and bound "
        "meanwhile to vfio-pci, nothing, or pci-stub. Passing it can give Code 43.",
    )
    audio_address: PciAddress | None = key(
        kinds.ADDRESS,
        None,
        "Where the audio function is, if not beside the GPU as function 1.",
        example='"01:00.1"',
    )
    x_vga: bool = key(
        kinds.FLAG, False, "Pass the VGA ranges on: only for SeaBIOS and a card with a legacy ROM."
    )
    prepare: tuple[str, ...] = key(
        list_of(choice("power", "reset", "refresh")),
        (),
        "What is done with the card before: switch it on, reset it, or let NVIDIA's driver start "
        "it once.",
        example='["power", "refresh"]',
        where=LAUNCHED,
    )


@dataclass(frozen=True, slots=True)
class Integrated:
    """A part of the integrated GPU, by GVT-g."""

    mdev: str = key(
        matching(r"[A-Za-z0-9_-]{1,64}", "a type in mdev_supported_types", empty=True),
        "",
        "The type of the mediated device. Without it the guest gets none.",
        example='"i915-GVTg_V5_4"',
    )
    address: PciAddress | None = key(
        kinds.ADDRESS,
        PciAddress(0, 0, 2, 0),
        "Where the integrated GPU is on the host.",
        where=LAUNCHED,
    )
    uuid: str = key(
        kinds.UUID,
        "",
        "The device's UUID. One is made of the VM's.",
        example='"8a1c8f0e-4a64-4a0e-a1d5-6f6c0b0f5d31"',
    )
    rom: str = key(
        kinds.PATH,
        "",
        "Its ROM, like i915ovmf's, which shows the firmware's screen.",
        example='"i915ovmf.rom"',
    )
    opregion: bool = key(kinds.FLAG, True, "Give it the OpRegion that Intel's driver looks for.")
    display: bool = key(kinds.FLAG, True, "Show its picture in the VM's window.")
    ramfb: bool = key(kinds.FLAG, False, "Show a picture before its driver starts.")
    guest_address: PciAddress = key(kinds.PLACE, PciAddress(0, 0, 2, 0), "Where the guest sees it.")


@dataclass(frozen=True, slots=True)
class Display:
    """Virtual graphics, and how they are looked at."""

    video: str = key(
        choice("none", "qxl", "virtio", "ramfb", "std"), "qxl", "The virtual graphics card."
    )
    show: str = key(choice("none", "spice", "vnc", "gtk"), "spice", "How it is looked at.")
    port: int = key(number(5900, 65535), 5900, "SPICE's or VNC's port, on this machine only.")
    gl: bool = key(
        kinds.FLAG,
        False,
        "Draw with the host's OpenGL, which GVT-g's picture needs. SPICE then has no port.",
    )


@dataclass(frozen=True, slots=True)
class Network:
    """A network card. Several may stand there; without any the guest has user networking."""

    kind: str = key(
        choice("user", "tap", "bridge", "vde", "none"),
        "user",
        "QEMU's own network, a TAP interface, a bridge, a VDE switch, or none.",
    )
    model: str = key(choice("virtio", "e1000e", "rtl8139"), "virtio", "What the guest sees.")
    mac: str = key(
        kinds.MAC, "", "Its address. One is made of the VM's name.", example='"52:54:00:12:34:56"'
    )
    forward: tuple[str, ...] = key(
        list_of(kinds.FORWARD),
        (),
        "Of `user`: ports of this machine that lead to the guest's.",
        example='["tcp:3389:3389"]',
    )
    interface: str = key(
        kinds.INTERFACE, "", "Of `tap`: the interface; of `bridge`: the bridge.", example='"tap0"'
    )
    socket: str = key(kinds.PATH, "/var/run/vde.ctl", "Of `vde`: the switch's folder.")


@dataclass(frozen=True, slots=True)
class LookingGlass:
    """Memory that Looking Glass shows the guest's picture through."""

    size: int = key(
        size(1 << 20, 1 << 30, of_two=True, empty=True),
        0,
        'Its size; "" for none. 32M is enough for 1920x1080.',
        example='"32M"',
    )
    path: str = key(kinds.PATH, "/dev/shm/looking-glass", "Where it is.")


@dataclass(frozen=True, slots=True)
class Input:
    """Mouse and keyboard."""

    tablet: bool = key(kinds.FLAG, True, "A USB tablet: the mouse need not be caught.")
    evdev: tuple[str, ...] = key(
        list_of(matching(r"/dev/[^\x00\n,]{1,200}", "a device below /dev")),
        (),
        "Devices that both sides share; both Ctrl keys together switch.",
        example='["/dev/input/by-id/usb-Keyboard-event-kbd"]',
    )
    usb: tuple[str, ...] = key(
        list_of(kinds.USB), (), "USB devices that the guest gets.", example='["046d:c52b"]'
    )
