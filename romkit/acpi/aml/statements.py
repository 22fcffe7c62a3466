"""What a method does beside computing (ACPI 6.5, section 20.2.5.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from romkit.acpi.aml.data import Integer, Ones, Value, asl_of, value_of
from romkit.acpi.aml.encoding import package_length
from romkit.acpi.aml.operation import Operation, Target, place
from romkit.acpi.aml.term import Definition, Statement, Term, braces
from romkit.acpi.aml.variables import Call
from romkit.acpi.errors import AmlError


def body_of(terms: Iterable[Term]) -> tuple[Term, ...]:
    """What may stand in a block: definitions, statements, and opcodes or calls for their effect.

    Raises:
        AmlError: a value on its own, or no term at all.
    """
    body = tuple(terms)
    for term in body:
        if not isinstance(term, Definition | Statement | Operation | Call):
            raise AmlError(
                f"{type(term).__name__} on its own does nothing",
                "20.2.5",
                hint="Return (...) or Store (..., ...) it; Call (path) for a method",
            )
    return body


def block(code: bytes, head: bytes, body: Iterable[Term]) -> bytes:
    """An opcode with a PkgLength: its own operands, then what it holds."""
    inside = head + b"".join(bytes(term) for term in body)
    return code + package_length(len(inside)) + inside


def listing(body: Iterable[Term]) -> str:
    """ASL of terms below each other."""
    return "\n".join(str(term) for term in body)


@dataclass(frozen=True, slots=True)
class If(Statement):
    """Do one thing or another.

    Attributes:
        predicate: an integer; all but zero is true.
        body: what to do then.
        orelse: what to do else; nothing if empty.
    """

    predicate: Value
    body: Iterable[Term]
    orelse: Iterable[Term] = ()

    def __post_init__(self) -> None:
        body, orelse = body_of(self.body), body_of(self.orelse)
        self._set(predicate=value_of(self.predicate), body=body, orelse=orelse)

    def __bytes__(self) -> bytes:
        then = block(b"\xa0", bytes(value_of(self.predicate)), self.body)
        return then + (block(b"\xa1", b"", self.orelse) if self.orelse else b"")

    def __str__(self) -> str:
        then = braces(f"If ({asl_of(self.predicate)})", listing(self.body))
        return then + ("\n" + braces("Else", listing(self.orelse)) if self.orelse else "")


@dataclass(frozen=True, slots=True)
class While(Statement):
    """Do something again and again, as long as the predicate is not zero."""

    predicate: Value
    body: Iterable[Term]

    def __post_init__(self) -> None:
        self._set(predicate=value_of(self.predicate), body=body_of(self.body))

    def __bytes__(self) -> bytes:
        return block(b"\xa2", bytes(value_of(self.predicate)), self.body)

    def __str__(self) -> str:
        return braces(f"While ({asl_of(self.predicate)})", listing(self.body))


@dataclass(frozen=True, slots=True)
class _Plain(Statement):
    """An opcode alone."""

    code: ClassVar[bytes]

    def __bytes__(self) -> bytes:
        return self.code

    def __str__(self) -> str:
        return type(self).__name__


class Break(_Plain):
    """Leave the innermost While."""

    __slots__ = ()
    code = b"\xa5"


class Continue(_Plain):
    """Go on with the next round of the innermost While."""

    __slots__ = ()
    code = b"\x9f"


class Noop(_Plain):
    """Nothing."""

    __slots__ = ()
    code = b"\xa3"


@dataclass(frozen=True, slots=True)
class _OfValue(Statement):
    """An opcode with one value."""

    code: ClassVar[bytes]
    value: Value

    def __post_init__(self) -> None:
        self._set(value=value_of(self.value))

    def __bytes__(self) -> bytes:
        return self.code + bytes(value_of(self.value))

    def __str__(self) -> str:
        return f"{type(self).__name__} ({asl_of(self.value)})"


class Return(_OfValue):
    """End the method with this value."""

    __slots__ = ()
    code = b"\xa4"


class Sleep(_OfValue):
    """Wait so many milliseconds and let others run."""

    __slots__ = ()
    code = b"\x5b\x22"


#: Microseconds; Linux warns of more, Windows gives the method up beyond 255.
LONGEST_STALL = 100


class Stall(_OfValue):
    """Wait so many microseconds, 100 at most, and let nobody run."""

    __slots__ = ()
    code = b"\x5b\x21"

    def __post_init__(self) -> None:
        time = value_of(self.value)
        if isinstance(time, Ones) or (isinstance(time, Integer) and time.value > LONGEST_STALL):
            raise AmlError(
                f"Stall ({time}): {LONGEST_STALL} µs is the longest", "19.6", hint="Sleep (1)"
            )
        self._set(value=time)


@dataclass(frozen=True, slots=True)
class _OfPlace(Statement):
    """An opcode with one object."""

    code: ClassVar[bytes]
    object: Target

    def __post_init__(self) -> None:
        self._set(object=place(self.object))

    def __bytes__(self) -> bytes:
        return self.code + bytes(place(self.object))

    def __str__(self) -> str:
        return f"{type(self).__name__} ({self.object})"


class Release(_OfPlace):
    """Give a mutex back."""

    __slots__ = ()
    code = b"\x5b\x27"


class Signal(_OfPlace):
    """Let one event happen."""

    __slots__ = ()
    code = b"\x5b\x24"


class Reset(_OfPlace):
    """Forget that an event happened."""

    __slots__ = ()
    code = b"\x5b\x26"


@dataclass(frozen=True, slots=True)
class Notify(Statement):
    """Tell the system about a device: 0x80 its state changed, 0x81 its information."""

    object: Target
    value: Value

    def __post_init__(self) -> None:
        self._set(object=place(self.object), value=value_of(self.value))

    def __bytes__(self) -> bytes:
        return b"\x86" + bytes(place(self.object)) + bytes(value_of(self.value))

    def __str__(self) -> str:
        return f"Notify ({self.object}, {asl_of(self.value)})"
