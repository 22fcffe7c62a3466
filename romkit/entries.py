"""The entries of a VFCT table, each with the ROM that it holds."""

from __future__ import annotations

from dataclasses import dataclass

from romkit.container import ContainerKind, VfctImage
from romkit.rom import Rom
from romkit.tail import TailKind


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a VFCT.

    Attributes:
        number: from 0 on, in file order.
        header: the device it is for, and where its ROM lies.
        rom: its ROM; None where nothing in it can be read as one.
        base: what to add to an offset in `rom` to get the offset in the file, bytes.
    """

    number: int
    header: VfctImage
    rom: Rom | None
    base: int

    @property
    def title(self) -> str:
        """Number and device, e.g. "VFCT entry 1 (01:00.0 1002:7340)"."""
        own = self.header
        place = f"{own.pci_bus:02x}:{own.pci_device:02x}.{own.pci_function:x}"
        return f"VFCT entry {self.number} ({place} {own.vendor_id:04x}:{own.device_id:04x})"


def vfct_entries(rom: Rom) -> tuple[Entry, ...]:
    """The entries of the VFCT around `rom`; empty where it is in none.

    Left out are entries that hold no bytes: some tables end with one.
    """
    around = rom.container
    if around is None or around.kind is not ContainerKind.VFCT:
        return ()
    parts = {part.rom_offset: part for part in rom.tail or () if part.kind is TailKind.VFCT_IMAGE}
    found: list[Entry] = []
    for header in around.vfct_images:
        if not header.image_length:
            continue
        inside: Rom | None = None
        base = 0
        if header.rom_offset == rom.rom_offset:
            inside = rom
        elif header.rom_offset in parts:
            part = parts[header.rom_offset]
            inside, base = part.rom, part.offset
        found.append(Entry(len(found), header, inside, base))
    return tuple(found)


def further_entries(rom: Rom) -> tuple[Entry, ...]:
    """Those of another ROM than the first one that can be read, which is `rom` itself."""
    return tuple(entry for entry in vfct_entries(rom) if entry.rom is not rom)
