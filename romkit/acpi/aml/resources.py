"""Resource templates: what a device takes of the machine (ACPI 6.5, section 6.4).

Ranges of addresses are in `romkit.acpi.aml.ranges`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from romkit.acpi.aml.data import Buffer, Data
from romkit.acpi.aml.fields import Space
from romkit.acpi.aml.numbers import bit_mask, number, once_each, shown
from romkit.acpi.aml.term import Term, braces
from romkit.acpi.errors import AmlError


class Descriptor(Protocol):
    """One resource: bytes of the template, and its macro in ASL."""

    def __bytes__(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ResourceTemplate(Data):
    """Resources one after another in a buffer, closed by an end tag."""

    resources: Iterable[Descriptor]

    def __post_init__(self) -> None:
        resources = tuple(self.resources)
        for resource in resources:
            if isinstance(resource, Term | int | str | bytes):
                raise AmlError(f"{resource!r} is no resource descriptor", "6.4")
        self._set(resources=resources)

    @property
    def data(self) -> bytes:
        """The descriptors and the end tag, whose checksum of zero means that there is none."""
        return b"".join(bytes(resource) for resource in self.resources) + b"\x79\x00"

    def __bytes__(self) -> bytes:
        return bytes(Buffer(self.data))

    def __str__(self) -> str:
        return braces("ResourceTemplate ()", "\n".join(str(r) for r in self.resources))


@dataclass(frozen=True, slots=True)
class IRQNoFlags:
    """Edge, active high interrupts of the old controller: any of these (6.4.2.1)."""

    numbers: tuple[int, ...]

    def __post_init__(self) -> None:
        once_each(self.numbers, 16, "IRQ", "6.4.2.1")

    def __bytes__(self) -> bytes:
        return b"\x22" + bit_mask(self.numbers).to_bytes(2, "little")

    def __str__(self) -> str:
        return f"IRQNoFlags () {shown(self.numbers)}"


@dataclass(frozen=True, slots=True)
class IRQ:
    """Interrupts of the old controller: any of these (6.4.2.1)."""

    numbers: tuple[int, ...]
    level: bool = False
    active_low: bool = False
    shared: bool = False

    def __post_init__(self) -> None:
        once_each(self.numbers, 16, "IRQ", "6.4.2.1")

    def __bytes__(self) -> bytes:
        mask = bit_mask(self.numbers).to_bytes(2, "little")
        flags = (not self.level) | self.active_low << 3 | self.shared << 4
        return b"\x23" + mask + bytes([flags])

    def __str__(self) -> str:
        return f"IRQ ({_mode(self)}) {shown(self.numbers)}"


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Global system interrupts: any of these (6.4.3.6)."""

    numbers: tuple[int, ...]
    level: bool = True
    active_low: bool = False
    shared: bool = False
    consumer: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.numbers) <= 255:
            raise AmlError("an interrupt descriptor has 1 to 255 numbers", "6.4.3.6")
        once_each(self.numbers, 1 << 32, "interrupt", "6.4.3.6")

    def __bytes__(self) -> bytes:
        flags = self.consumer | (not self.level) << 1 | self.active_low << 2 | self.shared << 3
        numbers = b"".join(number(n, 4, "interrupt", "6.4.3.6") for n in self.numbers)
        body = bytes([flags, len(self.numbers)]) + numbers
        return b"\x89" + len(body).to_bytes(2, "little") + body

    def __str__(self) -> str:
        usage = "ResourceConsumer" if self.consumer else "ResourceProducer"
        numbers = ", ".join(f"0x{n:08X}" for n in self.numbers)
        return f"Interrupt ({usage}, {_mode(self)}, , , ) {{{numbers}}}"


def _mode(irq: IRQ | Interrupt) -> str:
    trigger = "Level" if irq.level else "Edge"
    polarity = "ActiveLow" if irq.active_low else "ActiveHigh"
    return f"{trigger}, {polarity}, {'Shared' if irq.shared else 'Exclusive'}"


_SPEEDS = ("Compatibility", "TypeA", "TypeB", "TypeF")
_TRANSFERS = ("Transfer8", "Transfer8_16", "Transfer16")


@dataclass(frozen=True, slots=True)
class DMA:
    """Channels of the old DMA controller: any of these (6.4.2.2)."""

    channels: tuple[int, ...]
    speed: str = "Compatibility"
    bus_master: bool = False
    transfer: str = "Transfer8"

    def __post_init__(self) -> None:
        if self.speed not in _SPEEDS or self.transfer not in _TRANSFERS:
            raise AmlError(f"no DMA of {self.speed}, {self.transfer}", "6.4.2.2")
        once_each(self.channels, 8, "channel", "6.4.2.2")

    def __bytes__(self) -> bytes:
        flags = _TRANSFERS.index(self.transfer) | self.bus_master << 2
        flags |= _SPEEDS.index(self.speed) << 5
        return bytes([0x2A, bit_mask(self.channels), flags])

    def __str__(self) -> str:
        master = "BusMaster" if self.bus_master else "NotBusMaster"
        return f"DMA ({self.speed}, {master}, {self.transfer}, ) {shown(self.channels)}"


@dataclass(frozen=True, slots=True)
class Register:
    """One register in some address space (6.4.3.7)."""

    space: Space
    bits: int
    offset: int
    address: int
    access_size: int = 0

    def __post_init__(self) -> None:
        if self.access_size not in range(5):
            raise AmlError(
                f"access size {self.access_size}: 0 says nothing, 1 to 4 are a byte to eight",
                "6.4.3.7",
            )
        bytes(self)

    def __bytes__(self) -> bytes:
        small = (self.space.value, self.bits, self.offset, self.access_size)
        body = b"".join(number(n, 1, "register", "6.4.3.7") for n in small)
        return b"\x82\x0c\x00" + body + number(self.address, 8, "address", "6.4.3.7")

    def __str__(self) -> str:
        place = f"0x{self.bits:02X}, 0x{self.offset:02X}, 0x{self.address:016X}"
        return f"Register ({self.space.name}, {place}, 0x{self.access_size:02X})"
