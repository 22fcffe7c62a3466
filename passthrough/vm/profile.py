"""A profile: what a VM is to be."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass, field
from posixpath import join, normpath

from passthrough.vm import device_sections, machine_sections
from passthrough.vm.key import Key
from passthrough.vm.kinds import NAME
from passthrough.vm.problem import BadProfile, Problem
from passthrough.vm.toml_lines import Path

#: The one key outside of all sections.
NAME_KEY = Key("name", NAME, "", "What the VM is called.", '"win10"', True, "the VM")

#: Names of VMs become UUIDs and MAC addresses in here.
_NAMESPACE = uuids.uuid5(uuids.NAMESPACE_DNS, "dgpukit.vm")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a VM is to be; the sections are those of `SECTIONS`.

    Attributes:
        name: of the VM.
        file: the profile's own name, for messages.
        folder: where relative paths start, absolute.
        lines: the lines of its keys.
    """

    name: str
    file: str = "profile"
    folder: str = "/"
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False)
    machine: machine_sections.Machine = field(default_factory=machine_sections.Machine)
    cpu: machine_sections.Cpu = field(default_factory=machine_sections.Cpu)
    memory: machine_sections.Memory = field(default_factory=machine_sections.Memory)
    firmware: machine_sections.Firmware = field(default_factory=machine_sections.Firmware)
    hide: machine_sections.Hide = field(default_factory=machine_sections.Hide)
    disk: tuple[device_sections.Disk, ...] = ()
    media: device_sections.Media = field(default_factory=device_sections.Media)
    gpu: device_sections.Gpu = field(default_factory=device_sections.Gpu)
    integrated: device_sections.Integrated = field(default_factory=device_sections.Integrated)
    display: device_sections.Display = field(default_factory=device_sections.Display)
    acpi: machine_sections.Acpi = field(default_factory=machine_sections.Acpi)
    network: tuple[device_sections.Network, ...] = ()
    looking_glass: device_sections.LookingGlass = field(
        default_factory=device_sections.LookingGlass
    )
    input: device_sections.Input = field(default_factory=device_sections.Input)
    tpm: machine_sections.Tpm = field(default_factory=machine_sections.Tpm)
    smbios: machine_sections.Smbios = field(default_factory=machine_sections.Smbios)
    fw_cfg: tuple[machine_sections.FwCfg, ...] = ()
    qemu: machine_sections.Qemu = field(default_factory=machine_sections.Qemu)

    def __repr__(self) -> str:
        return f"<Profile {self.name} ({self.file})>"

    @property
    def uuid(self) -> str:
        """The VM's UUID: given, or made of its name."""
        return self.machine.uuid or str(uuids.uuid5(_NAMESPACE, self.name))

    @property
    def mdev_uuid(self) -> str:
        """The mediated device's UUID: given, or made of the VM's."""
        return self.integrated.uuid or str(uuids.uuid5(uuids.UUID(self.uuid), "integrated"))

    def mac(self, number: int) -> str:
        """The address of a network card: given, or made of the VM's UUID (QEMU's prefix)."""
        given = self.networks[number].mac
        made = uuids.uuid5(uuids.UUID(self.uuid), f"network{number}").bytes[:3]
        return given.lower() or "52:54:00:" + ":".join(f"{byte:02x}" for byte in made)

    @property
    def networks(self) -> tuple[device_sections.Network, ...]:
        """The network cards; one with user networking where none is named."""
        return self.network or (device_sections.Network(),)

    @property
    def cpus(self) -> int:
        """How many CPUs the guest has."""
        return self.cpu.sockets * self.cpu.cores * self.cpu.threads

    def path(self, text: str) -> str:
        """A path of the profile as an absolute one; empty stays empty."""
        return normpath(join(self.folder, text)) if text else ""

    @property
    def own_folder(self) -> str:
        """Where the VM's own files are made: its variables, its ACPI tables."""
        return self.path(f"{self.name}.vm")

    @property
    def vars(self) -> str:
        """The VM's own copy of the firmware's variables."""
        return self.path(self.firmware.vars) or f"{self.own_folder}/vars.fd"

    def line(self, *path: str | int) -> int | None:
        """The line of a key, or of what it is in; None where neither stands in the file."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None

    def problem(self, path: Path, why: str, allowed: str = "") -> Problem:
        """A mistake at a key."""
        return Problem(dotted(path), why, allowed, self.line(*path))

    def bad(self, path: Path, why: str, allowed: str = "", *, hint: str = "") -> BadProfile:
        """The error for one mistake at a key."""
        return BadProfile(self.file, [self.problem(path, why, allowed)], hint=hint)


def dotted(path: Path) -> str:
    """A key as people write it: ``disk[1].path``, numbers from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
