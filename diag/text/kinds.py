"""What a text is: the formats that are known, and which of them a reading found."""

from __future__ import annotations

from dataclasses import dataclass

#: Every format, with what it is in words.
FORMATS = {
    "lspci-plain": "lspci",
    "lspci-n": "lspci -n",
    "lspci-nn": "lspci -nn",
    "lspci-k": "lspci -k",
    "lspci-nk": "lspci -nk",
    "lspci-nnk": "lspci -nnk",
    "lspci-v": "lspci -v",
    "lspci-vvv": "lspci -vv or -vvv",
    "lspci-xxx": "lspci with a hex dump",
    "lspci-vmm": "lspci -vmm",
    "lspci-mm": "lspci -mm",
    "lspci-tv": "lspci -tv",
    "iommu-line": "IOMMU groups, one line a device",
    "iommu-indent": "IOMMU groups, devices under each group",
    "iommu-lsgroupR": "IOMMU groups, ids before addresses",
    "iommu-field": "IOMMU groups, one field a line",
    "iommu-find": "paths in /sys/kernel/iommu_groups",
    "iommu-pvesh": "devices of a Proxmox node",
    "dmesg": "kernel log",
    "cmdline": "kernel command line",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of text in what was pasted.

    Attributes:
        format: a key of `FORMATS`.
        first_line: where it begins, from 1.
        lines: how many lines of the text are of this kind.
    """

    format: str
    first_line: int
    lines: int

    @classmethod
    def of(cls, name: str, numbers: frozenset[int]) -> Part:
        """A part of these lines, of which there is at least one."""
        return cls(name, min(numbers), len(numbers))

    @property
    def title(self) -> str:
        """What it is, in words."""
        return FORMATS[self.format]
