"""What a table of AML defines, without running it: names in their places (ACPI 6.5, 20.2.5).

Blocks say how long they are, so whatever is not understood can be left out up to the end of the
block around it. Methods are named and not looked into: what follows the name of a method in a call
cannot be told without knowing how many arguments it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from romkit.acpi.aml.fields import Space
from romkit.acpi.aml.objects import ObjectKind
from romkit.acpi.errors import MalformedTable
from romkit.acpi.table import HEADER_SIZE, AcpiTable

#: Blocks within blocks that are followed; real tables have a dozen.
MAX_DEPTH = 64

_TEXT_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Outlined:
    """One definition.

    Attributes:
        offset: bytes from the start of the table.
        depth: how many blocks are around it.
        kind: what it is, as ASL calls it; "?" where the outline of a block ends early.
        path: its name, as it is written there.
        detail: value, size or arguments.
    """

    offset: int
    depth: int
    kind: str
    path: str
    detail: str


#: More definitions than tables of real machines have: the largest have some ten thousand.
MAX_ENTRIES = 1 << 17


def outline(table: AcpiTable, limit: int = MAX_ENTRIES) -> tuple[Outlined, ...]:
    """The definitions of a table in their order; empty for a table without AML.

    Bytes that are no AML end the block in which they are, with a "?" that says so.

    Args:
        table: any.
        limit: how many definitions to name; a "?" stands where it ends early.
    """
    if not table.holds_aml:
        return ()
    found: list[Outlined] = []
    # Blocks within which something is still to be read: where, and up to where.
    open_blocks = [(HEADER_SIZE, table.length)]
    while open_blocks:
        at, end = open_blocks.pop()
        depth = len(open_blocks)
        cursor = _Cursor(table.data, at, end)
        while cursor.at < end:
            start = cursor.at
            if len(found) >= limit:
                return (*found, Outlined(start, depth, "?", "", "more than is outlined"))
            try:
                entry, inside = _definition(cursor, depth)
            except MalformedTable as err:
                found.append(Outlined(start, depth, "?", "", err.message))
                break
            found.append(entry)
            if inside is None:
                continue
            if depth < MAX_DEPTH:
                open_blocks += [(inside[1], end), inside]
                break
            cursor.at = inside[1]
    return tuple(found)


#: More parents than any namespace is deep.
MAX_PARENTS = 255


class _Cursor:
    """Reads forward within one block."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            MalformedTable: the block ends before.
        """
        if self.at + size > self.end:
            raise MalformedTable(
                f"cut off: {size} bytes needed, {self.end - self.at} left", self.at
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def package_end(self) -> int:
        """Where the package ends whose length stands here."""
        start = self.at
        lead = self.byte()
        length = lead & 0x3F
        if lead >> 6:
            length = lead & 0xF | int.from_bytes(self.take(lead >> 6), "little") << 4
        end = start + length
        if not self.at <= end <= self.end:
            raise MalformedTable(f"a package of {length:#x} bytes leaves its block", start)
        return end

    def name(self) -> str:
        """A NameString."""
        prefix = ""
        if self.at < self.end and self.data[self.at] == ord("\\"):
            prefix = chr(self.byte())
        else:
            start = self.at
            while self.at < self.end and self.data[self.at] == ord("^"):
                self.at += 1
            prefix = "^" * (self.at - start)
        if len(prefix) > MAX_PARENTS:
            raise MalformedTable(f"a name {len(prefix)} levels up", self.at)
        lead = self.byte()
        if lead == 0:
            return prefix
        count = {0x2E: 2}.get(lead, 1)
        if lead == 0x2F:
            count = self.byte()
        elif lead != 0x2E:
            self.at -= 1
        segments = [self._segment() for _ in range(count)]
        return prefix + ".".join(segments)

    def _segment(self) -> str:
        raw = self.take(4)
        if not all(0x41 <= b <= 0x5A or 0x30 <= b <= 0x39 or b == 0x5F for b in raw):
            raise MalformedTable(f"no name: {raw.hex(' ')}", self.at - 4)
        return raw.decode("ascii").rstrip("_") or "_"


_HOLDERS = {b"\x10": "Scope", b"\x5b\x82": "Device", b"\x5b\x85": "ThermalZone"}
_HOLDERS |= {b"\x5b\x84": "PowerResource", b"\x5b\x83": "Processor"}
#: Bytes between the name and what is inside.
_HOLDER_EXTRA = {"PowerResource": 3, "Processor": 6}
_FIELDS = {b"\x5b\x81": "Field", b"\x5b\x86": "IndexField", b"\x5b\x87": "BankField"}
_CHOICES = {b"\xa0": "If", b"\xa1": "Else", b"\xa2": "While"}


def _definition(cursor: _Cursor, depth: int) -> tuple[Outlined, tuple[int, int] | None]:
    """The definition here, and the range of what is inside it, if that is outlined too."""
    start = cursor.at
    opcode = cursor.take(1)
    if opcode == b"\x5b":
        opcode += cursor.take(1)
    if opcode in _HOLDERS:
        kind = _HOLDERS[opcode]
        end = cursor.package_end()
        path = cursor.name()
        cursor.take(_HOLDER_EXTRA.get(kind, 0))
        return Outlined(start, depth, kind, path, f"{end - start} bytes"), (cursor.at, end)
    kind, path, detail = _leaf(cursor, opcode)
    return Outlined(start, depth, kind, path, detail), None


def _leaf(cursor: _Cursor, opcode: bytes) -> tuple[str, str, str]:
    if opcode == b"\x14":
        end = cursor.package_end()
        path, flags = cursor.name(), cursor.byte()
        size, cursor.at = end - cursor.at, end
        mode = ", serialized" if flags & 8 else ""
        return "Method", path, f"{flags & 7} arguments{mode}, {size} bytes"
    if opcode == b"\x08":
        path = cursor.name()
        return "Name", path, _value(cursor, path)
    if opcode in _FIELDS:
        end = cursor.package_end()
        path = cursor.name()
        size, cursor.at = end - cursor.at, end
        return _FIELDS[opcode], path, f"{size} bytes"
    if opcode in _CHOICES:
        end = cursor.package_end()
        size, cursor.at = end - cursor.at, end
        return _CHOICES[opcode], "", f"{size} bytes, decided when the table is loaded"
    if opcode == b"\x5b\x80":
        path, space = cursor.name(), cursor.byte()
        place = f"{_value(cursor, '')}, {_value(cursor, '')} bytes"
        return "OperationRegion", path, f"{_member(Space, space)} {place}"
    if opcode == b"\x15":
        path = cursor.name()
        kind, arguments = cursor.byte(), cursor.byte()
        more = f", {arguments} arguments" if kind == ObjectKind.MethodObj.value else ""
        return "External", path, f"{_member(ObjectKind, kind)}{more}"
    if opcode == b"\x06":
        source = cursor.name()
        return "Alias", cursor.name(), f"of {source}"
    if opcode == b"\x5b\x01":
        return "Mutex", cursor.name(), f"level {cursor.byte() & 0xF}"
    if opcode == b"\x5b\x02":
        return "Event", cursor.name(), ""
    raise MalformedTable(
        f"opcode {opcode.hex(' ')}: the rest of this block is not outlined", cursor.at
    )


def _member(names: type[Space | ObjectKind], number: int) -> str:
    try:
        return str(names(number).name)
    except ValueError:
        return f"{number:#04x}"


_INTEGERS = {0x0A: 1, 0x0B: 2, 0x0C: 4, 0x0E: 8}
_CONSTANTS = {0x00: "0", 0x01: "1", 0xFF: "Ones"}
_PACKAGES = {0x11: "Buffer", 0x12: "Package", 0x13: "Package"}


def _value(cursor: _Cursor, path: str) -> str:
    """A constant in a few words."""
    lead = cursor.byte()
    if lead in _CONSTANTS:
        return _CONSTANTS[lead]
    if lead in _INTEGERS:
        raw = cursor.take(_INTEGERS[lead])
        if lead == 0x0C and path in ("_HID", "_CID"):
            return eisa_text(raw)
        return f"{int.from_bytes(raw, 'little'):#x}"
    if lead == 0x0D:
        end = cursor.data.find(b"\0", cursor.at, cursor.end)
        if end < 0:
            raise MalformedTable("a string without an end", cursor.at)
        text = cursor.take(end - cursor.at).decode("ascii", "replace")
        cursor.take(1)
        shown = text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "…"
        return '"' + "".join(c if c.isprintable() else "\ufffd" for c in shown) + '"'
    if lead in _PACKAGES:
        end = cursor.package_end()
        size, cursor.at = end - cursor.at, end
        return f"{_PACKAGES[lead]}, {size} bytes"
    raise MalformedTable(f"a value of opcode {lead:02x}: the rest is not outlined", cursor.at - 1)


def eisa_text(raw: bytes) -> str:
    """The id that four bytes stand for: PNP0C0A (ACPI 6.5, 6.1.5)."""
    packed = int.from_bytes(raw, "big")
    letters = "".join(chr(0x40 + (packed >> shift & 0x1F)) for shift in (26, 21, 16))
    return f"{letters}{packed & 0xFFFF:04X}"
