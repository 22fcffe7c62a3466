"""Rom → Recipe: what a ROM is made of, without what is in it.

A ROM that was built from a recipe is described exactly. Of any other ROM the structure is
described, and building the recipe gives a look-alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from romkit.errors import RecipeError
from romkit.header import BLOCK
from romkit.image import OptionRom
from romkit.recipe.around import containers_of
from romkit.recipe.behind import copied, pieces_of, tail_of
from romkit.recipe.build import build_rom, lay_out
from romkit.recipe.contents import atom_of, efi_of, nvidia_of, vbt_of
from romkit.recipe.image import plan_image
from romkit.recipe.kind import MOST_BYTES
from romkit.recipe.model import (
    LONGEST_PATCH,
    BytesRecipe,
    DataPart,
    EfiRecipe,
    ImageRecipe,
    NvfwRecipe,
    NvgiRecipe,
    PaddingPart,
    Patch,
    Recipe,
    TailRecipe,
    UnknownRecipe,
)
from romkit.recipe.plan import plan_rom
from romkit.recipe.silent import silent
from romkit.recipe.structure import isa_of, structure_of
from romkit.recipe.write import write_recipe
from romkit.rom import Rom
from romkit.tail import TailKind, TailPart, read_tail

#: Bytes in which a file may differ from what a recipe builds and still be that recipe's, with
#: patches. More of them, and the patches would be somebody's code.
_MOST_PATCHED = 256

#: ROMs in tails that are described as ROMs; deeper ones are data.
_DEEPEST = 4

#: Of a look-alike's device list: with the structure in front of it, no long row of vendor's bytes.
_MOST_DEVICES = 16

_OMITTED = "The payload is omitted: what is not said here is made up."
_COMPLETE = "With the payload: this builds the identical file, which is not yours to share."


def recipe_of(rom: Rom, *, with_bytes: bool = False) -> str:
    """Describe a ROM.

    Args:
        rom: what `parse_rom` returns.
        with_bytes: embed what is in it, so that the recipe builds the identical file.

    Returns:
        TOML. A ROM that was built from a recipe gives a recipe that builds the same bytes. Any
        other ROM gives a look-alike without its payload: the same container, offsets, lengths,
        ids, chains, versions and sums, and made-up bytes between.

    Raises:
        RecipeError: the file is larger than any recipe may build.
    """
    if len(rom.data) > MOST_BYTES:
        raise RecipeError(f"the file has {len(rom.data):#x} bytes, more than {MOST_BYTES:#x}")
    comments = [_title(rom)]
    if with_bytes:
        recipe = _with_bytes(rom)
        comments.append(_COMPLETE)
    else:
        recipe, exact = describe(rom)
        if not exact:
            comments.append(_OMITTED)
    return write_recipe(recipe, tuple(comments))


def describe(rom: Rom, depth: int = 0) -> tuple[Recipe, bool]:
    """A recipe for `rom`, and whether it builds the same bytes."""
    deeper = (lambda nested: describe(nested, depth + 1)[0]) if depth < _DEEPEST else None
    parts = _tail(rom)
    tail = tail_of(rom, parts, deeper)
    ways = [(rom.images, tail)]
    further, rest = _further(parts)
    if further:
        ways.append(((*rom.images, *further), tail_of(rom, rest, deeper)))
    if parts:
        ways.append((rom.images, pieces_of(rom, parts[0].offset)))
    for images, behind in dict.fromkeys(ways):
        for cut_off in (True, False):
            recipe = _exact(rom, images, behind, cut_off=cut_off)
            if recipe is not None:
                return recipe, True
    return _look_alike(rom, tail), False


def _title(rom: Rom) -> str:
    ids = "no PCI ids"
    if rom.images:
        pcir = rom.images[0].pcir
        ids = f"{pcir.vendor_id:04x}:{pcir.device_id:04x}"
    around = rom.container.title if rom.container is not None else "no container"
    types = "+".join(f"{i.code_type:02x}" for i in rom.images) or "no images"
    return f"{ids}, {around}, {types}, {len(rom.data):#x} bytes"


def _tail(rom: Rom) -> tuple[TailPart, ...]:
    """What stands behind the images, or behind an ISA option ROM, which to the parser is a tail."""
    tail = rom.tail
    if not rom.images:
        tail = read_tail(rom.data, isa_of(rom).size or 0, None, b"")
    return tail.parts if tail is not None else ()


def _further(parts: Sequence[TailPart]) -> tuple[tuple[OptionRom, ...], Sequence[TailPart]]:
    """Images right behind the last one, which no chain reaches; and the parts behind them."""
    found: list[OptionRom] = []
    for number, part in enumerate(parts):
        nested = part.rom if part.rom_offset == part.offset else None
        if nested is None or nested.tail is not None:
            return tuple(found), parts[number:]
        found += nested.images
    return tuple(found), ()


# Section: the three ways


def _exact(
    rom: Rom, own: Sequence[OptionRom], tail: tuple[TailRecipe, ...], *, cut_off: bool
) -> Recipe | None:
    """A recipe that builds the very bytes of `rom`, or None.

    Args:
        rom: the ROM.
        own: its images.
        tail: what is behind them.
        cut_off: take a last image that runs past the end of the file for one that was cut.
    """
    images = tuple(_images(rom, own, exact=True, cut_off=cut_off))
    missing = rom.rom_offset + sum(image.size or 0 for image in images) - len(rom.data)
    if cut_off and missing <= 0:
        return None
    try:
        recipe = Recipe(images=images, tail=tail, truncate=missing if cut_off else None)
        recipe = _in_container(rom, recipe)
        recipe = silent(replace(recipe, images=tuple(_summed(rom.data, recipe))))
        patches = _patches(build_rom(recipe), rom.data)
    except RecipeError:
        return None
    return None if patches is None else replace(recipe, patches=patches)


def _look_alike(rom: Rom, tail: tuple[TailRecipe, ...]) -> Recipe:
    """A recipe that builds a ROM of the same structure."""
    try:
        images = tuple(_images(rom, rom.images, exact=False, cut_off=False))
        return silent(_in_container(rom, Recipe(images=images, tail=tail)))
    except RecipeError:
        # Structures that lie on each other; nobody ever dumped such a file.
        return Recipe(tail=(DataPart(size=len(rom.data)),))


def _with_bytes(rom: Rom) -> Recipe:
    """A recipe that builds the very bytes of `rom` because it holds them."""
    data = rom.data
    images = [
        _first(
            replace(structure_of(own), efi=_efi_header(own), data=bytes(own), size=None),
            "device_list",
            (structure_of(own).device_list, None),
        )
        for own in rom.images
    ]
    if not images:
        images = [replace(isa_of(rom), data=data[: isa_of(rom).size], size=None)]
    recipe = Recipe(
        container=BytesRecipe(data=data[: rom.rom_offset]) if rom.rom_offset else None,
        images=tuple(images),
        tail=tuple(_tail_with_bytes(rom)),
    )
    try:
        recipe = silent(recipe)
        patches = _patches(build_rom(recipe), data)
    except RecipeError:
        patches = None
    if patches is None:
        # What the parser reads twice, a recipe cannot write twice: then the file as one piece.
        return Recipe(tail=(DataPart(data=data),))
    return replace(recipe, patches=patches)


def _tail_with_bytes(rom: Rom) -> Iterator[TailRecipe]:
    for part in _tail(rom):
        copy = copied(rom, part)
        if copy is not None:
            yield copy
        elif part.kind is TailKind.PADDING and part.fill is not None and part.size:
            yield PaddingPart(fill=part.fill, size=part.size)
        elif part.size:
            yield DataPart(data=bytes(part))


# Section: images


def _images(
    rom: Rom, images: Sequence[OptionRom], *, exact: bool, cut_off: bool
) -> Iterator[ImageRecipe]:
    """The images; sums are left alone in exact ones, and stated in look-alikes."""
    if not images:
        image = isa_of(rom, cut_off=cut_off)
        covered = memoryview(rom.data)[: image.initialization_size or 0]
        yield _balanced(image, "untouched" if exact else sum(covered) & 0xFF)
        return
    for number, own in enumerate(images):
        image = structure_of(own)
        if cut_off and number + 1 == len(images):
            length = own.npde.subimage_length if own.npde is not None else None
            whole = max(own.pcir.image_length if length is None else length, BLOCK)
            image = replace(image, size=max(whole, own.size))
        image = replace(image, checksum="untouched")
        image = _filled(image, own, exact=exact)
        yield image if exact else _balanced(image, own.sum8)


def _filled(image: ImageRecipe, own: OptionRom, *, exact: bool) -> ImageRecipe:
    """`image` with the contents of `own` that fit into it, the most telling ones first."""
    devices = image.device_list
    if devices is not None and not exact:
        devices = devices[:_MOST_DEVICES]
    image = replace(image, device_list=None)
    image = _first(image, "efi", efi_of(own))
    image = _first(image, "nvidia", nvidia_of(own, exact=exact))
    image = _first(image, "atom", atom_of(own, exact=exact))
    image = _first(image, "vbt", vbt_of(own, exact=exact))
    return _first(image, "device_list", (devices, None))


def _first(image: ImageRecipe, name: str, candidates: Iterable[Any]) -> ImageRecipe:
    """`image` with the first of the candidates that fits; as it is where none does."""
    for candidate in candidates:
        trial = replace(image, **{name: candidate})
        if _plans(trial):
            return trial
    return image


def _balanced(image: ImageRecipe, total: int | str) -> ImageRecipe:
    """`image` with this sum, unless no byte of it is free to see to that."""
    trial = replace(image, checksum=total)
    return trial if _plans(trial) else replace(image, checksum="untouched")


def _plans(image: ImageRecipe) -> bool:
    try:
        plan_image(image, "image", ids=(0, 0))
    except RecipeError:
        return False
    return True


def _efi_header(image: OptionRom) -> EfiRecipe | None:
    """The header alone: the driver is in the image's bytes."""
    headers = [candidate for candidate in efi_of(image) if candidate is not None]
    return headers[-1] if headers else None


