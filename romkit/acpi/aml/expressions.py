"""Storing, converting, references and waiting: opcodes with a value (ACPI 6.5, 20.2.5.4).

Every class is called as ASL calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from romkit.acpi.aml.data import Value, asl_of, value_of
from romkit.acpi.aml.operation import (
    BinaryTo,
    Copy,
    OfPlace,
    Operation,
    Place,
    PlaceOperation,
    Target,
    Unary,
    UnaryTo,
    place,
    target,
)
from romkit.acpi.errors import AmlError


@dataclass(frozen=True, slots=True)
class Timer(Operation):
    """100 ns steps since some moment; always the same count per second."""

    code = b"\x5b\x33"
    kinds = ()


class Store(Copy):
    """Store a value, converted to the type of what is there."""

    __slots__ = ()
    code = b"\x70"


class CopyObject(Copy):
    """Store a value as it is, type and all."""

    __slots__ = ()
    code = b"\x9d"


class Concatenate(BinaryTo):
    """Two strings, buffers or integers behind each other."""

    __slots__ = ()
    code = b"\x73"


class ConcatenateResTemplate(BinaryTo):
    """Two resource templates as one."""

    __slots__ = ()
    code = b"\x84"


class ToString(BinaryTo):
    """Text from a buffer, up to a NUL or so many bytes."""

    __slots__ = ()
    code = b"\x9c"


class ToBuffer(UnaryTo):
    """As a buffer."""

    __slots__ = ()
    code = b"\x96"


class ToDecimalString(UnaryTo):
    """As text of decimal digits."""

    __slots__ = ()
    code = b"\x97"


class ToHexString(UnaryTo):
    """As text of hex digits."""

    __slots__ = ()
    code = b"\x98"


class ToInteger(UnaryTo):
    """As an integer."""

    __slots__ = ()
    code = b"\x99"


class DerefOf(Unary, Place):
    """What a reference leads to."""

    __slots__ = ()
    code = b"\x83"


class RefOf(OfPlace, Place):
    """A reference to an object."""

    __slots__ = ()
    code = b"\x71"


class SizeOf(OfPlace):
    """Bytes of a buffer or text, elements of a package."""

    __slots__ = ()
    code = b"\x87"


class ObjectType(OfPlace):
    """1 integer, 2 string, 3 buffer, 4 package ...."""

    __slots__ = ()
    code = b"\x8e"


@dataclass(frozen=True, slots=True)
class CondRefOf(Operation):
    """Whether an object is there, and a reference to it."""

    code = b"\x5b\x12"
    kinds = (place, target)
    operand: Target
    target: Target | None = None


class Index(BinaryTo, PlaceOperation):
    """One element of a package, buffer or text, to read or to store to."""

    __slots__ = ()
    code = b"\x88"


@dataclass(frozen=True, slots=True)
class Mid(Operation):
    """A part of text or of a buffer: fewer bytes than asked for where it ends before."""

    code = b"\x9e"
    kinds = (value_of, value_of, value_of, target)
    source: Value
    start: Value
    length: Value
    target: Target | None = None


class MatchOp(Enum):
    """How `Match` compares (20.2.5.4)."""

    MTR = 0
    MEQ = 1
    MLE = 2
    MLT = 3
    MGE = 4
    MGT = 5


@dataclass(frozen=True, slots=True)
class Match(Operation):
    """Number of the first element that compares so with both operands, or Ones."""

    code = b"\x89"
    package: Value
    first: MatchOp
    first_operand: Value
    second: MatchOp
    second_operand: Value
    start: Value

    def __post_init__(self) -> None:
        for name in ("package", "first_operand", "second_operand", "start"):
            self._set(**{name: value_of(getattr(self, name))})

    def __bytes__(self) -> bytes:
        first = bytes([self.first.value]) + bytes(value_of(self.first_operand))
        second = bytes([self.second.value]) + bytes(value_of(self.second_operand))
        return (
            self.code + bytes(value_of(self.package)) + first + second + bytes(value_of(self.start))
        )

    def __str__(self) -> str:
        first = f"{self.first.name}, {asl_of(self.first_operand)}"
        second = f"{self.second.name}, {asl_of(self.second_operand)}"
        return f"Match ({asl_of(self.package)}, {first}, {second}, {asl_of(self.start)})"


@dataclass(frozen=True, slots=True)
class Acquire(Operation):
    """Take a mutex; true if it was not to be had in time.

    Attributes:
        mutex: which.
        timeout: milliseconds; 0xFFFF waits for ever.
    """

    code = b"\x5b\x23"
    mutex: Target
    timeout: int = 0xFFFF

    def __post_init__(self) -> None:
        if not 0 <= self.timeout <= 0xFFFF:
            raise AmlError(f"{self.timeout} ms: a time-out has 16 bits", "20.2.5.4")
        self._set(mutex=place(self.mutex))

    def __bytes__(self) -> bytes:
        return self.code + bytes(place(self.mutex)) + self.timeout.to_bytes(2, "little")

    def __str__(self) -> str:
        return f"Acquire ({self.mutex}, 0x{self.timeout:04X})"


@dataclass(frozen=True, slots=True)
class Wait(Operation):
    """Wait for an event; true if it did not come in time."""

    code = b"\x5b\x25"
    kinds = (place, value_of)
    event: Target
    timeout: Value
