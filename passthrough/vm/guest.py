"""A guest, resolved: what the profile says, with what this machine adds to it.

QEMU's command line and libvirt's XML are both made of it, so that they agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING

from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.vm.capabilities import Capabilities
from passthrough.vm.device_sections import Disk, Network
from passthrough.vm.firmware import Flash, find_firmware
from passthrough.vm.places import Places, fixed_places
from passthrough.vm.problem import BadProfile
from passthrough.vm.profile import Profile

if TYPE_CHECKING:
    from romkit.acpi.qemu import GuestFile

#: Bytes of a ROM file that are read; no card's is larger.
_ROM_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class Passed:
    """A function of the host that the guest gets.

    Attributes:
        source: where it is on the host.
        place: where the guest sees it.
        rom: file of its ROM; empty: its own.
        rom_bar: whether the guest sees the ROM.
        subsystem: the ids that the guest sees; None: the card's own, as it shows them.
        multifunction: whether there is another function beside it.
        x_vga: whether the VGA ranges are passed.
    """

    source: PciAddress
    place: PciAddress
    rom: str = ""
    rom_bar: bool = True
    subsystem: tuple[int, int] | None = None
    multifunction: bool = False
    x_vga: bool = False


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file of the VM's that is made before it starts.

    Attributes:
        path: where, absolute.
        data: its bytes; None for a copy.
        copy_of: what it is copied from; empty where `data` says it.
        anew: whether it replaces one that is there.
    """

    path: str
    data: bytes | None = None
    copy_of: str = ""
    anew: bool = True


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk or a CD-ROM drive.

    Attributes:
        name: like ``disk0``.
        path: file or device, absolute.
        format: raw or qcow2.
        bus: virtio, nvme or sata.
        place: its slot; None on SATA.
        unit: its SATA port; None elsewhere.
        boot: its turn when the guest starts; None: none.
        disk: the profile's section; None for a CD-ROM.
    """

    name: str
    path: str
    format: str
    bus: str
    place: PciAddress | None
    unit: int | None
    boot: int | None
    disk: Disk | None

    @property
    def is_device(self) -> bool:
        """Whether it is a block device."""
        return self.path.startswith("/dev/")


@dataclass(frozen=True, slots=True)
class Card:
    """A network card: the profile's section, its slot and its address."""

    network: Network
    place: PciAddress
    mac: str

    @property
    def hidden(self) -> bool:
        """Whether libvirt has no words for it."""
        return self.network.kind == "vde" or bool(self.network.forward)


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest, resolved.

    Attributes:
        profile: what it was made of.
        program: QEMU.
        flash: its firmware; None for SeaBIOS.
        gpu: the GPU; None if it gets none.
        audio: the GPU's audio function; None if it gets none.
        drives: disks and CD-ROM drives.
        cards: network cards.
        slots: what stands where on the root bus besides, by name: video, usb, serial, shared.
        acpi: the files of tables and the like, in order, in `Profile.own_folder`.
        files: what is made before it starts.
        notes: what its owner should know.
    """

    profile: Profile
    program: str
    flash: Flash | None
    gpu: Passed | None
    audio: Passed | None
    drives: tuple[Drive, ...]
    cards: tuple[Card, ...]
    slots: dict[str, PciAddress]
    acpi: tuple[GuestFile, ...]
    files: tuple[OwnFile, ...]
    notes: tuple[str, ...]

    @property
    def needs_usb(self) -> bool:
        """Whether it has a USB controller."""
        return "usb" in self.slots


def read_guest(
    profile: Profile,
    machine: Inventory,
    *,
    install: bool = False,
    capabilities: Capabilities | None = None,
) -> Guest:
    """What a profile becomes on a machine. Nothing is changed.

    Args:
        profile: what the VM is to be.
        machine: where it is to run.
        install: start from the installation medium.
        capabilities: what QEMU knows there; asked if not given.

    Raises:
        BadProfile: it cannot be made there.
    """
    known = capabilities or Capabilities(machine.host)
    if install and not profile.media.install:
        raise profile.bad(("media", "install"), "there is nothing to install from", "an ISO image")
    places = Places(profile)
    for place, path in fixed_places(profile):
        places.fix(place, path)
    places.keep_free(profile.qemu.arguments)
    notes: list[str] = []
    flash = find_firmware(machine.host, profile)
    gpu, audio = _passed(profile, machine, notes)
    slots = _slots(profile, places)
    drives = _drives(profile, places, install=install)
    cards = _cards(profile, places)
    if places.problems:
        raise BadProfile(profile.file, places.problems)
    acpi = _acpi(profile, machine, known, notes)
    own = [OwnFile(f"{profile.own_folder}/{file.name}", file.data) for file in acpi]
    if flash is not None:
        reset = profile.firmware.reset
        own.insert(0, OwnFile(profile.vars, copy_of=flash.template, anew=reset))
    return Guest(
        profile, known.program, flash, gpu, audio, drives, cards, slots, acpi, tuple(own),
        tuple(notes),
    )  # fmt: skip


def _passed(
    profile: Profile, machine: Inventory, notes: list[str]
) -> tuple[Passed | None, Passed | None]:
    """The GPU and its audio function."""
    section = profile.gpu
    if section.address is None:
        return None, None
    device = machine.device(section.address)
    if device is None:
        notes.append(f"{section.address} is not on {machine.host.note}")
    ids = _subsystem(profile, machine, section.address)
    if ids is None and section.subsystem == "host":
        notes.append(f"{section.address} shows no subsystem ids: the guest is told none")
    place = section.guest_address
    sound = section.audio_address
    if sound is None:
        beside = replace(section.address, function=1)
        sound = beside if machine.device(beside) is not None else None
        if sound is None and section.audio == "pass" and device is not None:
            notes.append(f"there is no audio function {beside}: none is passed")
    passes = section.audio == "pass" and sound is not None
    gpu = Passed(
        section.address, place, profile.path(section.rom), section.rom_bar, ids, passes,
        section.x_vga,
    )  # fmt: skip
    audio = None
    if passes and sound is not None:
        ids = _subsystem(profile, machine, sound)
        audio = Passed(sound, replace(place, function=1), subsystem=ids)
    return gpu, audio


def _subsystem(profile: Profile, machine: Inventory, address: PciAddress) -> tuple[int, int] | None:
    """The ids that the guest is told of a function; None: what it shows by itself."""
    wanted = profile.gpu.subsystem
    if isinstance(wanted, tuple):
        return wanted
    device = machine.device(address)
    if wanted == "none" or device is None or device.subsystem is None:
        return None
    return device.subsystem.vendor, device.subsystem.device


def _slots(profile: Profile, places: Places) -> dict[str, PciAddress]:
    slots = {}
    if profile.display.video not in ("none", "ramfb"):
        slots["video"] = places.take(("display", "video"))
    if profile.input.tablet or profile.input.usb:
        slots["usb"] = places.take(("input",))
    if profile.display.show == "spice":
        slots["serial"] = places.take(("display", "show"))
    if profile.looking_glass.size:
        top = not is_plain_shm(profile.looking_glass.path)
        slots["shared"] = places.take(("looking_glass", "size"), top=top)
    return slots


def is_plain_shm(path: str) -> bool:
    """Whether libvirt has words for a file of shared memory: it names those in /dev/shm."""
    return path.startswith("/dev/shm/") and "/" not in path.removeprefix("/dev/shm/")


def _drives(profile: Profile, places: Places, *, install: bool) -> tuple[Drive, ...]:
    found: list[Drive] = []
    ports = iter(range(6))
    for number, disk in enumerate(profile.disk):
        path = profile.path(disk.path) or volume_path(disk.volume)
        form = disk.format
        if form == "auto":
            form = "qcow2" if path.lower().endswith(".qcow2") else "raw"
        sata = disk.bus == "sata"
        place = None
        if not sata:
            place = places.take(("disk", number), top=disk.bus == "nvme")
        unit = next(ports) if sata else None
        found.append(Drive(f"disk{number}", path, form, disk.bus, place, unit, number + 1, disk))
    for number, medium in enumerate(profile.media.drivers):
        path = profile.path(medium)
        found.append(Drive(f"drivers{number}", path, "raw", "sata", None, next(ports), None, None))
    if install:  # last: the other drives stay where they are when it is gone
        path = profile.path(profile.media.install)
        found.append(Drive("install", path, "raw", "sata", None, next(ports), 0, None))
    return tuple(found)


def volume_path(volume: str) -> str:
    """The device of an LVM volume. A hyphen in a name is two in the device mapper's (lvm(8))."""
    group, slash, name = volume.partition("/")
    if not slash:
        return f"/dev/mapper/{volume}"
    return f"/dev/mapper/{group.replace('-', '--')}-{name.replace('-', '--')}"


