"""The firmware of a VM: OVMF as QEMU's descriptors name it, or what the profile names.

Every candidate that is not taken is kept with the reason (QEMU, docs/interop/firmware.json).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from diag.errors import Unreadable
from diag.host import Host
from diag.qemu import DESCRIPTORS, GuestFirmware, read_guest_firmware
from passthrough.vm.profile import Profile

#: Bytes of one descriptor that are read; real ones have 1000.
_LIMIT = 1 << 18
_FORMATS = ("raw", "qcow2")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that was not taken.

    Attributes:
        descriptor: its file.
        why: the reason.
    """

    descriptor: str
    why: str


@dataclass(frozen=True, slots=True)
class Flash:
    """The firmware that a VM gets.

    Attributes:
        code: the image, read only.
        template: what its variables are copied from.
        code_format: raw or qcow2.
        template_format: the same of the variables.
        needs_smm: whether the machine must have SMM.
        descriptor: what named it; empty where the profile did.
        rejected: what was looked at before.
    """

    code: str
    template: str
    code_format: str = "raw"
    template_format: str = "raw"
    needs_smm: bool = False
    descriptor: str = ""
    rejected: tuple[Rejected, ...] = ()


def find_firmware(host: Host, profile: Profile) -> Flash | None:
    """The firmware for a VM; None for SeaBIOS, which QEMU brings itself.

    Raises:
        BadProfile: none fits, with all that was looked at; or what the profile names is not there.
    """
    wanted = profile.firmware
    if wanted.kind == "bios":
        return None
    if wanted.code:
        for name in ("code", "template"):
            path = profile.path(getattr(wanted, name))
            if _exists(host, path) is False:
                raise profile.bad(("firmware", name), f"{path} is not there", "a file of OVMF's")
        return Flash(profile.path(wanted.code), profile.path(wanted.template))
    rejected: list[Rejected] = []
    for candidate in read_guest_firmware(host):
        why = _unfit(host, candidate, profile)
        if why:
            rejected.append(Rejected(candidate.descriptor, why))
            continue
        formats = _formats(host, candidate.descriptor)
        unknown = [form for form in formats if form not in _FORMATS]
        if unknown:
            rejected.append(Rejected(candidate.descriptor, f"its format is {unknown[0]}"))
            continue
        rejected += _not_considered(host)
        return Flash(
            candidate.code, candidate.variables, *formats, candidate.needs_smm,
            candidate.descriptor, tuple(rejected),
        )  # fmt: skip
    rejected += _not_considered(host)
    looked = "; ".join(f"{each.descriptor}: {each.why}" for each in rejected)
    raise profile.bad(
        ("firmware", "kind"),
        f"no UEFI firmware for this guest: {looked or 'QEMU has no descriptors of any'}",
        'installed firmware, `code` and `template`, or kind = "bios"',
        hint="install OVMF: ovmf on Debian and Ubuntu, edk2-ovmf on Fedora and Arch",
    )


def _exists(host: Host, path: str) -> bool | None:
    try:
        return host.exists(path)
    except Unreadable:
        return None


def _unfit(host: Host, candidate: GuestFirmware, profile: Profile) -> str:
    """Why a candidate is not for this VM; empty if it is."""
    machine = profile.machine.type
    # An alias is the newest of its family.
    names = [f"pc-{machine.removeprefix('pc-')}", machine]
    if machine.endswith("q35"):
        names.append("pc-q35-99.0")
    if not any(fnmatch(name, pattern) for name in names for pattern in candidate.machines):
        return f"not for {machine}, only for {' '.join(candidate.machines)}"
    if profile.firmware.secure_boot:
        if not candidate.secure_boot:
            return "it has no Secure Boot"
        if not candidate.keys_enrolled:
            return "it has no keys for Secure Boot"
    elif candidate.keys_enrolled:
        return "its Secure Boot is on"
    elif candidate.needs_smm:
        return "it is for Secure Boot, and needs SMM"
    for feature in ("amd-sev-es", "amd-sev-snp", "intel-tdx"):
        if candidate.features == (feature,):
            return f"it is for {feature}"
    if not candidate.there:
        return f"{candidate.code or 'its image'} is not there"
    if not candidate.variables:
        return "it keeps no variables"
    if _exists(host, candidate.variables) is False:
        return f"{candidate.variables} is not there"
    return ""


def _descriptor(host: Host, path: str) -> Any:
    try:
        return json.loads(host.text(path, _LIMIT) or "null")
    except (ValueError, RecursionError, Unreadable):
        return None


def _formats(host: Host, path: str) -> tuple[str, str]:
    """The formats of image and variables, which are raw where it does not say."""
    mapping = _descriptor(host, path)["mapping"]
    code, store = (mapping.get(name) or {} for name in ("executable", "nvram-template"))
    return str(code.get("format", "raw")), str(store.get("format", "raw"))


def _not_considered(host: Host) -> list[Rejected]:
    """Descriptors of other firmware, masked ones, and damaged ones."""
    known = {candidate.descriptor for candidate in read_guest_firmware(host)}
    found, seen = [], set()
    for folder in DESCRIPTORS:
        for name in host.names(folder) or ():
            path = f"{folder}/{name}"
            if not name.endswith(".json"):
                continue
            if name in seen:
                found.append(Rejected(path, "a file of the same name comes before it"))
            elif path not in known:
                found.append(Rejected(path, _why_not(host, path)))
            seen.add(name)
    return found


def _why_not(host: Host, path: str) -> str:
    """Why a descriptor is of no firmware for x86-64 guests in flash memory."""
    try:
        text = host.text(path, _LIMIT)
    except Unreadable as error:
        return f"it could not be read: {error.why}"
    if not text:
        return "it is empty: masked on purpose"
    found = _descriptor(host, path)
    if not isinstance(found, dict):
        return "it is damaged: no JSON object"
    if "uefi" not in str(found.get("interface-types")):
        return "it is no UEFI"
    if "x86_64" not in str(found.get("targets")):
        return "it is not for x86-64"
    return "it is not for flash memory"
