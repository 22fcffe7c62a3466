"""A whole table of AML: header and terms (ACPI 6.5, sections 5.2.6 and 20.2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from romkit.acpi.aml.data import Integer
from romkit.acpi.aml.placement import refuse_misplaced
from romkit.acpi.aml.statements import body_of, listing
from romkit.acpi.aml.term import Term, braces
from romkit.acpi.errors import AmlError
from romkit.acpi.table import AML_SIGNATURES, summed, table_header

#: Who made the table, as its header says.
OEM_ID = "DGPUKT"


@dataclass(frozen=True, slots=True)
class DefinitionBlock:
    """A table of AML.

    Attributes:
        oem_table_id: up to eight characters that tell this table from others.
        body: what it defines.
        signature: SSDT, or DSDT; PSDT and OSDT hold AML too.
        revision: 0 to 255. Of a DSDT, 1 gives the whole machine integers of 32 bits, 2 of 64
            (5.2.11.1).
        oem_id: up to six characters.
        oem_revision: for updates.
        integer_bits: what the machine's DSDT gives. QEMU's is of revision 1, whatever the version
            (5.2 to 10.0 measured): 0x123456789A in any SSDT then reads as 0x3456789A, so it is
            refused.

    Raises:
        AmlError: a header that cannot be, a term that may not stand here, or an integer that would
            be cut.
    """

    oem_table_id: str
    body: Iterable[Term]
    signature: str = "SSDT"
    revision: int = 2
    oem_id: str = OEM_ID
    oem_revision: int = 1
    integer_bits: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", body_of(self.body))
        if self.signature not in AML_SIGNATURES:
            raise AmlError(
                f"a table {self.signature!r} holds no AML",
                "5.2.6",
                hint=", ".join(AML_SIGNATURES),
            )
        self._header(0)
        refuse_misplaced(self.body)
        bits = self.integer_bits
        if bits not in (32, 64):
            raise AmlError(f"integers of {bits!r} bits: they have 32 or 64", "5.2.11.1")
        if self.signature == "DSDT" and self.revision < 2:
            bits = 32
        for term in self.body:
            for part in term.walk():
                if isinstance(part, Integer) and part.value >> bits:
                    raise AmlError(
                        f"{part} would be cut to {bits} bits under a DSDT of revision 1",
                        "5.2.11.1",
                        hint="Ones for all bits, a smaller number, a Buffer, or integer_bits=64 "
                        "for a newer DSDT",
                    )

    def _header(self, size: int) -> bytes:
        return table_header(
            self.signature,
            size,
            revision=self.revision,
            oem_id=self.oem_id,
            oem_table_id=self.oem_table_id,
            oem_revision=self.oem_revision,
        )

    def __bytes__(self) -> bytes:
        body = b"".join(bytes(term) for term in self.body)
        return summed(self._header(len(body)) + body)

    def __str__(self) -> str:
        ids = f'"{self.oem_id}", "{self.oem_table_id}", 0x{self.oem_revision:08X}'
        head = f'DefinitionBlock ("", "{self.signature}", {self.revision}, {ids})'
        return braces(head, listing(self.body)) + "\n"
