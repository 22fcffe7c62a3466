"""Two ROMs compared: container, images, chains, tail.

Images are matched by code type and order, so that an inserted image is one addition and not a
change of everything behind it. Matched images are compared from their own starts: an image that
only moved is identical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from romkit.bytediff import ByteDiff, compare_bytes
from romkit.fields import Field, Value, header_fields, readings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romkit.chain import Chain
    from romkit.container import Container
    from romkit.image import OptionRom
    from romkit.rom import Rom

Status: TypeAlias = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that two ROMs give different values. None: the one side has no such field."""

    structure: str
    name: str
    a: Value
    b: Value

    def as_json(self) -> dict[str, Any]:
        """The change as plain JSON types."""
        return {"structure": self.structure, "field": self.name, "a": self.a, "b": self.b}

    def __repr__(self) -> str:
        return f"<FieldChange {self.structure} {self.name}: {self.a!r} → {self.b!r}>"


@dataclass(frozen=True, slots=True)
class SectionDiff:
    """The container or the tail of two ROMs.

    Attributes:
        a: what the one has there, a few words; None for nothing.
        b: what the other has there.
        changes: fields that differ.
        bytes: the same, byte for byte.
    """

    a: str | None
    b: str | None
    changes: tuple[FieldChange, ...]
    bytes: ByteDiff

    @property
    def status(self) -> Status:
        """What became of it on the way from the one to the other."""
        if self.a is None and self.b is not None:
            return "added"
        if self.b is None and self.a is not None:
            return "removed"
        return "changed" if self.changes or not self.bytes.equal else "same"

    def as_json(self) -> dict[str, Any]:
        """The section as plain JSON types."""
        return {
            "status": self.status,
            "a": self.a,
            "b": self.b,
            "changes": [c.as_json() for c in self.changes],
            "bytes": self.bytes.as_json(),
        }


@dataclass(frozen=True, slots=True)
class ImageDiff:
    """An image and its counterpart.

    Attributes:
        a: the one's image, None if it was added.
        b: the other's, None if it was removed.
        a_number: its place among the images of its file, from 0.
        b_number: the other's.
        moved: it stands in another order among the images than its counterpart.
        changes: fields that differ.
        bytes: the same, byte for byte.
    """

    a: OptionRom | None
    b: OptionRom | None
    a_number: int | None
    b_number: int | None
    moved: bool
    changes: tuple[FieldChange, ...]
    bytes: ByteDiff

    @property
    def status(self) -> Status:
        """What became of it on the way from the one to the other."""
        if self.a is None:
            return "added"
        if self.b is None:
            return "removed"
        return "changed" if self.changes or not self.bytes.equal else "same"

    @property
    def image(self) -> OptionRom:
        """The other's image, or the one's if that is all there is."""
        image = self.b or self.a
        assert image is not None
        return image

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain JSON types."""
        return {
            "status": self.status,
            "code_type": self.image.code_type,
            "a_number": self.a_number,
            "b_number": self.b_number,
            "moved": self.moved,
            "changes": [c.as_json() for c in self.changes],
            "bytes": self.bytes.as_json(),
        }

    def __repr__(self) -> str:
        numbers = f"{self.a_number} → {self.b_number}"
        return f"<ImageDiff {self.image.code_type:02x} {numbers} {self.status}>"


@dataclass(frozen=True, slots=True)
class RomDiff:
    """Two ROMs compared; `a` is the one before, `b` the one after.

    Attributes:
        container: what precedes the first image.
        images: in the order of `b`, removed ones where they were.
        chains: how the two ways through the ROM differ, in numbers of images.
        tail: what follows the last image.
    """

    a: Rom
    b: Rom
    container: SectionDiff
    images: tuple[ImageDiff, ...]
    chains: tuple[FieldChange, ...]
    tail: SectionDiff

    @property
    def equal(self) -> bool:
        """Identical files, byte for byte."""
        return self.a.data == self.b.data

    @property
    def images_equal(self) -> bool:
        """The same images in the same order; container and tail may differ."""
        return all(i.status == "same" and not i.moved for i in self.images)

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain JSON types."""
        return {
            "equal": self.equal,
            "images_equal": self.images_equal,
            "a": {"size": len(self.a.data), "sha256": self.a.sha256},
            "b": {"size": len(self.b.data), "sha256": self.b.sha256},
            "container": self.container.as_json(),
            "images": [i.as_json() for i in self.images],
            "chains": [c.as_json() for c in self.chains],
            "tail": self.tail.as_json(),
        }

    def __repr__(self) -> str:
        if self.equal:
            return "<RomDiff equal>"
        parts = [f"{i.image.code_type:02x} {i.status}" for i in self.images if i.status != "same"]
        for name, section in (("container", self.container), ("tail", self.tail)):
            if section.status != "same":
                parts.append(f"{name} {section.status}")
        return f"<RomDiff {', '.join(parts) or 'order of images'}>"


