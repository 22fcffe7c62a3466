"""Constants: integers, strings, buffers, packages, EISA ids, UUIDs (ACPI 6.5, section 20.2.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

from romkit.acpi.aml.encoding import (
    integer,
    name_string,
    package_length,
    prefixed_integer,
    whole,
)
from romkit.acpi.aml.term import Expression, braces
from romkit.acpi.errors import AmlError

#: What stands for a value in Python; see `value_of`.
Value: TypeAlias = Union[Expression, int, str, bytes, "Sequence[Value]"]

_HEX_COLUMNS = 8


def _bytes(value: Any) -> bytes:
    # bytes(5) would be five zeros.
    if not isinstance(value, bytes | bytearray | memoryview):
        raise AmlError(f"{value!r} is no bytes: what a buffer starts with", "20.2.5.4")
    return bytes(value)


class Data(Expression):
    """A value that is known when the table is read: what a Name or a Package can hold."""

    __slots__ = ()


def value_of(value: Value) -> Expression:
    """A term from what Python writes: int, str, bytes (a Buffer), a list or tuple (a Package).

    Raises:
        AmlError: there is no such term.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, int):
        return Integer(int(value))
    if isinstance(value, str):
        return String(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return Buffer(bytes(value))
    if isinstance(value, Sequence):
        return Package(tuple(value))
    raise AmlError(f"{type(value).__name__} is no value in AML", "20.2.5")


def asl_of(value: Value) -> str:
    """ASL of a value."""
    return str(value_of(value))


def data_of(value: Value) -> Expression:
    """A constant, as a Name holds it.

    Raises:
        AmlError: it is none, or has to be computed.
    """
    term = value_of(value)
    if not isinstance(term, Data) or (isinstance(term, Buffer) and not term.constant):
        raise AmlError(f"{_short(term)} is no constant", "20.2.3")
    return term


@dataclass(frozen=True, slots=True)
class Integer(Data):
    """An unsigned integer.

    Attributes:
        value: up to 64 bits. A DSDT of revision 1, as QEMU makes it, cuts all integers of a
            machine to 32 bits: a `DefinitionBlock` refuses larger ones unless told.
        width: bytes of the encoding: 1, 2, 4 or 8; None takes the fewest. iasl wants the revision
            of a `_BIX` in a byte, and refuses the opcode Zero there.
    """

    value: int
    width: int | None = None

    def __post_init__(self) -> None:
        whole(self.value, "the integer", "20.2.3")
        bytes(self)

    def __bytes__(self) -> bytes:
        if self.width is None:
            return integer(self.value)
        return prefixed_integer(self.value, self.width)

    def __str__(self) -> str:
        # The opcode Ones is all that AML has for it: the same bits where integers have 64.
        return "Ones" if self.value == _ALL_64 else f"{self.value:#04X}".replace("X", "x")


_ALL_64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Ones(Data):
    """All bits set, as many as the machine's integers have: 32 under QEMU, 64 elsewhere (20.2.3).

    That is what logic opcodes call true, and `Match` not found.
    """

    def __bytes__(self) -> bytes:
        return b"\xff"

    def __str__(self) -> str:
        return "Ones"


@dataclass(frozen=True, slots=True)
class String(Data):
    """Text: ASCII without NUL (20.2.3)."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.isascii() or "\0" in self.text:
            raise AmlError(f"{self.text!r}: a string is ASCII without NUL", "20.2.3")

    def __bytes__(self) -> bytes:
        return b"\x0d" + self.text.encode("ascii") + b"\0"

    def __str__(self) -> str:
        return '"' + "".join(_escaped(char) for char in self.text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\x{ord(char):02X}"


@dataclass(frozen=True, slots=True)
class Buffer(Data):
    """Bytes (DefBuffer, 20.2.5.4).

    Attributes:
        data: what it starts with; zeros follow up to the size.
        size: bytes, computed when it is made if it is an expression; those of `data` if None.
    """

    data: bytes = b""
    size: Value | None = None

    def __post_init__(self) -> None:
        data = _bytes(self.data)
        size = value_of(len(data) if self.size is None else self.size)
        if isinstance(size, Data) and not isinstance(size, Integer):
            raise AmlError(f"{_short(size)} is no size of a buffer", "20.2.5.4")
        if isinstance(size, Integer) and size.value < len(data):
            raise AmlError(f"{len(data)} bytes in a buffer of {size.value}", "20.2.5.4")
        self._set(data=data, size=size)

    @property
    def constant(self) -> bool:
        """Whether its size is known beforehand."""
        return isinstance(self.size, Integer)

    def __bytes__(self) -> bytes:
        body = _encoded(self.size) + self.data
        return b"\x11" + package_length(len(body)) + body

    def __str__(self) -> str:
        head = f"Buffer ({self.size})"
        if not self.data:
            return head + " {}"
        rows = range(0, len(self.data), _HEX_COLUMNS)
        lines = (", ".join(f"0x{b:02X}" for b in self.data[at : at + _HEX_COLUMNS]) for at in rows)
        return braces(head, ",\n".join(lines))


@dataclass(frozen=True, slots=True)
class Package(Data):
    """A list of constants and of references to named objects (DefPackage, 20.2.5.4).

    Attributes:
        items: at most 255.
        size: elements; those behind `items` are uninitialized.
    """

    items: Sequence[Value]
    size: int | None = None

    def __post_init__(self) -> None:
        items = tuple(i if isinstance(i, Ref) else data_of(i) for i in self.items)
        size = len(items) if self.size is None else self.size
        if not len(items) <= whole(size, "the size", "20.2.5.4") <= 255:
            raise AmlError(
                f"{len(items)} elements in a package of {size}: it holds 255 at most",
                "20.2.5.4",
                hint="several packages",
            )
        self._set(items=items, size=size)

    def __bytes__(self) -> bytes:
        body = bytes([self.size or 0]) + b"".join(_encoded(item) for item in self.items)
        return b"\x12" + package_length(len(body)) + body

    def __str__(self) -> str:
        head = f"Package (0x{self.size:02X})"
        if not self.items:
            return head + " {}"
        return braces(head, ",\n".join(str(item) for item in self.items))


_EISA = re.compile(r"[A-Z]{3}[0-9A-F]{4}")


@dataclass(frozen=True, slots=True)
class EisaId(Data):
    """A plug and play id like PNP0C0A, packed into 32 bits."""

    text: str

    def __post_init__(self) -> None:
        if not _EISA.fullmatch(self.text):
            raise AmlError(
                f"{self.text!r} is no EISA id: three letters and four hex digits",
                "6.1.5",
                hint='longer ids like "ACPI0003" are strings',
            )

    def __bytes__(self) -> bytes:
        first, second, third = (ord(c) - 0x40 for c in self.text[:3])
        packed = first << 26 | second << 21 | third << 16 | int(self.text[3:], 16)
        return b"\x0c" + packed.to_bytes(4, "big")

    def __str__(self) -> str:
        return f'EisaId ("{self.text}")'


_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(frozen=True, slots=True)
class Uuid(Data):
    """A UUID in a buffer of 16 bytes; its first three fields are little-endian."""

    text: str

    def __post_init__(self) -> None:
        if not _UUID.fullmatch(self.text):
            raise AmlError(f"{self.text!r} is no UUID", "20.2.3")

    @property
    def data(self) -> bytes:
        """The 16 bytes."""
        first, second, third, *rest = self.text.split("-")
        swapped = (bytes.fromhex(part)[::-1] for part in (first, second, third))
        return b"".join(swapped) + bytes.fromhex("".join(rest))

    def __bytes__(self) -> bytes:
        return bytes(Buffer(self.data))

    def __str__(self) -> str:
        return f'ToUUID ("{self.text}")'


@dataclass(frozen=True, slots=True)
class Ref(Expression):
    r"""A named object, by a path like ``\_SB.PCI0`` or ``^BAT0`` (20.2.2)."""

    path: str

    def __post_init__(self) -> None:
        name_string(self.path)

    def __bytes__(self) -> bytes:
        return name_string(self.path)

    def __str__(self) -> str:
        return self.path


def _encoded(value: Value | None) -> bytes:
    return b"" if value is None else bytes(value_of(value))


def _short(term: Expression) -> str:
    text = " ".join(str(term).split())
    return text if len(text) <= 40 else text[:37] + "..."
