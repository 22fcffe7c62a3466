"""What romkit.acpi raises.

::

    RomError
    └── AcpiError            base
        ├── AmlError         a term that the specification does not allow, refused at construction
        ├── MalformedTable   bytes that are no ACPI table
        └── TooLarge         a table, or all of them, is more than QEMU takes
"""

from __future__ import annotations

from romkit.errors import RomError

#: The edition that the section numbers of all messages refer to.
EDITION = "ACPI 6.5"


class AcpiError(RomError):
    """Base of all errors about ACPI tables and what goes into them."""


class AmlError(AcpiError):
    """A term that cannot be: refused when it is made, not when a guest reads it.

    Attributes:
        section: of the ACPI specification 6.5, like ``20.2.2``.
    """

    def __init__(self, message: str, section: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({EDITION}, {section})", hint=hint)
        self.section = section


class MalformedTable(AcpiError):
    """Bytes that are no ACPI table, or whose header contradicts them."""


class TooLarge(AcpiError):
    """More than fits: into one table, or into the memory that QEMU gives all of them."""
