"""The processor, as far as it matters for virtual machines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diag.host import Host

CPU_INFO = "/proc/cpuinfo"
#: Bytes: the first processor's block is enough.
_LIMIT = 1 << 14


@dataclass(frozen=True, slots=True)
class Processor:
    """The first processor in /proc/cpuinfo.

    Attributes:
        vendor: GenuineIntel, AuthenticAMD; empty for what is no x86.
        family: number.
        model: number.
        name: as the processor calls itself.
        flags: what it can do, in the kernel's words.
    """

    vendor: str
    family: int
    model: int
    name: str
    flags: frozenset[str]

    @property
    def virtualises(self) -> str | None:
        """``vmx`` (Intel) or ``svm`` (AMD): it can run VMs, and the firmware has not locked it."""
        return next((flag for flag in ("vmx", "svm") if flag in self.flags), None)

    @property
    def virtual(self) -> bool:
        """Whether it is a VM's."""
        return "hypervisor" in self.flags

    @property
    def kvm_module(self) -> str | None:
        """The module of KVM that is for it."""
        modules = {
            "GenuineIntel": "kvm_intel",
            "AuthenticAMD": "kvm_amd",
            "HygonGenuine": "kvm_amd",
        }
        return modules.get(self.vendor)


def read_processor(host: Host) -> Processor | None:
    """The processor; None where procfs does not describe one.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    text = host.text(CPU_INFO, _LIMIT)
    if not text:
        return None
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), value.strip())
    numbers = (re.match(r"\d{1,6}", values.get(key, "")) for key in ("cpu family", "model"))
    family, model = (int(found[0]) if found else 0 for found in numbers)
    return Processor(
        values.get("vendor_id", ""),
        family,
        model,
        values.get("model name", "unknown processor"),
        frozenset(values.get("flags", "").split()),
    )
