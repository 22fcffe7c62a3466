"""Ranges of addresses that a device takes or passes on (ACPI 6.5, section 6.4)."""

from __future__ import annotations

from dataclasses import dataclass

from romkit.acpi.aml.fields import Space
from romkit.acpi.aml.numbers import number
from romkit.acpi.errors import AmlError


def _aligned(addresses: tuple[int, int], alignment: int, section: str) -> None:
    # Zero is used to say that there is none.
    for address in addresses:
        if address % (alignment or 1):
            raise AmlError(f"{address:#x} is no multiple of the alignment {alignment:#x}", section)


@dataclass(frozen=True, slots=True)
class IO:
    """I/O ports, anywhere between two addresses (6.4.2.5).

    Attributes:
        minimum: lowest base.
        maximum: highest base.
        alignment: of the base; 0 and 1 say none.
        length: ports.
        decode16: whether all 16 address lines count, or only 10.
    """

    minimum: int
    maximum: int
    alignment: int
    length: int
    decode16: bool = True

    def __post_init__(self) -> None:
        bytes(self)
        if self.minimum > self.maximum:
            raise AmlError(f"ports from {self.minimum:#x} to {self.maximum:#x}", "6.4.2.5")
        _somewhere(self.maximum, self.length, "6.4.2.5")
        if self.maximum + self.length > 0x10000:
            raise AmlError(f"{self.length} ports from {self.maximum:#x} on", "6.4.2.5")
        _aligned((self.minimum, self.maximum), self.alignment, "6.4.2.5")

    def __bytes__(self) -> bytes:
        bases = (number(n, 2, "port", "6.4.2.5") for n in (self.minimum, self.maximum))
        rest = (number(n, 1, "length", "6.4.2.5") for n in (self.alignment, self.length))
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

    def __post_init__(self) -> None:
        bytes(self)
        if self.base + self.length > 0x400:
            raise AmlError(
                f"{self.length} ports from {self.base:#x} on have more than 10 bits", "6.4.2.6"
            )

    def __bytes__(self) -> bytes:
        base = number(self.base, 2, "port", "6.4.2.6")
        return b"\x4b" + base + number(self.length, 1, "length", "6.4.2.6")

    def __str__(self) -> str:
        return f"FixedIO (0x{self.base:04X}, 0x{self.length:02X})"


@dataclass(frozen=True, slots=True)
class Memory32Fixed:
    """Memory at one place below 4 GiB (6.4.3.4). A length of zero is filled in by a method."""

    base: int
    length: int
    writable: bool = True

    def __post_init__(self) -> None:
        bytes(self)
        if self.base + self.length > 1 << 32:
            raise AmlError(f"{self.length:#x} bytes from {self.base:#x} on", "6.4.3.4")

    def __bytes__(self) -> bytes:
        numbers = (number(n, 4, "memory", "6.4.3.4") for n in (self.base, self.length))
        return b"\x86\x09\x00" + bytes([self.writable]) + b"".join(numbers)

    def __str__(self) -> str:
        access = "ReadWrite" if self.writable else "ReadOnly"
        return f"Memory32Fixed ({access}, 0x{self.base:08X}, 0x{self.length:08X})"


@dataclass(frozen=True, slots=True)
class Memory32:
    """Memory anywhere between two addresses below 4 GiB (6.4.3.3).

    Attributes:
        minimum: lowest address.
        maximum: highest address.
        alignment: of the addresses; 0 and 1 say none.
        length: bytes.
        writable: whether it can be written.
    """

    minimum: int
    maximum: int
    alignment: int
    length: int
    writable: bool = True

    def __post_init__(self) -> None:
        bytes(self)
        _range(self.minimum, self.maximum, self.length, "6.4.3.3")
        _aligned((self.minimum, self.maximum), self.alignment, "6.4.3.3")

    def __bytes__(self) -> bytes:
        numbers = (self.minimum, self.maximum, self.alignment, self.length)
        body = b"".join(number(n, 4, "memory", "6.4.3.3") for n in numbers)
        return b"\x85\x11\x00" + bytes([self.writable]) + body

    def __str__(self) -> str:
        access = "ReadWrite" if self.writable else "ReadOnly"
        numbers = (self.minimum, self.maximum, self.alignment, self.length)
        return f"Memory32 ({access}, {', '.join(f'0x{n:08X}' for n in numbers)})"


