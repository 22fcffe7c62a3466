"""What stands in front of the images: headers and directories of the known formats."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from romkit.container import NVFW_OFFSETS, RFRD_FROM_FLASH_STATUS
from romkit.errors import RecipeError
from romkit.header import BLOCK, CodeType
from romkit.layout.acpi import DESCRIPTION_HEADER, VFCT, VFCT_IMAGE_HEADER
from romkit.layout.nvidia import NVGI_HEADER, RFRD_HEADER
from romkit.recipe.image import plan_image
from romkit.recipe.kind import MOST_BYTES
from romkit.recipe.model import (
    BytesRecipe,
    ContainerRecipe,
    ImageRecipe,
    NvfwRecipe,
    NvgiRecipe,
    UnknownRecipe,
    VfctPart,
    VfctRecipe,
)

#: RFRD: no length is stated.
NO_LENGTH = 0xFFFFFFFF

#: Where the ROM starts, by NVGI version: the smallest starts of real ones.
_NVGI_ROM_OFFSETS = {1: 0x400, 2: 0xA00, 3: 0x4600}

#: From the directory to the ROM, where the recipe is silent.
_BEHIND_DIRECTORY = 0x600

_DECOY_DEVICE = 0x0000

_VFCT_ENTRIES_AT = DESCRIPTION_HEADER.sizeof() + VFCT.sizeof()


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container, ready to be built.

    Attributes:
        size: bytes in front of the first image.
        pieces: (offset in the file, bytes) in writing order.
        fill: byte value of all else; None for made-up data.
        data: given bytes instead of all of this, or None.
        table: whether it is an ACPI table, which states its length and sums to zero.
        table_length: that it states; None before the file's size is known.
    """

    size: int
    pieces: tuple[tuple[int, bytes], ...]
    fill: int | None = None
    data: bytes | None = None
    table: bool = False
    table_length: int | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What a container must know of the rest of the file.

    Attributes:
        ids: (vendor, device) of the first image.
        images_size: bytes of all images; up to the next entry in a VFCT that has more.
    """

    ids: tuple[int, int]
    images_size: int


def plan_container(container: ContainerRecipe, path: str, around: Around) -> ContainerPlan:
    """Decide all that `container` leaves open.

    Raises:
        RecipeError: something does not fit; the message starts with `path`.
    """
    if isinstance(container, BytesRecipe):
        return ContainerPlan(len(container.data), (), data=container.data)
    if isinstance(container, VfctRecipe):
        plan = _vfct(container, around)
    elif isinstance(container, NvgiRecipe):
        plan = _nvgi(container, path, around)
    elif isinstance(container, NvfwRecipe):
        plan = _nvfw(container, path, around)
    else:
        plan = ContainerPlan(container.rom_offset, _decoys(container, around), container.fill)
    if plan.size > MOST_BYTES:
        raise RecipeError(f"{path}.rom_offset: expected at most {MOST_BYTES:#x}")
    return plan


def _nvgi(nvgi: NvgiRecipe, path: str, around: Around) -> ContainerPlan:
    version = 2 if nvgi.version is None else nvgi.version
    rom_offset = nvgi.rom_offset
    if rom_offset is None:
        rom_offset = _NVGI_ROM_OFFSETS.get(version, 0x400)
    pointer = rom_offset if nvgi.pointer is None else nvgi.pointer
    fixed = (0x24 if version == 3 else 0x10) if nvgi.fixed_size is None else nvgi.fixed_size
    total = (0x32C if version == 3 else 0x37C) if nvgi.total_size is None else nvgi.total_size
    vendor, device = nvgi.subsystem or (0, 0)
    header = NVGI_HEADER.build(
        {
            "signature": b"NVGI",
            "fixed_data": version << 8 | fixed << 16,
            "total_data_size": total,
            "subsystem_vendor_id": vendor,
            "subsystem_id": device,
        }
    )
    pieces = [(0, header)]
    if version == 3:
        directory = nvgi.directory_offset
        if directory is None:
            directory = rom_offset - _BEHIND_DIRECTORY
        if directory < RFRD_FROM_FLASH_STATUS:
            raise RecipeError(
                f"{path}.directory_offset: expected at least {RFRD_FROM_FLASH_STATUS:#x},"
                f" found {directory:#x}"
            )
        pieces.append((total, struct.pack("<I", directory - RFRD_FROM_FLASH_STATUS)))
        length = around.images_size if nvgi.rom_length is None else nvgi.rom_length
        pieces.append((directory, _directory(2, 0x20, pointer, length)))
    else:
        for key in ("directory_offset", "rom_length"):
            if getattr(nvgi, key) is not None:
                raise RecipeError(f"{path}.{key}: expected nothing in version {version}")
        pieces.append((fixed + 4, struct.pack("<I", pointer)))
    return ContainerPlan(rom_offset, tuple(pieces), nvgi.fill)


def _nvfw(nvfw: NvfwRecipe, path: str, around: Around) -> ContainerPlan:
    header = NVFW_OFFSETS[-1] if nvfw.header_offset is None else nvfw.header_offset
    rom_offset = 0x5400 if nvfw.rom_offset is None else nvfw.rom_offset
    directory = nvfw.directory_offset
    if directory is None:
        directory = rom_offset - _BEHIND_DIRECTORY
    pointer = rom_offset - header if nvfw.pointer is None else nvfw.pointer
    if directory < 0 or directory % 16:
        raise RecipeError(
            f"{path}.directory_offset: expected a multiple of 16, found {directory:#x}"
        )
    if pointer < 0:
        raise RecipeError(f"{path}.header_offset: expected at most {rom_offset:#x}")
    length = NO_LENGTH if nvfw.rom_length is None else nvfw.rom_length
    pieces = (
        *_decoys(nvfw, around),
        (header, b"NVFW"),
        (directory, _directory(4, 0x28, pointer, length)),
    )
    return ContainerPlan(rom_offset, pieces, nvfw.fill)


def _directory(version: int, size: int, rom_offset: int, rom_length: int) -> bytes:
    return RFRD_HEADER.build(
        {
            "signature": b"RFRD",
            "version": version,
            "header_size": size,
            "pci_rom_offset": rom_offset,
            "pci_rom_length": rom_length,
        }
    )


def _decoys(container: NvfwRecipe | UnknownRecipe, around: Around) -> tuple[tuple[int, bytes], ...]:
    """Small images for the GPU's own use, with the signatures of real ones."""
    image = ImageRecipe(
        code_type=CodeType.FWSEC,
        structure="PCIR",
        vendor=around.ids[0],
        device=_DECOY_DEVICE,
        size=BLOCK,
    )
    pieces = plan_image(image, "decoy").pieces
    return tuple((offset + at, data) for offset in container.decoys or () for at, data in pieces)


