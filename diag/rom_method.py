"""Methods ``_ROM`` in the firmware's tables, and whose they are.

The tables are not run: a method in a branch that is decided when the table is loaded, or behind
bytes that are not understood, is seen, and whose it is cannot be told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.firmware import read_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.host import Host

_ROM = b"_ROM"

#: MethodOp, a package length, and a name that ends in _ROM (ACPI 6.5, 20.2.5.2, 20.2.4, 20.2.2).
_METHOD = re.compile(
    rb"\x14(?:[\x00-\x3f]|[\x40-\x4f].|[\x80-\x8f]..|[\xc0-\xcf]...)"
    rb"(?:\\|\^*)(?:\x2e[A-Z_][A-Z0-9_]{3}|\x2f.(?:[A-Z_][A-Z0-9_]{3}){1,16})?_ROM",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RomMethod:
    """A method that hands out a ROM.

    Attributes:
        table: where it stands.
        offset: of its name in that table, bytes.
        device: the path of its device, without padding, like ``\\_SB.PCI0.PEG0.PEGP``; None where
            that cannot be told.
    """

    table: str
    offset: int
    device: str | None


def read_rom_methods(host: Host) -> tuple[RomMethod, ...]:
    """All that stand in the tables.

    Raises:
        Unreadable: the tables cannot be read: only root may.
    """
    found = []
    for path, data in read_definitions(host):
        if _ROM not in data:  # so it is with nearly all of them, and reading one takes a while
            continue
        owners = dict(_owners(data))
        for seen in _METHOD.finditer(data):
            name = seen.end() - len(_ROM)
            found.append(RomMethod(path, name, owners.get(name)))
    return tuple(found)


def plain(path: str) -> str:
    """A path in the firmware's namespace without the padding of its parts."""
    root = "\\" if path.startswith("\\") else ""
    parts = path.removeprefix("\\").split(".")
    return root + ".".join(part.rstrip("_") or "_" for part in parts)


def _owners(data: bytes) -> Iterator[tuple[int, str | None]]:
    """Offset of the name of each method ``_ROM`` whose place is known → path of its device."""
    from romkit.acpi.outline import outline
    from romkit.acpi.table import parse_table
    from romkit.errors import RomError

    try:
        entries = outline(parse_table(data))
    except RomError:  # a table that says too much of itself: its names are in it all the same
        return
    # The blocks around what is read, from the outside: their paths, None where one is not known.
    around: list[str | None] = []
    for entry in entries:
        del around[entry.depth :]
        scope = around[-1] if around else "\\"
        if entry.kind == "Method":
            place = _resolved(scope, entry.path)
            if place is not None and place.endswith("._ROM"):
                yield data.find(_ROM, entry.offset), place.removesuffix("._ROM")
            continue
        searched = entry.kind == "Scope" and "." not in entry.path and entry.path[:1] not in "\\^"
        # A bare name is looked for upwards (5.3), and what is above is not all in this table.
        around.append(None if searched and around else _resolved(scope, entry.path))


def _resolved(scope: str | None, name: str) -> str | None:
    """The full path of a name that is written in `scope`; None where that is not known."""
    if name.startswith("\\"):
        return name
    if scope is None:
        return None
    parts = [part for part in scope.removeprefix("\\").split(".") if part]
    rest = name.lstrip("^")
    up = len(name) - len(rest)
    if up > len(parts):
        return None
    return "\\" + ".".join([*parts[: len(parts) - up], *([rest] if rest else [])])
