"""ACPI tables: the header that all share, its checksum, and what is wrong with it.

ACPI 6.5, section 5.2.6. Two structures have no such header: RSDP (5.2.5) and FACS (5.2.10).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from romkit.acpi.errors import AmlError, MalformedTable
from romkit.finding import Evidence, Finding, Severity, Verdict

HEADER_SIZE = 36

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
        return self.signature in ("DSDT", "SSDT", "PSDT", "OSDT")


def parse_table(data: bytes) -> AcpiTable:
    """Read the first table of `data`; what follows it is not looked at.

    Raises:
        MalformedTable: there is no table, or it is longer than `data`.
    """
    from romkit.layout.acpi import DESCRIPTION_HEADER
    from romkit.layout.lens import read

    if data[:8] == b"RSD PTR " or data[:4] == b"FACS":
        name = "an RSDP" if data[:1] == b"R" else "a FACS"
        raise MalformedTable(
            f"{name}, which has no table header", 0, hint="the DSDT or an SSDT of the same machine"
        )
    if len(data) < HEADER_SIZE:
        raise MalformedTable(f"{len(data)} bytes: a table header has {HEADER_SIZE}", 0)
    header = read(DESCRIPTION_HEADER, data, 0, "table header")
    if not all(0x20 < byte < 0x7F for byte in header.signature):
        raise MalformedTable(
            f"no table signature: {header.signature.hex(' ')}",
            0,
            hint="a table as in /sys/firmware/acpi/tables, or what acpixtract writes",
        )
    length = header.length
    if length < HEADER_SIZE:
        raise MalformedTable(f"a table of {length} bytes: its header alone has {HEADER_SIZE}", 4)
    if length > len(data):
        raise MalformedTable(f"a table of {length:#x} bytes, of which {len(data):#x} are here", 4)
    return AcpiTable(
        bytes(data[:length]),
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

    Raises:
        MalformedTable: there is none, or something else follows.
    """
    tables: list[AcpiTable] = []
    at = 0
    while at < len(data) and (not tables or any(data[at : at + HEADER_SIZE])):
        try:
            table = parse_table(data[at:] if at else data)
        except MalformedTable as err:
            offset = None if err.offset is None else err.offset + at
            raise MalformedTable(err.message, offset, hint=err.hint) from None
        tables.append(table)
        at += table.length
    if not tables:
        raise MalformedTable("an empty file", 0)
    return tuple(tables)


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
    fields = ((signature, 4), (oem_id, 6), (oem_table_id, 8))
    for text, size in fields:
        if not text.isascii() or not text.isprintable() or len(text) > size or '"' in text:
            raise AmlError(f"{text!r} is no name of {size} characters", "5.2.6")
    if len(signature) != 4:
        raise AmlError(f"{signature!r}: a signature has four characters", "5.2.6")
    if not (0 <= revision <= 0xFF and 0 <= oem_revision <= 0xFFFFFFFF):
        raise AmlError("a revision has 8 bits, an OEM revision 32", "5.2.6")
    table = bytearray(
        _HEADER.pack(
            signature.encode("ascii"),
            HEADER_SIZE + len(body),
            revision,
            0,
            oem_id.encode("ascii"),
            oem_table_id.encode("ascii"),
            oem_revision,
            _CREATOR,
            _CREATOR_REVISION,
        )
    )
    table += body
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def _text(raw: bytes) -> str:
    text = raw.rstrip(b"\0 ").decode("ascii", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
