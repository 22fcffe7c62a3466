"""A guest as QEMU's command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from diag.pci import PciAddress
from passthrough.vm.accepted import check_options
from passthrough.vm.capabilities import Capabilities
from passthrough.vm.guest import Card, Drive, Guest, OwnFile, Passed
from romkit.acpi.qemu import qemu_arguments

#: Models of network cards and disks by their names in a profile.
NICS = {"virtio": "virtio-net-pci", "e1000e": "e1000e", "rtl8139": "rtl8139"}
VIDEOS = {"qxl": "qxl-vga", "virtio": "virtio-vga", "std": "VGA"}
#: Retries before a guest's CPU that waits for a lock lets others run, as Windows Server has it.
SPINLOCKS = "0x1fff"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """QEMU's command line.

    Attributes:
        program: how QEMU is called.
        options: each option with its value; an empty value where it has none.
        extra: the profile's own arguments, word by word.
        files: what must be made before.
        notes: what the VM's owner should know.
    """

    program: str
    options: tuple[tuple[str, str], ...]
    extra: tuple[str, ...]
    files: tuple[OwnFile, ...]
    notes: tuple[str, ...]

    @property
    def argv(self) -> tuple[str, ...]:
        """All words."""
        words = [word for pair in self.options for word in pair if word]
        return (self.program, *words, *self.extra)

    def __str__(self) -> str:
        lines = [f"{name} {shlex.quote(value)}".strip() if value else name
                 for name, value in self.options]  # fmt: skip
        if self.extra:
            lines.append(shlex.join(self.extra))
        return " \\\n  ".join([shlex.quote(self.program), *lines])


def option(first: str, *pairs: tuple[str, object]) -> str:
    """``first,key=value,...``: a comma in a value is doubled, None leaves the pair out."""
    parts = [first] if first else []
    for name, value in pairs:
        if value is not None:
            parts.append(f"{name}={escaped(_text(value))}")
    return ",".join(parts)


def escaped(value: str) -> str:
    """A value inside an option."""
    return value.replace(",", ",,")


def _text(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def slot(place: PciAddress) -> tuple[tuple[str, object], ...]:
    """``bus`` and ``addr`` of a device; bus 1 is behind the only root port."""
    addr = f"{place.device:02x}.{place.function}"
    return (("bus", f"pcie.{place.bus}"), ("addr", addr))


def build_argv(guest: Guest, capabilities: Capabilities | None = None) -> CommandLine:
    """QEMU's command line.

    Args:
        guest: what is to run.
        capabilities: what QEMU knows; None: not asked.

    Raises:
        BadProfile: it asks for what this QEMU does not have, or for the same thing twice.
    """
    options = tuple(_options(guest))
    line = CommandLine(
        guest.program, options, guest.profile.qemu.arguments, guest.files, guest.notes
    )
    check_options(line, guest, capabilities)
    return line


def _options(guest: Guest) -> Iterator[tuple[str, str]]:
    yield from _machine(guest)
    yield from _firmware(guest)
    yield from _tables(guest)
    yield from passed_options(guest)
    yield from _display(guest)
    for drive in guest.drives:
        yield from drive_options(drive)
    for number, card in enumerate(guest.cards):
        yield from card_options(card, number)
    yield from _rest(guest)


def _machine(guest: Guest) -> Iterator[tuple[str, str]]:
    profile = guest.profile
    machine, cpu, memory = profile.machine, profile.cpu, profile.memory
    kvm = machine.accel == "kvm"
    yield "-name", option("", ("guest", profile.name), ("debug-threads", True))
    yield "-uuid", profile.uuid
    yield (
        "-machine",
        option(
            machine.type,
            ("accel", machine.accel),
            (
                "kernel_irqchip",
                {"kernel": "on", "split": "split"}[machine.irqchip] if kvm else None,
            ),
            ("vmport", False),
            ("smm", guest.flash is not None and guest.flash.needs_smm),
            ("memory-backend", "memory" if memory.hugepages != "none" else None),
        ),
    )
    yield "-cpu", cpu_option(guest)
    yield (
        "-smp",
        option(
            str(profile.cpus),
            ("sockets", cpu.sockets),
            ("cores", cpu.cores),
            ("threads", cpu.threads),
        ),
    )
    yield "-m", option("", ("size", f"{memory.size >> 20}M"))
    if memory.hugepages != "none":
        yield "-object", option(
            "memory-backend-memfd", ("id", "memory"), ("size", f"{memory.size >> 20}M"),
            ("hugetlb", True), ("hugetlbsize", memory.hugepages), ("prealloc", True),
        )  # fmt: skip
    if memory.lock:
        yield "-overcommit", "mem-lock=on"
    yield "-nodefaults", ""
    yield "-no-user-config", ""
    yield "-rtc", option("", ("base", machine.clock), ("driftfix", "slew"))


def cpu_option(guest: Guest) -> str:
    """The CPU, and what of the hypervisor it shows."""
    cpu, hide = guest.profile.cpu, guest.profile.hide
    parts = [cpu.model, *cpu.features]
    if hide.kvm:
        parts.append("kvm=off")
    if hide.vendor_id:
        parts.append(f"hv_vendor_id={hide.vendor_id}")
    for feature in hide.hyperv:
        parts.append(f"hv_{feature}={SPINLOCKS if feature == 'spinlocks' else 'on'}")
    return ",".join(parts)


def _firmware(guest: Guest) -> Iterator[tuple[str, str]]:
    flash = guest.flash
    if flash is None:
        return
    if flash.needs_smm:
        yield "-global", "driver=cfi.pflash01,property=secure,value=on"
    yield "-drive", option(
        "", ("if", "pflash"), ("unit", 0), ("format", flash.code_format), ("readonly", True),
        ("file", flash.code),
    )  # fmt: skip
    yield "-drive", option(
        "", ("if", "pflash"), ("unit", 1), ("format", flash.template_format),
        ("file", guest.profile.vars),
    )  # fmt: skip


def _tables(guest: Guest) -> Iterator[tuple[str, str]]:
    yield from table_options(guest)
    profile = guest.profile
    for kind, fields in smbios_fields(guest):
        yield "-smbios", option(f"type={kind}", *fields)
    for entry in profile.fw_cfg:
        what = ("file", profile.path(entry.file)) if entry.file else ("string", entry.text)
        yield "-fw_cfg", option("", ("name", entry.name), what)


def table_options(guest: Guest) -> Iterator[tuple[str, str]]:
    """ACPI tables, the VBIOS and the chassis."""
    yield from qemu_arguments(guest.acpi, guest.profile.own_folder)
    for path in guest.profile.acpi.tables:
        yield "-acpitable", option("", ("file", guest.profile.path(path)))


def smbios_fields(guest: Guest) -> Iterator[tuple[int, list[tuple[str, object]]]]:
    """Structure and fields of what the profile says of the machine, in QEMU's words."""
    said = guest.profile.smbios
    structures = {
        0: {"vendor": said.bios_vendor, "version": said.bios_version},
        1: {
            "manufacturer": said.manufacturer, "product": said.product, "version": said.version,
            "serial": said.serial, "sku": said.sku, "family": said.family,
        },
        2: {"manufacturer": said.board_manufacturer, "product": said.board_product},
    }  # fmt: skip
    for kind, fields in structures.items():
        given: list[tuple[str, object]] = [(n, v) for n, v in fields.items() if v]
        if given:
            yield kind, given


