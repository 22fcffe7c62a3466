"""Hardware and memory as named bits (ACPI 6.5, section 20.2.5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeAlias

from romkit.acpi.aml.data import Integer, Value, asl_of, value_of
from romkit.acpi.aml.encoding import (
    field_length,
    name_segment,
    object_name,
    package_length,
    whole,
)
from romkit.acpi.aml.term import Definition, braces
from romkit.acpi.errors import AmlError


class Space(Enum):
    """Where a region lies."""

    SystemMemory = 0
    SystemIO = 1
    PCI_Config = 2
    EmbeddedControl = 3
    SMBus = 4
    SystemCMOS = 5
    PciBarTarget = 6
    IPMI = 7
    GeneralPurposeIO = 8
    GenericSerialBus = 9
    PCC = 10
    FFixedHW = 0x7F


class Access(Enum):
    """How wide one access is."""

    AnyAcc = 0
    ByteAcc = 1
    WordAcc = 2
    DWordAcc = 3
    QWordAcc = 4
    BufferAcc = 5


class Lock(Enum):
    """Whether the global lock is held meanwhile."""

    NoLock = 0
    Lock = 1


class Update(Enum):
    """What happens to the other bits of what is written."""

    Preserve = 0
    WriteAsOnes = 1
    WriteAsZeros = 2


@dataclass(frozen=True, slots=True)
class OperationRegion(Definition):
    """A range of some address space.

    Attributes:
        path: its name.
        space: of what.
        offset: where it starts, bytes.
        length: bytes.
    """

    path: str
    space: Space
    offset: Value
    length: Value

    def __post_init__(self) -> None:
        object_name(self.path)
        length = value_of(self.length)
        if isinstance(length, Integer) and not length.value:
            raise AmlError(f"region {self.path} has no bytes", "20.2.5.2")
        self._set(offset=value_of(self.offset), length=length)

    def __bytes__(self) -> bytes:
        place = bytes(value_of(self.offset)) + bytes(value_of(self.length))
        return b"\x5b\x80" + object_name(self.path) + bytes([self.space.value]) + place

    def __str__(self) -> str:
        place = f"{asl_of(self.offset)}, {asl_of(self.length)}"
        return f"OperationRegion ({self.path}, {self.space.name}, {place})"


@dataclass(frozen=True, slots=True)
class Bits:
    """So many bits with a name, or without one (reserved) if it is empty."""

    name: str
    bits: int

    def __post_init__(self) -> None:
        if self.name:
            name_segment(self.name)
        if whole(self.bits, "the size", "20.2.5.2") <= 0:
            raise AmlError(f"a field of {self.bits} bits", "20.2.5.2")
        field_length(self.bits)


@dataclass(frozen=True, slots=True)
class Offset:
    """The next field starts at this byte of the region."""

    byte: int

    def __post_init__(self) -> None:
        if whole(self.byte, "the offset", "20.2.5.2") < 0:
            raise AmlError(f"offset {self.byte} lies before the region", "20.2.5.2")
        field_length(self.byte * 8)


#: How a bus of messages is accessed: quick, send and receive, byte, word, block, process call,
#: block process call. Those with a length of their own (0x0B, 0x0E, 0x0F) need the extended form.
_ATTRIBUTES = (0x00, 0x02, 0x04, 0x06, 0x08, 0x0A, 0x0C, 0x0D)


@dataclass(frozen=True, slots=True)
class AccessAs:
    """The next fields are accessed so.

    Attributes:
        access: how wide.
        attribute: of `Access.BufferAcc`, the protocol: 2 quick, 4 send and receive, 6 byte,
            8 word, 0xA block, 0xC process call, 0xD block process call.
    """

    access: Access
    attribute: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.access, Access):
            raise AmlError(f"{self.access!r} is no access", "20.2.5.2")
        known = _ATTRIBUTES if self.access is Access.BufferAcc else (0,)
        if self.attribute not in known:
            shown = ", ".join(f"{attribute:#x}" for attribute in known)
            raise AmlError(
                f"{self.access.name} has no attribute {self.attribute!r}", "20.2.5.2", hint=shown
            )


FieldUnit: TypeAlias = Bits | Offset | AccessAs


def field_list(units: Iterable[FieldUnit]) -> Iterator[bytes]:
    """The encoding of each part (FieldList, 20.2.5.2).

    Raises:
        AmlError: an offset that lies behind what was there before.
    """
    at = 0
    for unit in units:
        if isinstance(unit, AccessAs):
            yield bytes([1, unit.access.value, unit.attribute])
            continue
        if isinstance(unit, Bits):
            yield (name_segment(unit.name) if unit.name else b"\0") + field_length(unit.bits)
            at += unit.bits
            continue
        skipped = unit.byte * 8 - at
        if skipped < 0:
            raise AmlError(
                f"offset {unit.byte:#x} lies before the end of the last field", "20.2.5.2"
            )
        if skipped:
            yield b"\0" + field_length(skipped)
        at += skipped


def _shown(unit: FieldUnit) -> str:
    if isinstance(unit, Bits):
        return f"{unit.name}, {unit.bits}"
    if isinstance(unit, Offset):
        return f"Offset (0x{unit.byte:02X})"
    return f"AccessAs ({unit.access.name}, 0x{unit.attribute:02X})"


@dataclass(frozen=True, slots=True)
class Field(Definition):
    """Names for the bits of a region."""

    region: str
    access: Access
    units: Iterable[FieldUnit]
    lock: Lock = Lock.NoLock
    update: Update = Update.Preserve

    def __post_init__(self) -> None:
        self._set(units=tuple(self.units))
        bytes(self)

    def __bytes__(self) -> bytes:
        return _encoded(b"\x5b\x81", object_name(self.region), self)

    def __str__(self) -> str:
        return _asl(self.region, self)


@dataclass(frozen=True, slots=True)
class IndexField(Definition):
    """Registers behind an index and a data register, both fields themselves."""

    index: str
    data: str
    access: Access
    units: Iterable[FieldUnit]
    lock: Lock = Lock.NoLock
    update: Update = Update.Preserve

    def __post_init__(self) -> None:
        self._set(units=tuple(self.units))
        bytes(self)

    def __bytes__(self) -> bytes:
        return _encoded(b"\x5b\x86", object_name(self.index) + object_name(self.data), self)

    def __str__(self) -> str:
        return _asl(f"{self.index}, {self.data}", self)


@dataclass(frozen=True, slots=True)
class BankField(Definition):
    """Bits of a region that are there while a bank register has a value."""

    region: str
    bank: str
    value: Value
    access: Access
    units: Iterable[FieldUnit]
    lock: Lock = Lock.NoLock
    update: Update = Update.Preserve

    def __post_init__(self) -> None:
        self._set(units=tuple(self.units), value=value_of(self.value))
        bytes(self)

    def __bytes__(self) -> bytes:
        names = object_name(self.region) + object_name(self.bank)
        return _encoded(b"\x5b\x87", names + bytes(value_of(self.value)), self)

    def __str__(self) -> str:
        return _asl(f"{self.region}, {self.bank}, {asl_of(self.value)}", self)


def _encoded(code: bytes, head: bytes, field: Field | IndexField | BankField) -> bytes:
    flags = field.access.value | field.lock.value << 4 | field.update.value << 5
    inside = head + bytes([flags]) + b"".join(field_list(field.units))
    return code + package_length(len(inside)) + inside


def _asl(head: str, field: Field | IndexField | BankField) -> str:
    rule = f"{field.access.name}, {field.lock.name}, {field.update.name}"
    units = ",\n".join(_shown(unit) for unit in field.units)
    return braces(f"{type(field).__name__} ({head}, {rule})", units)


@dataclass(frozen=True, slots=True)
class _BufferField(Definition):
    """A name for a part of a buffer.

    Attributes:
        source: the buffer.
        index: where the part starts: bytes, but bits for `CreateBitField`.
        path: the name.
    """

    code: ClassVar[bytes]
    source: Value
    index: Value
    path: str

    def __post_init__(self) -> None:
        object_name(self.path)
        self._set(source=value_of(self.source), index=value_of(self.index))

    def __bytes__(self) -> bytes:
        place = bytes(value_of(self.source)) + bytes(value_of(self.index))
        return self.code + place + object_name(self.path)

    def __str__(self) -> str:
        return f"{type(self).__name__} ({asl_of(self.source)}, {asl_of(self.index)}, {self.path})"


class CreateBitField(_BufferField):
    """One bit; the index counts bits."""

    __slots__ = ()
    code = b"\x8d"


class CreateByteField(_BufferField):
    """One byte."""

    __slots__ = ()
    code = b"\x8c"


class CreateWordField(_BufferField):
    """Two bytes."""

    __slots__ = ()
    code = b"\x8b"


class CreateDWordField(_BufferField):
    """Four bytes."""

    __slots__ = ()
    code = b"\x8a"


class CreateQWordField(_BufferField):
    """Eight bytes."""

    __slots__ = ()
    code = b"\x8f"


@dataclass(frozen=True, slots=True)
class CreateField(Definition):
    """So many bits of a buffer, from a bit on."""

    source: Value
    bit: Value
    bits: Value
    path: str

    def __post_init__(self) -> None:
        object_name(self.path)
        source, bit, bits = (value_of(value) for value in (self.source, self.bit, self.bits))
        if isinstance(bits, Integer) and not bits.value:
            raise AmlError(f"field {self.path} has no bits", "20.2.5.2")
        self._set(source=source, bit=bit, bits=bits)

    def __bytes__(self) -> bytes:
        values = (self.source, self.bit, self.bits)
        return b"\x5b\x13" + b"".join(bytes(value_of(v)) for v in values) + object_name(self.path)

    def __str__(self) -> str:
        place = f"{asl_of(self.bit)}, {asl_of(self.bits)}"
        return f"CreateField ({asl_of(self.source)}, {place}, {self.path})"
