"""Arithmetic and logic: opcodes whose value is an integer (ACPI 6.5, 20.2.5.4).

Every class is called as ASL calls it.
"""

from __future__ import annotations

from dataclasses import dataclass

from romkit.acpi.aml.data import Value, value_of
from romkit.acpi.aml.operation import (
    Binary,
    BinaryTo,
    OfPlace,
    Operation,
    Target,
    Unary,
    UnaryTo,
    target,
)


class Add(BinaryTo):
    """Sum; what does not fit is lost."""

    __slots__ = ()
    code = b"\x72"


class Subtract(BinaryTo):
    """Difference; it wraps."""

    __slots__ = ()
    code = b"\x74"


class Multiply(BinaryTo):
    """Product."""

    __slots__ = ()
    code = b"\x77"


class Mod(BinaryTo):
    """Remainder; a divisor of zero is fatal."""

    __slots__ = ()
    code = b"\x85"


@dataclass(frozen=True, slots=True)
class Divide(Operation):
    """Quotient and remainder; a divisor of zero is fatal."""

    code = b"\x78"
    kinds = (value_of, value_of, target, target)
    dividend: Value
    divisor: Value
    remainder: Target | None = None
    quotient: Target | None = None


class Increment(OfPlace):
    """Add one to what is there."""

    __slots__ = ()
    code = b"\x75"


class Decrement(OfPlace):
    """Take one from what is there."""

    __slots__ = ()
    code = b"\x76"


class ShiftLeft(BinaryTo):
    """The left value, shifted."""

    __slots__ = ()
    code = b"\x79"


class ShiftRight(BinaryTo):
    """The left value, shifted."""

    __slots__ = ()
    code = b"\x7a"


class And(BinaryTo):
    """Bitwise and."""

    __slots__ = ()
    code = b"\x7b"


class Nand(BinaryTo):
    """Bitwise not-and."""

    __slots__ = ()
    code = b"\x7c"


class Or(BinaryTo):
    """Bitwise or."""

    __slots__ = ()
    code = b"\x7d"


class Nor(BinaryTo):
    """Bitwise not-or."""

    __slots__ = ()
    code = b"\x7e"


class Xor(BinaryTo):
    """Bitwise exclusive or."""

    __slots__ = ()
    code = b"\x7f"


class Not(UnaryTo):
    """All bits turned."""

    __slots__ = ()
    code = b"\x80"


class FindSetLeftBit(UnaryTo):
    """Number of the highest bit that is set, from 1; 0 if none."""

    __slots__ = ()
    code = b"\x81"


class FindSetRightBit(UnaryTo):
    """Number of the lowest bit that is set, from 1; 0 if none."""

    __slots__ = ()
    code = b"\x82"


class FromBCD(UnaryTo):
    """From binary coded decimal."""

    __slots__ = ()
    code = b"\x5b\x28"


class ToBCD(UnaryTo):
    """To binary coded decimal."""

    __slots__ = ()
    code = b"\x5b\x29"


class LAnd(Binary):
    """Logical and."""

    __slots__ = ()
    code = b"\x90"


class LOr(Binary):
    """Logical or."""

    __slots__ = ()
    code = b"\x91"


class LNot(Unary):
    """Logical not."""

    __slots__ = ()
    code = b"\x92"


class LEqual(Binary):
    """Equal: Ones or Zero."""

    __slots__ = ()
    code = b"\x93"


class LNotEqual(Binary):
    """Not equal."""

    __slots__ = ()
    code = b"\x92\x93"


class LLess(Binary):
    """Less."""

    __slots__ = ()
    code = b"\x95"


class LLessEqual(Binary):
    """Less or equal."""

    __slots__ = ()
    code = b"\x92\x94"


class LGreater(Binary):
    """Greater."""

    __slots__ = ()
    code = b"\x94"


class LGreaterEqual(Binary):
    """Greater or equal."""

    __slots__ = ()
    code = b"\x92\x95"
