"""The SMBIOS structure that says what kind of machine this is: notebook, for mobile drivers.

QEMU's ``-smbios type=3`` has no key for the kind, but ``-smbios file=`` takes a structure as it is,
and leaves its own out. Measured with QEMU 7.2 and 10.0 under SeaBIOS and OVMF.
"""

from __future__ import annotations

import struct

from romkit.acpi.errors import AcpiError

#: Kinds of machines (SMBIOS 3.6, table 17). NVIDIA's open module takes 9 and 10 for a notebook.
CHASSIS = {
    "desktop": 3,
    "tower": 7,
    "portable": 8,
    "laptop": 9,
    "notebook": 10,
    "all-in-one": 13,
    "sub-notebook": 14,
    "tablet": 30,
    "convertible": 31,
    "detachable": 32,
}

_HANDLE = 0x0300
_SAFE = 3
_UNKNOWN = 2


def chassis_structure(kind: str = "notebook", *, manufacturer: str = "QEMU") -> bytes:
    """A system enclosure structure, type 3 (SMBIOS 3.6, section 7.4).

    Args:
        kind: a key of `CHASSIS`.
        manufacturer: text for those who ask.

    Raises:
        AcpiError: there is no such kind, or the text is not ASCII.
    """
    if kind not in CHASSIS:
        raise AcpiError(f"no chassis {kind!r}", hint=", ".join(CHASSIS))
    if not (manufacturer and manufacturer.isascii() and manufacturer.isprintable()):
        raise AcpiError(f"{manufacturer!r}: a manufacturer is printable ASCII")
    # Type, length, handle, manufacturer (string 1), kind, version, serial, asset tag; states of
    # boot, supply and heat, security; OEM, height, cords, contained elements and their size, SKU.
    fields = struct.pack(
        "<BBHBBBBBBBBBIBBBBB",
        *(3, 0x16, _HANDLE, 1, CHASSIS[kind], 0, 0, 0),
        *(_SAFE, _SAFE, _SAFE, _UNKNOWN, 0, 0, 0, 0, 0, 0),
    )
    return fields + manufacturer.encode("ascii") + b"\0\0"
