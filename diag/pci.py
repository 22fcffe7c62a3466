"""PCI addresses, ids, classes and the access control bits, as every part of diag speaks of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: An address without anchors, for patterns that look for one inside a line. Domains have four
#: digits, or more where one machine has more buses than a domain holds: Intel VMD counts from
#: 10000, NVIDIA's tools print eight digits.
ADDRESS = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]"

_ADDRESS = re.compile(
    r"(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])", re.ASCII
)
_ID = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})", re.ASCII)
_CLASS = re.compile(r"[0-9a-fA-F]{4}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class PciAddress:
    """Where a function is: domain, bus, device, function; ordered as the kernel lists them.

    Attributes:
        domain: 0 to 0xffffffff; 0 on most machines.
        bus: 0 to 0xff.
        device: 0 to 0x1f.
        function: 0 to 7.
    """

    domain: int
    bus: int
    device: int
    function: int

    def __post_init__(self) -> None:
        limits = (0xFFFF_FFFF, 0xFF, 0x1F, 7)
        parts = (self.domain, self.bus, self.device, self.function)
        if not all(0 <= part <= limit for part, limit in zip(parts, limits, strict=True)):
            raise ValueError(f"no PCI address: {parts}")

    @classmethod
    def parse(cls, text: str) -> PciAddress:
        """An address as people and programs write it: ``01:00.0``, ``0000:01:00.0``.

        Raises:
            ValueError: it is none.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError(f"no PCI address: {text[:40]!r} (like 0000:01:00.0)")
        domain, *rest = found.groups(default="0")
        return cls(int(domain, 16), *(int(part, 16) for part in rest))

    @property
    def slot(self) -> str:
        """The address without the function: what all functions of one device share."""
        return str(self).rpartition(".")[0]

    def same_slot(self, other: PciAddress) -> bool:
        """Whether both are functions of one device."""
        mine = (self.domain, self.bus, self.device)
        return mine == (other.domain, other.bus, other.device)

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"

    def __repr__(self) -> str:
        return f"<PciAddress {self}>"


@dataclass(frozen=True, slots=True, order=True)
class PciId:
    """Vendor and device id, or the two ids of a subsystem; 16 bits each."""

    vendor: int
    device: int

    def __post_init__(self) -> None:
        if not (0 <= self.vendor <= 0xFFFF and 0 <= self.device <= 0xFFFF):
            raise ValueError(f"no PCI id: {self.vendor:#x}, {self.device:#x}")

    @classmethod
    def parse(cls, text: str) -> PciId:
        """Two ids like ``10de:1c20``.

        Raises:
            ValueError: it is not of that form.
        """
        found = _ID.fullmatch(text)
        if found is None:
            raise ValueError(f"no PCI id: {text[:40]!r} (like 10de:1c20)")
        return cls(int(found[1], 16), int(found[2], 16))

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.device:04x}"

    def __repr__(self) -> str:
        return f"<PciId {self}>"


#: The classes that diag speaks of, in lspci's words.
CLASS_NAMES = {
    0x0101: "IDE interface",
    0x0106: "SATA controller",
    0x0108: "Non-Volatile memory controller",
    0x0200: "Ethernet controller",
    0x0280: "Network controller",
    0x0300: "VGA compatible controller",
    0x0301: "XGA compatible controller",
    0x0302: "3D controller",
    0x0380: "Display controller",
    0x0403: "Audio device",
    0x0500: "RAM memory",
    0x0580: "Memory controller",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0780: "Communication controller",
    0x0806: "IOMMU",
    0x0880: "System peripheral",
    0x0C03: "USB controller",
    0x0C05: "SMBus",
    0x0C80: "Serial bus controller",
    0x1080: "Encryption controller",
    0x1180: "Signal processing controller",
}


@dataclass(frozen=True, slots=True, order=True)
class PciClass:
    """Base class and subclass in 16 bits, like 0x0300; the programming interface is not in it."""

    code: int

    def __post_init__(self) -> None:
        if not 0 <= self.code <= 0xFFFF:
            raise ValueError(f"no PCI class: {self.code:#x}")

    @classmethod
    def parse(cls, text: str) -> PciClass:
        """Four hexadecimal digits like ``0300``.

        Raises:
            ValueError: it is not of that form.
        """
        if _CLASS.fullmatch(text) is None:
            raise ValueError(f"no PCI class: {text[:40]!r} (like 0300)")
        return cls(int(text, 16))

    @classmethod
    def named(cls, name: str) -> PciClass | None:
        """The class that lspci calls so; None where diag does not know the name.

        Case and spaces do not count: mail programs and people lose them.
        """
        code = _CODES.get("".join(name.split()).lower())
        return None if code is None else cls(code)

    @property
    def name(self) -> str | None:
        """What lspci calls it; None where diag does not speak of it."""
        return CLASS_NAMES.get(self.code)

    @property
    def is_display(self) -> bool:
        """VGA, XGA, 3D or other display controller: a GPU."""
        return self.code >> 8 == 0x03

    @property
    def is_bridge(self) -> bool:
        """Host or PCI bridge: what leads to a device. An ISA bridge is a device of its own."""
        return self.code in (0x0600, 0x0604)

    def __str__(self) -> str:
        return f"{self.code:04x}"

    def __repr__(self) -> str:
        return f"<PciClass {self}>"


_CODES = {"".join(name.split()).lower(): code for code, name in CLASS_NAMES.items()}

#: The access control bits with lspci's names; the same bits in capability and control register.
ACS_BITS = {
    0x01: "SrcValid",
    0x02: "TransBlk",
    0x04: "ReqRedir",
    0x08: "CmpltRedir",
    0x10: "UpstreamFwd",
    0x20: "EgressCtrl",
    0x40: "DirectTrans",
}

#: What the kernel asks of every hop before it parts two groups (REQ_ACS_FLAGS in
#: drivers/iommu/iommu.c): source validation, request and completion redirect, upstream forwarding.
ACS_REQUIRED = 0x1D


@dataclass(frozen=True, slots=True)
class Acs:
    """Access Control Services of one port or function.

    Attributes:
        capability: what the hardware can do; None where the text does not say.
        control: what is switched on; None where the text does not say.
    """

    capability: int | None
    control: int | None

    @property
    def missing(self) -> tuple[str, ...] | None:
        """The bits that the kernel asks for and that are off; None where the text does not say.

        The kernel does not ask for bits that the hardware lacks (pci_acs_flags_enabled).
        """
        if self.control is None:
            return None
        wanted = ACS_REQUIRED if self.capability is None else ACS_REQUIRED & self.capability
        return acs_names(wanted & ~self.control)


def acs_names(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set."""
    return tuple(name for bit, name in ACS_BITS.items() if bits & bit)