def diff(a: Rom, b: Rom) -> RomDiff:
    """Compare two ROMs.

    Drivers are decompressed only where the images that hold them differ.
    """
    images = tuple(_image_diff(x, y, moved=m) for x, y, m in match_images(a.images, b.images))
    return RomDiff(
        a=a,
        b=b,
        container=_container_diff(a, b),
        images=images,
        chains=(
            *_chain_changes(a, b, a.pcir_chain, b.pcir_chain),
            *_chain_changes(a, b, a.npde_chain, b.npde_chain),
        ),
        tail=_tail_diff(a, b),
    )


# Section: which image is whose counterpart

#: An image and its number.
_Numbered: TypeAlias = "tuple[int, OptionRom] | None"


def match_images(
    a: tuple[OptionRom, ...], b: tuple[OptionRom, ...]
) -> list[tuple[_Numbered, _Numbered, bool]]:
    """Pair images of the same code type: in order first, then those that changed places.

    Returns:
        (number and image, number and image, moved) in the order of `b`; None on one side for
        an image without a counterpart.
    """
    pairs = _in_order(a, b)
    moved = _moved(a, b, pairs)
    partner = {j: i for i, j in [*pairs, *moved]}
    taken = set(partner.values())
    crossing = {j for _, j in moved}
    out: list[tuple[_Numbered, _Numbered, bool]] = []
    shown = 0
    for j, image in enumerate(b):
        i = partner.get(j)
        if i is not None and j not in crossing:
            out += [((n, a[n]), None, False) for n in range(shown, i) if n not in taken]
            shown = i
        out.append((None if i is None else (i, a[i]), (j, image), j in crossing))
    out += [((n, a[n]), None, False) for n in range(shown, len(a)) if n not in taken]
    return out