def passed_options(guest: Guest) -> Iterator[tuple[str, str]]:
    """The GPU behind its root port, its audio function, the mediated device."""
    gpu = guest.gpu
    if gpu is not None and gpu.place.bus:
        section = guest.profile.gpu
        yield "-device", option(
            "pcie-root-port", ("id", "pcie.1"), *slot(section.port), ("chassis", 1), ("slot", 1),
            ("hotplug", section.hotplug),
        )  # fmt: skip
    for name, passed in (("gpu", gpu), ("gpu-audio", guest.audio)):
        if passed is not None:
            yield "-device", _vfio(name, passed)
    if guest.profile.integrated.mdev:
        yield "-device", _mdev(guest)


def _vfio(name: str, passed: Passed) -> str:
    vendor, device = passed.subsystem or (None, None)
    return option(
        "vfio-pci",
        ("id", name),
        ("host", passed.source),
        *slot(passed.place),
        ("multifunction", True if passed.multifunction else None),
        ("romfile", passed.rom or None),
        ("rombar", None if passed.rom_bar else 0),
        ("x-pci-sub-vendor-id", None if vendor is None else f"{vendor:#06x}"),
        ("x-pci-sub-device-id", None if device is None else f"{device:#06x}"),
        ("x-vga", True if passed.x_vga else None),
    )


