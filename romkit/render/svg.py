"""Where everything lies in a ROM file, as a picture.

One SVG element without style sheets, scripts or ids: it can stand in a file of its own, in an
HTML page, and several times in one page. It brings its own light background, so that it reads the
same on a dark page. Colours are from palettes that colour-blind readers tell apart, and nothing
is said by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from romkit.header import CodeType
from romkit.render.map import (
    SHORT_END,
    chain_line,
    drawn_chains,
    mark_words,
    marks,
    nested_rom,
    region_title,
)
from romkit.render.text import headline, human_size, markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romkit.chain import Chain
    from romkit.image import OptionRom
    from romkit.rom import Region, Rom

_SANS = "DejaVu Sans, Verdana, Helvetica, sans-serif"
_MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"

_INK = "#1b1f24"
_FAINT = "#57606a"
_PAPER = "#ffffff"
_GUIDE = "#e4e8ec"
_BROKEN = "#b3001b"

#: Fills that stay apart for readers who miss red, green or blue: they differ in lightness too.
_IMAGE_FILL = {
    CodeType.PCAT: "#8ecaf0",
    CodeType.EFI: "#f7c66f",
    CodeType.FWSEC: "#cbb8e0",
    CodeType.NBSI: "#e9b5cd",
}
_OTHER_IMAGE = "#a9d8c4"
_KIND_FILL = {
    "container": "#c4cad2",
    "padding": "#f3f4f6",
    "copy": "#f1ecb0",
    "vfct image": "#f1ecb0",
    "data": "#dcd3c4",
}

_CHAIN_INK = {"PCIR": "#00619e", "NPDE": "#bf5000"}
_CHAIN_WHO = {"PCIR": "firmware, Linux", "NPDE": "NVIDIA's driver"}

# Pixels. The column of regions, the lanes of the chains to its right.
_MARGIN = 18
_TOP = 74
_COLUMN_X = 100
_COLUMN_WIDTH = 410
_LANE = 142
_LEAST_IMAGE = 38
_LEAST_REGION = 22
_TALLEST = 430
_PER_REGION = 76
_NODE = 9
_RING = 12

#: Characters that fit into the column beside the size, and below it.
_TITLE_CHARS = 44
_MARKS_CHARS = 68


@dataclass(frozen=True, slots=True)
class _Box:
    """A region and where it is drawn."""

    region: Region
    image: OptionRom | None
    y: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def map_svg(rom: Rom) -> str:
    """The map of a ROM as a standalone SVG picture.

    Heights are to scale, except that no region is smaller than its label. The chains run beside
    it; where one breaks, a cross stands where the next image should have been.
    """
    chains = drawn_chains(rom) if rom.images else ()
    boxes = _boxes(rom)
    bottom = boxes[-1].bottom if boxes else _TOP
    width = _COLUMN_X + _COLUMN_WIDTH + _LANE * max(len(chains), 1) + _MARGIN
    beyond = any(not c.complete and c.end_offset >= len(rom.data) for c in chains)
    height = bottom + (56 if beyond else 34)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:g}" '
        f'viewBox="0 0 {width} {height:g}" role="img" font-family="{_SANS}" font-size="12">',
        f"<title>{markup('Map of ' + headline(rom))}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1:g}" rx="6" '
        f'fill="{_PAPER}" stroke="{_GUIDE}"/>',
        _text(_MARGIN, 30, headline(rom), size=15, weight="bold"),
    ]
    parts += [_region(rom, box) for box in boxes]
    parts += [_offset_label(box.region.offset, box.y) for box in boxes]
    parts.append(_offset_label(len(rom.data), bottom))
    lanes = [_COLUMN_X + _COLUMN_WIDTH + 34 + _LANE * number for number in range(len(chains))]
    parts += [
        f'<path d="M{_COLUMN_X + _COLUMN_WIDTH} {box.middle:.1f}H{lanes[-1]}" stroke="{_GUIDE}"/>'
        for box in boxes
        if box.image is not None and lanes
    ]
    parts += [_chain(rom, c, boxes, x) for c, x in zip(chains, lanes, strict=True)]
    if len(rom.regions) > 1:
        note = "Heights are to scale; regions too small for their label are drawn larger."
        parts.append(_text(_COLUMN_X, bottom + 20, note, size=10, ink=_FAINT))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def heights(sizes: Sequence[int], least: Sequence[float], total: float) -> list[float]:
    """Heights in proportion to sizes, none below its least one.

    They add up to `total`, or to the sum of the least ones where that is more.
    """
    out = list(least)
    free = set(range(len(sizes)))
    while free:
        room = total - sum(least[n] for n in range(len(sizes)) if n not in free)
        weight = sum(sizes[n] for n in free)
        small = {n for n in free if room <= 0 or not weight or sizes[n] * room / weight < least[n]}
        if not small:
            for n in free:
                out[n] = sizes[n] * room / weight
            break
        free -= small
    return out


def _boxes(rom: Rom) -> list[_Box]:
    images = {image.offset: image for image in rom.images}
    regions = rom.regions
    own = [images.get(r.offset) if r.kind == "image" else None for r in regions]
    least: list[float] = [_LEAST_IMAGE if image else _LEAST_REGION for image in own]
    drawn = heights(
        [r.size for r in regions],
        least,
        max(min(_TALLEST, _PER_REGION * len(least)), 1.2 * sum(least)),
    )
    boxes, y = [], float(_TOP)
    for region, image, height in zip(regions, own, drawn, strict=True):
        boxes.append(_Box(region, image, round(y, 1), round(height, 1)))
        y += round(height, 1)
    return boxes


def _region(rom: Rom, box: _Box) -> str:
    region, image = box.region, box.image
    title = region_title(rom, region)
    size = f"{region.size:#x}, {human_size(region.size)}"
    hover = [f"{title}, {region.offset:#x} to {region.end:#x}, {size}"]
    dash = ' stroke-dasharray="3 3"' if region.kind == "padding" else ""
    parts = [
        f'<rect x="{_COLUMN_X}" y="{box.y:g}" width="{_COLUMN_WIDTH}" height="{box.height:g}" '
        f'fill="{_fill(box)}" stroke="{_FAINT}" stroke-width="0.8"{dash}/>'
    ]
    parts += _stripes(rom, box)
    lines = [mark_words(mark) for mark in marks(image)] if image is not None else []
    # Two lines share the middle of the box, one line takes it.
    base = box.middle + (4.2 if image is None else -3.5)
    right = _COLUMN_X + _COLUMN_WIDTH - 8
    parts.append(_text(_COLUMN_X + 12, base, _cut(title, _TITLE_CHARS), weight="bold"))
    parts.append(_text(right, base, human_size(region.size), size=11, anchor="end"))
    if image is not None:
        below = _cut(" · ".join(lines), _MARKS_CHARS)
        parts.append(_text(_COLUMN_X + 12, base + 15, below, size=10))
        hover += [f"PCIR length {image.pcir.image_length:#x}, class {image.pcir.class_code:06x}"]
        hover += lines
    return f"<g><title>{chr(10).join(map(markup, hover))}</title>{''.join(parts)}</g>"


def _stripes(rom: Rom, box: _Box) -> list[str]:
    """The images of another ROM in the tail, to scale, as a strip at the left of its box."""
    nested = nested_rom(rom, box.region)
    if nested is None:
        return []
    scale = box.height / len(nested.data)
    return [
        f'<rect x="{_COLUMN_X + 1}" y="{box.y + image.offset * scale:.1f}" width="6" '
        f'height="{image.size * scale:.1f}" fill="{_image_fill(image)}" stroke="{_FAINT}" '
        f'stroke-width="0.4"/>'
        for image in nested.images
    ]


def _fill(box: _Box) -> str:
    return _image_fill(box.image) if box.image is not None else _KIND_FILL[box.region.kind]


def _image_fill(image: OptionRom) -> str:
    try:
        return _IMAGE_FILL.get(CodeType(image.code_type), _OTHER_IMAGE)
    except ValueError:
        return _OTHER_IMAGE


def _chain(rom: Rom, chain: Chain, boxes: list[_Box], x: float) -> str:
    ink = _CHAIN_INK[chain.name]
    by_offset = {box.image.offset: box for box in boxes if box.image is not None}
    nodes = [by_offset[image.offset] for image in chain]
    order = [box for box in boxes if box.image is not None]
    parts = [
        _text(x - _NODE, 54, f"{chain.name} chain", size=12, weight="bold", ink=ink),
        _text(x - _NODE, 67, _CHAIN_WHO[chain.name], size=10, ink=_FAINT),
    ]
    for above, below in pairwise(nodes):
        skipped = order.index(below) - order.index(above) - 1
        gap = _RING if chain.complete and below is nodes[-1] else _NODE
        parts.append(_arrow(x, above.middle, below.middle, _bulge(skipped), ink, gap=gap))
    for box in nodes:
        number = order.index(box)
        parts.append(
            f'<circle cx="{x}" cy="{box.middle:.1f}" r="{_NODE}" fill="{ink}"/>'
            + _text(x, box.middle + 4, str(number), size=11, ink=_PAPER, anchor="middle")
        )
    if nodes and chain.complete:
        y = nodes[-1].middle
        parts.append(
            f'<circle cx="{x}" cy="{y:.1f}" r="{_RING}" fill="none" stroke="{ink}" '
            f'stroke-width="1.6"/>'
            + _text(x, y + _RING + 11, "last", size=11, ink=ink, anchor="middle")
        )
    elif not chain.complete:
        parts.append(_broken(chain, boxes, nodes, x))
    return f"<g><title>{markup(chain_line(rom, chain))}</title>{''.join(parts)}</g>"


def _broken(chain: Chain, boxes: list[_Box], nodes: list[_Box], x: float) -> str:
    y = max(_place(boxes, chain.end_offset), _TOP + 14)
    parts = []
    bulge = 0
    if nodes:
        start = nodes[-1].middle
        y = max(y, nodes[-1].bottom)
        # Over images that are passed by the arrow bulges, as it does between images.
        bulge = _bulge(sum(box.image is not None and start < box.middle < y for box in boxes))
        parts.append(_arrow(x, start, y, bulge, _BROKEN, gap=7, dash=True))
    parts.append(
        f'<path d="M{x - 5:g} {y - 5:.1f}l10 10m0 -10l-10 10" stroke="{_BROKEN}" '
        f'stroke-width="2.4" fill="none"/>'
    )
    # A bulging arrow comes in from the right: the words make room for it.
    below = y + 15 if bulge else y - 1
    parts.append(_text(x + 12, below, SHORT_END[chain.end], size=11, ink=_BROKEN))
    where = f"at {chain.end_offset:#x}"
    parts.append(_text(x + 12, below + 12, where, size=10, ink=_BROKEN, mono=True))
    return "".join(parts)


def _bulge(passed: int) -> int:
    """How far an arrow swings out to pass that many images."""
    return 0 if passed == 0 else min(36 + 8 * passed, 76)


def _place(boxes: list[_Box], offset: int) -> float:
    """Where an offset of the file lies in the picture; below it, if it lies behind the file."""
    for box in boxes:
        if box.region.offset <= offset < box.region.end:
            within = (offset - box.region.offset) / box.region.size
            return box.y + within * box.height
    return boxes[-1].bottom + 24


def _arrow(
    x: float,
    start: float,
    end: float,
    bulge: float,
    ink: str,
    *,
    gap: float,
    dash: bool = False,
) -> str:
    """From the middle of a node to the middle of another, or of something `gap` pixels around."""
    if bulge == 0:
        tail, tip = start + _NODE, end - gap
        path = f"M{x:g} {tail:.1f}V{max(tip - 4, tail):.1f}"
        head = f"M{x:g} {tip:.1f}l-3.6 -6.4h7.2z"
    else:
        # The curve leaves and comes in level, from the right: it covers no node between.
        tail, tip = x + _NODE, x + gap
        path = (
            f"M{tail:g} {start:.1f}C{tail + bulge:g} {start:.1f} {tip + bulge:g} {end:.1f} "
            f"{tip + 4:g} {end:.1f}"
        )
        head = f"M{tip:g} {end:.1f}l6.4 -3.6v7.2z"
    dashed = ' stroke-dasharray="5 3"' if dash else ""
    return (
        f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="2"{dashed}/>'
        f'<path d="{head}" fill="{ink}"/>'
    )


def _offset_label(offset: int, y: float) -> str:
    return f'<path d="M{_COLUMN_X - 6} {y:g}h6" stroke="{_FAINT}" stroke-width="0.8"/>' + _text(
        _COLUMN_X - 10, y + 4, f"{offset:#x}", size=11, ink=_FAINT, anchor="end", mono=True
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    ink: str = _INK,
    weight: str = "",
    anchor: str = "",
    mono: bool = False,
) -> str:
    more = f' font-weight="{weight}"' if weight else ""
    more += f' text-anchor="{anchor}"' if anchor else ""
    more += f' font-family="{_MONO}"' if mono else ""
    return (
        f'<text x="{x:g}" y="{y:.1f}" font-size="{size}" fill="{ink}"{more} '
        f'xml:space="preserve">{markup(text)}</text>'
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
