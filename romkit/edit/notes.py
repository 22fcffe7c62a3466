"""What an edit means for signatures: which of them cover what was changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from romkit.edit.edit import Change
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom

#: Families whose cards refuse a changed VBIOS in their flash.
_CHECKED = frozenset({"Turing", "Ampere", "Ada", "Hopper", "Blackwell"})


def signature_notes(rom: Rom, changes: Iterable[Change]) -> Iterator[str]:
    """One sentence for each signature that the changes touch, or seem to."""
    spans = [(c.offset, c.end) for c in changes if c.kind == "changed"]
    for image in rom.images:
        touched = [(a, b) for a, b in spans if a < image.end and b > image.offset]
        if touched and image.code_type == CodeType.EFI:
            yield from _driver_notes(image, touched)
        elif touched and image.nvidia is not None and image.nvidia.family in _CHECKED:
            yield (
                "NVIDIA's signature over the VBIOS no longer covers what was changed: a guest does "
                f"not check it, but a {image.nvidia.family} card refuses it in its flash"
            )


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
