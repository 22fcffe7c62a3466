"""What would make QEMU refuse a command line, found before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from passthrough.vm.problem import BadProfile, Problem

if TYPE_CHECKING:
    from passthrough.vm.capabilities import Capabilities
    from passthrough.vm.guest import Guest
    from passthrough.vm.qemu import CommandLine
    from passthrough.vm.toml_lines import Path

#: Devices by their id → the part of the profile that asked for them.
_OWNERS: dict[str, Path] = {
    "pcie.1": ("gpu", "port"), "gpu": ("gpu",), "gpu-audio": ("gpu", "audio"),
    "integrated": ("integrated", "mdev"), "video": ("display", "video"),
    "serial": ("display", "show"), "usb": ("input",), "tablet": ("input", "tablet"),
    "tpm": ("tpm", "model"), "shared": ("looking_glass", "size"),
}  # fmt: skip
#: Properties by their names → the key that set them.
_KEYS: dict[str, Path] = {
    "romfile": ("gpu", "rom"), "rombar": ("gpu", "rom_bar"), "x-vga": ("gpu", "x_vga"),
    "x-pci-sub-vendor-id": ("gpu", "subsystem"), "x-pci-sub-device-id": ("gpu", "subsystem"),
    "hotplug": ("gpu", "hotplug"), "x-igd-opregion": ("integrated", "opregion"),
    "display": ("integrated", "display"), "ramfb": ("integrated", "ramfb"),
}  # fmt: skip
_EXTRA: Path = ("qemu", "arguments")


def check_options(line: CommandLine, guest: Guest, known: Capabilities | None) -> None:
    """Find what this QEMU does not have, and what is there twice.

    Raises:
        BadProfile: all of it.
    """
    problems = list(_twice(line, guest))
    if known is not None:
        problems += _unknown(line, guest, known)
    if problems:
        raise BadProfile(guest.profile.file, problems)


def parse_option(value: str, first: str = "driver") -> dict[str, str]:
    """An option's value in its parts; its first part without a name is called `first`."""
    parts: dict[str, str] = {}
    for number, part in enumerate(value.replace(",,", "\0").split(",")):
        name, equals, rest = part.replace("\0", ",").partition("=")
        if equals:
            parts[name] = rest
        else:
            parts[first if number == 0 else name] = name if number == 0 else "on"
    return parts


def _all_options(line: CommandLine) -> Iterator[tuple[str, dict[str, str], bool]]:
    """Options with values: name, parts, and whether the profile wrote them by hand."""
    for name, value in line.options:
        yield name, parse_option(value), False
    for name, value in pairwise([*line.extra, ""]):
        if name.startswith("-") and not value.startswith("{"):
            yield f"-{name.lstrip('-')}", parse_option(value), True


def _owner(guest: Guest, parts: dict[str, str], by_hand: bool) -> Path:
    if by_hand:
        return _EXTRA
    name = parts.get("id", "")
    for prefix in ("disk", "network"):
        digits = name.removeprefix(prefix)
        if name.startswith(prefix) and digits.isdecimal():
            return (prefix, int(digits), "bus" if prefix == "disk" else "model")
    if name.startswith("usb-host"):
        return ("input", "usb")
    return _OWNERS.get(name, ("qemu",))


