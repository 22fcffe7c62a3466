"""The common shape of opcodes: a code, then operands (ACPI 6.5, section 20.2.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

from romkit.acpi.aml.data import Ref, Value, value_of
from romkit.acpi.aml.term import Expression, Term
from romkit.acpi.errors import AmlError

#: Checks one operand and gives the term that it is.
Kind: TypeAlias = Callable[[Any], Term | None]


class Place(Expression):
    """What can be stored to, and is no name (SuperName, 20.2.2)."""

    __slots__ = ()


#: A name, or what can be stored to.
Target: TypeAlias = Place | Ref | str


def place(value: Target) -> Expression:
    """What can be stored to; text is the path of a name.

    Raises:
        AmlError: it is a value.
    """
    if isinstance(value, str):
        return Ref(value)
    if not isinstance(value, Place | Ref):
        raise AmlError(f"nothing can be stored to {type(value).__name__}", "20.2.2")
    return value


def target(value: Target | None) -> Expression | None:
    """Where a result goes, or nowhere."""
    return None if value is None else place(value)


class Operation(Expression):
    """An opcode with operands in their order. A concrete one has a `code`, and is called in ASL
    as its class is.
    """

    __slots__ = ()
    code: ClassVar[bytes]
    kinds: ClassVar[tuple[Kind, ...]]

    def __post_init__(self) -> None:
        for field, kind in zip(fields(self), self.kinds, strict=True):  # type: ignore[arg-type]  # a dataclass
            self._set(**{field.name: kind(getattr(self, field.name))})

    def _operands(self) -> list[Term | None]:
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]  # a dataclass

    def __bytes__(self) -> bytes:
        # A missing target is the NullName, a byte of zero.
        return self.code + b"".join(
            b"\0" if operand is None else bytes(operand) for operand in self._operands()
        )

    def __str__(self) -> str:
        shown = ["" if operand is None else str(operand) for operand in self._operands()]
        while shown and not shown[-1]:
            shown.pop()
        return f"{type(self).__name__} ({', '.join(shown)})"


class PlaceOperation(Operation, Place):
    """An opcode whose result can be stored to."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Unary(Operation):
    """One value."""

    kinds = (value_of,)
    operand: Value


@dataclass(frozen=True, slots=True)
class OfPlace(Operation):
    """One name, Local, Arg or the like."""

    kinds = (place,)
    operand: Target


@dataclass(frozen=True, slots=True)
class UnaryTo(Operation):
    """One value, and where the result goes besides."""

    kinds = (value_of, target)
    operand: Value
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Binary(Operation):
    """Two values."""

    kinds = (value_of, value_of)
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class BinaryTo(Operation):
    """Two values, and where the result goes besides."""

    kinds = (value_of, value_of, target)
    left: Value
    right: Value
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Copy(Operation):
    """A value and where it goes."""

    kinds = (value_of, place)
    source: Value
    target: Target
