"""QEMU as it is installed: its version, the options of vfio-pci, and the firmware for guests."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from diag.errors import Unreadable
from diag.host import PROGRAM_FOLDERS, Host

PROGRAM = "qemu-system-x86_64"
#: Where distributions keep it under other names, for KVM only.
PROGRAMS = (PROGRAM, "/usr/libexec/qemu-kvm", "/usr/bin/kvm")

#: Later folders give way to files of the same name in earlier ones
#: (QEMU, docs/interop/firmware.json).
DESCRIPTORS = ("/etc/qemu/firmware", "/usr/local/share/qemu/firmware", "/usr/share/qemu/firmware")

#: Bytes of one descriptor that are read; real ones have 1000.
_LIMIT = 1 << 18


def version_argv(program: str = PROGRAM) -> tuple[str, ...]:
    """How QEMU is asked for its version."""
    return (program, "--version")


def options_argv(program: str = PROGRAM) -> tuple[str, ...]:
    """How QEMU is asked what vfio-pci takes."""
    return (program, "-device", "vfio-pci,help")


@dataclass(frozen=True, slots=True)
class Qemu:
    """An installed QEMU.

    Attributes:
        program: how it is called.
        version: like (7, 2, 22); None where it did not say.
        banner: the first line that it said.
    """

    program: str
    version: tuple[int, int, int] | None
    banner: str


def read_qemu(host: Host) -> Qemu | None:
    """The QEMU for x86-64 guests; None if there is none.

    Raises:
        Unreadable: there is one, and it does not say its version; or nobody asked it; or these
            files are a part of a machine only, without any folder of programs.
    """
    for program in PROGRAMS:
        said = host.run(*version_argv(program))
        if said is None:
            continue
        banner = (said.out.strip() or said.err.strip()).partition("\n")[0]
        found = re.search(r"version (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", banner)
        if said.status != 0 or found is None:
            raise Unreadable(" ".join(version_argv(program)), banner or f"status {said.status}")
        major, minor, patch = (int(part) for part in found.groups(default="0"))
        return Qemu(program, (major, minor, patch), banner)
    for program in PROGRAMS:
        there = host.exists(program) if program.startswith("/") else host.has_program(program)
        if there:
            why = "it is installed; what it says is not known here"
            raise Unreadable(" ".join(version_argv(program)), why)
    if not any(host.exists(folder) for folder in PROGRAM_FOLDERS):
        raise Unreadable(PROGRAM_FOLDERS[-2], "no folder of programs is there")
    return None


def read_vfio_options(host: Host, program: str = PROGRAM) -> frozenset[str] | None:
    """The options that this QEMU's vfio-pci takes; empty where it has no such device.

    None where QEMU is not there, or nobody asked it.
    """
    said = host.run(*options_argv(program))
    if said is None:
        return None
    return frozenset(re.findall(r"^\s+([\w.-]+)=<", said.out, re.MULTILINE))


@dataclass(frozen=True, slots=True)
class GuestFirmware:
    """UEFI for a guest, as a descriptor names it (QEMU, docs/interop/firmware.json).

    Attributes:
        descriptor: the file that describes it.
        description: what it says of itself.
        code: the image; empty where the descriptor names none.
        variables: the template of the variable store; empty for firmware without one.
        machines: patterns of the machine types it is for, like ``pc-q35-*``.
        features: like secure-boot, enrolled-keys, requires-smm.
        there: whether the image is there.
    """

    descriptor: str
    description: str
    code: str
    variables: str
    machines: tuple[str, ...]
    features: tuple[str, ...]
    there: bool

    @property
    def secure_boot(self) -> bool:
        """Whether it can do Secure Boot."""
        return "secure-boot" in self.features

    @property
    def keys_enrolled(self) -> bool:
        """Whether Microsoft's keys are in its variables, so that Secure Boot is on."""
        return "enrolled-keys" in self.features

    @property
    def needs_smm(self) -> bool:
        """Whether it needs a machine with SMM."""
        return "requires-smm" in self.features

    @property
    def is_4m(self) -> bool:
        """Whether it is the build of 4 MiB: all distributions say so in its name."""
        return "4m" in self.code.lower()


def read_guest_firmware(host: Host) -> tuple[GuestFirmware, ...]:
    """UEFI firmware for x86-64 guests in flash memory, in QEMU's order of preference."""
    chosen: dict[str, str] = {}
    for folder in DESCRIPTORS:
        for name in host.names(folder) or ():
            if name.endswith(".json"):
                chosen.setdefault(name, f"{folder}/{name}")
    found = (_firmware(host, chosen[name]) for name in sorted(chosen))
    return tuple(firmware for firmware in found if firmware is not None)


def _firmware(host: Host, path: str) -> GuestFirmware | None:
    """One descriptor; None where it is masked, damaged, or for something else."""
    try:
        described = json.loads(host.text(path, _LIMIT) or "null")
    except (ValueError, RecursionError):
        return None
    targets = [t for t in _list(described, "targets") if _text(t, "architecture") == "x86_64"]
    mapping = described.get("mapping") if isinstance(described, dict) else None
    if not targets or "uefi" not in _list(described, "interface-types"):
        return None
    if _text(mapping, "device") != "flash":
        return None
    code = _text(mapping.get("executable") if isinstance(mapping, dict) else None, "filename")
    store = mapping.get("nvram-template") if isinstance(mapping, dict) else None
    return GuestFirmware(
        path,
        _text(described, "description"),
        code,
        _text(store, "filename"),
        tuple(str(machine) for target in targets for machine in _list(target, "machines")),
        tuple(str(feature) for feature in _list(described, "features")),
        code.startswith("/") and host.exists(code),
    )


def _list(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _text(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
