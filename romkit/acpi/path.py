r"""Where a PCI device of a QEMU guest stands in the guest's ACPI namespace.

QEMU names a device ``Sxx``, xx being slot * 8 + function in hex, below the device of its bus. A GPU
at slot 0 behind a root port at 00:01.0 is ``\_SB.PCI0.S08.S00``, if QEMU makes a node for it at
all. OVMF and SeaBIOS give the same names: they come from QEMU. Measured with QEMU 5.2, 7.2 and
10.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from romkit.acpi.errors import AcpiError
from romkit.acpi.machine import MachineType, parse_machine

ROOT = r"\_SB.PCI0"

#: The first version, of QEMU and of its machine types, that has nodes for devices behind root
#: ports: there they can be unplugged by ACPI.
HOTPLUG_NODES = (6, 1)

_HOP = re.compile(r"(?:0x)?([0-9a-fA-F]{1,2})(?:\.(?:0x)?([0-7]))?")
_PATH = re.compile(r"\\?_SB_?\.PCI0((?:\.S[0-9A-F]{2}_?)+)")

#: Scopes that are there before any device (5.3.1).
_PREDEFINED = re.compile(r"\\_(?:SB|GPE|PR|SI|TZ)_?")

#: What `romkit.acpi.vbios` defines below a device.
_CHILD = ".VR00"

_LIKE = r"a path like \_SB.PCI0.S08.S00"

#: Functions of the chipset that have names of their own, or other names in other versions.
_CHIPSET = {("q35", 0x1F), ("pc", 0x01)}


@dataclass(frozen=True, slots=True)
class Hop:
    """A device on one bus: slot 0 to 31, function 0 to 7."""

    slot: int
    function: int = 0

    @property
    def name(self) -> str:
        """Its name in QEMU's tables: S08."""
        return f"S{self.slot << 3 | self.function:02X}"

    @property
    def address(self) -> int:
        """What `_ADR` says (ACPI 6.5, 6.1.1): the slot in the upper half."""
        return self.slot << 16 | self.function

    def __str__(self) -> str:
        return f"{self.slot:02x}.{self.function}"


@dataclass(frozen=True, slots=True)
class GuestPath:
    """A device in the namespace.

    Attributes:
        hops: from the root bus down; empty where only a path was given that QEMU does not use.
        path: its name in ACPI.
        has_node: whether QEMU makes a node for it; None where nobody has measured.
        reason: why, for people.
    """

    hops: tuple[Hop, ...]
    path: str
    has_node: bool | None
    reason: str

    def __str__(self) -> str:
        return self.path

    @property
    def parent(self) -> str:
        """The path of the bus it is on."""
        return self.path.rpartition(".")[0]


def parse_hops(text: str) -> tuple[Hop, ...]:
    """Hops as QEMU's ``addr=`` has them, in hex, with / between: ``01.0/00.0``, ``0x3``.

    Raises:
        AcpiError: they are none.
    """
    hops = []
    for part in text.split("/"):
        found = _HOP.fullmatch(part.strip())
        if found is None or int(found[1], 16) > 31:
            raise AcpiError(
                f"{text!r} is no way to a device",
                hint="slot and function in hex, from the root bus down: 01.0/00.0",
            )
        hops.append(Hop(int(found[1], 16), int(found[2] or "0")))
    return tuple(hops)


def parse_qemu(text: str) -> tuple[int, int]:
    """QEMU's version: ``7.2``, ``7.2.22``, or the line of ``qemu-system-x86_64 --version``.

    Raises:
        AcpiError: there is none in it.
    """
    found = re.search(r"\b(\d+)\.(\d+)\b", text)
    if found is None:
        raise AcpiError(f"no version of QEMU in {text!r}", hint="a version like 7.2")
    return int(found[1]), int(found[2])


def guest_path(
    hops: Sequence[Hop],
    *,
    machine: str = "q35",
    qemu: tuple[int, int] | None = None,
    bridge_hotplug: bool = True,
) -> GuestPath:
    """The path of a device, and whether QEMU makes a node for it.

    Args:
        hops: from the root bus down.
        machine: QEMU's machine type.
        qemu: its version; None if not known.
        bridge_hotplug: False with ``-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off``.

    Raises:
        AcpiError: no hops, or no such machine type.
    """
    if not hops:
        raise AcpiError("no device", hint="slot and function, like 01.0/00.0")
    kind = parse_machine(machine)
    path = ".".join([ROOT, *(hop.name for hop in hops)])
    has_node, reason = _node(tuple(hops), kind, qemu, bridge_hotplug)
    return GuestPath(tuple(hops), path, has_node, reason)


def named_path(path: str) -> GuestPath:
    """A device by a path that somebody read in the guest (firmware_node/path in sysfs).

    Raises:
        AcpiError: it is no path of a device.
    """
    from romkit.acpi.aml.encoding import object_name

    if not path.startswith("\\"):
        raise AcpiError(f"{path!r} does not start at the root", hint=f"\\{path}" if path else _LIKE)
    if path == "\\" or _PREDEFINED.fullmatch(path):
        raise AcpiError(f"{path} is a scope, not a device", hint=_LIKE)
    object_name(path + _CHILD)
    found = _PATH.fullmatch(path)
    codes = [int(code, 16) for code in re.findall(r"\.S([0-9A-F]{2})", found[1])] if found else []
    hops = tuple(Hop(code >> 3, code & 7) for code in codes)
    return GuestPath(hops, path, None, "given by hand: nobody asked whether QEMU makes it")


def _node(
    hops: tuple[Hop, ...],
    machine: MachineType,
    qemu: tuple[int, int] | None,
    bridge_hotplug: bool,
) -> tuple[bool | None, str]:
    last, version = hops[-1], machine.version
    if len(hops) == 1:
        if (machine.family, last.slot) in _CHIPSET:
            return None, "a function of the chipset: its name differs between versions of QEMU"
        if last.function:
            return None, "not measured for functions other than 0 on the root bus"
        return True, "on the root bus"
    if machine.family == "pc":
        return None, "not measured behind bridges of this machine type"
    if last.function:
        return False, "QEMU makes nodes for function 0 only behind a root port"
    if not bridge_hotplug:
        return False, "acpi-pci-hotplug-with-bridge-support is off"
    why = f" ({machine.reason})" if machine.reason else ""
    oldest = min((v for v in (version, qemu) if v is not None), default=None)
    if oldest is not None and oldest < HOTPLUG_NODES:
        return False, f"nodes behind root ports came with QEMU 6.1 and its machine types{why}"
    if len(hops) > 2:
        return None, "not measured behind a switch"
    if version is None and not machine.newest:
        return None, f"machine types of QEMU 6.1 and later make one{why}"
    if oldest is None:
        return None, "it depends on the version of QEMU: 6.1 and later make one"
    return True, f"behind a root port, QEMU 6.1 or later{why}"
