"""ACPI tables: the header that all share, its checksum, and what is wrong with it.

ACPI 6.5, section 5.2.6. Two structures have no such header: RSDP (5.2.5) and FACS (5.2.10).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from romkit.acpi.errors import AmlError, MalformedTable
from romkit.finding import Evidence, Finding, Severity, Verdict

HEADER_SIZE = 36

#: Whose body is AML (5.2.11; PSDT is of ACPI 1.0, and OSDT for tests).
AML_SIGNATURES = ("SSDT", "DSDT", "PSDT", "OSDT")

#: The most tables in one file. Machines have dozens, OVMF takes 128.
MAX_TABLES = 4096

_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_CREATOR = b"DGPK"
_CREATOR_REVISION = 1


@dataclass(frozen=True, slots=True)
class AcpiTable:
    """One table as it is in memory or in a file.

    Attributes:
        data: the table: as many bytes as its length says.
        signature: four characters: SSDT, DSDT, VFCT ...
        length: bytes, header and all.
        revision: of the table's kind.
        checksum: the byte that makes the sum of all bytes zero.
        oem_id, oem_table_id: whose it is, without the padding.
        oem_revision: of this table.
        creator_id: what made it: INTL is iasl, BXPC QEMU.
        creator_revision: of what made it.
    """

    data: bytes
    signature: str
    length: int
    revision: int
    checksum: int
    oem_id: str
    oem_table_id: str
    oem_revision: int
    creator_id: str
    creator_revision: int

    def __bytes__(self) -> bytes:
        return self.data

    def __repr__(self) -> str:
        return f"AcpiTable({self.signature} {self.oem_table_id!r}, {self.length:#x} bytes)"

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.data[HEADER_SIZE:]

    @property
    def sum8(self) -> int:
        """Sum of all bytes modulo 256: zero in a good table."""
        return sum(self.data) & 0xFF

    @property
    def holds_aml(self) -> bool:
        """Whether the body is AML."""
        return self.signature in AML_SIGNATURES


_SOURCES = "a table as in /sys/firmware/acpi/tables, or what `acpixtract -a` makes of an acpidump"


def parse_table(data: bytes, at: int = 0) -> AcpiTable:
    """Read one table of `data`; what follows it is not looked at.

    Args:
        data: a table, and anything around it.
        at: where it starts.

    Raises:
        MalformedTable: there is no table, or it is longer than `data`. The offset counts from the
            start of `data`.
    """
    from romkit.layout.acpi import DESCRIPTION_HEADER
    from romkit.layout.lens import read

    here = len(data) - at
    if data.startswith((b"RSD PTR ", b"FACS"), at):
        name = "an RSDP" if data.startswith(b"R", at) else "a FACS"
        raise MalformedTable(
            f"{name}, which has no table header", at, hint="the DSDT or an SSDT of the same machine"
        )
    if here < HEADER_SIZE:
        raise MalformedTable(f"{here} bytes: a table header has {HEADER_SIZE}", at, hint=_SOURCES)
    header = read(DESCRIPTION_HEADER, data, at, "table header")
    if not all(0x20 < byte < 0x7F for byte in header.signature):
        raise MalformedTable(f"no table signature: {header.signature.hex(' ')}", at, hint=_SOURCES)
    length = header.length
    if length < HEADER_SIZE:
        raise MalformedTable(
            f"a table of {length} bytes: its header alone has {HEADER_SIZE}", at + 4, hint=_SOURCES
        )
    if length > here:
        raise MalformedTable(
            f"a table of {length:#x} bytes, of which {here:#x} are here",
            at + 4,
            hint="the whole table: this one is cut off",
        )
    return AcpiTable(
        data[at : at + length],
        _text(header.signature),
        length,
        header.revision,
        header.checksum,
        _text(header.oem_id),
        _text(header.oem_table_id),
        header.oem_revision,
        _text(header.creator_id),
        header.creator_revision,
    )


def parse_tables(data: bytes) -> tuple[AcpiTable, ...]:
    """The tables of a file one after another, up to the end or to padding of zeros.

    What follows the padding is not looked at: `verify_rest` says whether there is anything.

    Raises:
        MalformedTable: there is none, something else follows, or there are more than `MAX_TABLES`.
    """
    tables: list[AcpiTable] = []
    at = 0
    while at < len(data) and (not tables or any(data[at : at + HEADER_SIZE])):
        if len(tables) == MAX_TABLES:
            raise MalformedTable(f"more than {MAX_TABLES} tables", at, hint=_SOURCES)
        tables.append(parse_table(data, at))
        at += tables[-1].length
    if not tables:
        raise MalformedTable("an empty file", 0, hint=_SOURCES)
    return tuple(tables)


def verify_rest(data: bytes, tables: Iterable[AcpiTable]) -> tuple[Finding, ...]:
    """What follows the tables of a file and their padding; nothing as a rule.

    Args:
        data: the file.
        tables: what `parse_tables` found in it.
    """
    end = sum(table.length for table in tables)
    padding = len(data) - end - len(data[end:].lstrip(b"\0"))
    rest = len(data) - end - padding
    if not rest:
        return ()
    start = end + padding
    first = data[start : start + 16]
    return (
        Finding(
            "acpi.rest",
            Verdict.FAIL,
            Severity.WARNING,
            "behind the tables",
            f"{rest} bytes at {start:#x}, behind {padding} zeros, were not looked at.",
            (Evidence(f"{start:#x}", first.hex(" ")),),
            "If it is a table, cut it out: `dd bs=1 skip=" + str(start) + "`.",
            "ACPI 6.5, 5.2.6: a table has as many bytes as its header says",
        ),
    )


def verify_table(table: AcpiTable) -> tuple[Finding, ...]:
    """What is wrong with a table's header.

    QEMU is no judge of it: it mends length and checksum of what ``-acpitable`` names, with a
    warning at most. Firmware that gets a table otherwise may refuse it.
    """
    good = table.sum8 == 0
    wanted = (table.checksum - table.sum8) & 0xFF
    return (
        Finding(
            "acpi.checksum",
            Verdict.PASS if good else Verdict.FAIL,
            Severity.BLOCKER,
            table.signature,
            "The bytes sum to zero."
            if good
            else f"The bytes sum to {table.sum8:#04x}: the checksum should be {wanted:#04x}.",
            (Evidence("byte 9", f"{table.checksum:#04x}"),),
            "" if good else "Build the table again; iasl sets the checksum.",
            "ACPI 6.5, 5.2.6",
        ),
    )


def build_table(
    signature: str,
    body: bytes,
    *,
    revision: int,
    oem_id: str,
    oem_table_id: str,
    oem_revision: int = 1,
) -> bytes:
    """A table with its header, checksum set.

    Raises:
        AmlError: a field that does not fit.
    """
    head = table_header(
        signature,
        len(body),
        revision=revision,
        oem_id=oem_id,
        oem_table_id=oem_table_id,
        oem_revision=oem_revision,
    )
    return summed(head + body)


def table_header(
    signature: str,
    size: int,
    *,
    revision: int,
    oem_id: str,
    oem_table_id: str,
    oem_revision: int,
) -> bytes:
    """The header of a table with `size` bytes behind it; its checksum is zero.

    Raises:
        AmlError: a field that does not fit.
    """
    fields = (
        ("a signature", signature, 4),
        ("an OEM id", oem_id, 6),
        ("an OEM table id", oem_table_id, 8),
    )
    for name, text, length in fields:
        if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
            raise AmlError(f"{text!r}: {name} is printable ASCII without quotes", "5.2.6")
        if len(text) > length:
            raise AmlError(f"{text!r}: {name} has {length} characters at most", "5.2.6")
    if len(signature) != 4:
        raise AmlError(f"{signature!r}: a signature has four characters", "5.2.6")
    numbers = (("revision", revision, 8), ("OEM revision", oem_revision, 32))
    for name, number, bits in numbers:
        if not 0 <= number < 1 << bits:
            raise AmlError(f"{name} {number}: it has {bits} bits", "5.2.6")
    if HEADER_SIZE + size >> 32:
        raise AmlError(f"{size} bytes: the length of a table has 32 bits", "5.2.6")
    return _HEADER.pack(
        signature.encode("ascii"),
        HEADER_SIZE + size,
        revision,
        0,
        oem_id.encode("ascii"),
        oem_table_id.encode("ascii"),
        oem_revision,
        _CREATOR,
        _CREATOR_REVISION,
    )


def summed(table: bytes) -> bytes:
    """A table with the checksum that it should have (byte 9: the sum over all is zero)."""
    whole = bytearray(table)
    whole[9] = 0
    whole[9] = -sum(whole) & 0xFF
    return bytes(whole)


def _text(raw: bytes) -> str:
    text = raw.rstrip(b"\0 ").decode("ascii", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
