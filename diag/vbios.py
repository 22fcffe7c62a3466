"""Where a GPU's ROM can be had on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from diag.device import PciDevice
from diag.errors import Unreadable
from diag.host import Host
from diag.pci import PciId
from romkit.finding import Evidence

TABLES = "/sys/firmware/acpi/tables"
VFCT = f"{TABLES}/VFCT"


@dataclass(frozen=True, slots=True)
class RomSource:
    """One place where a ROM is.

    Attributes:
        name: ``ROM BAR``, ``VFCT`` or ``_ROM``.
        evidence: what was read.
    """

    name: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class RomSources:
    """The places that were found, and those that could not be looked at."""

    found: tuple[RomSource, ...]
    unread: tuple[Unreadable, ...]


def find_sources(host: Host, gpu: PciDevice) -> RomSources:
    """Where the ROM of a GPU can be had: its ROM BAR, AMD's VFCT, an ACPI method ``_ROM``.

    The ROM BAR is only counted, not read: that needs it switched on.
    """
    found: list[RomSource] = []
    unread: list[Unreadable] = []
    if gpu.rom_size:
        place = f"/sys/bus/pci/devices/{gpu.address}/resource"
        found.append(RomSource("ROM BAR", Evidence(place, f"ROM of {gpu.rom_size} bytes")))
    for look in (_in_vfct, _in_methods):
        try:
            source = look(host, gpu)
        except Unreadable as error:
            unread.append(error)
            continue
        if source is not None:
            found.append(source)
    return RomSources(tuple(found), tuple(unread))


def _in_vfct(host: Host, gpu: PciDevice) -> RomSource | None:
    ids = vfct_ids(host)
    if gpu.ids not in ids:
        return None
    return RomSource("VFCT", Evidence(VFCT, f"a ROM for {gpu.ids}"))


def vfct_ids(host: Host) -> tuple[PciId, ...]:
    """The devices that the VFCT has a ROM for; none where there is no such table, or it is broken.

    Raises:
        Unreadable: it is there, and only root may read it.
    """
    data = host.data(VFCT)
    if data is None:
        return ()
    from romkit.entries import vfct_entries
    from romkit.errors import RomError
    from romkit.rom import parse_rom

    try:
        entries = vfct_entries(parse_rom(data))
    except RomError:
        return ()
    return tuple(PciId(e.header.vendor_id, e.header.device_id) for e in entries)


def _in_methods(host: Host, gpu: PciDevice) -> RomSource | None:
    """A ``_ROM`` method in the firmware's tables; which device it is of, a search does not tell.

    A method's name follows its package length, which follows MethodOp (0x14), in one to four bytes
    (ACPI 6.5, 20.2.5.2).
    """
    if not gpu.acpi_path:
        return None
    for table in acpi_tables(host):
        data = host.data(table) or b""
        place = data.find(b"_ROM")
        while place >= 0:
            if 0x14 in data[max(place - 5, 0) : place - 1]:
                return RomSource("_ROM", Evidence(table, f"method _ROM at {place:#x}"))
            place = data.find(b"_ROM", place + 4)
    return None


def acpi_tables(host: Host) -> tuple[str, ...]:
    """The tables that hold code: DSDT and SSDTs, those that were loaded later too.

    Raises:
        Unreadable: they cannot be listed.
    """
    found = []
    for folder in (TABLES, f"{TABLES}/dynamic"):
        names = host.names(folder) or ()
        found += [f"{folder}/{name}" for name in names if name.startswith(("DSDT", "SSDT"))]
    return tuple(found)
