"""Where everything lies in a ROM file, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from romkit.chain import ChainEnd
from romkit.checks.structure import appended_drivers
from romkit.errors import RomError
from romkit.header import CodeType
from romkit.render.style import Style
from romkit.render.text import headline, human_size, plain

if TYPE_CHECKING:
    from romkit.chain import Chain
    from romkit.image import OptionRom
    from romkit.rom import Region, Rom

#: No colours.
PLAIN = Style(False)

#: Cells that the bar gets at least, even if the lines become wider than asked for.
_NARROWEST_BAR = 8

#: Images of a copy that are named; no real ROM has more.
_MOST_KINDS = 7

#: Wider bars say nothing more.
_WIDEST_BAR = 64

_FILL = {
    "container": "▓",
    "image": "█",
    "padding": "░",
    "copy": "▒",
    "vfct image": "▒",
    "data": "▚",
}

#: What a driver is that somebody put behind the end of the chains.
UNREACHED = "EFI image that no chain reaches"

#: Why a chain ends, in two words.
SHORT_END = {
    ChainEnd.LAST: "last",
    ChainEnd.END_OF_DATA: "end of file",
    ChainEnd.NO_SIGNATURE: "no signature",
    ChainEnd.NO_STRUCTURE: "no PCIR",
    ChainEnd.ZERO_LENGTH: "length zero",
    ChainEnd.TOO_MANY: "too many",
}

_ASCII = str.maketrans(
    {
        "▓": "%", "█": "#", "░": ".", "▒": "=", "▚": "&",
        "│": "|", "●": "o", "◆": "L", "✗": "x", "→": ">", "·": ",", "…": "~",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """A place inside an image worth finding again.

    Attributes:
        name: what is there, e.g. "PCIR", "BIT", "EFI stream".
        offset: bytes from the start of the file.
        note: more about it, possibly empty.
    """

    name: str
    offset: int
    note: str = ""


def map_text(rom: Rom, width: int = 100, style: Style = PLAIN, *, ascii: bool = False) -> str:  # noqa: A002  what the option is called
    """The map of a ROM: a line for each region, to scale, and the two chains beside it.

    Args:
        rom: what to draw.
        width: columns of the terminal. Files of very many regions need more than 80.
        style: colours.
        ascii: use no other characters than ASCII's.
    """
    chains = drawn_chains(rom)
    regions = rom.regions
    rows = list(_rows(rom, chains))
    gutter = 2 * len(chains) + 2
    narrowest = max(_NARROWEST_BAR, len(regions))
    texts = _columns([row for row in rows if row.region is not None], width - gutter - narrowest)
    widest = max((len(text) for text in texts.values()), default=0)
    room = min(width - gutter - widest - 2, _WIDEST_BAR)
    widths = cells([region.size for region in regions], max(room, narrowest))
    places = {r.offset: (sum(widths[:n]), widths[n]) for n, r in enumerate(regions)}

    lines = [style.bold(headline(rom))]
    if rom.images:
        lines.append(style.dim(" " + " ".join(chain.name[0] for chain in chains)))
    for row in rows:
        line = " " + " ".join(row.gutter) + "  "
        if row.region is None:
            lines.append(line + (style.red(row.title) if row.broken else style.dim(row.title)))
            continue
        start, length = places[row.region.offset]
        line += texts[row.region.offset].ljust(widest + 2) + " " * start
        lines.append(line + _colour(row, _FILL[row.region.kind] * length, style))
    if rom.images:
        lines.append("")
        for chain in chains:
            lines += wrap(chain_line(rom, chain), max(width, 20), subsequent_indent="    ")
    text = "\n".join(line.rstrip() for line in lines)
    return text.translate(_ASCII).encode("ascii", "replace").decode() if ascii else text


def cells(sizes: Sequence[int], width: int) -> list[int]:
    """Share `width` cells among sizes: one each, the rest in proportion, none left over.

    Raises:
        ValueError: there are more sizes than cells.
    """
    if len(sizes) > width:
        raise ValueError(f"{len(sizes)} regions do not fit into {width} cells")
    if not sizes:
        return []
    if not any(sizes):
        sizes = [1] * len(sizes)
    total = sum(sizes)
    spare = width - len(sizes)
    shares = [1 + size * spare // total for size in sizes]
    # Largest remainder: the cells that rounding down left over go to those it took most from.
    neediest = sorted(range(len(sizes)), key=lambda n: (-(sizes[n] * spare % total), n))
    for n in neediest[: width - sum(shares)]:
        shares[n] += 1
    return shares


def marks(image: OptionRom) -> tuple[Mark, ...]:
    """The structures inside an image, by offset. Nothing is decompressed for them."""
    pcir, npde, efi = image.pcir, image.npde, image.efi
    covers = "" if pcir.image_length == image.size else f"covers {pcir.image_length:#x}"
    found = [Mark(pcir.signature.decode("ascii", "replace"), pcir.offset, covers)]
    if npde is not None:
        length = npde.subimage_length
        covers = "" if length in (None, image.size) else f"covers {length:#x}"
        found.append(Mark("NPDE", npde.offset, covers))
    if image.nvidia is not None:
        found.append(Mark("BIT", image.offset + image.nvidia.bit.offset))
    if image.atom is not None:
        found.append(Mark("ATOM", image.offset + image.atom.rom_header.offset))
    if image.vbt is not None:
        found.append(Mark("VBT", image.vbt.offset))
    if efi is not None:
        note = {0: "not compressed", 1: "compressed"}.get(efi.compression, "")
        found.append(Mark("EFI stream", image.offset + efi.image_offset, note))
    return tuple(sorted(found, key=lambda mark: mark.offset))


def chain_path(rom: Rom, chain: Chain) -> str:
    """The images that a chain reaches, by number, and how it ends."""
    numbers = {image.offset: number for number, image in enumerate(rom.images)}
    path = " → ".join(str(numbers[image.offset]) for image in chain)
    if chain.complete:
        return f"{path} last"
    return f"{path or 'no image'} → {chain.end_offset:#x}: {chain.end.value}"


def region_title(rom: Rom, region: Region) -> str:
    """What a region is, with the id of an image and the images of another ROM behind this one."""
    image = next((i for i in rom.images if i.offset == region.offset), None)
    if region.kind == "image" and image is not None:
        number = rom.images.index(image)
        ids = f"{image.pcir.vendor_id:04x}:{image.pcir.device_id:04x}"
        return f"{number}  {image.code_type:02x} {image.code_type_name}  {ids}"
    title = region.title
    if any(region.offset <= offset < region.end for offset, _ in appended_drivers(rom)):
        title = UNREACHED
    nested = nested_rom(rom, region)
    if nested is not None:
        kinds = [f"{image.code_type:02x}" for image in nested.images]
        more = ["…"] if len(kinds) > _MOST_KINDS else []
        title += f": {'+'.join(kinds[:_MOST_KINDS] + more)}"
    return plain(title)


def nested_rom(rom: Rom, region: Region) -> Rom | None:
    """The ROM in a copy, or None where the region holds none that can be read by itself."""
    part = next((p for p in rom.tail or () if p.offset == region.offset), None)
    if part is None:
        return None
    try:
        return part.rom
    except RomError:
        return None


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the map: a region, or a note between regions."""

    gutter: tuple[str, ...]
    region: Region | None
    title: str
    image: OptionRom | None = None
    broken: bool = False