def _vfct(vfct: VfctRecipe, around: Around) -> ContainerPlan:
    offset = _VFCT_ENTRIES_AT if vfct.entry_offset is None else vfct.entry_offset
    size = offset + VFCT_IMAGE_HEADER.sizeof()
    header = DESCRIPTION_HEADER.build(
        {
            "signature": b"VFCT",
            "length": 0,  # like the checksum, not known before all else is built
            "revision": 1,
            "checksum": 0,
            "oem_id": b"ROMKIT",
            "oem_table_id": b"RECIPE  ",
            "oem_revision": 1,
            "creator_id": b"RKIT",
            "creator_revision": 1,
        }
    )
    table = VFCT.build(
        {
            "table_uuid": bytes(16),
            "vbios_image_offset": offset if vfct.pointer is None else vfct.pointer,
            "lib1_image_offset": 0,
            "reserved": bytes(16),
        }
    )
    entry = vfct_entry(vfct, around.ids, around.images_size)
    pieces = ((0, header), (len(header), table), (offset, entry))
    return ContainerPlan(size, pieces, table=True, table_length=vfct.table_length)


def vfct_entry(entry: VfctRecipe | VfctPart, ids: tuple[int, int], image_length: int) -> bytes:
    """The header of one entry, for a ROM of these ids and this length."""
    bus, device, function = entry.address or (0, 0, 0)
    vendor_id, device_id = entry.device_id or ids
    subsystem_vendor, subsystem = entry.subsystem or (0, 0)
    return VFCT_IMAGE_HEADER.build(
        {
            "pci_bus": bus,
            "pci_device": device,
            "pci_function": function,
            "vendor_id": vendor_id,
            "device_id": device_id,
            "subsystem_vendor_id": subsystem_vendor,
            "subsystem_id": subsystem,
            "revision": 0 if entry.revision is None else entry.revision,
            "image_length": image_length if entry.image_length is None else entry.image_length,
        }
    )
