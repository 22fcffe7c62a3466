"""Listings of lspci for people: plain, -n, -nn, -k, -v to -vvv, -D, and hex dumps with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diag.config_space import ConfigSpace
from diag.pci import ACS_BITS, Acs, PciAddress
from diag.text.device import TextDevice
from diag.text.head import STARTS, Head, find_ids, parse_head, without_ids
from diag.text.hexdump import join_rows, parse_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.text.lines import Line

#: A body line may be cut off from its indent, and marked by whoever pasted it.
_KEY = re.compile(
    r"[\s>*#'\"|]*(?P<key>Subsystem|Kernel driver in use|Kernel modules|DeviceName|NUMA node|"
    r"IOMMU group|Flags|LnkSta|ACSCap|ACSCtl|Status|Control|Capabilities|Region \d|"
    r"Expansion ROM at|Memory at|I/O ports at|Interrupt|Bus|Latency|Physical Slot)"
    r"(?P<colon>:?)\s*(?P<value>.*)$"
)
_UNKNOWN_HEADER = re.compile(r"\s*!!! Unknown header type")
_HALF_KEY = re.compile(r"\s*Kernel(?: driver(?: in(?: use)?)?)?\s*$")
_POWER = re.compile(r"(D[0-3](?:hot|cold)?)\b")
_SPEED = re.compile(
    r"Speed (?P<speed>[\w./]+(?: \(\w+\))?), Width (?P<width>x\d+(?: \(\w+\))?)", re.ASCII
)
_NODE = re.compile(r"NUMA node:? (\d{1,6})")
_GROUP = re.compile(r"IOMMU group:? (\d{1,6})")
_NUMBER = re.compile(r"\d{1,6}")
_REV_ENDS = re.compile(r"\(rev [0-9a-fA-F]{2}\)")
_EXTENDED_ACS = re.compile(r"\[\w+ v\d+\] Access Control Services")
_BRIDGE_SUBSYSTEM = re.compile(r"\[\w+\] Subsystem:\s*(.*)$")

#: Body keys that each spelling of the command brings.
_WITH_K = {"Subsystem", "Kernel driver in use", "Kernel modules", "DeviceName"}
_WITH_VV = {"Control", "LnkSta", "ACSCap", "ACSCtl", "Status", "Interrupt"}
_COLONLESS = ("Region", "Expansion ROM", "Memory at", "I/O ports")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a reader found.

    Attributes:
        devices: each function once, in the order of the text.
        lines: the numbers of the lines that it understood.
        format: how the listing was made, in the words of `kinds.FORMATS`.
    """

    devices: tuple[TextDevice, ...]
    lines: frozenset[int]
    format: str


@dataclass(slots=True)
class _Stanza:
    """One device while its lines are read."""

    head: Head
    line: int
    commented: bool
    open_key: str = ""
    joins: int = 0
    found: dict[str, object] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    acs: dict[str, int] | None = None

    def device(self) -> TextDevice:
        head = self.head
        values: dict[str, object] = {
            "class_code": head.class_code,
            "class_name": head.class_name,
            "name": head.name,
            "ids": head.ids,
            "revision": head.revision,
            "prog_if": head.prog_if,
            **self.found,
            "modules": tuple(self.modules),
        }
        if self.acs is not None:
            values["acs"] = Acs(self.acs.get("ACSCap"), self.acs.get("ACSCtl"))
        data = join_rows(self.rows)
        if data:
            values["config"] = ConfigSpace(data)
        return TextDevice(head.address, self.line, **values)  # type: ignore[arg-type]  # by name


