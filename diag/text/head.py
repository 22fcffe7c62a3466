"""The first line of a device in every listing of lspci's family."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diag.pci import ADDRESS, PciAddress, PciClass, PciId

#: An address, and what follows it.
STARTS = re.compile(rf"\s*(?P<address>{ADDRESS})(?![0-9a-fA-F:.])(?:\s+(?P<rest>\S.*))?$", re.ASCII)

_IDS = re.compile(r"\[([0-9a-fA-F]{4}:[0-9a-fA-F]{4})\]")
#: What lspci prints for a device whose vendor it does not know either.
_NAMELESS = re.compile(r"\bDevice ([0-9a-fA-F]{4}:[0-9a-fA-F]{4})(?![0-9a-fA-F:])")
_BARE = re.compile(r"([0-9a-fA-F]{4}:[0-9a-fA-F]{4})(?![0-9a-fA-F:])")
_REVISION = re.compile(r"\(rev ([0-9a-fA-F]{2})\)")
_PROG_IF = re.compile(r"\(prog-if ([0-9a-fA-F]{2})\b")
_TAIL = re.compile(r"\((?:rev|prog-if) ")
_CODED = re.compile(r"(?P<name>[^\[\]:\"]{0,80})\[(?P<code>[0-9a-fA-F]{4})\]:?\s*(?P<text>.*)$")
_NUMERIC = re.compile(
    r"(?:Class )?(?P<code>[0-9a-fA-F]{4}): (?P<text>[0-9a-fA-F]{4}:[0-9a-fA-F]{4}\b.*)$"
)
_NAMED = re.compile(r"(?P<name>[A-Z0-9][^:\[\]\"]{1,79}):(?:\s+(?P<text>.*))?$")


@dataclass(frozen=True, slots=True)
class Head:
    """What the first line says. None: it does not say."""

    address: PciAddress
    class_code: PciClass | None = None
    class_name: str | None = None
    text: str = ""

    @property
    def ids(self) -> PciId | None:
        """Vendor and device."""
        return find_ids(self.text)

    @property
    def name(self) -> str | None:
        """Vendor and device in words."""
        tail = None if _IDS.search(self.text) else _TAIL.search(self.text)
        return without_ids(self.text[: tail.start()] if tail else self.text)

    @property
    def revision(self) -> int | None:
        """The last revision on the line: names may hold parentheses too."""
        found = _REVISION.findall(self.text)
        return int(found[-1], 16) if found else None

    @property
    def prog_if(self) -> int | None:
        """Programming interface, which -v prints."""
        found = _PROG_IF.search(self.text)
        return int(found[1], 16) if found else None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that the line itself announces."""
        if not self.text.strip():
            return False
        return self.class_code is None or self.ids is not None


def parse_head(text: str) -> Head | None:
    """The first line of a device; None if it is none."""
    start = STARTS.match(text)
    if start is None or start["rest"] is None:
        return None
    address, rest = PciAddress.parse(start["address"]), start["rest"]
    if numeric := _NUMERIC.match(rest):
        return Head(address, PciClass.parse(numeric["code"]), None, numeric["text"])
    if coded := _CODED.match(rest):
        name = coded["name"].strip()
        return Head(address, PciClass.parse(coded["code"]), name or None, coded["text"])
    if named := _NAMED.match(rest):
        return Head(address, None, named["name"].strip(), named["text"] or "")
    return None


def find_ids(text: str) -> PciId | None:
    """The ids that a name ends with: the last in brackets, or bare ones where there is no name."""
    found = _IDS.findall(text) or _NAMELESS.findall(text)
    if found:
        return PciId.parse(found[-1])
    bare = _BARE.match(text.strip())
    return PciId.parse(bare[1]) if bare else None


def without_ids(text: str) -> str | None:
    """A name without the ids behind it; None where nothing is left."""
    found = list(_IDS.finditer(text))
    name = (text[: found[-1].start()] if found else text).strip()
    return name if name and _BARE.fullmatch(name) is None else None
