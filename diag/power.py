"""Whether a GPU is awake, asleep, switched off or gone, told without waking it.

bbswitch and nvhda resume the port above the card whenever their file in /proc/acpi is read, and
nvhda may even write to the card (bbswitch.c, nvhda.c). So only that they are there, and what they
were loaded with, is looked at, unless waking was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from diag.device import DEVICES, PciDevice
from diag.errors import Asleep, Unreadable
from diag.host import Host
from diag.inventory import Inventory
from romkit.finding import Evidence

BBSWITCH, NVHDA = "bbswitch", "nvhda"


class GpuPower(Enum):
    """What a function's power is."""

    #: It works.
    AWAKE = "awake"
    #: Suspended by the kernel, which wakes it at its next use: this is normal.
    ASLEEP = "asleep"
    #: Its power is cut, and nothing but what cut it gives it back.
    OFF = "switched off"
    #: The kernel believes it awake, and it answers with ones only.
    GONE = "off the bus"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PowerReading:
    """A function's power, and what was read to tell it.

    Attributes:
        power: the answer.
        evidence: what was read.
        by: the module that has switched it off, as far as that can be known.
        unread: why the answer is not known.
    """

    power: GpuPower
    evidence: tuple[Evidence, ...]
    by: str | None = None
    unread: Unreadable | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """A module that cuts a card's power: bbswitch the GPU's, nvhda its audio function's.

    Attributes:
        name: ``bbswitch`` or ``nvhda``.
        path: its file.
        there: whether that file is there.
        parameters: what the module was loaded with.
        says: what its file says, like ``0000:01:00.0 ON``; None where it was not read.
        unread: why it was not.
    """

    name: str
    path: str
    there: bool
    parameters: Mapping[str, str] = field(default_factory=dict)
    says: str | None = None
    unread: Unreadable | None = None

    @property
    def state(self) -> str | None:
        """ON or OFF, as it says; None where it does not."""
        words = (self.says or "").split()
        return words[-1] if words and words[-1] in ("ON", "OFF") else None


def read_switch(inventory: Inventory, name: str) -> Switch | None:
    """A module that switches cards; None where it is not loaded.

    Raises:
        Unreadable: that cannot be known.
    """
    host = inventory.host
    path = f"/proc/acpi/{name}"
    there = host.exists(path)
    if not there and not host.exists(f"/sys/module/{name}"):
        return None
    says: str | None = None
    unread: Unreadable | None = None
    if inventory.wake:
        try:
            says = host.text(path, 256)
        except Unreadable as error:
            unread = error
    elif there:
        why = "reading it wakes the port above the card"
        unread = Asleep(path, why, hint="--wake reads it all the same")
    return Switch(name, path, there, _parameters(host, name), says, unread)


def read_switches(inventory: Inventory) -> tuple[Switch, ...]:
    """Those of bbswitch and nvhda that are loaded.

    Raises:
        Unreadable: that cannot be known.
    """
    found = (read_switch(inventory, name) for name in (BBSWITCH, NVHDA))
    return tuple(switch for switch in found if switch is not None)


def _parameters(host: Host, module: str) -> dict[str, str]:
    folder = f"/sys/module/{module}/parameters"
    found = {}
    for name in host.names(folder) or ():
        try:
            found[name] = host.text(f"{folder}/{name}", 256) or ""
        except Unreadable:  # write-only
            continue
    return found


def read_power(inventory: Inventory, device: PciDevice) -> PowerReading:
    """What the power of a function is.

    A card that the kernel suspended is ``suspended``; one that bbswitch has put into D3cold behind
    the kernel's back is not (bbswitch.c calls pci_set_power_state, not runtime power management).
    Linux before 5.11 does not show the state; there a card that answers with ones only while
    bbswitch is loaded was switched off by it.

    Raises:
        Unreadable: it cannot be known whether bbswitch is loaded.
    """
    evidence = _stated(device)
    switch = read_switch(inventory, BBSWITCH)
    by = BBSWITCH if switch is not None else None
    suspended = device.runtime_status in ("suspended", "suspending", "resuming")
    if device.power_state == "D3cold" and not suspended:
        return PowerReading(GpuPower.OFF, evidence, by)
    if device.config is None:
        if device.asleep:
            return PowerReading(GpuPower.ASLEEP, evidence)
        why = device.unread.get("config")
        if why is None:
            why = Unreadable(f"{DEVICES}/{device.address}/config", "it is not there")
        # Behind a port that sleeps the card itself sleeps too.
        asleep = isinstance(why, Asleep)
        power = GpuPower.ASLEEP if asleep else GpuPower.UNKNOWN
        return PowerReading(power, evidence, unread=None if asleep else why)
    path = f"{DEVICES}/{device.address}/config"
    start = Evidence(path, f"{device.config.data[:16].hex(' ')} ...")
    if device.config.answers and device.config.header_type != 0x7F:
        return PowerReading(GpuPower.AWAKE, (*evidence, start))
    # The kernel would show D3cold, had bbswitch done it: an old one shows nothing.
    switched = by is not None and device.power_state is None
    power = GpuPower.OFF if switched else GpuPower.GONE
    return PowerReading(power, (*evidence, start), by if switched else None)


def _stated(device: PciDevice) -> tuple[Evidence, ...]:
    folder = f"{DEVICES}/{device.address}"
    stated = [
        ("power_state", device.power_state),
        ("power/runtime_status", device.runtime_status),
        # What was ones already when the kernel found the card.
        ("revision", "0xff" if device.revision == 0xFF else None),
    ]
    return tuple(Evidence(f"{folder}/{name}", value) for name, value in stated if value)
