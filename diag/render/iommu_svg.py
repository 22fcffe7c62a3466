"""IOMMU groups as a picture: the tree of functions, each in the colour of its group.

One SVG element without style sheets, scripts or ids, on a light background of its own. Nothing is
said by colour alone: each box has the number of its group, each hop its ACS in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.names import Names
from romkit.render.text import markup

if TYPE_CHECKING:
    from diag.acs import AcsHop
    from diag.device import PciDevice
    from diag.iommu_report import IommuReport

_SANS = "DejaVu Sans, Verdana, Helvetica, sans-serif"
_MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"
_INK, _FAINT, _PAPER, _GUIDE, _BROKEN, _GOOD = (
    "#1b1f24", "#57606a", "#ffffff", "#c4cad2", "#b3001b", "#00619e",
)  # fmt: skip
#: Fills for the groups of the devices that were asked for; all others are grey.
_FILLS = ("#f7c66f", "#8ecaf0", "#cbb8e0", "#a9d8c4", "#e9b5cd", "#f1ecb0")
_OTHER = "#f3f4f6"

# Pixels.
_MARGIN, _TOP, _ROW, _BOX, _INDENT, _WIDTH = 18, 76, 48, 38, 34, 900
_CHARS = 92


def groups_svg(report: IommuReport) -> str:
    """The functions from the root down, with group and ACS, as a standalone SVG picture.

    Behind the bridges that lead nowhere near an asked device only those with a group are drawn.
    """
    devices = sorted(
        report.machine.devices,
        key=lambda d: [step.address for step in (*report.hierarchy.above(d)[::-1], d)],
    )
    numbers = {place: group.number for group in report.groups for place in group.addresses}
    marked = list(
        dict.fromkeys(
            found.explained.group.number
            for found in report.asked
            if found.explained.group is not None
        )
    )
    height = _TOP + _ROW * max(len(devices), 1) + _MARGIN
    title = f"IOMMU groups of {report.machine.host.note}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" font-family="{_SANS}" font-size="12">',
        f"<title>{markup(title)}</title>",
        f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="6" '
        f'fill="{_PAPER}" stroke="{_GUIDE}"/>',
        _text(_MARGIN, 28, title, size=15, weight="bold"),
    ]
    parts += _legend()
    joining = {
        hop.address
        for found in report.asked
        for merge in found.explained.merges
        if merge.certain
        for hop in merge.hops
    }
    places: dict[object, tuple[int, int]] = {}
    names = Names(report.machine.host)
    for row, device in enumerate(devices):
        above = report.hierarchy.above(device)
        x, y = _MARGIN + _INDENT * len(above), _TOP + _ROW * row
        places[device.address] = (x, y)
        if above and above[0].address in places:
            parts.append(_branch(places[above[0].address], (x, y)))
        number = numbers.get(device.address)
        fill = _FILLS[marked.index(number) % len(_FILLS)] if number in marked else _OTHER
        hop = report.hierarchy.hop(device)
        ink = _GOOD if hop.separates else _BROKEN if hop.address in joining else _FAINT
        parts += _box(device, hop, names, (x, y), number, fill, ink)
    if not devices:
        parts.append(_text(_MARGIN, _TOP + 16, "no PCI functions"))
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> list[str]:
    """What the colours mean, in them, on one line below the title."""
    said = (
        ("coloured box: in the group of an asked device", _INK),
        ("blue: keeps apart", _GOOD),
        ("red: joins that group", _BROKEN),
        ("grey: joins nothing in it, or not measured", _FAINT),
    )
    parts, x = [], _MARGIN
    for text, ink in said:
        parts.append(_text(x, 52, text, ink=ink, size=11))
        x += 6 * len(text) + 16
    return parts


def _box(
    device: PciDevice,
    hop: AcsHop,
    names: Names,
    place: tuple[int, int],
    number: int | None,
    fill: str,
    ink: str,
) -> list[str]:
    x, y = place
    width = _WIDTH - _MARGIN - x
    group = "no group" if number is None else f"group {number}"
    bold = "bold" if device.is_gpu else "normal"
    head = f"{names.class_of(device)}: {names.of(device)}"
    driver = f"driver {device.driver}; " if device.driver else ""
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="4" fill="{fill}" '
        f'stroke="{_GUIDE}"/>',
        _text(x + 8, y + 16, str(device.address), family=_MONO, weight=bold),
        _text(x + 116, y + 16, group, weight="bold"),
        _text(x + 188, y + 16, _cut(head, _CHARS - (x - _MARGIN) // 8), weight=bold),
        _text(x + 8, y + 32, _cut(f"{driver}{hop.text}", _CHARS + 20 - x // 8), ink=ink, size=11),
    ]


def _branch(parent: tuple[int, int], child: tuple[int, int]) -> str:
    x, y = parent[0] + _INDENT // 2, parent[1] + _BOX
    return f'<path d="M{x} {y}V{child[1] + _BOX // 2}H{child[0]}" fill="none" stroke="{_FAINT}"/>'


def _text(
    x: int, y: int, text: str, *, size: int = 12, weight: str = "normal", ink: str = _INK,
    family: str = "",
) -> str:  # fmt: skip
    font = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{ink}"{font}>'
        f"{markup(text)}</text>"
    )


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