def _twice(line: CommandLine, guest: Guest) -> Iterator[Problem]:
    """Ids, places in the guest, chassis and slots of root ports that two devices want."""
    seen: dict[tuple[str, ...], str] = {}
    for name, parts, by_hand in _all_options(line):
        if name not in ("-device", "-object", "-netdev", "-chardev", "-drive", "-tpmdev"):
            continue
        driver = parts.get("driver", parts.get("if", ""))
        wanted: list[tuple[str, ...]] = []
        if "id" in parts:
            wanted.append((f"{name} id", parts["id"]))
        if name == "-device":
            if "addr" in parts:
                wanted.append(("place", parts.get("bus", "pcie.0"), _place(parts["addr"])))
            if driver == "pcie-root-port":
                chassis = parts.get("chassis", "0")
                wanted.append(("chassis and slot", chassis, parts.get("slot", "0")))
            if "host" in parts:
                wanted.append(("host device", parts["host"].removeprefix("0000:")))
            if driver.startswith("ide-") and parts.get("bus", "").startswith("ide."):
                wanted.append(("SATA port", parts["bus"]))
        for thing in wanted:
            if thing in seen:
                what = f"{thing[0]} {' '.join(thing[1:])} is {seen[thing]}'s already"
                owner = _owner(guest, parts, by_hand)
                yield guest.profile.problem(owner, what, "each once")
            seen.setdefault(thing, parts.get("id", driver))


def _place(addr: str) -> str:
    """``1``, ``0x1`` and ``01.0`` are one place."""
    slot, _, function = addr.partition(".")
    try:
        return f"{int(slot, 16):02x}.{int(function or '0', 16)}"
    except ValueError:
        return addr


def _unknown(line: CommandLine, guest: Guest, known: Capabilities) -> Iterator[Problem]:
    """Machine, CPU, display, networks, devices and their properties that QEMU lacks."""
    profile = guest.profile
    if known.qemu is None:
        return
    version = ".".join(str(part) for part in known.qemu.version or ())
    asked: tuple[tuple[frozenset[str] | None, set[str], Path, str], ...] = (
        (known.machines, {profile.machine.type}, ("machine", "type"), "machine types"),
        (known.cpus, {profile.cpu.model} - {"host", "max"}, ("cpu", "model"), "CPU models"),
    )
    for names, wanted, path, what in asked:
        if names is not None:
            for name in sorted(wanted - names):
                why = f"QEMU {version} has no {name}"
                yield profile.problem(path, why, _some(sorted(names), name, what))
    if known.displays is not None and {profile.display.show} & {"gtk"} - known.displays:
        allowed = "`spice`, `vnc`, `none`; or QEMU's module for GTK (Debian: qemu-system-gui)"
        yield profile.problem(("display", "show"), f"QEMU {version} has no gtk", allowed)
    if profile.display.show == "spice" and known.spice is False:
        yield profile.problem(("display", "show"), f"QEMU {version} has no SPICE", "vnc, none")
    for number, card in enumerate(guest.cards):
        if known.netdevs is not None and card.network.kind not in known.netdevs:
            why = f"QEMU {version} has no network of kind {card.network.kind}"
            yield profile.problem(("network", number, "kind"), why, " ".join(sorted(known.netdevs)))
    for name, parts, by_hand in _all_options(line):
        if name == "-device":
            yield from _device(guest, parts, by_hand, known, version)


def _some(names: list[str], wanted: str, what: str) -> str:
    """The names that are like the one that was wanted, else how many there are."""
    from difflib import get_close_matches

    near = get_close_matches(wanted, names, 4, 0.4)
    return ", ".join(near) if near else f"{len(names)} {what}: see QEMU's help"


def _device(
    guest: Guest, parts: dict[str, str], by_hand: bool, known: Capabilities, version: str
) -> Iterator[Problem]:
    driver = parts.get("driver", "")
    properties = known.properties(driver)
    if properties is None:
        return
    owner = _owner(guest, parts, by_hand)
    if not properties and not _bare(driver, parts):
        why = f"QEMU {version} has no device {driver}"
        yield guest.profile.problem(owner, why, "a device of `-device help`")
        return
    for name in parts:
        if name in ("driver", "id", "bus") or name in properties:
            continue
        key = _KEYS.get(name, owner) if not by_hand else owner
        why = f"QEMU {version}'s {driver} has no property {name}"
        near = _some(sorted(properties), name, "properties")
        yield guest.profile.problem(key, why, near)


def _bare(driver: str, parts: dict[str, str]) -> bool:
    return not driver and not parts