def _range(minimum: int, maximum: int, length: int, section: str) -> None:
    if minimum > maximum:
        raise AmlError(f"a range from {minimum:#x} to {maximum:#x}", section)
    if length > maximum - minimum + 1:
        raise AmlError(f"{length:#x} addresses from {minimum:#x} to {maximum:#x}", section)
    _somewhere(maximum, length, section)


def _somewhere(maximum: int, length: int, section: str) -> None:
    # Templates that a method fills in look so, but iasl wants a name for their parts then.
    if not (maximum or length):
        raise AmlError("a range without any address", section)


@dataclass(frozen=True, slots=True)
class Window:
    """A range that a bridge passes on, or that a device takes (address space, 6.4.3.5).

    Attributes:
        space: what the addresses are of: memory, I/O ports, or bus numbers (None).
        width: bytes of an address: 2, 4 or 8; bus numbers have 2.
        minimum: lowest address.
        maximum: highest address.
        cacheable: of memory, whether it may be cached.
        producer: whether it is passed on to others.
        length: addresses of a range that can lie anywhere between the two, or of any size if 0;
            None if both ends are fixed, and say it.
        granularity: of a range that is not fixed, the bits that its addresses leave alone: one less
            than a power of two, and `length` is a multiple of that power.
    """

    space: Space | None
    width: int
    minimum: int
    maximum: int
    cacheable: bool = False
    producer: bool = True
    length: int | None = None
    granularity: int = 0

    def __post_init__(self) -> None:
        bytes(self)
        _range(self.minimum, self.maximum, self.length or 0, "6.4.3.5")
        step = self.granularity + 1
        if step & self.granularity:
            raise AmlError(f"granularity {self.granularity:#x}: not 2ⁿ - 1", "6.4.3.5")
        if self.length is None and self.granularity:
            raise AmlError("a range with fixed ends has no granularity", "6.4.3.5")
        if (self.length or 0) % step:
            raise AmlError(f"length {self.length:#x} is no multiple of {step:#x}", "6.4.3.5")

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

    @property
    def _numbers(self) -> tuple[int, ...]:
        """Granularity, minimum, maximum, translation, length."""
        length = self.maximum - self.minimum + 1 if self.length is None else self.length
        return self.granularity, self.minimum, self.maximum, 0, max(length, 0)

    def __bytes__(self) -> bytes:
        tags = {2: 0x88, 4: 0x87, 8: 0x8A}
        kind, flags, name = self._kind
        allowed = {"Memory": (4, 8), "IO": (2, 4, 8), "BusNumber": (2,)}[name]
        if self.width not in allowed:
            raise AmlError(f"no {name} window with addresses of {self.width} bytes", "6.4.3.5")
        # General flags: producer or consumer, positive decode, whether the ends are fixed.
        fixed = 0x0C if self.length is None else 0
        body = bytes([kind, (not self.producer) | fixed, flags])
        body += b"".join(number(n, self.width, "address", "6.4.3.5") for n in self._numbers)
        return bytes([tags[self.width]]) + len(body).to_bytes(2, "little") + body

    def __str__(self) -> str:
        _, _, name = self._kind
        usage = "ResourceProducer" if self.producer else "ResourceConsumer"
        ends = "MinFixed, MaxFixed" if self.length is None else "MinNotFixed, MaxNotFixed"
        rules = {
            "Memory": f"{usage}, PosDecode, {ends}, "
            f"{'Cacheable' if self.cacheable else 'NonCacheable'}, ReadWrite",
            "IO": f"{usage}, {ends}, PosDecode, EntireRange",
            "BusNumber": f"{usage}, {ends}, PosDecode",
        }[name]
        size = {2: "Word", 4: "DWord", 8: "QWord"}[self.width]
        shown = ", ".join(f"0x{n:0{2 * self.width}X}" for n in self._numbers)
        return f"{size}{name} ({rules}, {shown})"
