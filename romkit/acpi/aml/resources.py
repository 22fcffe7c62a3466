"""Resource templates: what a device takes of the machine (ACPI 6.5, section 6.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from romkit.acpi.aml.data import Buffer, Data
from romkit.acpi.aml.fields import Space
from romkit.acpi.aml.term import braces
from romkit.acpi.errors import AmlError


class Descriptor(Protocol):
    """One resource: bytes of the template, and its macro in ASL."""

    def __bytes__(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ResourceTemplate(Data):
    """Resources one after another in a buffer, closed by an end tag."""

    resources: Iterable[Descriptor]

    def __post_init__(self) -> None:
        self._set(resources=tuple(self.resources))

    @property
    def data(self) -> bytes:
        """The descriptors and the end tag, whose checksum of zero means that there is none."""
        return b"".join(bytes(resource) for resource in self.resources) + b"\x79\x00"

    def __bytes__(self) -> bytes:
        return bytes(Buffer(self.data))

    def __str__(self) -> str:
        return braces("ResourceTemplate ()", "\n".join(str(r) for r in self.resources))


def _number(value: int, width: int, what: str, section: str) -> bytes:
    if value < 0 or value >> 8 * width:
        raise AmlError(f"{what} {value:#x} does not fit {width} bytes", section)
    return value.to_bytes(width, "little")


def _mask(numbers: Iterable[int], limit: int, what: str, section: str) -> int:
    mask = 0
    for number in numbers:
        if not 0 <= number < limit:
            raise AmlError(f"{what} {number}: there are 0 to {limit - 1}", section)
        mask |= 1 << number
    return mask


def _listed(numbers: Iterable[int]) -> str:
    return "{" + ", ".join(str(number) for number in sorted(set(numbers))) + "}"


@dataclass(frozen=True, slots=True)
class IRQNoFlags:
    """Edge, active high interrupts of the old controller: any of these (6.4.2.1)."""

    numbers: tuple[int, ...]

    def __bytes__(self) -> bytes:
        return b"\x22" + _mask(self.numbers, 16, "IRQ", "6.4.2.1").to_bytes(2, "little")

    def __str__(self) -> str:
        return f"IRQNoFlags () {_listed(self.numbers)}"


@dataclass(frozen=True, slots=True)
class IRQ:
    """Interrupts of the old controller: any of these (6.4.2.1)."""

    numbers: tuple[int, ...]
    level: bool = False
    active_low: bool = False
    shared: bool = False

    def __bytes__(self) -> bytes:
        mask = _mask(self.numbers, 16, "IRQ", "6.4.2.1").to_bytes(2, "little")
        flags = (not self.level) | self.active_low << 3 | self.shared << 4
        return b"\x23" + mask + bytes([flags])

    def __str__(self) -> str:
        return f"IRQ ({_mode(self)}) {_listed(self.numbers)}"


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Global system interrupts: any of these (6.4.3.6)."""

    numbers: tuple[int, ...]
    level: bool = True
    active_low: bool = False
    shared: bool = False
    consumer: bool = True

    def __bytes__(self) -> bytes:
        if not 1 <= len(self.numbers) <= 255:
            raise AmlError("an interrupt descriptor has 1 to 255 numbers", "6.4.3.6")
        flags = self.consumer | (not self.level) << 1 | self.active_low << 2 | self.shared << 3
        numbers = b"".join(_number(n, 4, "interrupt", "6.4.3.6") for n in self.numbers)
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


@dataclass(frozen=True, slots=True)
class DMA:
    """Channels of the old DMA controller: any of these (6.4.2.2)."""

    channels: tuple[int, ...]
    speed: str = "Compatibility"
    bus_master: bool = False
    transfer: str = "Transfer8"

    def __bytes__(self) -> bytes:
        speeds = ("Compatibility", "TypeA", "TypeB", "TypeF")
        transfers = ("Transfer8", "Transfer8_16", "Transfer16")
        if self.speed not in speeds or self.transfer not in transfers:
            raise AmlError(f"no DMA of {self.speed}, {self.transfer}", "6.4.2.2")
        flags = transfers.index(self.transfer) | self.bus_master << 2
        flags |= speeds.index(self.speed) << 5
        return bytes([0x2A, _mask(self.channels, 8, "channel", "6.4.2.2"), flags])

    def __str__(self) -> str:
        master = "BusMaster" if self.bus_master else "NotBusMaster"
        return f"DMA ({self.speed}, {master}, {self.transfer}, ) {_listed(self.channels)}"


@dataclass(frozen=True, slots=True)
class IO:
    """I/O ports, anywhere between two addresses (6.4.2.5).

    Attributes:
        minimum: lowest base.
        maximum: highest base.
        alignment: of the base.
        length: ports.
        decode16: whether all 16 address lines count, or only 10.
    """

    minimum: int
    maximum: int
    alignment: int
    length: int
    decode16: bool = True

    def __bytes__(self) -> bytes:
        bases = (_number(n, 2, "port", "6.4.2.5") for n in (self.minimum, self.maximum))
        rest = (_number(n, 1, "length", "6.4.2.5") for n in (self.alignment, self.length))
        return bytes([0x47, self.decode16]) + b"".join(bases) + b"".join(rest)

    def __str__(self) -> str:
        decode = "Decode16" if self.decode16 else "Decode10"
        bases = f"0x{self.minimum:04X}, 0x{self.maximum:04X}"
        return f"IO ({decode}, {bases}, 0x{self.alignment:02X}, 0x{self.length:02X})"


