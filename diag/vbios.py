"""Where a GPU's ROM can be had on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from diag.device import PciDevice
from diag.errors import Unreadable
from diag.host import Host
from diag.pci import PciId
from diag.rom_method import plain, read_rom_methods
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
    """What was found.

    Attributes:
        found: the places where it is.
        unread: those that could not be looked at.
        unclear: methods ``_ROM`` of a device that cannot be told.
        others: methods ``_ROM`` of other devices.
    """

    found: tuple[RomSource, ...]
    unread: tuple[Unreadable, ...]
    unclear: tuple[Evidence, ...] = ()
    others: tuple[Evidence, ...] = ()


def find_sources(host: Host, gpu: PciDevice) -> RomSources:
    """Where the ROM of a GPU can be had: its ROM BAR, AMD's VFCT, its ACPI method ``_ROM``.

    The ROM BAR is only counted, not read: that needs it switched on. A method counts where it
    stands at the GPU's own path, as its driver asks for it there.
    """
    found: list[RomSource] = []
    unread: list[Unreadable] = []
    if gpu.rom_size:
        place = f"/sys/bus/pci/devices/{gpu.address}/resource"
        found.append(RomSource("ROM BAR", Evidence(place, f"ROM of {gpu.rom_size} bytes")))
    try:
        if gpu.ids in vfct_ids(host):
            found.append(RomSource("VFCT", Evidence(VFCT, f"a ROM for {gpu.ids}")))
    except Unreadable as error:
        unread.append(error)
    unclear: list[Evidence] = []
    others: list[Evidence] = []
    try:
        methods = read_rom_methods(host) if gpu.acpi_path else ()
    except Unreadable as error:
        unread.append(error)
        methods = ()
    for method in methods:
        whose = f"of {method.device}" if method.device else "of a device that cannot be told"
        seen = Evidence(method.table, f"method _ROM at {method.offset:#x}, {whose}")
        if method.device is None:
            unclear.append(seen)
        elif method.device == plain(gpu.acpi_path or ""):
            found.append(RomSource("_ROM", seen))
        else:
            others.append(seen)
    return RomSources(tuple(found), tuple(unread), tuple(unclear), tuple(others))


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
