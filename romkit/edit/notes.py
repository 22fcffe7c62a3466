"""What an edit means for signatures: which of them cover what was changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from romkit.edit.edit import Change
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom

#: Families whose cards refuse a changed VBIOS in their flash.
_CHECKED = frozenset({"Turing", "Ampere", "Ada", "Hopper", "Blackwell"})


def signature_notes(
    rom: Rom, changes: Iterable[Change], removed: Collection[OptionRom] = ()
) -> Iterator[str]:
    """One sentence for each signature that the changes touch, or seem to.

    Args:
        rom: the input.
        changes: what was done to it.
        removed: images that are gone, and their signatures with them.
    """
    spans = [(c.offset, c.end) for c in changes if c.kind == "changed"]
    for image in rom.images:
        if any(image is own for own in removed):
            continue
        touched = [(a, b) for a, b in spans if a < image.end and b > image.offset]
        if touched and image.code_type == CodeType.EFI:
            yield from _driver_notes(image, touched)
        elif touched and image.nvidia is not None and image.nvidia.family in _CHECKED:
            yield (
                "NVIDIA's signature over the VBIOS no longer covers what was changed: a guest does "
                f"not check it, but {image.nvidia.family} cards refuse it in their flash"
            )


def copy_notes(rom: Rom) -> Iterator[str]:
    """That another copy of the ROM is in the file, if it is, and that no edit reaches it."""
    if rom.tail and rom.tail.copies:
        yield "the copy of the ROM behind it is left as it is"


def _driver_notes(image: OptionRom, touched: list[tuple[int, int]]) -> Iterator[str]:
    efi = image.efi
    if efi is None or not efi.signed:
        return
    start = image.offset + efi.image_offset
    if any(b > start for _, b in touched):
        yield (
            f"the signature of the driver at {image.offset:#x} no longer covers it: the driver "
            "itself was changed"
        )
    else:
        yield (
            f"the driver at {image.offset:#x} is signed, and stays so: its signature covers the "
            "driver, not the ids and lengths in front of it"
        )