@dataclass(frozen=True, slots=True)
class FixedIO:
    """I/O ports at one place, of 10 address lines (6.4.2.6)."""

    base: int
    length: int

    def __bytes__(self) -> bytes:
        if self.base > 0x3FF:
            raise AmlError(f"port {self.base:#x} has more than 10 bits", "6.4.2.6")
        base = _number(self.base, 2, "port", "6.4.2.6")
        return b"\x4b" + base + _number(self.length, 1, "length", "6.4.2.6")

    def __str__(self) -> str:
        return f"FixedIO (0x{self.base:04X}, 0x{self.length:02X})"


@dataclass(frozen=True, slots=True)
class Memory32Fixed:
    """Memory at one place below 4 GiB (6.4.3.4)."""

    base: int
    length: int
    writable: bool = True

    def __bytes__(self) -> bytes:
        numbers = (_number(n, 4, "memory", "6.4.3.4") for n in (self.base, self.length))
        return b"\x86\x09\x00" + bytes([self.writable]) + b"".join(numbers)

    def __str__(self) -> str:
        access = "ReadWrite" if self.writable else "ReadOnly"
        return f"Memory32Fixed ({access}, 0x{self.base:08X}, 0x{self.length:08X})"


@dataclass(frozen=True, slots=True)
class Memory32:
    """Memory anywhere between two addresses below 4 GiB (6.4.3.3)."""

    minimum: int
    maximum: int
    alignment: int
    length: int
    writable: bool = True

    def __bytes__(self) -> bytes:
        numbers = (self.minimum, self.maximum, self.alignment, self.length)
        body = b"".join(_number(n, 4, "memory", "6.4.3.3") for n in numbers)
        return b"\x85\x11\x00" + bytes([self.writable]) + body

    def __str__(self) -> str:
        access = "ReadWrite" if self.writable else "ReadOnly"
        numbers = (self.minimum, self.maximum, self.alignment, self.length)
        return f"Memory32 ({access}, {', '.join(f'0x{n:08X}' for n in numbers)})"


@dataclass(frozen=True, slots=True)
class Window:
    """A range that a bridge passes on, or that a device takes (address space, 6.4.3.5).

    Attributes:
        space: what the addresses are of: memory, I/O ports, or bus numbers (None).
        width: bytes of an address: 2, 4 or 8; bus numbers have 2.
        minimum: lowest address.
        maximum: highest address; with the minimum and fixed ends it gives the length.
        cacheable: of memory, whether it may be cached.
        producer: whether it is passed on to others.
    """

    space: Space | None
    width: int
    minimum: int
    maximum: int
    cacheable: bool = False
    producer: bool = True

    @property
    def _kind(self) -> tuple[int, int, str]:
        """Resource type, type specific flags, and the macro without its width."""
        if self.space is Space.SystemMemory:
            return 0, 1 | self.cacheable << 1, "Memory"
        if self.space is Space.SystemIO:
            return 1, 3, "IO"
        if self.space is None:
            return 2, 0, "BusNumber"
        raise AmlError(f"no window of {self.space.name}", "6.4.3.5")

    def __bytes__(self) -> bytes:
        tags = {2: 0x88, 4: 0x87, 8: 0x8A}
        kind, flags, name = self._kind
        allowed = {"Memory": (4, 8), "IO": (2, 4, 8), "BusNumber": (2,)}[name]
        if self.width not in allowed:
            raise AmlError(f"no {name} window with addresses of {self.width} bytes", "6.4.3.5")
        if not self.minimum <= self.maximum:
            raise AmlError(f"a window from {self.minimum:#x} to {self.maximum:#x}", "6.4.3.5")
        numbers = (0, self.minimum, self.maximum, 0, self.maximum - self.minimum + 1)
        # General flags: producer or consumer, positive decode, both ends fixed.
        body = bytes([kind, (not self.producer) | 0x0C, flags])
        body += b"".join(_number(n, self.width, "address", "6.4.3.5") for n in numbers)
        return bytes([tags[self.width]]) + len(body).to_bytes(2, "little") + body

    def __str__(self) -> str:
        _, _, name = self._kind
        usage = "ResourceProducer" if self.producer else "ResourceConsumer"
        rules = {
            "Memory": f"{usage}, PosDecode, MinFixed, MaxFixed, "
            f"{'Cacheable' if self.cacheable else 'NonCacheable'}, ReadWrite",
            "IO": f"{usage}, MinFixed, MaxFixed, PosDecode, EntireRange",
            "BusNumber": f"{usage}, MinFixed, MaxFixed, PosDecode",
        }[name]
        size = {2: "Word", 4: "DWord", 8: "QWord"}[self.width]
        numbers = (0, self.minimum, self.maximum, 0, self.maximum - self.minimum + 1)
        shown = ", ".join(f"0x{n:0{2 * self.width}X}" for n in numbers)
        return f"{size}{name} ({rules}, {shown})"


@dataclass(frozen=True, slots=True)
class Register:
    """One register in some address space (6.4.3.7)."""

    space: Space
    bits: int
    offset: int
    address: int
    access_size: int = 0

    def __bytes__(self) -> bytes:
        small = (self.space.value, self.bits, self.offset, self.access_size)
        body = b"".join(_number(n, 1, "register", "6.4.3.7") for n in small)
        return b"\x82\x0c\x00" + body + _number(self.address, 8, "address", "6.4.3.7")

    def __str__(self) -> str:
        place = f"0x{self.bits:02X}, 0x{self.offset:02X}, 0x{self.address:016X}"
        return f"Register ({self.space.name}, {place}, 0x{self.access_size:02X})"
