"""Two ROMs compared, for the terminal: what it means first, the bytes after that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from romkit.render.map import marks
from romkit.render.style import Style
from romkit.render.text import count, headline, human_size, native, plain

if TYPE_CHECKING:
    from romkit.bytediff import ByteDiff, ByteRange
    from romkit.diff import FieldChange, ImageDiff, RomDiff, SectionDiff
    from romkit.image import OptionRom

#: Ranges that are printed of each image; fewer where most of it differs and no single one matters.
_SHOWN_RANGES = 16
_SHOWN_OF_MANY = 4

#: Bytes that are printed of each side of a range.
_SHOWN_BYTES = 8

PLAIN = Style(False)


def diff_text(d: RomDiff, style: Style = PLAIN) -> str:
    """A comparison for people: the outcome, the two files, fields, then byte ranges."""
    lines = [style.bold(_outcome(d))]
    lines += [
        f"  A  {headline(d.a)}  {style.dim('sha256 ' + d.a.sha256[:16])}",
        f"  B  {headline(d.b)}  {style.dim('sha256 ' + d.b.sha256[:16])}",
    ]
    if d.equal:
        return "\n".join(lines)
    lines.append("")
    lines += _section("container", d.container, style)
    for image in d.images:
        lines += _image(image, style)
    lines += _chains(d, style)
    lines += _section("tail", d.tail, style)
    ranges = [*_bytes("container", d.container.bytes, None, style)]
    for image in d.images:
        ranges += _bytes(_name(image), image.bytes, image.b, style)
    ranges += _bytes("tail", d.tail.bytes, None, style)
    if ranges:
        lines += ["", style.bold("bytes"), *ranges]
    return "\n".join(lines)


def _outcome(d: RomDiff) -> str:
    """The whole comparison in one sentence."""
    if d.equal:
        return "the files are identical"
    around = [n for n, s in (("container", d.container), ("tail", d.tail)) if s.status != "same"]
    if d.images_equal and d.images:
        verb = "differs" if len(around) == 1 else "differ"
        return f"the images are identical: only the {' and the '.join(around)} {verb}"
    parts = []
    for status in ("added", "removed", "changed", "same"):
        number = sum(image.status == status for image in d.images)
        if number:
            word = "identical" if status == "same" else status
            parts.append(f"{count(number, 'image')} {word}")
    moved = sum(image.moved for image in d.images)
    if moved:
        parts.append(f"{count(moved, 'image')} in another order")
    parts += [f"{name} differs" for name in around]
    return ", ".join(parts)


def _section(name: str, section: SectionDiff, style: Style) -> Iterator[str]:
    if section.status == "same":
        return
    if section.status == "added":
        what = f"{plain(section.b or '')}, {count(section.bytes.b_size, 'byte')}"
        yield f"{style.green('+')} {name} only in B: {what}"
    elif section.status == "removed":
        what = f"{plain(section.a or '')}, {count(section.bytes.a_size, 'byte')}"
        yield f"{style.red('-')} {name} only in A: {what}"
    else:
        yield f"{style.yellow('~')} {name} changed: {_byte_count(section.bytes)}"
        yield from _fields(section.changes, style)


def _image(image: ImageDiff, style: Style) -> Iterator[str]:
    if image.status == "added":
        yield f"{style.green('+')} {_name(image)} added: {_contents(image.image)}"
    elif image.status == "removed":
        yield f"{style.red('-')} {_name(image)} removed: {_contents(image.image)}"
    elif image.status == "same":
        yield f"{style.dim('=')} {_name(image)} identical{_place(image)}"
    else:
        what = f"changed{_place(image)}: {_byte_count(image.bytes)}"
        yield f"{style.yellow('~')} {_name(image)} {what}"
        yield from _fields(image.changes, style)


def _name(image: ImageDiff) -> str:
    kind = f"{image.image.code_type:02x} {image.image.code_type_name}"
    numbers = [n for n in (image.a_number, image.b_number) if n is not None]
    if len(set(numbers)) == 1:
        return f"image {numbers[0]} ({kind})"
    return f"image {numbers[0]} → {numbers[1]} ({kind})"


def _contents(image: OptionRom) -> str:
    text = f"{image.size:#x} bytes ({human_size(image.size)}) at {image.offset:#x}"
    text += f", {image.pcir.vendor_id:04x}:{image.pcir.device_id:04x}"
    efi = image.efi
    if efi is not None and efi.gop is not None:
        words = [efi.gop.vendor, "GOP", efi.gop.version]
        text += ", " + " ".join(plain(word) for word in words if word)
    return text


def _place(image: ImageDiff) -> str:
    words = []
    if image.bytes.a_offset != image.bytes.b_offset:
        words.append(f"{image.bytes.a_offset:#x} → {image.bytes.b_offset:#x}")
    if image.moved:
        words.append("in another order")
    return f" ({', '.join(words)})" if words else ""


def _byte_count(d: ByteDiff) -> str:
    parts = []
    if d.differing:
        parts.append(f"{count(d.differing, 'byte')} in {count(d.range_count, 'range')}")
    if d.a_size != d.b_size:
        more, side = abs(d.a_size - d.b_size), "A" if d.a_size > d.b_size else "B"
        parts.append(f"{more:#x} more bytes in {side}")
    return ", ".join(parts) or "the same bytes"


def _fields(changes: tuple[FieldChange, ...], style: Style) -> Iterator[str]:
    if not changes:
        yield style.dim("    in no field that romkit reads")
        return
    names = [f"{change.structure} {change.name}" for change in changes]
    width = max(map(len, names))
    for name, change in zip(names, changes, strict=True):
        before, after = native(change.name, change.a), native(change.name, change.b)
        yield f"    {name:<{width}}  {style.red(before)} → {style.green(after)}"


def _chains(d: RomDiff, style: Style) -> Iterator[str]:
    for name in dict.fromkeys(change.structure for change in d.chains):
        yield f"{style.yellow('~')} {name}"
        for change in d.chains:
            if change.structure != name:
                continue
            before, after = native(change.name, change.a), native(change.name, change.b)
            yield f"    {change.name:<10}  {style.red(before)} → {style.green(after)}"


def _bytes(name: str, d: ByteDiff, image: OptionRom | None, style: Style) -> Iterator[str]:
    if not d.differing:
        return
    # Offsets of the file where one number is true for both files.
    base = d.a_offset if d.a_offset == d.b_offset else 0
    origin = ""
    if d.a_offset != d.b_offset:
        origin = f", offsets from its start ({d.a_offset:#x} in A, {d.b_offset:#x} in B)"
    total = f"{count(d.differing, 'byte')} in {count(d.range_count, 'range')}"
    yield f"  {name}: {total} {'differs' if d.differing == 1 else 'differ'}{origin}"
    most = 2 * d.differing > min(d.a_size, d.b_size)
    shown = d.ranges[: _SHOWN_OF_MANY if most else _SHOWN_RANGES]
    for r in shown:
        where = _within(r, image) if image is not None else ""
        span = f"{base + r.offset:#06x}-{base + r.end:#06x} ({count(r.size, 'byte')}):"
        line = f"    {span} {style.red(_hex(r.a))} → {style.green(_hex(r.b))}"
        yield line + (style.dim(f"  {where}") if where else "")
    if d.range_count > len(shown):
        yield style.dim(f"    … and {count(d.range_count - len(shown), 'more range')}")


def _within(r: ByteRange, image: OptionRom) -> str:
    """The structure of B that a range lies in or begins before, if it is one that has a name."""
    if r.offset < 0x1A:
        return "header"
    for mark in marks(image):
        length = _LENGTHS.get(mark.name, 0)
        if mark.name in _LENGTHS and r.offset < mark.offset - image.offset + length:
            return mark.name if r.end > mark.offset - image.offset else ""
    return ""


_LENGTHS = {"PCIR": 24, "NPDS": 24, "RGIS": 24, "NPDE": 20, "BIT": 12}


def _hex(raw: bytes) -> str:
    return raw[:_SHOWN_BYTES].hex(" ") + (" …" if len(raw) > _SHOWN_BYTES else "")
