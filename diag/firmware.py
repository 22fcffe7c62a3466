"""The firmware: what machine it says this is, its ACPI tables, Secure Boot and lockdown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diag.errors import Unreadable
from diag.host import Host

DMI = "/sys/class/dmi/id"
TABLES = "/sys/firmware/acpi/tables"
EFI = "/sys/firmware/efi"
#: UEFI 2.10, 3.3: the global variable; four bytes of attributes stand before its one byte.
SECURE_BOOT = f"{EFI}/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
#: Linux, security/lockdown/lockdown.c: the state in use stands in brackets.
LOCKDOWN = "/sys/kernel/security/lockdown"

#: SMBIOS 3.4, 7.4.1: the kinds of chassis that people carry.
_PORTABLE = ("8", "9", "10", "11", "14", "30", "31", "32")

#: EISA id PNP0C0A (ACPI 6.4, 10.2, control method battery), packed as in `EISAID`, and as text.
_BATTERY = (b"\x41\xd0\x0c\x0a", b"PNP0C0A")


@dataclass(frozen=True, slots=True)
class Product:
    """What the firmware says that the machine is (SMBIOS); None where it does not say.

    Serial numbers are left out on purpose.
    """

    vendor: str | None = None
    name: str | None = None
    version: str | None = None
    board: str | None = None
    bios_version: str | None = None
    bios_date: str | None = None
    chassis: str | None = None

    @property
    def portable(self) -> bool | None:
        """Whether it is a laptop or the like; None where the firmware does not say."""
        return None if self.chassis is None else self.chassis in _PORTABLE


def read_product(host: Host) -> Product:
    """The machine's make and model."""
    names = ("sys_vendor", "product_name", "product_version", "board_name")
    more = ("bios_version", "bios_date", "chassis_type")
    return Product(*(_said(host, f"{DMI}/{name}") for name in (*names, *more)))


def _said(host: Host, path: str) -> str | None:
    try:
        return (host.text(path, 256) or "").strip() or None
    except Unreadable:  # some boards' files fail with EIO
        return None


def acpi_tables(host: Host) -> tuple[str, ...] | None:
    """The names of the tables, like DSDT, SSDT3, DMAR; None where there is no ACPI.

    Raises:
        Unreadable: the folder cannot be listed.
    """
    names = host.names(TABLES)
    if names is None:
        return None
    return tuple(name for name in names if name not in ("data", "dynamic"))


def has_table(host: Host, signature: str) -> bool | None:
    """Whether there is a table of a signature; None where there is no ACPI at all.

    DMAR is what an Intel IOMMU is announced by, IVRS an AMD one, VFCT holds an AMD GPU's ROM.

    Raises:
        Unreadable: the folder cannot be listed.
    """
    names = acpi_tables(host)
    return None if names is None else any(name.rstrip("0123456789") == signature for name in names)


def read_definitions(host: Host) -> tuple[tuple[str, bytes], ...]:
    """Path and bytes of the tables that hold code: DSDT, and the SSDTs, also those loaded later.

    Raises:
        Unreadable: they are there and cannot be read: only root may.
    """
    folders = {
        TABLES: acpi_tables(host) or (),
        f"{TABLES}/dynamic": host.names(f"{TABLES}/dynamic"),
    }
    paths = [
        f"{folder}/{name}"
        for folder, names in folders.items()
        for name in names or ()
        if name.startswith(("DSDT", "SSDT"))
    ]
    read = ((path, host.data(path)) for path in paths)
    return tuple((path, data) for path, data in read if data)


def battery_device(host: Host) -> str | None:
    """The table with a battery; None where none of them has one.

    It is a hint: the id is looked for, the code is not run.

    Raises:
        Unreadable: the tables cannot be read: only root may.
    """
    tables = read_definitions(host)
    return next((path for path, data in tables if any(id_ in data for id_ in _BATTERY)), None)


def booted_by_uefi(host: Host) -> bool:
    """Whether UEFI started the kernel; a legacy BIOS leaves no such folder."""
    return host.exists(EFI)


def secure_boot(host: Host) -> bool | None:
    """Whether Secure Boot is on; None where the machine has no such variable.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    data = host.data(SECURE_BOOT, 16)
    return None if data is None or len(data) < 5 else data[4] == 1


def lockdown(host: Host) -> str | None:
    """none, integrity or confidentiality; None where the kernel has no lockdown.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    found = re.search(r"\[(\w+)\]", host.text(LOCKDOWN, 256) or "")
    return found[1] if found else None
