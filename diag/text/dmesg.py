"""Kernel logs: dmesg, the journal, /dev/kmsg, pstore, and what QEMU and libvirt say beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.pci import ADDRESS, PciAddress
from diag.text.problems import find_problems

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.text.lines import Line

_PREFIX = re.compile(
    r"\s*(?:"
    r"(?:<\d{1,3}>)?\[\s*\d{1,9}\.\d{1,9}\]"
    r"|<\d{1,3}>"
    r"|\[\w{3} \w{3} +\d{1,2} [\d:]{8} \d{4}\]"
    r"|\w{3,9}\.? +\d{1,2} \d\d:\d\d:\d\d \S{1,80} \S{1,80}:"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,20} "
    r"|\d{1,3},\d{1,12},\d{1,16},[-c+][^;]{0,80};"
    r")\s*"
)
_ADDRESS = re.compile(rf"(?<![0-9a-fA-F:.])({ADDRESS})(?![0-9a-fA-F.])", re.ASCII)
_XID = re.compile(
    r"Xid \(PCI:(?P<bus>(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F])(?:\.[0-7])?\):"
    r" (?P<number>\d{1,6})",
    re.ASCII,
)
_GROUP = re.compile(rf"({ADDRESS}): Adding to iommu group (\d{{1,6}})", re.ASCII)
_COMMAND_LINE = re.compile(r"(?:Kernel c|\bC)ommand line: (.*)$")
#: What an IOMMU's driver says when it starts; that a table exists proves nothing.
_INTEL = re.compile(
    r"DMAR: IOMMU enabled|DMAR-IR: Enabled IRQ remapping|DMAR: dmar\d|DMAR: Intel\(R\) Virtual"
    r"|DMAR-IR: Queued invalidation"
)
_AMD = re.compile(
    r"AMD-Vi: (?:Found IOMMU|Interrupt remapping enabled|IOMMU performance counters supported"
    r"|Lazy IO/TLB flushing enabled|AMD IOMMUv2 driver by|Extended features|Using global IVHD)"
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that announces a problem.

    Attributes:
        number: in the text, from 1.
        problems: their names, in the order of `problems.PROBLEMS`.
        devices: the functions that the line names.
        text: the line without its time and host.
    """

    number: int
    problems: tuple[str, ...]
    devices: tuple[PciAddress, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """What a log says of passthrough.

    Attributes:
        problems: the lines that announce one.
        xids: NVIDIA's error numbers, each once.
        xid_slots: domain, bus and device of the GPUs they speak of; Xids name no function.
        iommu: "intel" or "amd" where the IOMMU's driver started; None: the text does not say.
        members: group number and address, as the kernel announced them.
        command_lines: line number and text of the kernel command lines that it printed.
        lines: the numbers of the lines that are part of a log.
    """

    problems: tuple[LogLine, ...]
    xids: tuple[int, ...]
    xid_slots: tuple[str, ...]
    iommu: str | None
    members: tuple[tuple[int, PciAddress], ...]
    command_lines: tuple[tuple[int, str], ...]
    lines: frozenset[int]


class _Reader:
    def __init__(self) -> None:
        self.problems: list[LogLine] = []
        self.xids: dict[int, None] = {}
        self.slots: dict[str, None] = {}
        self.iommu: str | None = None
        self.members: dict[tuple[int, PciAddress], None] = {}
        self.command_lines: list[tuple[int, str]] = []
        self.lines: set[int] = set()

    def read(self, line: Line, after: Line | None) -> None:
        if "!!! Unknown header" in line.text:
            return  # lspci's own words for what the kernel says too
        prefix = _PREFIX.match(line.text)
        text = line.text[prefix.end() :] if prefix else line.text
        names = find_problems(text)
        if not names and after is not None and prefix is not None:
            names = self.across(text, after)
        if names:
            self.problem(line.number, names, text.strip())
        if prefix is None and not names and not self.wording(text):
            return
        self.lines.add(line.number)
        if group := _GROUP.search(text):
            self.members.setdefault((int(group[2]), PciAddress.parse(group[1])))
        if found := _COMMAND_LINE.search(text):
            self.command_lines.append((line.number, found[1]))
        if self.iommu is None:
            self.iommu = "intel" if _INTEL.search(text) else "amd" if _AMD.search(text) else None

    @staticmethod
    def wording(text: str) -> bool:
        """Whether a line without a time is still the kernel's."""
        return "Adding to iommu group" in text or "DMAR" in text or "AMD-Vi: " in text

    @staticmethod
    def across(text: str, after: Line) -> tuple[str, ...]:
        """Problems whose words something wrapped onto the next line, and that are on neither."""
        if after.command or _PREFIX.match(after.text) or find_problems(after.text):
            return ()
        return find_problems(f"{text[-200:].rstrip()} {after.text[:200].strip()}")

    def problem(self, number: int, names: tuple[str, ...], text: str) -> None:
        devices = dict.fromkeys(PciAddress.parse(found[1]) for found in _ADDRESS.finditer(text))
        for xid in _XID.finditer(text):
            self.xids.setdefault(int(xid["number"]))
            self.slots.setdefault(_slot(xid["bus"]))
            # Newer drivers print a function too: it is part of the Xid, and always 0.
        self.problems.append(LogLine(number, names, tuple(devices), text))


def parse_log(lines: Iterable[Line]) -> Log:
    """The problems and facts of a log; lines that are no log are left out."""
    reader = _Reader()
    line: Line | None = None
    for after in lines:
        if line is not None and not line.command:
            reader.read(line, after)
        line = after
    if line is not None and not line.command:
        reader.read(line, None)
    return Log(
        tuple(reader.problems),
        tuple(reader.xids),
        tuple(reader.slots),
        reader.iommu,
        tuple(reader.members),
        tuple(reader.command_lines),
        frozenset(reader.lines),
    )


def _slot(text: str) -> str:
    return PciAddress.parse(f"{text}.0").slot