def drawn_chains(rom: Rom) -> tuple[Chain, ...]:
    """Both chains, or the one of a ROM in which nothing tells them apart."""
    if any(image.npde is not None for image in rom.images) or not rom.chains_agree:
        return rom.pcir_chain, rom.npde_chain
    return (rom.pcir_chain,)


def chain_line(rom: Rom, chain: Chain) -> str:
    """A chain in words: who follows it, where it leads."""
    who = "firmware, Linux" if chain.name == "PCIR" else "NVIDIA's driver"
    return f"{chain.name} chain ({who}): {chain_path(rom, chain)}"


def _rows(rom: Rom, chains: tuple[Chain, ...]) -> Iterator[_Row]:
    waiting = [chain for chain in chains if rom.images and not chain.complete]
    images = {image.offset: image for image in rom.images}
    for region in rom.regions:
        image = images.get(region.offset) if region.kind == "image" else None
        for chain in [c for c in waiting if c.end_offset == region.offset and image not in c]:
            waiting.remove(chain)
            yield _break(chain, chains)
        gutter = tuple(_node(chain, region, image) for chain in chains)
        yield _Row(gutter, region, region_title(rom, region), image)
        if image is not None:
            between = tuple(_line(chain, image.offset) for chain in chains)
            yield _Row(between, None, _mark_line(image))
        for chain in [c for c in waiting if c.end_offset < region.end]:
            waiting.remove(chain)
            yield _break(chain, chains)
    for chain in waiting:
        yield _break(chain, chains)


def _break(chain: Chain, chains: tuple[Chain, ...]) -> _Row:
    """Where a chain ends badly: the next image should have been here."""
    gutter = tuple("✗" if c is chain else _line(c, chain.end_offset - 1) for c in chains)
    why = f"{chain.end_offset:#x}: the {chain.name} chain breaks ({SHORT_END[chain.end]})"
    return _Row(gutter, None, why, broken=True)


def _node(chain: Chain, region: Region, image: OptionRom | None) -> str:
    """How a chain passes a region: stops there, stops for good, passes by, is not there."""
    if image is not None and image in chain:
        return "◆" if chain.complete and image is chain.images[-1] else "●"
    return _line(chain, region.offset)


def _line(chain: Chain, offset: int) -> str:
    """Whether the line of a chain runs on below `offset`."""
    if not chain.images:
        return " "
    last = chain.images[-1].offset if chain.complete else chain.end_offset
    return "│" if chain.images[0].offset <= offset < last else " "


def _mark_line(image: OptionRom) -> str:
    return "  " + " · ".join(mark_words(mark) for mark in marks(image))


def mark_words(mark: Mark) -> str:
    """A mark as it is printed: name, offset, note."""
    return f"{mark.name} {mark.offset:#x}" + (f" ({mark.note})" if mark.note else "")


def _columns(rows: Sequence[_Row], room: int) -> dict[int, str]:
    """The text of each region's line, by offset, in columns; fewer of them where room is short."""
    regions = [(row.region, row.title) for row in rows if row.region is not None]
    digits = max((len(f"{r.end:#x}") for r, _ in regions), default=0)
    sizes = max((len(f"{r.size:#x}") for r, _ in regions), default=0)
    human = max((len(human_size(r.size)) for r, _ in regions), default=0)
    titles = max((len(title) for _, title in regions), default=0)
    # Where a region ends is where the next one starts, and that is printed below it.
    ends = 2 * digits + sizes + human + titles + 9 <= room
    return {
        r.offset: f"{r.offset:#0{digits}x}"
        + (f"-{r.end:#0{digits}x}" if ends else "")
        + f"  {r.size:#{sizes}x}  {human_size(r.size):>{human}}  {title:<{titles}}"
        for r, title in regions
    }


def _colour(row: _Row, text: str, style: Style) -> str:
    if row.image is None:
        return style.dim(text)
    if row.image.code_type == CodeType.PCAT:
        return style.cyan(text)
    return style.green(text) if row.image.code_type == CodeType.EFI else style.yellow(text)