def _mdev(guest: Guest) -> str:
    part = guest.profile.integrated
    return option(
        "vfio-pci-nohotplug" if part.ramfb else "vfio-pci",
        ("id", "integrated"),
        ("sysfsdev", f"/sys/bus/mdev/devices/{guest.profile.mdev_uuid}"),
        *slot(part.guest_address),
        ("display", part.display),
        ("ramfb", True if part.ramfb else None),
        ("x-igd-opregion", True if part.opregion else None),
        ("romfile", guest.profile.path(part.rom) or None),
    )


def _display(guest: Guest) -> Iterator[tuple[str, str]]:
    section, slots = guest.profile.display, guest.slots
    if section.video == "ramfb":
        yield "-device", "ramfb"
    elif "video" in slots:
        model = VIDEOS[section.video]
        if section.gl and section.video == "virtio":
            model = "virtio-vga-gl"
        yield "-device", option(model, ("id", "video"), *slot(slots["video"]))
    if section.show == "gtk":
        yield "-display", option("gtk", ("gl", section.gl))
    else:
        yield "-display", "none"
    if section.show == "vnc":
        yield "-vnc", f"127.0.0.1:{section.port - 5900}"
    if section.show == "spice":
        # A picture of OpenGL's is handed over as a file descriptor, which no port can carry.
        socket = f"{guest.profile.own_folder}/spice.sock"
        where: tuple[tuple[str, object], ...] = (
            (("unix", True), ("addr", socket), ("gl", True))
            if section.gl
            else (("port", section.port), ("addr", "127.0.0.1"))
        )
        yield "-spice", option("", *where, ("disable-ticketing", True))
        yield "-device", option("virtio-serial-pci", ("id", "serial"), *slot(slots["serial"]))
        yield "-chardev", "spicevmc,id=agent,name=vdagent"
        yield "-device", "virtserialport,chardev=agent,name=com.redhat.spice.0,bus=serial.0"


def drive_options(drive: Drive) -> Iterator[tuple[str, str]]:
    """A disk or a CD-ROM drive."""
    disk = drive.disk
    name = f"drive-{drive.name}"
    boot = ("bootindex", drive.boot)
    if disk is None:
        yield "-drive", option(
            "", ("id", name), ("if", "none"), ("media", "cdrom"), ("format", drive.format),
            ("readonly", True), ("file", drive.path),
        )  # fmt: skip
        yield (
            "-device",
            option(
                "ide-cd", ("id", drive.name), ("bus", f"ide.{drive.unit}"), ("drive", name), boot
            ),
        )
        return
    yield "-drive", option(
        "", ("id", name), ("if", "none"), ("format", drive.format), ("cache", disk.cache),
        ("discard", "unmap" if disk.discard else "ignore"),
        ("readonly", True if disk.read_only else None), ("file", drive.path),
    )  # fmt: skip
    serial = ("serial", disk.serial or (drive.name if drive.bus == "nvme" else None))
    drivers = {"virtio": "virtio-blk-pci", "nvme": "nvme", "sata": "ide-hd"}
    if drive.place is None:
        place: tuple[tuple[str, object], ...] = (("bus", f"ide.{drive.unit}"),)
    else:
        place = slot(drive.place)
    yield (
        "-device",
        option(drivers[drive.bus], ("id", drive.name), *place, ("drive", name), serial, boot),
    )


