"""The structures of an image as a recipe's table: what its headers say, none of its contents."""

from __future__ import annotations

from romkit.header import BLOCK, LAST_IMAGE, Npde
from romkit.image import OptionRom
from romkit.recipe.model import ImageRecipe, NpdeRecipe
from romkit.rom import Rom


def structure_of(image: OptionRom) -> ImageRecipe:
    """What the headers of `image` say. The indicator's other bits are kept where there are any."""
    pcir = image.pcir
    modern = pcir.structure_revision >= 3
    plain = pcir.indicator & ~LAST_IMAGE == 0
    return ImageRecipe(
        code_type=pcir.code_type,
        structure=pcir.signature.decode("ascii"),
        vendor=pcir.vendor_id,
        device=pcir.device_id,
        device_list=_device_list(image) if modern else None,
        device_list_pointer=pcir.device_list_pointer,
        class_code=pcir.class_code,
        size=image.size,
        image_length=pcir.image_length,
        initialization_size=_initialization_size(image),
        revision=pcir.structure_revision,
        structure_offset=pcir.offset - image.offset,
        structure_length=pcir.structure_length,
        vendor_rom_revision=pcir.vendor_rom_revision,
        max_runtime_image_length=pcir.max_runtime_image_length,
        config_utility_pointer=pcir.config_utility_code_header_pointer,
        clp_pointer=pcir.dmtf_clp_entry_point_pointer,
        last=pcir.last if plain else None,
        indicator=None if plain else pcir.indicator,
        npde=_npde(image.npde) if image.npde is not None else None,
    )


def isa_of(rom: Rom, *, cut_off: bool = False) -> ImageRecipe:
    """An ISA option ROM: 55 AA, a size in blocks, and nothing else that is known.

    Args:
        rom: a ROM without images; to the parser all of it is tail.
        cut_off: let the image be as long as it says, however long the file is.
    """
    stated = rom.data[2] * BLOCK if len(rom.data) > 2 else 0
    first = next((part.size for part in rom.tail or ()), 0)
    size = min(stated or first, first)
    return ImageRecipe(
        structure="none",
        size=stated if cut_off and stated > len(rom.data) else size,
        initialization_size=stated,
    )


def _initialization_size(image: OptionRom) -> int:
    """The size field; two bytes wide only in images that have UEFI's header."""
    wide = image.signature == b"\x55\xaa"
    return image.initialization_size if wide else image.initialization_size % (0x100 * BLOCK)


def _device_list(image: OptionRom) -> tuple[int, ...] | None:
    """The ids; () for a list that is there and empty, None for a pointer that leads to none."""
    pointer = image.pcir.device_list_pointer
    if image.device_list or not pointer:
        return image.device_list or None
    at = image.pcir.offset + pointer
    return () if image.data[at : at + 2] == b"\0\0" else None


def _npde(npde: Npde) -> NpdeRecipe:
    return NpdeRecipe(
        revision=npde.revision,
        length=npde.length,
        subimage_length=npde.subimage_length,
        last=npde.last,
        flags=npde.flags,
        gop_version=npde.gop_version,
        subsystem=npde.subsystem,
    )
