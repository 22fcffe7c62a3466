"""The tail of a ROM as a recipe's parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

from romkit.errors import RomError
from romkit.recipe.around import vfct_entry_at
from romkit.recipe.fill import PROBE, fill, seeds
from romkit.recipe.model import (
    MOST_TAIL_PARTS,
    CopyPart,
    DataPart,
    PaddingPart,
    Recipe,
    RomPart,
    TailRecipe,
    VfctPart,
)
from romkit.rom import Rom, parse_rom
from romkit.tail import TailKind, TailPart

#: A run of one byte value is told from data by this length.
_RUN = 16

#: After a byte that does not fit, a stream may go on behind so many: a patch lies between.
_LONGEST_GAP = 64

#: Bytes by which two pieces may agree by chance.
_LONGEST_CHANCE = 4

#: More pieces of made-up data than this in one part are a vendor's data.
_MOST_PIECES = 64


def tail_of(
    rom: Rom, tail: Sequence[TailPart], describe: Callable[[Rom], Recipe] | None
) -> tuple[TailRecipe, ...]:
    """The parts behind the images.

    Args:
        rom: the ROM.
        tail: parts of it, from any one to the last.
        describe: makes recipes of the ROMs in it; None takes them for data.
    """
    parts: list[TailRecipe] = []
    made_up = b""
    for part in tail:
        if not part.size:
            continue
        if part.kind is TailKind.PADDING:
            parts.append(_padding(part.fill or 0, part.size))
            continue
        copy = copied(rom, part)
        nested = None
        if copy is None and part.rom_offset is not None and describe is not None:
            nested = _nested(rom, part, describe)
        if copy is not None or nested is not None:
            parts += [found for found in (copy, nested) if found is not None]
            continue
        made_up = made_up or fill(len(rom.data) - rom.rom_offset)
        parts += _data(rom, bytes(part), made_up[part.offset - rom.rom_offset :])
    if len(parts) > MOST_TAIL_PARTS:
        return (DataPart(size=len(rom.data) - tail[0].offset),)
    return tuple(parts)


def copied(rom: Rom, part: TailPart) -> CopyPart | None:
    """The part as a copy of what stands at the front of the file, or of its images."""
    if part.rom_offset is None:
        return None
    own = bytes(part)
    for of in dict.fromkeys((0, rom.rom_offset)):
        if rom.data[of : of + part.size] == own and of + part.size <= part.offset:
            return _copy(rom, of, part.size)
    return None


def _copy(rom: Rom, of: int, size: int) -> CopyPart:
    return CopyPart(of=of or None, size=None if of + size == rom.rom_end else size)


def _padding(value: int, size: int) -> PaddingPart:
    return PaddingPart(fill=None if value == 0xFF else value, size=size)


def _nested(rom: Rom, part: TailPart, describe: Callable[[Rom], Recipe]) -> TailRecipe | None:
    entry = None
    if part.kind is TailKind.VFCT_IMAGE:
        entry = vfct_entry_at(rom.container, part.offset)
    start = part.offset if entry is None else entry.rom_offset
    try:
        nested = parse_rom(rom.data[start : part.end])
    except RomError:
        return None
    recipe = describe(nested)
    values = {field.name: getattr(recipe, field.name) for field in fields(Recipe)}
    if entry is None:
        return RomPart(**values)
    ids = (entry.vendor_id, entry.device_id)
    pcir = nested.images[0].pcir if nested.images else None
    own_ids = (pcir.vendor_id, pcir.device_id) if pcir is not None else (0, 0)
    subsystem = (entry.subsystem_vendor_id, entry.subsystem_id)
    address = (entry.pci_bus, entry.pci_device, entry.pci_function)
    return VfctPart(
        **values,
        address=address if any(address) else None,
        device_id=ids if ids != own_ids else None,
        subsystem=subsystem if any(subsystem) else None,
        revision=entry.revision or None,
        image_length=entry.image_length if entry.image_length != len(nested.data) else None,
    )


def pieces_of(rom: Rom, start: int) -> tuple[TailRecipe, ...]:
    """All from `start` on as what a recipe makes, whatever a parser sees in it: copies may be
    cut. One piece of data where it is something else."""
    made_up = fill(len(rom.data) - rom.rom_offset)
    return tuple(_data(rom, rom.data[start:], made_up[start - rom.rom_offset :]))


def _data(rom: Rom, chunk: bytes, made_up: bytes) -> list[TailRecipe]:
    """Data as pieces of made-up streams, runs and copies, or as one piece where they are not."""
    pieces: list[TailRecipe] = []
    at = 0
    while at < len(chunk) and len(pieces) < _MOST_PIECES:
        found = _piece(rom, chunk[at:], made_up[at:])
        if found is None:
            break
        piece, size = found
        # The next piece may begin as this one would go on: then it is this one that is shorter.
        for shorter in range(size, max(size - _LONGEST_CHANCE, 0), -1):
            end = at + shorter
            if end == len(chunk) or _piece(rom, chunk[end:], made_up[end:]) is not None:
                break
        else:
            break
        pieces.append(piece if shorter == size else replace(piece, size=shorter))
        at = end
    return pieces if at == len(chunk) else [DataPart(size=len(chunk))]


def _piece(
    rom: Rom, chunk: bytes, made_up: bytes
) -> tuple[DataPart | PaddingPart | CopyPart, int] | None:
    """The piece that `chunk` begins with, and its size; None where no recipe makes such bytes."""
    probe = chunk[:PROBE]
    if made_up.startswith(probe):
        size = _common(chunk, made_up)
        return DataPart(size=size), size
    seed = seeds().get(probe)
    if seed is not None:
        size = _common(chunk, fill(len(chunk), seed))
        return DataPart(size=size, seed=seed), size
    for of in dict.fromkeys((0, rom.rom_offset)):
        if len(probe) == PROBE and rom.data.startswith(probe, of):
            size = _same(chunk, rom.data[of : rom.rom_end])
            return _copy(rom, of, size), size
    run = len(chunk) - len(chunk.lstrip(probe[:1]))
    if run >= _RUN or run == len(chunk):
        return _padding(probe[0], run), run
    return None


def _common(chunk: bytes, stream: bytes) -> int:
    """How far `chunk` follows `stream`, short differences forgiven."""
    at, most = 0, min(len(chunk), len(stream))
    while True:
        at += _same(chunk[at:most], stream[at:most])
        behind = at + _LONGEST_GAP
        if behind + PROBE > most:
            return at
        if chunk[behind : behind + PROBE] != stream[behind : behind + PROBE]:
            return at
        at = behind


def _same(a: bytes, b: bytes) -> int:
    """Bytes that `a` and `b` share at their beginnings."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
