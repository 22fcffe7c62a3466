"""A whole file, every place decided and nothing built yet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from romkit.errors import RecipeError
from romkit.header import BLOCK
from romkit.layout.acpi import DESCRIPTION_HEADER
from romkit.layout.pci import PCI_DATA_STRUCTURE
from romkit.recipe.container import Around, ContainerPlan, plan_container, vfct_entry
from romkit.recipe.image import ImagePlan, plan_image
from romkit.recipe.kind import MOST_BYTES
from romkit.recipe.model import (
    CopyPart,
    DataPart,
    PaddingPart,
    Patch,
    Recipe,
    RomPart,
    TailRecipe,
    VfctPart,
)

#: The header of an ACPI table, with its checksum in it.
_TABLE_HEADER = DESCRIPTION_HEADER.sizeof()


@dataclass(frozen=True, slots=True)
class PaddingPlan:
    """A part of one byte value."""

    size: int
    fill: int


@dataclass(frozen=True, slots=True)
class DataPlan:
    """A part of made-up data: the stream of `seed` from its start, or the images' one."""

    size: int
    seed: int | None


@dataclass(frozen=True, slots=True)
class BytesPlan:
    """A part of given bytes."""

    size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A part that repeats bytes of the file from `of` on."""

    size: int
    of: int


@dataclass(frozen=True, slots=True)
class NestedPlan:
    """A part that is a ROM of its own, behind `head`."""

    size: int
    head: bytes
    rom: RomPlan


TailPlan = PaddingPlan | DataPlan | BytesPlan | CopyPlan | NestedPlan


@dataclass(frozen=True, slots=True)
class RomPlan:
    """A file. Offsets of images and tail follow from the sizes before them.

    Attributes:
        truncate: bytes to cut off at the end.
    """

    container: ContainerPlan | None
    images: tuple[ImagePlan, ...]
    tail: tuple[TailPlan, ...]
    truncate: int
    patches: tuple[Patch, ...]

    @property
    def rom_offset(self) -> int:
        """Where the first image starts."""
        return self.container.size if self.container is not None else 0

    @property
    def rom_end(self) -> int:
        """Behind the last image."""
        return self.rom_offset + sum(image.size for image in self.images)

    @property
    def whole_size(self) -> int:
        """Bytes before truncation."""
        return self.rom_end + sum(part.size for part in self.tail)

    @property
    def size(self) -> int:
        """Bytes after truncation."""
        return self.whole_size - self.truncate

    @property
    def weight(self) -> int:
        """Bytes that must be built for it: what is cut off counts, in nested ROMs too."""
        nested = (part.rom for part in self.tail if isinstance(part, NestedPlan))
        return self.whole_size + sum(rom.weight - rom.size for rom in nested)

    @property
    def ids(self) -> tuple[int, int] | None:
        """(vendor, device) of the first image."""
        return self.images[0].ids if self.images else None

    def offsets(self) -> tuple[int, ...]:
        """Where each image starts."""
        at, found = self.rom_offset, []
        for image in self.images:
            found.append(at)
            at += image.size
        return tuple(found)


def plan_rom(recipe: Recipe, path: str = "") -> RomPlan:
    """Decide all that `recipe` leaves open.

    Args:
        recipe: a whole file.
        path: its key path with a dot behind it, where it is a part of another one.

    Raises:
        RecipeError: something does not fit; the message starts with the key.
    """
    images: list[ImagePlan] = []
    for number, image in enumerate(recipe.images):
        here = f"{path}image[{number}]"
        final = number + 1 == len(recipe.images)
        if image.structure == "none" and len(recipe.images) > 1:
            raise RecipeError(f'{here}.structure: expected "none" only in an image that is alone')
        ids = images[-1].ids if images else None
        images.append(plan_image(image, here, ids=ids, final=final))
    images_size = sum(image.size for image in images)
    _check_size(images_size, path)

    container = None
    around = Around((images[0].ids if images else None) or (0, 0), images_size)
    if recipe.container is not None:
        container = plan_container(recipe.container, f"{path}container", around)
    rom_end = (container.size if container is not None else 0) + images_size

    tail: list[TailPlan] = []
    at = rom_end
    for number, part in enumerate(recipe.tail):
        tail.append(_part(part, at, rom_end, f"{path}tail[{number}]"))
        at += tail[-1].size
        _check_size(at, path)
    if recipe.container is not None and container is not None and container.table:
        around = replace(around, images_size=_to_next_entry(recipe, tail, images_size))
        container = plan_container(recipe.container, f"{path}container", around)
        if container.table_length is None:
            container = replace(container, table_length=at)

    plan = RomPlan(container, tuple(images), tuple(tail), recipe.truncate or 0, recipe.patches)
    _check(plan, path)
    return plan


def _to_next_entry(recipe: Recipe, tail: list[TailPlan], images_size: int) -> int:
    """Bytes that the first entry of a VFCT must state for a reader to find the next one."""
    size = images_size
    for part, planned in zip(recipe.tail, tail, strict=True):
        if isinstance(part, VfctPart):
            return size
        size += planned.size
    return images_size


def _check_size(size: int, path: str) -> None:
    if size > MOST_BYTES:
        where = path.rstrip(".") or "the file"
        raise RecipeError(f"{where}: expected at most {MOST_BYTES:#x} bytes, found {size:#x}")


def _part(part: TailRecipe, at: int, rom_end: int, path: str) -> TailPlan:
    match part:
        case PaddingPart():
            return PaddingPlan(part.size, 0xFF if part.fill is None else part.fill)
        case DataPart():
            return _data(part, path)
        case CopyPart():
            return _copy(part, at, rom_end, path)
        case VfctPart():
            rom = plan_rom(part, f"{path}.")
            head = vfct_entry(part, rom.ids or (0, 0), rom.size)
            return NestedPlan(len(head) + rom.size, head, rom)
        case RomPart():
            rom = plan_rom(part, f"{path}.")
            return NestedPlan(rom.size, b"", rom)


def _copy(part: CopyPart, at: int, rom_end: int, path: str) -> CopyPlan:
    of = part.of or 0
    size = rom_end - of if part.size is None else part.size
    if size <= 0 or of + size > at:
        raise RecipeError(
            f"{path}.of: expected bytes before the copy at {at:#x}, found {of:#x} to {of + size:#x}"
        )
    return CopyPlan(size, of)


def _data(part: DataPart, path: str) -> TailPlan:
    if part.data is not None:
        for key in ("size", "seed"):
            if getattr(part, key) is not None:
                raise RecipeError(f"{path}.{key}: expected nothing beside bytes")
        return BytesPlan(len(part.data), part.data)
    if part.size is None:
        raise RecipeError(f"{path}.size: missing; expected it or bytes")
    return DataPlan(part.size, part.seed)


def _check(plan: RomPlan, path: str) -> None:
    """What can only be told of the whole file."""
    _check_size(plan.weight, path)
    if plan.whole_size == 0:
        raise RecipeError(f"{path}image: missing; the file would be empty")
    if plan.truncate >= plan.whole_size:
        raise RecipeError(
            f"{path}truncate: expected less than the file's {plan.whole_size:#x} bytes,"
            f" found {plan.truncate:#x}"
        )
    needed = PCI_DATA_STRUCTURE.sizeof()
    for number, (offset, image) in enumerate(zip(plan.offsets(), plan.images, strict=True)):
        if image.structure is None:
            continue
        apart = number + 1 == len(plan.images) and not plan.tail
        if image.size % BLOCK and not apart:
            # Lengths are counted in blocks: whatever follows could not be told from the image.
            raise RecipeError(
                f"{path}image[{number}].size: expected a multiple of {BLOCK} where anything"
                f" follows, found {image.size:#x}"
            )
        end = offset + image.structure + needed
        if end > plan.whole_size:
            raise RecipeError(
                f"{path}image[{number}].structure_offset: expected it in the file, found its end"
                f" at {end:#x} of {plan.whole_size:#x}"
            )
    for offset, data in plan.container.pieces if plan.container is not None else ():
        if not 0 <= offset <= plan.whole_size - len(data):
            raise RecipeError(
                f"{path}container: expected all of it in the file, found some at {offset:#x}"
            )
    table = plan.container is not None and plan.container.table
    for number, part in enumerate(plan.tail):
        if isinstance(part, CopyPlan) and table and part.of < _TABLE_HEADER:
            raise RecipeError(
                f"{path}tail[{number}].of: expected bytes behind the table's header, whose sum"
                f" would change with its copy, found {part.of:#x}"
            )
    for number, patch in enumerate(plan.patches):
        if patch.offset + len(patch.data) > plan.size:
            raise RecipeError(
                f"{path}patch[{number}].offset: expected it in the file of {plan.size:#x} bytes,"
                f" found {patch.offset:#x}"
            )