def card_options(card: Card, number: int) -> Iterator[tuple[str, str]]:
    """A network card and what it is connected to."""
    network, name = card.network, f"network{number}"
    first, pairs = network.kind, [("id", f"netdev-{name}")]
    if network.kind == "user":
        for rule in network.forward:
            protocol, host, guest = rule.split(":")
            pairs.append(("hostfwd", f"{protocol}:127.0.0.1:{host}-:{guest}"))
    elif network.kind == "tap":
        pairs += [("ifname", network.interface), ("script", "no"), ("downscript", "no")]
    elif network.kind == "bridge":
        pairs.append(("br", network.interface))
    else:
        pairs.append(("sock", network.socket))
    yield "-netdev", option(first, *pairs)
    yield "-device", option(
        NICS[network.model], ("id", name), *slot(card.place), ("netdev", f"netdev-{name}"),
        ("mac", card.mac),
    )  # fmt: skip


def shared_options(guest: Guest) -> Iterator[tuple[str, str]]:
    """Looking Glass's memory."""
    section = guest.profile.looking_glass
    yield "-object", option(
        "memory-backend-file", ("id", "looking-glass"), ("share", True),
        ("mem-path", guest.profile.path(section.path)), ("size", f"{section.size >> 20}M"),
    )  # fmt: skip
    yield "-device", option(
        "ivshmem-plain", ("id", "shared"), *slot(guest.slots["shared"]),
        ("memdev", "looking-glass"),
    )  # fmt: skip


def usb_option(number: int, device: str) -> tuple[str, str]:
    """A USB device of the host."""
    if ":" in device:
        vendor, product = device.split(":")
        pairs = [("vendorid", f"0x{vendor}"), ("productid", f"0x{product}")]
    else:
        bus, port = device.split("-")
        pairs = [("hostbus", bus), ("hostport", port)]
    return "-device", option("usb-host", ("id", f"usb-host{number}"), ("bus", "usb.0"), *pairs)


def is_keyboard(device: str) -> bool:
    """Whether a device of /dev/input is a keyboard, by udev's name: it switches both."""
    return "kbd" in device.lower() or "keyboard" in device.lower()


def _rest(guest: Guest) -> Iterator[tuple[str, str]]:
    profile = guest.profile
    if "shared" in guest.slots:
        yield from shared_options(guest)
    if guest.needs_usb:
        yield "-device", option("qemu-xhci", ("id", "usb"), *slot(guest.slots["usb"]))
    if profile.input.tablet:
        yield "-device", "usb-tablet,id=tablet,bus=usb.0"
    for number, device in enumerate(profile.input.usb):
        yield usb_option(number, device)
    for number, path in enumerate(profile.input.evdev):
        grab = (("grab_all", True), ("repeat", True)) if is_keyboard(path) else ()
        yield "-object", option("input-linux", ("id", f"evdev{number}"), ("evdev", path), *grab)
    yield from _tpm(guest)


def _tpm(guest: Guest) -> Iterator[tuple[str, str]]:
    tpm = guest.profile.tpm
    if tpm.kind == "none":
        return
    if tpm.kind == "emulator":
        socket = f"{guest.profile.own_folder}/swtpm.sock"
        yield "-chardev", option("socket", ("id", "tpm"), ("path", socket))
        yield "-tpmdev", "emulator,id=tpm-backend,chardev=tpm"
    else:
        yield "-tpmdev", "passthrough,id=tpm-backend,path=/dev/tpm0"
    yield "-device", f"tpm-{tpm.model},id=tpm,tpmdev=tpm-backend"
