"""ROMs and images in a notebook: small tables and the map.

Strings in a ROM are hostile: everything that goes into the document is escaped, and characters
that a browser would act on are replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romkit.fields import header_fields, readings
from romkit.header import CodeType
from romkit.render.map import chain_line, drawn_chains
from romkit.render.svg import map_svg
from romkit.render.text import headline, human_size, markup, native

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romkit.image import OptionRom
    from romkit.rom import Rom

_COLUMNS = (
    "image", "offset", "size", "code type", "id", "class", "flags", "GOP version", "checksum",
)  # fmt: skip


def rom_html(rom: Rom) -> str:
    """A ROM as HTML: its images as a table, the chains in words, the map as a picture."""
    parts = [f"<p><b>{markup(headline(rom))}</b></p>"]
    if rom.images:
        rows = [_image_row(rom, number) for number in range(len(rom.images))]
        parts.append(_table(_COLUMNS, rows))
        lines = "<br>".join(markup(chain_line(rom, chain)) for chain in drawn_chains(rom))
        parts.append(f"<p>{lines}</p>")
    # A wide picture gives way to a narrow page.
    parts.append(f'<div style="overflow-x:auto">{map_svg(rom)}</div>')
    return f'<div class="romkit">{"".join(parts)}</div>'


def image_html(image: OptionRom) -> str:
    """An image as HTML: every field and reading that is there, a line each."""
    place = [
        ("offset", f"{image.offset:#x}"),
        ("size", f"{image.size:#x} ({human_size(image.size)})"),
        ("code type", f"{image.code_type:02x} {image.code_type_name}"),
    ]
    fields = [
        (f"{field.structure}: {field.name}", native(field.name, field.value))
        for field in (*header_fields(image), *readings(image))
        if field.value is not None
    ]
    return f'<div class="romkit">{_table(("field", "value"), [*place, *fields])}</div>'


def _image_row(rom: Rom, number: int) -> tuple[str, ...]:
    image = rom.images[number]
    pcir = image.pcir
    return (
        str(number),
        f"{image.offset:#x}",
        f"{image.size:#x}",
        f"{image.code_type:02x} {image.code_type_name}",
        f"{pcir.vendor_id:04x}:{pcir.device_id:04x}",
        f"{pcir.class_code:06x}",
        ", ".join(_flags(rom, image)),
        _gop_version(image),
        _checksum(image),
    )


def _flags(rom: Rom, image: OptionRom) -> Iterable[str]:
    if image.pcir.last:
        yield "last (PCIR)"
    if image.npde is not None and image.npde.last:
        yield "last (NPDE)"
    if image.truncated:
        yield "cut off"
    if image not in rom.pcir_chain:
        yield "not in the PCIR chain"
    if image not in rom.npde_chain:
        yield "not in the NPDE chain"


def _gop_version(image: OptionRom) -> str:
    if image.code_type != CodeType.EFI or image.efi is None:
        return ""
    if image.efi.gop is None:
        return f"({image.efi.gop_role.value})"
    return " ".join(t for t in (image.efi.gop.vendor, image.efi.gop.version) if t)


def _checksum(image: OptionRom) -> str:
    if image.checksum_ok is None:
        return f"{image.sum8:02x} (not required)"
    return "ok" if image.checksum_ok else f"{image.sum8:02x}, not 00"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(tag: str, row: Sequence[str]) -> str:
        style = "text-align:left;white-space:pre-wrap"
        return "".join(f'<{tag} style="{style}">{markup(cell)}</{tag}>' for cell in row)

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{line('th', head)}</tr></thead><tbody>{body}</tbody></table>"