def _cards(profile: Profile, places: Places) -> tuple[Card, ...]:
    found = []
    for number, network in enumerate(profile.networks):
        if network.kind != "none":
            top = network.kind == "vde" or bool(network.forward)
            place = places.take(("network", number), top=top)
            found.append(Card(network, place, profile.mac(number)))
    return tuple(found)


def _acpi(
    profile: Profile, machine: Inventory, known: Capabilities, notes: list[str]
) -> tuple[GuestFile, ...]:
    """The tables that romkit makes."""
    from romkit.acpi.qemu import battery_files, chassis_files

    acpi = profile.acpi
    files: list[GuestFile] = []
    if acpi.battery:
        files += battery_files()
    if acpi.vbios:
        files += _vbios(profile, machine, known, notes)
    if acpi.chassis != "none":
        files += chassis_files(acpi.chassis)
    return tuple(files)


def _vbios(
    profile: Profile, machine: Inventory, known: Capabilities, notes: list[str]
) -> tuple[GuestFile, ...]:
    from diag.errors import Unreadable
    from romkit.acpi.path import Hop, guest_path
    from romkit.acpi.qemu import vbios_files
    from romkit.acpi.vbios import choice_notes, fw_cfg_tables, rom_tables, rom_to_serve
    from romkit.errors import RomError
    from romkit.rom import parse_rom

    section = "acpi" if profile.acpi.vbios_rom else "gpu"
    key = (section, "vbios_rom" if section == "acpi" else "rom")
    path = profile.path(profile.acpi.vbios_rom or profile.gpu.rom)
    try:
        data = machine.host.data(path, _ROM_LIMIT)
    except Unreadable as error:
        raise profile.bad(key, str(error), "a ROM that can be read", hint=error.hint) from None
    if data is None:
        card = profile.gpu.address or "ADDRESS"
        raise profile.bad(key, f"{path} is not there", "a ROM file",
                          hint=f"passthrough rom dump {card} -o {quote(path)}")  # fmt: skip
    place, port = profile.gpu.guest_address, profile.gpu.port
    hops = [Hop(place.device, place.function)]
    if place.bus:
        hops.insert(0, Hop(port.device, port.function))
    where = guest_path(hops, machine=profile.machine.type, qemu=known.version)
    make = fw_cfg_tables if profile.acpi.vbios_by == "fw_cfg" else rom_tables
    try:
        rom = parse_rom(data)
        tables = make(rom_to_serve(rom), where)
    except RomError as error:
        raise profile.bad(key, f"{path}: {error.message}", hint=error.hint) from None
    notes.extend((*choice_notes(rom), *tables.notes))
    return vbios_files(tables)
