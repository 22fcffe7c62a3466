"""What a VM asks of the host, memory and files, from its description once that is parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from diag.errors import DiagError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

#: Characters of a VM's description; real ones have 20 000.
MAX_TEXT = 1 << 20

#: libvirt's units (formatdomain, memory): KiB where none is given.
_UNITS = {
    "b": 1, "bytes": 1, "kb": 1000, "k": 1 << 10, "kib": 1 << 10, "mb": 1000**2, "m": 1 << 20,
    "mib": 1 << 20, "gb": 1000**3, "g": 1 << 30, "gib": 1 << 30, "tb": 1000**4, "t": 1 << 40,
    "tib": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,15})\s*([A-Za-z]{0,5})")
#: A file that a QEMU option opens: behind ``file=`` and the like, or alone.
_PATH = re.compile(r"(?:^|[,=])(/[^,\s]{1,4000})")


class NotAVm(DiagError):
    """A text that is neither libvirt's XML of a domain nor a QEMU command line."""


@dataclass(frozen=True, slots=True)
class VmDemand:
    """What a VM needs of its host.

    Attributes:
        name: of the VM; empty if it has none.
        memory: bytes; None where it is not said.
        hugepages: whether its memory shall be huge pages.
        hard_limit: bytes that libvirt lets QEMU lock (``memtune``); None where it is not said.
        hidden_files: files that only QEMU knows of: they stand in ``qemu:commandline``, where
            libvirt's security drivers do not look. All files, where libvirt does not start it.
    """

    name: str = ""
    memory: int | None = None
    hugepages: bool = False
    hard_limit: int | None = None
    hidden_files: tuple[str, ...] = ()


def demand_of_domain(domain: Element, arguments: Sequence[str]) -> VmDemand:
    """The demands of libvirt's VM.

    Args:
        domain: its XML.
        arguments: those for QEMU that stand in it.
    """
    return VmDemand(
        name=(domain.findtext("name") or "").strip(),
        memory=_element_size(domain.find("memory")),
        hugepages=domain.find("memoryBacking/hugepages") is not None,
        hard_limit=_element_size(domain.find("memtune/hard_limit")),
        hidden_files=_paths(arguments),
    )


def demand_of_line(words: Sequence[str]) -> VmDemand:
    """The demands of a VM whose QEMU has these arguments."""
    memory, name, hugepages = None, "", False
    for option, value in pairwise([*words, ""]):
        if option in ("-m", "--m"):
            given = dict(part.partition("=")[::2] for part in value.split(","))
            size = given.get("size") or value.split(",")[0]
            memory = _size(size, "MiB")
        elif option in ("-name", "--name"):
            name = value.removeprefix("guest=").split(",")[0]
        elif option in ("-mem-path", "-object", "--object"):
            hugepages = hugepages or "hugepages" in value or "hugetlb=on" in value
    return VmDemand(name, memory, hugepages, None, _paths(words))


def _size(text: str, unit: str) -> int | None:
    """Bytes; `unit` counts where the text has none of its own."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    factor = _UNITS.get((found[2] or unit).lower())
    return None if factor is None else int(found[1]) * factor


def _element_size(element: Element | None) -> int | None:
    if element is None:
        return None
    return _size(element.text or "", element.get("unit") or "KiB")


def _paths(arguments: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths in options; sysfs is read as root or not at all, and is no file to allow."""
    found = (match[1] for word in arguments for match in _PATH.finditer(word))
    return tuple(dict.fromkeys(path for path in found if not path.startswith(("/sys/", "/proc/"))))
