"""The tree that ``lspci -t`` draws."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.pci import PciAddress
from diag.text.device import TextDevice
from diag.text.head import find_ids, without_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.text.lines import Line

_ROOT = re.compile(
    r"[\s|+\\-]{0,64}?[-+\\|]-?\[([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2})(?:-[0-9a-fA-F]{2})?\]"
)
_ART = re.compile(r"[\s|]*(?:[+\\|]-)")
_DEVICE = re.compile(r"([01][0-9a-fA-F])\.([0-7])(?![0-9a-fA-F.])")
_BUS = re.compile(r"-\[([0-9a-fA-F]{2})(?:-[0-9a-fA-F]{2})?\]")
_TO_CHILD = re.compile(r"-{1,4}(?:\+-)?-{0,3}")


@dataclass(frozen=True, slots=True)
class Tree:
    """What a drawn tree says.

    Attributes:
        devices: in the order of the text.
        parents: the bridge above a function, for those that have one in the drawing.
        lines: the numbers of the lines that were understood.
    """

    devices: tuple[TextDevice, ...]
    parents: tuple[tuple[PciAddress, PciAddress], ...]
    lines: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Bus:
    column: int
    domain: int
    bus: int
    bridge: PciAddress | None


class _Reader:
    def __init__(self) -> None:
        self.devices: dict[PciAddress, TextDevice] = {}
        self.parents: dict[PciAddress, PciAddress] = {}
        self.lines: set[int] = set()
        self.open: list[_Bus] = []

    def read(self, line: Line) -> None:
        if line.command:
            self.open.clear()
            return
        text = line.text.expandtabs()
        root = _ROOT.match(text)
        if root is not None:
            self.lines.add(line.number)
            self.open.clear()
            first = PciAddress(int(root[1], 16), int(root[2], 16), 0, 0)
            self.branches(line, text, self.enter(text, root.end(), first, None))
            return
        art = _ART.match(text)
        if art is None or not self.open:
            return
        column = art.end()
        while len(self.open) > 1 and self.open[-1].column > column:
            self.open.pop()
        if self.branches(line, text, column):
            self.lines.add(line.number)

    def enter(
        self, text: str, place: int, on_bus: PciAddress, bridge: PciAddress | None
    ) -> int | None:
        """The column of a bus's functions; None where nothing hangs on it."""
        step = _TO_CHILD.match(text, place)
        if step is None or _DEVICE.match(text, step.end()) is None:
            return None
        self.open.append(_Bus(step.end(), on_bus.domain, on_bus.bus, bridge))
        return step.end()

    def branches(self, line: Line, text: str, column: int | None) -> bool:
        """A function of the innermost open bus, and those that hang on it on the same line."""
        some = False
        while column is not None and (found := _DEVICE.match(text, column)) is not None:
            some, bus = True, self.open[-1]
            address = PciAddress(bus.domain, bus.bus, int(found[1], 16), int(found[2]))
            rest = text[found.end() : found.end() + 400]
            name = rest.strip() if rest.startswith(" ") else ""
            self.devices.setdefault(
                address,
                TextDevice(address, line.number, name=without_ids(name), ids=find_ids(name)),
            )
            if bus.bridge is not None:
                self.parents.setdefault(address, bus.bridge)
            below = _BUS.match(text, found.end())
            if below is None:
                break
            on_bus = PciAddress(bus.domain, int(below[1], 16), 0, 0)
            column = self.enter(text, below.end(), on_bus, address)
        return some


def parse_tree(lines: Iterable[Line]) -> Tree:
    """The functions of a drawn tree, each with the bridge above it."""
    reader = _Reader()
    for line in lines:
        reader.read(line)
    return Tree(
        tuple(reader.devices.values()), tuple(reader.parents.items()), frozenset(reader.lines)
    )
