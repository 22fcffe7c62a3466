"""Who has a GPU's device nodes open: nothing can take a card from a program that uses it.

A card's nodes are looked up in its own folder in sysfs. Their numbers say nothing: card0 may be any
card, and changes from boot to boot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from diag.device import DEVICES, PciDevice
from diag.errors import Unreadable
from diag.host import Host
from diag.inventory import Inventory

#: A link to the unit of the display manager that is enabled (systemd.special(7)).
DISPLAY_MANAGER = "/etc/systemd/system/display-manager.service"

#: The I²C buses that programs can open; they are there once the module i2c-dev is loaded.
WIRES = "/sys/class/i2c-dev"

#: Open files that are looked at, of all processes together; more than any desktop has.
MAX_FILES = 500_000

#: What comes with a driver and serves all its cards.
_NVIDIA_SHARED = tuple(f"/dev/nvidia{name}" for name in ("ctl", "-modeset", "-uvm", "-uvm-tools"))
_MINOR = re.compile(r"Device Minor:\s*(\d{1,4})")
_SOUND_NODE = re.compile(r"(?:pcm|control|hw|comp|midi)C\d+(?:D\d+[pc]?)?")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has nodes open.

    Attributes:
        pid: its number.
        name: as the kernel knows it, at most 15 characters.
        nodes: what it has open, sorted.
    """

    pid: int
    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holders:
    """What looking through the processes gave.

    Attributes:
        found: the processes that hold something.
        looked: number of processes that were looked into.
        hidden: number of those that could not be: other users', and past `MAX_FILES`.
        unread: why the first of them could not be.
    """

    found: tuple[Holder, ...]
    looked: int
    hidden: int
    unread: Unreadable | None = None


def device_nodes(inventory: Inventory, device: PciDevice) -> tuple[str, ...]:
    """The device nodes of one function, sorted.

    Raises:
        Unreadable: its folder in sysfs cannot be listed.
    """
    host, folder = inventory.host, f"{DEVICES}/{device.address}"
    nodes = [
        f"/dev/dri/{name}"
        for name in host.names(f"{folder}/drm") or ()
        if name.startswith(("card", "renderD"))
    ]
    nodes += [f"/dev/{name}" for name in host.names(f"{folder}/graphics") or ()]
    for card in host.names(f"{folder}/sound") or ():
        inside = host.names(f"{folder}/sound/{card}") or ()
        nodes += [f"/dev/snd/{name}" for name in inside if _SOUND_NODE.fullmatch(name)]
    nodes += _wire_nodes(host, folder)
    if device.driver == "nvidia":
        nodes += _nvidia_nodes(inventory, device)
    if device.group is not None and device.driver is not None and device.driver.startswith("vfio"):
        nodes.append(f"/dev/vfio/{device.group}")
    inside = host.names(f"{folder}/vfio-dev") or ()
    nodes += [f"/dev/vfio/devices/{name}" for name in inside]
    return tuple(sorted(nodes))


def _wire_nodes(host: Host, folder: str) -> Iterator[str]:
    """The I²C buses to a card's monitors and lights; they hang on the card, or on an output of it.

    Whoever has one open holds its driver up for ever: i2c_del_adapter waits for the last user
    (drivers/i2c/i2c-core-base.c). ddcutil and OpenRGB are such programs.
    """
    card = host.chase(folder)
    for name in host.devices("i2c-dev") or ():
        if host.chase(f"{WIRES}/{name}").startswith(f"{card}/"):
            yield f"/dev/{name}"


def _nvidia_nodes(inventory: Inventory, device: PciDevice) -> list[str]:
    """The card's own node, where the driver says which, and the driver's shared ones."""
    drivers = [gpu for gpu in inventory.gpus if gpu.driver == "nvidia"]
    # The shared nodes say only that some card of the driver's is used.
    shared = list(_NVIDIA_SHARED) if len(drivers) == 1 else []
    if device.asleep:
        # The driver may answer from the card. One card has number 0.
        return [*shared, "/dev/nvidia0"] if len(drivers) == 1 else []
    try:
        said = inventory.host.text(f"/proc/driver/nvidia/gpus/{device.address}/information")
    except Unreadable:
        said = None
    found = _MINOR.search(said or "")
    if found is not None:
        return [*shared, f"/dev/nvidia{found[1]}"]
    return [*shared, "/dev/nvidia0"] if len(drivers) == 1 else []


def read_holders(host: Host, nodes: tuple[str, ...]) -> Holders:
    """The processes that have any of these nodes open.

    Raises:
        Unreadable: the processes cannot be listed, or are not in this capture.
    """
    pids = [name for name in host.names("/proc") or () if name.isdecimal()]
    if not pids:
        raise Unreadable("/proc", "no process is to be seen there", hint="look on the live machine")
    wanted = frozenset(nodes)
    found, hidden, left, looked = [], 0, MAX_FILES, 0
    unread: Unreadable | None = None
    for pid in sorted(pids, key=int):
        try:
            names = _opened(host, pid, left)
            held = tuple(sorted(wanted & set(host.links(f"/proc/{pid}/fd").values())))
        except Unreadable as error:
            hidden += 1
            unread = unread or error
            continue
        left -= len(names)
        looked += 1
        if held:
            found.append(Holder(int(pid), process_name(host, pid), held))
    return Holders(tuple(found), looked, hidden, unread)


def _opened(host: Host, pid: str, left: int) -> tuple[str, ...]:
    names = host.names(f"/proc/{pid}/fd") or ()
    if len(names) > left:
        raise Unreadable(f"/proc/{pid}/fd", f"more than {MAX_FILES} files are open")
    return names


def process_name(host: Host, pid: str) -> str:
    """What a process calls itself; empty where it has just ended."""
    try:
        return host.text(f"/proc/{pid}/comm", 64) or ""
    except Unreadable:
        return ""


def display_manager(host: Host) -> str | None:
    """The unit that starts the display server, like ``lightdm``; None where none is set up.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    unit = host.link(DISPLAY_MANAGER)
    return None if unit is None else unit.removesuffix(".service")


def running(host: Host, names: tuple[str, ...]) -> dict[str, int]:
    """Which of these programs run: name → number of the process. Names have 15 characters at most.

    Raises:
        Unreadable: the processes cannot be listed, or are not in this capture.
    """
    pids = [name for name in host.names("/proc") or () if name.isdecimal()]
    if not pids:
        raise Unreadable("/proc", "no process is to be seen there", hint="look on the live machine")
    known = ((process_name(host, pid), int(pid)) for pid in pids)
    return {name: pid for name, pid in known if name in names}
