"""Numbers of resource descriptors, checked (ACPI 6.5, section 6.4)."""

from __future__ import annotations

from collections.abc import Iterable

from romkit.acpi.aml.encoding import whole
from romkit.acpi.errors import AmlError


def number(value: int, width: int, what: str, section: str) -> bytes:
    """So many bytes of a number.

    Raises:
        AmlError: it does not fit.
    """
    if whole(value, what, section) < 0 or value >> 8 * width:
        raise AmlError(f"{what} {value:#x} does not fit {width} bytes", section)
    return value.to_bytes(width, "little")


def once_each(numbers: Iterable[int], limit: int, what: str, section: str) -> tuple[int, ...]:
    """The numbers in their order.

    Raises:
        AmlError: one is not below `limit`, or is there twice.
    """
    listed = tuple(numbers)
    for value in listed:
        if not 0 <= whole(value, what, section) < limit:
            raise AmlError(f"{what} {value}: there are 0 to {limit - 1}", section)
        if listed.count(value) > 1:
            raise AmlError(f"{what} {value} is there twice", section)
    return listed


def bit_mask(numbers: Iterable[int]) -> int:
    """A number with these bits set."""
    return sum(1 << value for value in numbers)


def shown(numbers: Iterable[int]) -> str:
    """A list of ASL."""
    return "{" + ", ".join(str(value) for value in sorted(numbers)) + "}"
