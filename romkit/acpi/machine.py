"""QEMU's machine types of PCs, and which version of QEMU each looks like to a guest.

A machine type keeps a guest's hardware as it was in one version, also under later ones. Upstream's
names end with that version; distributions have names of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from romkit.acpi.errors import AcpiError

#: QEMU of each Ubuntu release that has machine types of its name.
UBUNTU = {
    "trusty": (2, 0),
    "xenial": (2, 5),
    "yakkety": (2, 6),
    "zesty": (2, 8),
    "artful": (2, 10),
    "bionic": (2, 11),
    "cosmic": (2, 12),
    "disco": (3, 1),
    "eoan": (4, 0),
    "focal": (4, 2),
    "groovy": (5, 0),
    "hirsute": (5, 2),
    "impish": (6, 0),
    "jammy": (6, 2),
    "kinetic": (7, 0),
    "lunar": (7, 2),
    "mantic": (8, 0),
    "noble": (8, 2),
}

#: Names that mean the newest machine type of the QEMU that runs.
_NEWEST = {"q35": "q35", "ubuntu-q35": "q35", "pc": "pc", "ubuntu": "pc"}

_FAMILY = re.compile(r"(?:pc-)?(q35|i440fx)-(.+)|pc-(\d.*)")
_LONGEST = 64

#: Upstream's versions: two numbers, a third where a machine type was mended (pc-q35-4.0.1), and
#: what Proxmox (+pve0) appends.
_UPSTREAM = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?(?:\+[a-z0-9]+)?")


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine type.

    Attributes:
        name: as QEMU takes it.
        family: "q35" or "pc" (i440fx).
        version: of QEMU; None for the newest, and where the name does not say.
        newest: whether it is that of the QEMU that runs.
        reason: where the version is from, or what is not known, for people; empty for upstream's
            own names.
    """

    name: str
    family: str
    version: tuple[int, int] | None
    newest: bool
    reason: str


def parse_machine(text: str) -> MachineType:
    """A machine type: ``pc-q35-7.2``, ``q35``, ``pc-i440fx-jammy``, ``pc-q35-rhel9.4.0``.

    Raises:
        AcpiError: it is no PC with PCI.
    """
    if text in _NEWEST:
        return MachineType(text, _NEWEST[text], None, True, "")
    found = _FAMILY.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or not re.fullmatch(r"[A-Za-z0-9.+_-]+", text):
        raise AcpiError(
            f"no machine type {text!r} of a PC", hint="q35, pc, or with a version: pc-q35-7.2"
        )
    family = "q35" if found[1] == "q35" else "pc"
    version, reason = _version(found[2] or found[3])
    return MachineType(text, family, version, False, reason)


def _version(suffix: str) -> tuple[tuple[int, int] | None, str]:
    found = _UPSTREAM.fullmatch(suffix)
    if found is not None:
        return (int(found[1]), int(found[2])), ""
    release = UBUNTU.get(suffix.partition("-")[0])
    if release is not None:
        major, minor = release
        return release, f"{suffix} is taken for QEMU {major}.{minor}, of that Ubuntu release"
    if suffix.startswith("rhel"):
        return None, f"{suffix}: Red Hat's numbers do not say which QEMU it looks like"
    return None, f"{suffix} does not say which QEMU it looks like"
