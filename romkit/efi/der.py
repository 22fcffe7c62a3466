"""A reader for DER (ITU-T X.690), as far as signatures need it.

It never recurses, never copies more than it is asked for, and answers None where an element does
not fit into the one around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
UNIVERSAL_STRING = 0x1C
BMP_STRING = 0x1E
SEQUENCE = 0x30
SET = 0x31
#: Context-specific, constructed: EXPLICIT or IMPLICIT tags 0 and 1.
CONTEXT_0 = 0xA0

#: More children than any structure here has.
MAX_CHILDREN = 64

#: An object identifier of more bytes is none that anybody knows.
_MAX_OID_BYTES = 32


@dataclass(frozen=True, slots=True)
class Element:
    """One element: tag, length, contents.

    Attributes:
        data: the buffer around it.
        tag: the identifier byte; tags of more than one byte are not read.
        start: where the identifier stands in `data`.
        body: where the contents start.
        end: first byte after the contents.
    """

    data: bytes = field(repr=False)
    tag: int
    start: int
    body: int
    end: int

    @property
    def contents(self) -> bytes:
        """The bytes without tag and length."""
        return self.data[self.body : self.end]

    def __bytes__(self) -> bytes:
        return self.data[self.start : self.end]


def read_element(data: bytes, at: int = 0, end: int | None = None) -> Element | None:
    """The element at `at`, or None where there is none before `end`.

    Indefinite lengths (BER) and tags of more than one byte count as none.
    """
    end = len(data) if end is None else min(end, len(data))
    if at < 0 or at + 2 > end or data[at] & 0x1F == 0x1F:
        return None
    size, body = data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or body + count > end:
            return None
        size = int.from_bytes(data[body : body + count], "big")
        body += count
    if body + size > end:
        return None
    return Element(data, data[at], at, body, body + size)


def children(parent: Element | None) -> Iterator[Element]:
    """The elements inside `parent`, at most `MAX_CHILDREN`, up to the first that does not fit."""
    if parent is None:
        return
    at = parent.body
    for _ in range(MAX_CHILDREN):
        element = read_element(parent.data, at, parent.end)
        if element is None:
            return
        yield element
        at = element.end


def descend(parent: Element | None, *tags: int) -> Element | None:
    """The first child of each of `tags` in turn: the first `tags[0]`, in it the first …"""
    for tag in tags:
        parent = next((c for c in children(parent) if c.tag == tag), None)
    return parent


def object_identifier(element: Element | None) -> str:
    """Dotted decimal, or "" where `element` is no object identifier."""
    if element is None or element.tag != OBJECT_IDENTIFIER:
        return ""
    raw = element.contents
    if not 1 <= len(raw) <= _MAX_OID_BYTES or raw[-1] & 0x80:
        return ""
    arcs: list[int] = []
    value = 0
    for byte in raw:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    top = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (top, arcs[0] - 40 * top, *arcs[1:]))


def integer(element: Element | None) -> int | None:
    """A signed integer, or None where `element` is none."""
    if element is None or element.tag != INTEGER or element.body == element.end:
        return None
    return int.from_bytes(element.contents, "big", signed=True)