class _Reader:
    """Goes through the lines once; what a line means depends on the device before it."""

    def __init__(self) -> None:
        self.devices: dict[PciAddress, TextDevice] = {}
        self.lines: set[int] = set()
        self.stanza: _Stanza | None = None
        self.cut: Line | None = None
        self.half_key = ""
        self.keys: set[str] = set()
        self.with_ids = self.with_prog_if = self.with_hex = self.with_names = False

    def close(self) -> None:
        """End the device that was being read."""
        self.cut, self.half_key = None, ""
        if self.stanza is None:
            return
        device = self.stanza.device()
        self.stanza = None
        before = self.devices.get(device.address)
        self.devices[device.address] = device if before is None else before.joined(device)
        self.with_ids |= device.ids is not None
        self.with_names |= device.name is not None or device.class_name is not None
        self.with_prog_if |= device.prog_if is not None
        self.with_hex |= device.config is not None

    def open(self, head: Head, line: Line, *numbers: int) -> None:
        self.close()
        self.stanza = _Stanza(head, line.number, line.commented)
        self.lines.update((line.number, *numbers))

    def read(self, line: Line) -> None:
        if line.command:
            self.close()
            return
        text = line.text
        if self.half_key:
            text, self.half_key = f"{self.half_key} {text.strip()}", ""
        if text[:1].isalnum() or text[:1].isspace():
            start = STARTS.match(text)
            if start is not None:
                head = parse_head(text)
                if head is not None:
                    self.open(head, line)
                else:
                    self.close()
                    self.cut = line
                return
        row = parse_row(text) if ":" in text[:16] else None
        if self.cut is not None:
            cut, self.cut = self.cut, None
            if self.resume(cut, line, in_hex=row is not None) and row is None:
                return
        if self.stanza is None or (line.commented and not self.stanza.commented):
            return
        if row is not None:
            self.stanza.rows.append(row)
            self.lines.add(line.number)
        elif self.body(text) or self.continued(text):
            self.lines.add(line.number)

    def resume(self, cut: Line, line: Line, *, in_hex: bool) -> bool:
        """A line that was an address and not enough behind it, with the line after it."""
        if in_hex:
            start = STARTS.match(cut.text)
            if start is not None:
                self.open(Head(PciAddress.parse(start["address"])), cut)
            return True
        head = parse_head(f"{cut.text.rstrip()} {line.text.strip()}")
        if head is not None:
            self.open(head, cut, line.number)
        return head is not None

    def body(self, text: str) -> bool:
        stanza = self.stanza
        assert stanza is not None
        if "!!!" in text and _UNKNOWN_HEADER.match(text):
            stanza.found["unknown_header"] = True
            return True
        if _HALF_KEY.match(text):
            self.half_key = text.rstrip()
            return True
        found = _KEY.match(text)
        if found is None:
            return False
        key, value = found["key"], found["value"].strip()
        if not found["colon"] and not key.startswith(_COLONLESS):
            return False
        self.keys.add(key)
        stanza.open_key = ""
        self.value(stanza, key, value)
        return True

    def value(self, stanza: _Stanza, key: str, value: str) -> None:
        put = stanza.found.setdefault
        if key == "Subsystem":
            self.subsystem(stanza, value)
        elif key == "Kernel driver in use":
            if driver := _word(value):
                put("driver", driver)
            else:
                stanza.open_key = key
        elif key == "Kernel modules":
            stanza.modules += _names(value)
            stanza.found["modules"] = stanza.modules
            if not value or value.endswith(","):
                stanza.open_key = key
        elif key == "LnkSta":
            if speed := _SPEED.search(value):
                put("link", f"{speed['speed']} {speed['width']}")
        elif key == "Status":
            if power := _POWER.match(value):
                put("power_state", power[1])
        elif key in ("ACSCap", "ACSCtl"):
            stanza.acs = stanza.acs or {}
            stanza.acs.setdefault(key, _bits(value))
        elif key == "Capabilities":
            if _EXTENDED_ACS.match(value):
                stanza.acs = stanza.acs or {}
            elif subsystem := _BRIDGE_SUBSYSTEM.match(value):
                self.subsystem(stanza, subsystem[1])
                stanza.open_key = ""
        elif key in ("NUMA node", "IOMMU group"):
            if number := _NUMBER.match(value):
                put("numa_node" if key == "NUMA node" else "iommu_group", int(number[0]))
        elif key == "Flags":
            if node := _NODE.search(value):
                put("numa_node", int(node[1]))
            if group := _GROUP.search(value):
                put("iommu_group", int(group[1]))

    def subsystem(self, stanza: _Stanza, value: str) -> None:
        ids = find_ids(value)
        if ids is not None:
            stanza.found.setdefault("subsystem", ids)
        else:
            stanza.open_key = "Subsystem"
        if name := without_ids(value):
            stanza.found.setdefault("subsystem_name", name)

    def continued(self, text: str) -> bool:
        """The rest of a line that something wrapped."""
        stanza = self.stanza
        assert stanza is not None
        text = text.strip()
        if stanza.open_key == "Kernel driver in use":
            stanza.found.setdefault("driver", _word(text))
            stanza.open_key = ""
            return True
        if stanza.open_key == "Kernel modules":
            stanza.modules += _names(text)
            stanza.open_key = "Kernel modules" if text.endswith(",") else ""
            return True
        if stanza.open_key == "Subsystem" and find_ids(text) is not None and text.endswith("]"):
            stanza.found.setdefault("subsystem", find_ids(text))
            stanza.open_key = ""
            return True
        if stanza.open_key or self.body_seen(stanza) or stanza.joins >= 2:
            return False
        ends = find_ids(text) is not None or _REV_ENDS.search(text) is not None
        lacks = stanza.head.revision is None and _REV_ENDS.search(text) is not None
        if not (lacks or (not stanza.head.complete and (ends or not stanza.head.text.strip()))):
            return False
        stanza.joins += 1
        head = stanza.head
        joined = f"{head.text.rstrip()} {text}".strip()
        stanza.head = Head(head.address, head.class_code, head.class_name, joined)
        return True

    @staticmethod
    def body_seen(stanza: _Stanza) -> bool:
        return bool(stanza.found or stanza.rows)

    @property
    def format(self) -> str:
        if self.with_hex:
            return "lspci-xxx"
        if self.keys & _WITH_VV or any(key.startswith("Region") for key in self.keys):
            return "lspci-vvv"
        if self.with_prog_if or self.keys - _WITH_K:
            return "lspci-v"
        with_k = bool(self.keys)
        if self.with_ids and not self.with_names:
            return "lspci-nk" if with_k else "lspci-n"
        if with_k:
            return "lspci-nnk" if self.with_ids else "lspci-k"
        return "lspci-nn" if self.with_ids else "lspci-plain"


def parse_lspci(lines: Iterable[Line]) -> Listing:
    """The devices of a listing; lines that belong to none are left out."""
    reader = _Reader()
    for line in lines:
        reader.read(line)
    reader.close()
    return Listing(tuple(reader.devices.values()), frozenset(reader.lines), reader.format)


def _word(value: str) -> str:
    word = value.split(maxsplit=1)[0] if value.strip() else ""
    return word.strip("'\"*`,;")


def _names(value: str) -> tuple[str, ...]:
    return tuple(name for part in value.split(",") if (name := _word(part)))


def _bits(value: str) -> int:
    names = set(value.split())
    return sum(bit for bit, name in ACS_BITS.items() if f"{name}+" in names)
