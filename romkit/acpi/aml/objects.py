"""Named objects: what stands in the namespace (ACPI 6.5, sections 20.2.5.1 and 20.2.5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from romkit.acpi.aml.data import Value, asl_of, data_of
from romkit.acpi.aml.encoding import name_string, object_name, package_length
from romkit.acpi.aml.statements import Break, Continue, While, block, body_of, listing
from romkit.acpi.aml.term import Definition, Term, braces, within
from romkit.acpi.aml.variables import Arg
from romkit.acpi.errors import AmlError


@dataclass(frozen=True, slots=True)
class Name(Definition):
    """A name with a constant."""

    path: str
    value: Value

    def __post_init__(self) -> None:
        object_name(self.path)
        self._set(value=data_of(self.value))

    def __bytes__(self) -> bytes:
        return b"\x08" + name_string(self.path) + bytes(data_of(self.value))

    def __str__(self) -> str:
        return f"Name ({self.path}, {asl_of(self.value)})"


@dataclass(frozen=True, slots=True)
class Alias(Definition):
    """A second name for an object."""

    source: str
    path: str

    def __post_init__(self) -> None:
        bytes(self)

    def __bytes__(self) -> bytes:
        return b"\x06" + object_name(self.source) + object_name(self.path)

    def __str__(self) -> str:
        return f"Alias ({self.source}, {self.path})"


@dataclass(frozen=True, slots=True)
class _Holder(Definition):
    """A name with definitions below it."""

    code: ClassVar[bytes]
    path: str
    body: Iterable[Term]

    def __post_init__(self) -> None:
        # A scope may be the root, or the one around.
        (name_string if isinstance(self, Scope) else object_name)(self.path)
        self._set(body=body_of(self.body))

    def __bytes__(self) -> bytes:
        return block(self.code, name_string(self.path), self.body)

    def __str__(self) -> str:
        return braces(f"{type(self).__name__} ({self.path})", listing(self.body))


class Scope(_Holder):
    """Go to an object that is there, and define things below it."""

    __slots__ = ()
    code = b"\x10"


class Device(_Holder):
    """A device. It must not be there already, not in another table either."""

    __slots__ = ()
    code = b"\x5b\x82"


class ThermalZone(_Holder):
    """A thermal zone."""

    __slots__ = ()
    code = b"\x5b\x85"


@dataclass(frozen=True, slots=True)
class PowerResource(Definition):
    """A power resource.

    Attributes:
        path: its name.
        system_level: the deepest sleep state in which it must stay on.
        order: in which it is turned on, lowest first.
        body: _STA, _ON and _OFF.
    """

    path: str
    system_level: int
    order: int
    body: Iterable[Term]

    def __post_init__(self) -> None:
        object_name(self.path)
        if not (0 <= self.system_level <= 0xFF and 0 <= self.order <= 0xFFFF):
            raise AmlError("a level has 8 bits and an order 16", "20.2.5.2")
        self._set(body=body_of(self.body))

    def __bytes__(self) -> bytes:
        numbers = bytes([self.system_level]) + self.order.to_bytes(2, "little")
        return block(b"\x5b\x84", name_string(self.path) + numbers, self.body)

    def __str__(self) -> str:
        numbers = f"0x{self.system_level:02X}, 0x{self.order:04X}"
        return braces(f"PowerResource ({self.path}, {numbers})", listing(self.body))


@dataclass(frozen=True, slots=True)
class Method(Definition):
    """A control method.

    Attributes:
        path: its name.
        arguments: how many it takes, 0 to 7.
        body: what it does.
        serialized: run by one thread at a time. Needed where it defines names.
        sync_level: 0 to 15; a thread takes mutexes of rising level only.
    """

    path: str
    arguments: int
    body: Iterable[Term]
    serialized: bool = False
    sync_level: int = 0

    def __post_init__(self) -> None:
        object_name(self.path)
        if not (0 <= self.arguments <= 7 and 0 <= self.sync_level <= 15):
            raise AmlError("a method takes 0 to 7 arguments, at level 0 to 15", "20.2.5.2")
        if self.sync_level and not self.serialized:
            raise AmlError("a method that is not serialized has no level", "20.2.5.2")
        self._set(body=body_of(self.body))
        for term in within(self.parts(), Method):
            if isinstance(term, Arg) and term.number >= self.arguments:
                raise AmlError(
                    f"{term} in {self.path}, which takes {self.arguments} arguments", "20.2.5.2"
                )
        if any(isinstance(term, Break | Continue) for term in within(self.parts(), Method, While)):
            raise AmlError(f"{self.path} breaks out of a loop where there is none", "20.2.5.3")

    def __bytes__(self) -> bytes:
        flags = self.arguments | self.serialized << 3 | self.sync_level << 4
        return block(b"\x14", name_string(self.path) + bytes([flags]), self.body)

    def __str__(self) -> str:
        mode = ", Serialized" if self.serialized else ", NotSerialized"
        level = f", {self.sync_level}" if self.sync_level else ""
        return braces(f"Method ({self.path}, {self.arguments}{mode}{level})", listing(self.body))


@dataclass(frozen=True, slots=True)
class Mutex(Definition):
    """A mutex."""

    path: str
    sync_level: int = 0

    def __post_init__(self) -> None:
        object_name(self.path)
        if not 0 <= self.sync_level <= 15:
            raise AmlError(f"level {self.sync_level}: there are 0 to 15", "20.2.5.2")

    def __bytes__(self) -> bytes:
        return b"\x5b\x01" + name_string(self.path) + bytes([self.sync_level])

    def __str__(self) -> str:
        return f"Mutex ({self.path}, 0x{self.sync_level:02X})"


@dataclass(frozen=True, slots=True)
class Event(Definition):
    """An event that can be waited for."""

    path: str

    def __post_init__(self) -> None:
        object_name(self.path)

    def __bytes__(self) -> bytes:
        return b"\x5b\x02" + name_string(self.path)

    def __str__(self) -> str:
        return f"Event ({self.path})"


class ObjectKind(Enum):
    """What an external object is."""

    UnknownObj = 0
    IntObj = 1
    StrObj = 2
    BuffObj = 3
    PkgObj = 4
    FieldUnitObj = 5
    DeviceObj = 6
    EventObj = 7
    MethodObj = 8
    MutexObj = 9
    OpRegionObj = 10
    PowerResObj = 11
    ThermalZoneObj = 13
    BuffFieldObj = 14


@dataclass(frozen=True, slots=True)
class External(Definition):
    """An object that another table defines.

    ASL compilers must be told; AML needs nothing, so nothing is what the encoding is. With
    `opcode` it is what iasl writes for disassemblers: ExternalOp (20.2.5.2) within ``If (Zero)``,
    since interpreters from before ACPI 6.0 do not know the opcode.

    Attributes:
        path: absolute or not.
        kind: what it is.
        arguments: of a method, how many it takes.
        opcode: encode it.
    """

    path: str
    kind: ObjectKind
    arguments: int = 0
    opcode: bool = False

    def __post_init__(self) -> None:
        object_name(self.path)
        if not 0 <= self.arguments <= 7 or (
            self.arguments and self.kind is not ObjectKind.MethodObj
        ):
            raise AmlError(f"{self.arguments} arguments: a method takes 0 to 7", "20.2.5.2")

    def __bytes__(self) -> bytes:
        if not self.opcode:
            return b""
        inside = b"\0\x15" + name_string(self.path) + bytes([self.kind.value, self.arguments])
        return b"\xa0" + package_length(len(inside)) + inside

    def __str__(self) -> str:
        if self.arguments:
            given = ", ".join(["UnknownObj"] * self.arguments)
            return f"External ({self.path}, {self.kind.name}, UnknownObj, {{{given}}})"
        return f"External ({self.path}, {self.kind.name})"
