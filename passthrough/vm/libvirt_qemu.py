"""What libvirt has no words for: QEMU's own arguments and properties, and the files in them."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement

from passthrough.vm.guest import Guest, Passed, is_plain_shm
from passthrough.vm.qemu import (
    card_options,
    drive_options,
    shared_options,
    table_options,
    usb_option,
)

_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"


def add_qemu(domain: Element, guest: Guest) -> None:
    """``qemu:commandline`` and ``qemu:override``, where something is in them."""
    words = [word for pair in _options(guest) for word in pair]
    words += guest.profile.qemu.arguments
    if words:
        line = SubElement(domain, f"{_QEMU}commandline")
        for word in words:
            SubElement(line, f"{_QEMU}arg", value=word)
    overrides = list(_overrides(guest))
    if overrides:
        override = SubElement(domain, f"{_QEMU}override")
        for alias, properties in overrides:
            device = SubElement(override, f"{_QEMU}device", alias=alias)
            frontend = SubElement(device, f"{_QEMU}frontend")
            for name, kind, value in properties:
                SubElement(frontend, f"{_QEMU}property", name=name, type=kind, value=value)


def _options(guest: Guest) -> Iterator[tuple[str, str]]:
    yield from table_options(guest)
    for drive in guest.drives:
        if drive.bus == "nvme":
            yield from drive_options(drive)
    for number, card in enumerate(guest.cards):
        if card.hidden:
            yield from card_options(card, number)
    shared = guest.profile.looking_glass
    if shared.size and not is_plain_shm(shared.path):
        yield from shared_options(guest)
    for number, device in enumerate(guest.profile.input.usb):
        if ":" not in device:
            yield usb_option(number, device)


def _overrides(guest: Guest) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Alias → name, type and value of properties."""
    for passed, alias in ((guest.gpu, "ua-gpu"), (guest.audio, "ua-gpu-audio")):
        properties = [] if passed is None else list(_of_passed(passed))
        if properties:
            yield alias, properties
    part = guest.profile.integrated
    if part.mdev:
        properties = []
        if part.opregion:
            properties.append(("x-igd-opregion", "bool", "true"))
        if part.rom:
            properties.append(("romfile", "string", guest.profile.path(part.rom)))
        if properties:
            yield "ua-integrated", properties


def _of_passed(passed: Passed) -> Iterator[tuple[str, str, str]]:
    if passed.subsystem is not None:
        # Decimal: libvirt takes no other (qemu:override), and 0x1025 is 4133.
        yield "x-pci-sub-vendor-id", "unsigned", str(passed.subsystem[0])
        yield "x-pci-sub-device-id", "unsigned", str(passed.subsystem[1])
    if passed.x_vga:
        yield "x-vga", "bool", "true"


def hidden_files(guest: Guest) -> tuple[str, ...]:
    """Rules of AppArmor for the files that only QEMU's own arguments name."""
    profile, own = guest.profile, guest.profile.own_folder
    rules = [(f"{own}/{file.name}", "r") for file in guest.acpi]
    rules += [(profile.path(path), "r") for path in profile.acpi.tables]
    rules += [(profile.path(entry.file), "r") for entry in profile.fw_cfg if entry.file]
    if profile.integrated.mdev and profile.integrated.rom:
        rules.append((profile.path(profile.integrated.rom), "r"))
    rules += [(drive.path, "rwk") for drive in guest.drives if drive.bus == "nvme"]
    for card in guest.cards:
        if card.network.kind == "vde":
            rules.append((f"{card.network.socket}/**", "rw"))
    shared = profile.looking_glass
    if shared.size and not is_plain_shm(shared.path):
        rules.append((profile.path(shared.path), "rw"))
    if any(":" not in device for device in profile.input.usb):
        rules.append(("/dev/bus/usb/**", "rw"))
    return tuple(dict.fromkeys(f'"{path}" {access},' for path, access in rules))
