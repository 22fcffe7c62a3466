"""The container of a ROM as a recipe's table: candidates, the best first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from romkit.container import RFRD_FROM_FLASH_STATUS, Container, ContainerKind, VfctImage
from romkit.errors import RomError
from romkit.header import CodeType, read_header
from romkit.layout.acpi import DESCRIPTION_HEADER, VFCT_IMAGE_HEADER
from romkit.recipe.model import (
    ContainerRecipe,
    NvfwRecipe,
    NvgiRecipe,
    UnknownRecipe,
    VfctRecipe,
)
from romkit.rom import Rom

#: Leads nowhere: what a container says whose pointer was not followed.
_NOWHERE = 0xFFFFFFFF

_MOST_DECOYS = 16


def containers_of(rom: Rom) -> Iterator[ContainerRecipe | None]:
    """What stands in front of the images."""
    container = rom.container
    if container is None:
        yield None
        return
    if container.kind is ContainerKind.NVGI:
        yield from _nvgi(rom.data, container)
    elif container.kind is ContainerKind.VFCT:
        yield from _vfct(rom.data, container)
    elif container.kind is ContainerKind.NVFW:
        yield _nvfw(rom.data, container)
    decoys = _decoys(rom.data, container.rom_offset)
    yield UnknownRecipe(rom_offset=container.rom_offset, decoys=decoys)
    yield UnknownRecipe(rom_offset=container.rom_offset)


def _nvgi(data: bytes, container: Container) -> Iterator[NvgiRecipe]:
    fixed_data, total = _u32(data, 4) or 0, (_u32(data, 8) or 0) & 0xFFFFF
    version, fixed_size = fixed_data >> 8 & 0xFF, fixed_data >> 16 & 0x7FFF
    subsystem = _u16(data, 12), _u16(data, 14)
    directory = container.directory_offset
    if version == 3 and directory is None:
        directory = (_u32(data, total) or 0) + RFRD_FROM_FLASH_STATUS
    at = fixed_size + 4 if directory is None else directory + 8
    yield NvgiRecipe(
        version=version,
        subsystem=subsystem,
        rom_offset=container.rom_offset,
        pointer=_u32(data, at),
        fixed_size=fixed_size,
        total_size=total,
        directory_offset=directory,
        rom_length=None if directory is None else _u32(data, directory + 12),
    )
    pointer = _NOWHERE if container.problem else None
    yield NvgiRecipe(version=1, rom_offset=container.rom_offset, pointer=pointer)


def _nvfw(data: bytes, container: Container) -> NvfwRecipe:
    directory = container.directory_offset or 0
    pointer = _u32(data, directory + 8) or 0
    return NvfwRecipe(
        header_offset=container.rom_offset - pointer,
        rom_offset=container.rom_offset,
        directory_offset=directory,
        rom_length=_u32(data, directory + 12),
        decoys=_decoys(data, container.rom_offset),
    )


def _vfct(data: bytes, container: Container) -> Iterator[VfctRecipe]:
    entry_offset = container.rom_offset - VFCT_IMAGE_HEADER.sizeof()
    for entry in container.vfct_images:
        if entry.rom_offset == container.rom_offset:
            table = VfctRecipe(
                address=(entry.pci_bus, entry.pci_device, entry.pci_function),
                device_id=(entry.vendor_id, entry.device_id),
                subsystem=(entry.subsystem_vendor_id, entry.subsystem_id),
                revision=entry.revision,
                image_length=entry.image_length,
                entry_offset=entry_offset,
                table_length=_u32(data, 4),
            )
            # The entries in front of the first one with a ROM are no part of a recipe.
            yield table
    first = DESCRIPTION_HEADER.sizeof() + 40
    if entry_offset >= first:
        yield VfctRecipe(entry_offset=entry_offset, pointer=_NOWHERE)


def vfct_entry_at(container: Container | None, offset: int) -> VfctImage | None:
    """The entry whose header is at `offset`."""
    entries = container.vfct_images if container is not None else ()
    return next((entry for entry in entries if entry.offset == offset), None)


def _decoys(data: bytes, end: int) -> tuple[int, ...] | None:
    """Images for the GPU's own use in front of the ROM."""
    found: list[int] = []
    for hit in re.finditer(b"\x55\xaa", data[:end]):
        if len(found) == _MOST_DECOYS:
            break
        try:
            header = read_header(data, hit.start())
        except RomError:
            continue
        if header.pcir.code_type == CodeType.FWSEC:
            found.append(hit.start())
    return tuple(found) or None


def _u32(data: bytes, offset: int) -> int | None:
    chunk = data[offset : offset + 4]
    return int.from_bytes(chunk, "little") if len(chunk) == 4 else None


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2], "little")
