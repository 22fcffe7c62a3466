"""Words and numbers that every display writes the same way."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romkit.fields import Value
    from romkit.rom import Rom


def plain(text: str) -> str:
    """`text` without characters that a terminal or a document would act on.

    Text from a ROM is hostile: escape sequences, line breaks and marks that turn the direction
    of writing become U+FFFD.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def markup(text: str) -> str:
    """`text` for a document (HTML, SVG): escaped, `plain`, and readable in any character set."""
    return escape(plain(text)).encode("ascii", "xmlcharrefreplace").decode("ascii")


def broken(text: str, width: int | None) -> list[str]:
    """Lines of at most `width` columns, broken at spaces alone: paths and commands stay whole.

    Args:
        text: one line or more.
        width: columns; None leaves the text as it is.
    """
    if width is None:
        return [text]
    from textwrap import wrap

    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def human_size(size: int) -> str:
    """A number of bytes in the largest unit that it fills: "512 B", "60.5 KiB", "2 MiB"."""
    if size < 1024:
        return f"{size} B"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        # What would be printed as 1024.0 belongs to the next unit.
        if value < 1023.95:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def native(name: str, value: Value) -> str:
    """A field's value as its specification would write it; `name` is the field's name."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name == "indicator":
            return f"{value:#04x} ({'last image' if value & 0x80 else 'not the last image'})"
        if name in ("code_type", "sum8"):
            return f"{value:02x}"
        return f"{value:#x}"
    return plain(value)


def count(number: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def headline(rom: Rom) -> str:
    """Size, images and container of a ROM in a few words."""
    size = f"{len(rom.data):#x} bytes ({human_size(len(rom.data))})"
    around = f", {rom.container.title} container" if rom.container else ""
    return f"{size}, {count(len(rom.images), 'image')}{around}"
