"""Listings of IOMMU groups, in the shapes that people's scripts and tools give them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.pci import ADDRESS, CLASS_NAMES, PciAddress
from diag.text.head import STARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.text.lines import Line

_PATH = re.compile(
    rf"iommu_groups/(\d{{1,6}})/devices/({ADDRESS})(?:\s*#\s*(.{{1,80}}))?", re.ASCII
)
_PATH_HEADING = re.compile(r"\s*\S*iommu_groups/(\d{1,6})/devices/?:\s*$")
_HEADING = re.compile(
    r"[\s#*=_-]{0,80}(?P<iommu>IOMMU[\s_-]+)?Group\s+#?(?P<number>\d{1,6})\b(?P<rest>.*)$",
    re.IGNORECASE,
)
_FIELD = re.compile(r"\s*IOMMU Group:\s*(\d{1,6})\s*$", re.IGNORECASE)
_FIELD_DEVICE = re.compile(rf"\s*Group Device:\s*({ADDRESS})\s*[-:]?\s*(.*)$", re.IGNORECASE)
_ONLY_MARKS = re.compile(r"[\s:#*=_.-]*$")
_IDS_FIRST = re.compile(
    rf"[\s:]*\[(?P<ids>[0-9a-fA-F]{{4}}:[0-9a-fA-F]{{4}})\]\s*(?:\[R\]\s*)?"
    rf"(?P<address>{ADDRESS})\s+(?P<rest>\S.*)$"
)
_INSIDE = re.compile(rf"[\s:|>-]*(?P<head>(?P<address>{ADDRESS})\s.*)$")
_LINK = re.compile(rf".{{0,200}}?\s({ADDRESS}) -> ", re.ASCII)
_COLUMNS = re.compile(r"\s{2,}")
_CELL = re.compile(r"[│|┃]")
_ADDRESS = re.compile(ADDRESS, re.ASCII)
_HEX = re.compile(r"0x([0-9a-fA-F]{4,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Groups:
    """What listings of groups say.

    Attributes:
        members: group number and address, each pair once, in the order of the text.
        hints: what a comment behind a path calls a function: a person's word, not a program's.
        lines: the numbers of the lines that speak of groups.
        rest: all other lines, and each device of a group as a line that lspci could have written.
        format: the shape, in the words of `kinds.FORMATS`.
    """

    members: tuple[tuple[int, PciAddress], ...]
    hints: tuple[tuple[PciAddress, str], ...]
    lines: frozenset[int]
    rest: tuple[Line, ...]
    format: str


class _Reader:
    def __init__(self) -> None:
        self.members: dict[tuple[int, PciAddress], None] = {}
        self.seen: set[PciAddress] = set()
        self.hints: dict[PciAddress, str] = {}
        self.lines: set[int] = set()
        self.rest: list[Line] = []
        self.shapes: dict[str, int] = {}
        self.group: int | None = None
        self.shape = ""
        self.indented: bool | None = None
        self.columns: list[str] = []

    def add(self, group: int, address: str, line: Line, shape: str) -> None:
        place = PciAddress.parse(address)
        self.members.setdefault((group, place))
        self.seen.add(place)
        self.lines.add(line.number)
        self.shapes[shape] = self.shapes.get(shape, 0) + 1

    def read(self, line: Line) -> None:
        if line.command:
            self.leave()
            self.rest.append(line)
            return
        lower = line.text[:400].lower()
        if not (
            ("group" in lower and self.heading(line))
            or (self.group is not None and self.member(line))
            or (_CELL.search(lower) is not None and self.row(line))
        ):
            self.rest.append(line)

    def leave(self) -> None:
        self.group, self.indented, self.columns = None, None, []

    def heading(self, line: Line) -> bool:
        text = line.text
        if "iommu_groups/" in text:
            if path := _PATH.search(text):
                self.add(int(path[1]), path[2], line, "iommu-find")
                if path[3]:
                    self.hints.setdefault(PciAddress.parse(path[2]), path[3])
                return True
            if path := _PATH_HEADING.match(text):
                self.start(int(path[1]), "iommu-find", line)
                return True
            return False
        if field := _FIELD.match(text):
            # lspci -v has the same line inside a device: it counts once a member follows.
            self.leave()
            self.group, self.shape = int(field[1]), "iommu-field"
            return False
        if self.group is not None and (device := _FIELD_DEVICE.match(text)):
            self.add(self.group, device[1], line, "iommu-field")
            self.pass_on(line, f"{device[1]} {device[2]}")
            return True
        found = _HEADING.match(text)
        return found is not None and self.numbered(line, int(found["number"]), found["rest"])

    def numbered(self, line: Line, group: int, rest: str) -> bool:
        """A line that starts with a group's number, and what stands behind it."""
        if first := _IDS_FIRST.match(rest):
            self.start(group, "iommu-lsgroupR", line)
            self.ids_first(line, first)
        elif inside := _INSIDE.match(rest):
            self.start(group, "iommu-line", line)
            self.add(group, inside["address"], line, "iommu-line")
            self.pass_on(line, inside["head"])
        elif _ONLY_MARKS.match(rest) or len(rest) < 60:
            self.start(group, "iommu-indent", line)
        else:
            return False
        return True

    def start(self, group: int, shape: str, line: Line) -> None:
        self.group, self.shape, self.indented = group, shape, None
        self.lines.add(line.number)

    def member(self, line: Line) -> bool:
        """A device on a line of its own, under the heading of its group."""
        assert self.group is not None
        if self.shape == "iommu-field":
            return False
        if first := _IDS_FIRST.match(line.text):
            self.ids_first(line, first)
            return True
        if self.shape == "iommu-find":
            link = _LINK.match(line.text)
            address = link[1] if link else line.text.strip()
            if _ADDRESS.fullmatch(address) is None:
                return False
            self.add(self.group, address, line, self.shape)
            return True
        start = STARTS.match(line.text)
        if start is None:
            return False
        indented = line.text[:1].isspace()
        if PciAddress.parse(start["address"]) in self.seen or (
            self.shape == "iommu-line" and not indented
        ):
            # The next listing has begun: this one names no function twice.
            self.leave()
            return False
        if self.indented is None:
            self.indented = indented
        elif self.indented and not indented:
            self.leave()
            return False
        self.add(self.group, start["address"], line, self.shape)
        self.pass_on(line, line.text)
        return True

    def ids_first(self, line: Line, found: re.Match[str]) -> None:
        """``[ids] [R] address  class  name``: the columns stand apart, or lost their spaces."""
        assert self.group is not None
        self.add(self.group, found["address"], line, "iommu-lsgroupR")
        cells = _COLUMNS.split(found["rest"], maxsplit=1)
        if len(cells) == 1:
            known = (n for n in CLASS_NAMES.values() if found["rest"].startswith(n + " "))
            name = max(known, key=len, default="")
            cells = [name, found["rest"][len(name) :].strip()] if name else ["", cells[0]]
        kind = f"{cells[0]}: " if cells[0] else ""
        self.pass_on(line, f"{found['address']} {kind}{cells[1]} [{found['ids']}]")

    def row(self, line: Line) -> bool:
        """A row of ``pvesh get /nodes/NODE/hardware/pci``; its first row names the columns."""
        cells = [cell.strip() for cell in _CELL.split(line.text)]
        if "iommugroup" in cells:
            self.columns = cells
            self.lines.add(line.number)
            return True
        named = dict(zip(self.columns, cells, strict=False))
        address, group = named.get("id", ""), named.get("iommugroup", "")
        if _ADDRESS.fullmatch(address) is None:
            return False
        digits = {
            name: _HEX.fullmatch(named.get(name, "")) for name in ("class", "vendor", "device")
        }
        code, vendor, device = (found[1][:4] if found else "" for found in digits.values())
        ids = f" [{vendor}:{device}]" if vendor and device else ""
        self.lines.add(line.number)
        if group.isascii() and group.isdigit() and len(group) < 7:
            self.add(int(group), address, line, "iommu-pvesh")
        if code:
            self.pass_on(line, f"{address} [{code}]: {named.get('device_name', '')}{ids}")
        return True

    def pass_on(self, line: Line, text: str) -> None:
        self.rest.append(line._replace(text=text))


def parse_groups(lines: Iterable[Line]) -> Groups:
    """Who is in which group, and the lines that are left for other readers."""
    reader = _Reader()
    for line in lines:
        reader.read(line)
    shape = max(reader.shapes, key=lambda name: reader.shapes[name], default="")
    return Groups(
        tuple(reader.members),
        tuple(reader.hints.items()),
        frozenset(reader.lines if reader.members else ()),
        tuple(reader.rest),
        shape,
    )