def _summed(data: bytes, recipe: Recipe) -> Iterator[ImageRecipe]:
    """The images of a recipe whose sums are untouched, with the sums that they have in `data`."""
    plan = plan_rom(recipe)
    out = lay_out(plan)
    sums: list[int | str] = []
    total: int | str
    for image, offset in reversed(list(zip(plan.images, plan.offsets(), strict=True))):
        if image.balance is None:
            sums.append("untouched")
            continue
        at = offset + image.balance
        made_up = out[at]
        covered = slice(offset, offset + image.covered)
        if at < len(data):
            out[at] = data[at]
            total = sum(memoryview(out)[covered]) & 0xFF
            if total:
                total = "untouched" if data[at] == made_up else total
            sums.append(total)
        else:
            out[at] = (made_up - sum(memoryview(out)[covered])) & 0xFF
            sums.append(0)
    for own, total in zip(recipe.images, reversed(sums), strict=True):
        yield replace(own, checksum=total)


# Section: the file


def _in_container(rom: Rom, recipe: Recipe) -> Recipe:
    """`recipe` with the first container that fits around it.

    Raises:
        RecipeError: none does, so it is not the container's fault.
    """
    failed: RecipeError | None = None
    for container in containers_of(rom):
        trial = replace(recipe, container=container)
        try:
            plan = plan_rom(trial)
        except RecipeError as err:
            failed = err
            continue
        if container is None or plan.container is None:
            return trial
        # One value everywhere between the structures: erased flash, not data.
        rest = bytearray(rom.data[: rom.rom_offset])
        for offset, data in sorted(plan.container.pieces, reverse=True):
            del rest[offset : offset + len(data)]
        if not rest or rest.count(rest[0]) != len(rest):
            return trial
        if isinstance(container, NvgiRecipe | NvfwRecipe | UnknownRecipe):
            return replace(recipe, container=replace(container, fill=rest[0]))
        return trial
    raise failed or RecipeError("the container cannot be described")


def _patches(built: bytes, data: bytes) -> tuple[Patch, ...] | None:
    """What makes `data` of `built`; None where that is too much for patches."""
    if len(built) != len(data):
        return None
    patches: list[Patch] = []
    patched = 0
    for start in range(0, len(data), LONGEST_PATCH):
        end = start + LONGEST_PATCH
        a, b = built[start:end], data[start:end]
        if a == b:
            continue
        first = next(i for i in range(len(b)) if a[i] != b[i])
        last = next(i for i in reversed(range(len(b))) if a[i] != b[i])
        patches.append(Patch(offset=start + first, data=b[first : last + 1]))
        patched += last + 1 - first
        if patched > _MOST_PATCHED:
            return None
    return tuple(patches)