def _in_order(a: tuple[OptionRom, ...], b: tuple[OptionRom, ...]) -> list[tuple[int, int]]:
    """The alignment with the highest likeness; pairs never cross."""
    raw_a, raw_b = [bytes(i) for i in a], [bytes(i) for i in b]
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    likeness = [
        [_likeness(x, y, p == q) for y, q in zip(b, raw_b, strict=True)]
        for x, p in zip(a, raw_a, strict=True)
    ]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            pair = likeness[i][j]
            best[i][j] = max(
                best[i + 1][j], best[i][j + 1], pair + best[i + 1][j + 1] if pair else 0
            )
    pairs, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if likeness[i][j] and best[i][j] == likeness[i][j] + best[i + 1][j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _likeness(a: OptionRom, b: OptionRom, identical: bool) -> int:
    """0 for images that are no counterparts; identical ones beat any number of similar ones."""
    if a.code_type != b.code_type:
        return 0
    if identical:
        return 10_000
    # Of two EFI images, the one for the same processor (the machine type at 0x0A) is nearer.
    return (
        16
        + 4 * (a.pcir.device_id == b.pcir.device_id and a.pcir.vendor_id == b.pcir.vendor_id)
        + 2 * (a.data[a.offset + 10 : a.offset + 12] == b.data[b.offset + 10 : b.offset + 12])
        + (a.size == b.size)
    )


def _moved(
    a: tuple[OptionRom, ...], b: tuple[OptionRom, ...], pairs: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Images left over on both sides that are the same, or the only ones of their code type."""
    left_a = [i for i in range(len(a)) if i not in {p for p, _ in pairs}]
    left_b = [j for j in range(len(b)) if j not in {q for _, q in pairs}]
    found = []
    for i in left_a:
        alone = _count(a, a[i].code_type) == 1 == _count(b, a[i].code_type)
        for j in left_b:
            if a[i].code_type == b[j].code_type and (alone or bytes(a[i]) == bytes(b[j])):
                found.append((i, j))
                left_b.remove(j)
                break
    return found


def _count(images: tuple[OptionRom, ...], code_type: int) -> int:
    return sum(image.code_type == code_type for image in images)


# Section: what differs


def _image_diff(a: _Numbered, b: _Numbered, *, moved: bool) -> ImageDiff:
    a_number, one = a or (None, None)
    b_number, other = b or (None, None)
    if one is None or other is None:
        present = one or other
        assert present is not None
        spans = [(i.offset, i.size) if i else (0, 0) for i in (one, other)]
        return ImageDiff(one, other, a_number, b_number, moved, (), ByteDiff(*spans[0], *spans[1]))
    compared = compare_bytes(one.data, other.data, (one.offset, one.end), (other.offset, other.end))
    changes = _changes(header_fields(one), header_fields(other))
    if one.size != other.size:
        changes.insert(0, FieldChange("image", "size", one.size, other.size))
    if not compared.equal:
        changes += _changes(readings(one), readings(other))
    return ImageDiff(one, other, a_number, b_number, moved, tuple(changes), compared)


def _changes(a: Iterable[Field], b: Iterable[Field]) -> list[FieldChange]:
    """Fields that differ, in the order of the structures."""
    before = {(f.structure, f.name): f.value for f in a}
    after = {(f.structure, f.name): f.value for f in b}
    return [
        FieldChange(*key, before.get(key), after.get(key))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]


def _container_diff(a: Rom, b: Rom) -> SectionDiff:
    compared = compare_bytes(a.data, b.data, (0, a.rom_offset), (0, b.rom_offset))
    changes: list[FieldChange] = []
    if a.container is not None and b.container is not None:
        changes = _changes(_container_fields(a.container), _container_fields(b.container))
    return SectionDiff(
        a.container.title if a.container else None,
        b.container.title if b.container else None,
        tuple(changes),
        compared,
    )


def _container_fields(container: Container) -> Iterator[Field]:
    name = container.kind.value
    yield Field("container", "kind", name)
    yield Field("container", "version", container.version)
    yield Field("container", "rom_offset", container.rom_offset)
    yield Field("container", "rom_length", container.rom_length)
    ids = container.subsystem
    yield Field("container", "subsystem", f"{ids[0]:04x}:{ids[1]:04x}" if ids else None)
    yield Field("container", "directory_offset", container.directory_offset)
    yield Field("container", "problem", container.problem or None)
    for number, i in enumerate(container.vfct_images):
        place = f"{i.pci_bus:02x}:{i.pci_device:02x}.{i.pci_function:x}"
        yield Field(f"VFCT image {number}", "address", place)
        yield Field(f"VFCT image {number}", "device", f"{i.vendor_id:04x}:{i.device_id:04x}")
        board = f"{i.subsystem_vendor_id:04x}:{i.subsystem_id:04x}"
        yield Field(f"VFCT image {number}", "subsystem", board)
        yield Field(f"VFCT image {number}", "image_length", i.image_length)


def _chain_changes(a: Rom, b: Rom, one: Chain, other: Chain) -> list[FieldChange]:
    """Where a chain ends counts only if it ends badly: a good end moves with every insertion."""
    return _changes(_chain_fields(a, one), _chain_fields(b, other))


def _chain_fields(rom: Rom, chain: Chain) -> Iterator[Field]:
    numbers = {image.offset: number for number, image in enumerate(rom.images)}
    path = " ".join(str(numbers[image.offset]) for image in chain)
    yield Field(f"{chain.name} chain", "images", path or None)
    yield Field(f"{chain.name} chain", "end", chain.end.value)
    if not chain.complete:
        yield Field(f"{chain.name} chain", "end_offset", chain.end_offset)


def _tail_diff(a: Rom, b: Rom) -> SectionDiff:
    compared = compare_bytes(a.data, b.data, (a.rom_end, len(a.data)), (b.rom_end, len(b.data)))
    changes = []
    one, other = _tail_words(a), _tail_words(b)
    if one != other and one is not None and other is not None:
        changes.append(FieldChange("tail", "parts", one, other))
    return SectionDiff(one, other, tuple(changes), compared)


def _tail_words(rom: Rom) -> str | None:
    if rom.tail is None:
        return None
    words = []
    for part in rom.tail:
        fill = f" of {part.fill:02x}" if part.fill is not None else ""
        words.append(f"{part.kind.value}{fill} {part.size:#x}")
    return ", ".join(words)
