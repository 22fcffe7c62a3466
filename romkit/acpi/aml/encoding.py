"""Lengths, names and integers as AML writes them (ACPI 6.5, section 20.2)."""

from __future__ import annotations

import re
from typing import Any

from romkit.acpi.errors import AmlError

_SEGMENT = re.compile(r"[A-Z_][A-Z0-9_]{0,3}")

#: What one package can hold, PkgLength and all: 28 bits.
MAX_PACKAGE = (1 << 28) - 1


def package_length(size: int) -> bytes:
    """PkgLength of a package with `size` bytes behind it; it counts itself (20.2.4).

    Raises:
        AmlError: more than 28 bits can say.
    """
    for width in range(1, 5):
        if size + width <= field_limit(width):
            return field_length(size + width, width)
    raise AmlError(f"a package of {size} bytes: its length has 28 bits", "20.2.4")


def field_limit(width: int) -> int:
    """The largest number that a PkgLength of `width` bytes holds."""
    return 0x3F if width == 1 else (1 << (8 * width - 4)) - 1


def field_length(number: int, width: int | None = None) -> bytes:
    """A number in the form of a PkgLength; of fields it counts bits, and does not count itself.

    Args:
        number: to be encoded.
        width: bytes to use; as few as possible unless told.

    Raises:
        AmlError: more than 28 bits.
    """
    if width is None:
        width = next((w for w in range(1, 5) if number <= field_limit(w)), None)
    if width is None or number < 0:
        raise AmlError(f"a field of {number} bits: its length has 28 bits", "20.2.4")
    if width == 1:
        return bytes([number])
    lead = (width - 1) << 6 | number & 0xF
    return bytes([lead]) + (number >> 4).to_bytes(width - 1, "little")


def name_segment(segment: str) -> bytes:
    """A NameSeg: up to four of A-Z, 0-9 and _, no digit first, filled up with _ (20.2.2).

    Raises:
        AmlError: anything else.
    """
    if not _SEGMENT.fullmatch(segment):
        hint = f"{segment.upper()}?" if _SEGMENT.fullmatch(segment.upper()) else ""
        raise AmlError(
            f"{segment!r} is no name: one to four of A-Z, 0-9 and _, no digit first",
            "20.2.2",
            hint=hint,
        )
    return segment.ljust(4, "_").encode("ascii")


def name_string(path: str) -> bytes:
    r"""A NameString from what ASL would write: ``\_SB.PCI0``, ``^BAT0``, ``FOO`` (20.2.2).

    Raises:
        AmlError: it is none.
    """
    root, rest = (b"\\", path[1:]) if path.startswith("\\") else (b"", path)
    segments = rest.lstrip("^")
    parents = len(rest) - len(segments)
    if root and parents:
        raise AmlError(f"{path!r} goes up from the root", "20.2.2")
    prefix = root or b"^" * parents
    if not segments:
        if not prefix:
            raise AmlError("a name is empty", "20.2.2")
        return prefix + b"\0"
    names = [name_segment(part) for part in segments.split(".")]
    if len(names) > 255:
        raise AmlError(f"a path of {len(names)} names: 255 is the most", "20.2.2")
    if len(names) == 1:
        return prefix + names[0]
    count = b"\x2e" if len(names) == 2 else b"\x2f" + bytes([len(names)])
    return prefix + count + b"".join(names)


def object_name(path: str) -> bytes:
    r"""A NameString that ends in a name, so that there is an object it can be of.

    Raises:
        AmlError: it is none, or only a way to a scope, like ``\\`` and ``^``.
    """
    encoded = name_string(path)
    if encoded.endswith(b"\0"):
        raise AmlError(f"{path!r} leads to a scope and names no object in it", "20.2.2")
    return encoded


def whole(value: Any, what: str, section: str) -> int:
    """A number without a fraction.

    Raises:
        AmlError: it is something else.
    """
    if not isinstance(value, int):
        raise AmlError(f"{what} {value!r} is no whole number", section)
    return value


def integer(value: int) -> bytes:
    """An integer in the fewest bytes (20.2.3). The largest is Ones, which is all bits set.

    Raises:
        AmlError: it is negative, or has more than 64 bits.
    """
    if value < 0 or value >> 64:
        raise AmlError(f"{value:#x}: an integer has 0 to 64 bits and no sign", "20.2.3")
    if value < 2:
        return bytes([value])
    if value == (1 << 64) - 1:
        return b"\xff"
    width = next(w for w in (1, 2, 4, 8) if not value >> 8 * w)
    return prefixed_integer(value, width)


def prefixed_integer(value: int, width: int) -> bytes:
    """An integer with its prefix, in 1, 2, 4 or 8 bytes (20.2.3).

    Raises:
        AmlError: there is no such width, or the value does not fit.
    """
    prefixes = {1: b"\x0a", 2: b"\x0b", 4: b"\x0c", 8: b"\x0e"}
    if width not in prefixes or value < 0 or value >> 8 * width:
        raise AmlError(f"{value:#x} does not fit a constant of {width} bytes", "20.2.3")
    return prefixes[width] + value.to_bytes(width, "little")
