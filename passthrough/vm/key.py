"""Keys of a profile: the one place that says of each what it is, what is allowed, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from passthrough.vm.kinds import Kind

T = TypeVar("T")

#: Where a key has its effect.
BUILT, HOST_FILES = "the VM", "its files"
LAUNCHED, INSTALLED = "passthrough launch", "passthrough install"


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        name: as TOML has it.
        kind: what it may be.
        default: its value where it is not given.
        about: what it does, for documentation and template.
        example: a value as TOML writes it, to start from.
        required: whether it must be given.
        where: who follows it: the VM as it is built, a command.
    """

    name: str
    kind: Kind[Any]
    default: Any
    about: str
    example: str
    required: bool
    where: str


def key(
    kind: Kind[T],
    default: T,
    about: str,
    *,
    example: str = "",
    required: bool = False,
    where: str = BUILT,
) -> T:
    """A field of a section that is a key; the arguments are those of `Key`."""
    metadata = {"kind": kind, "about": about, "example": example, "required": required,
                "where": where}  # fmt: skip
    made: T = field(default=default, metadata=metadata)
    return made


def keys_of(section: type[Any]) -> Iterator[Key]:
    """The keys of a section, in order."""
    for item in dataclasses.fields(section):
        if "kind" in item.metadata:
            yield Key(item.name, default=item.default, **item.metadata)
