"""Recipe → bytes."""

from __future__ import annotations

from romkit.recipe.fill import fill
from romkit.recipe.model import Recipe
from romkit.recipe.plan import (
    BytesPlan,
    CopyPlan,
    DataPlan,
    NestedPlan,
    PaddingPlan,
    RomPlan,
    TailPlan,
    plan_rom,
)

#: In an ACPI table, behind the signature; and behind length and revision.
_ACPI_LENGTH_AT = 4
_ACPI_CHECKSUM_AT = 9


def build_rom(recipe: Recipe) -> bytes:
    """The bytes that `recipe` describes; the same ones on every machine.

    Raises:
        RecipeError: something does not fit. A recipe from `load_recipe` always does.
    """
    return build_plan(plan_rom(recipe))


def build_plan(plan: RomPlan, *, balanced: bool = True) -> bytes:
    """The bytes of a file whose every place is decided.

    Args:
        plan: the file.
        balanced: see to it that images sum to what they should.
    """
    out = lay_out(plan)
    if balanced:
        # From the back: an image's length may cover the images behind it, never those before.
        for number in reversed(range(len(plan.images))):
            balance(plan, out, number)
    _copy(plan, out)
    if plan.container is not None and plan.container.table:
        length = plan.container.table_length or 0
        out[_ACPI_LENGTH_AT : _ACPI_LENGTH_AT + 4] = length.to_bytes(4, "little")
        out[_ACPI_CHECKSUM_AT] = -sum(memoryview(out)[:length]) & 0xFF
    del out[plan.size :]
    for patch in plan.patches:
        out[patch.offset : patch.offset + len(patch.data)] = patch.data
    return bytes(out)


def lay_out(plan: RomPlan) -> bytearray:
    """The whole file before truncation; no sum is right yet, copies are still empty."""
    start = plan.rom_offset
    made_up = fill(plan.whole_size - start)
    out = bytearray(_front(plan) + made_up)
    for offset, image in zip(plan.offsets(), plan.images, strict=True):
        if image.data is not None:
            out[offset : offset + image.size] = image.data
    at = plan.rom_end
    for part in plan.tail:
        out[at : at + part.size] = _part(part, made_up[at - start : at - start + part.size])
        at += part.size
    for offset, image in zip(plan.offsets(), plan.images, strict=True):
        for piece, data in image.pieces:
            _write(out, offset + piece, data)
    for offset, data in plan.container.pieces if plan.container is not None else ():
        _write(out, offset, data)
    return out


def balance(plan: RomPlan, out: bytearray, number: int) -> None:
    """Make one image sum to what it should, if that is anything; later ones must be right."""
    image, offset = plan.images[number], plan.offsets()[number]
    if image.checksum is None or image.balance is None:
        return
    total = sum(memoryview(out)[offset : offset + image.covered])
    at = offset + image.balance
    out[at] = (out[at] + image.checksum - total) & 0xFF


def _front(plan: RomPlan) -> bytes:
    container = plan.container
    if container is None:
        return b""
    if container.data is not None:
        return container.data
    if container.fill is not None:
        return bytes([container.fill]) * container.size
    return fill(container.size, "container")


def _part(part: TailPlan, made_up: bytes) -> bytes:
    match part:
        case PaddingPlan():
            return bytes([part.fill]) * part.size
        case DataPlan():
            return made_up if part.seed is None else fill(part.size, part.seed)
        case BytesPlan():
            return part.data
        case NestedPlan():
            return part.head + build_plan(part.rom)
        case CopyPlan():
            return made_up


def _copy(plan: RomPlan, out: bytearray) -> None:
    """Copies in order: one may be a copy of a copy."""
    at = plan.rom_end
    for part in plan.tail:
        if isinstance(part, CopyPlan):
            out[at : at + part.size] = out[part.of : part.of + part.size]
        at += part.size


def _write(out: bytearray, offset: int, data: bytes) -> None:
    """Write as much of `data` as the file has room for."""
    room = max(len(out) - offset, 0)
    out[offset : offset + min(len(data), room)] = data[:room]
