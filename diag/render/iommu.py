"""IOMMU groups for people: a table, the tree with ACS on each hop, the classic script's lines."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from diag.iommu import Isolation
from diag.iommu_support import State
from diag.names import Names
from diag.ways import WayKind
from romkit.finding import Verdict
from romkit.render.text import count, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diag.acs import AcsHop
    from diag.device import PciDevice
    from diag.iommu_report import DeviceReport, IommuReport
    from diag.pci import PciAddress
    from romkit.render.style import Style


def groups_list(report: IommuReport) -> str:
    """The groups as the classic script prints them; a device that sleeps or lacks a group too."""
    names = Names(report.machine.host)
    return "\n".join(
        f"IOMMU Group {group.number} {plain(lspci_line(report, place, names))}"
        for group in report.groups
        for place in group.addresses
    )


def lspci_line(report: IommuReport, place: PciAddress, names: Names) -> str:
    """One device as ``lspci -nn`` prints it."""
    short = str(place).removeprefix("0000:")
    device = report.machine.device(place)
    if device is None:
        return f"{short} unknown device"
    code = f" [{device.class_code}]" if device.class_code else ""
    ids = f" [{device.ids}]" if device.ids else ""
    revision = f" (rev {device.revision:02x})" if device.revision else ""
    return f"{short} {names.class_of(device)}{code}: {_lspci_name(device, names)}{ids}{revision}"


def _lspci_name(device: PciDevice, names: Names) -> str:
    """Vendor and model, with lspci's words for those that nobody knows: the ids stand behind."""
    name = names.of(device)
    if device.ids is None:
        return name
    name = name.removeprefix(f"Vendor {device.ids.vendor:04x} ")
    return name.removesuffix(f" {device.ids.device:04x}")


def iommu_text(report: IommuReport, style: Style, width: int, *, tree: bool) -> str:
    """Verdict and reasons for each GPU, then all groups as a table or as a tree."""
    blocks, names = [], Names(report.machine.host)
    if not report.groups:
        blocks.append(_support(report, style))
    for found in report.asked:
        blocks.append(_device(report, names, found, style, width, tree=tree))
    if not report.asked:
        blocks.append(f"{style.bold('GPUs')}: there is none on this machine")
    if report.groups or tree:
        blocks.append((_tree if tree else _table)(report, names, style, width))
    notes = list(_notes(report, style))
    if notes:
        blocks.append("\n".join(notes))
    return "\n\n".join(blocks)


def _support(report: IommuReport, style: Style) -> str:
    marks = {
        State.THERE: style.green("there"),
        State.MISSING: style.red("missing"),
        State.UNKNOWN: style.yellow("could not look"),
    }
    lines = [style.red("No IOMMU is in use: there are no groups, and nothing can be handed over")]
    for part in report.support.parts:
        lines.append(f"  {part.name}: {marks[part.state]}: {plain(part.text)}")
        if part.remedy and part.state is not State.THERE:
            lines.append(f"    try: {plain(part.remedy)}")
    if not any(part.remedy and part.state is not State.THERE for part in report.support.parts):
        # No part is to blame: the finding says where to look on.
        lines += [f"  try: {plain(f.remedy)}" for f in report.findings
                  if f.check == "iommu.on" and f.remedy]  # fmt: skip
    return "\n".join(lines)


def _device(
    report: IommuReport, names: Names, found: DeviceReport, style: Style, width: int, *, tree: bool
) -> str:
    device, explained = found.device, found.explained
    name = plain(names.of(device))
    lines = [f"{style.bold(str(device.address))} {name}: {_verdict(found, style)}"]
    if explained.verdict is not None:
        strangers = [_place(report, names, place) for place in explained.verdict.strangers]
        lines += [f"  shares its group with {name}" for name in strangers[:16]]
        lines += [f"  and {len(strangers) - 16} more"] if len(strangers) > 16 else []
        lines += [f"  cannot tell what {place} is" for place in explained.verdict.unknown]
    if explained.elsewhere:
        places = ", ".join(map(str, explained.elsewhere))
        lines.append(f"  its functions {places} are in other groups")
    alone = explained.verdict is not None and explained.verdict.isolation is Isolation.ISOLATED
    # What joins a GPU with nobody but its own bridges is for who looks at the hops.
    if tree or not alone:
        lines += [f"  why: {plain(merge.text)}" for merge in explained.merges]
    if explained.unexplained and (tree or not alone):
        places = ", ".join(map(str, explained.unexplained[:8]))
        lines.append(f"  why {places} is in the group could not be told from the devices' config")
    lines += _viable(found, style)
    for way in found.ways:
        if way.kind is not WayKind.NONE_NEEDED:
            lines += _wrapped(f"{way.kind.value}: {way.text}", width, 2, way.kind.value, style.cyan)
            lines += (
                _wrapped(f"cost: {way.cost}", width, 4, "cost", style.yellow) if way.cost else []
            )
    return "\n".join(lines)


def _wrapped(
    text: str, width: int, indent: int, head: str, paint: Callable[[str], str]
) -> list[str]:
    """A paragraph in lines, its head painted."""
    first, *rest = wrap(plain(text), width - indent - 2) or [""]
    lines = [first.replace(head, paint(head), 1), *(f"  {line}" for line in rest)]
    return [f"{' ' * indent}{line}" for line in lines]


def _verdict(found: DeviceReport, style: Style) -> str:
    group, verdict = found.explained.group, found.explained.verdict
    if group is None or verdict is None:
        return style.yellow("in no IOMMU group")
    if verdict.isolation is Isolation.ISOLATED:
        return f"{style.green('isolated')} in group {group.number}"
    if verdict.isolation is Isolation.UNKNOWN:
        return f"{style.yellow('cannot tell')}, group {group.number}"
    return f"{style.red(count(len(verdict.strangers), 'stranger'))} in group {group.number}"


def _viable(found: DeviceReport, style: Style) -> list[str]:
    viable = found.viable
    if viable is None:
        return []
    if viable.viable:
        return [f"  {style.green('viable')}: no driver of the host holds the group"]
    if viable.viable is None:
        return [f"  {style.yellow('viable?')} {', '.join(map(str, viable.unknown))} is not known"]
    names = ", ".join(f"{place} ({plain(name)})" for place, name in viable.holders)
    return [f"  {style.yellow('not viable now')}: held by {names}"]


def _place(report: IommuReport, names: Names, place: PciAddress) -> str:
    device = report.machine.device(place)
    if device is None:
        return str(place)
    driver = f", driver {plain(device.driver)}" if device.driver else ", no driver"
    return f"{place} {plain(names.class_of(device))} {plain(names.of(device))}{driver}"


def _table(report: IommuReport, names: Names, style: Style, width: int) -> str:
    from tabulate import tabulate

    rows = []
    for group in report.groups:
        for place in group.addresses:
            device = report.machine.device(place)
            number = str(group.number) if place == group.addresses[0] else ""
            if device is None:
                rows.append([number, str(place), "?", "?", "?"])
                continue
            mark = style.cyan(str(place)) if device.is_gpu else str(place)
            what = f"{names.class_of(device)}: {names.of(device)} [{device.ids}]"
            rows.append([number, mark, _acs_word(report.hierarchy.hop(device)),
                         plain(device.driver or "-"), _cut(what, width - 52)])  # fmt: skip
    header = ["group", "member", "ACS", "driver", "device"]
    return tabulate(rows, headers=header, disable_numparse=True)


def _tree(report: IommuReport, names: Names, style: Style, width: int) -> str:
    """Every function below the bridge that leads to it, with its group and its ACS."""
    lines = [style.bold("From the root")]
    numbers = {place: group.number for group in report.groups for place in group.addresses}
    for device in _in_order(report):
        depth = len(report.hierarchy.above(device))
        number = numbers.get(device.address)
        group = "no group" if number is None else f"group {number}"
        hop = report.hierarchy.hop(device)
        mark = style.cyan(str(device.address)) if device.is_gpu else str(device.address)
        what = _cut(f"{names.class_of(device)}: {names.of(device)}", width - 40 - 2 * depth)
        lines.append(f"{'  ' * (depth + 1)}{mark} {group}, {what}")
        # A single function that leads nowhere is not asked.
        if hop.multifunction or (device.class_code and device.class_code.code == 0x0604):
            paint = {True: style.green, False: style.red, None: style.yellow}[hop.separates]
            lines.append(f"{'  ' * (depth + 2)}{paint(_cut(hop.text, width - 2 * depth - 6))}")
    return "\n".join(lines)


def _in_order(report: IommuReport) -> list[PciDevice]:
    """Each function right below the bridge that leads to it."""
    hierarchy = report.hierarchy
    return sorted(
        report.machine.devices,
        key=lambda device: [
            step.address for step in (*hierarchy.above(device)[::-1], device)
        ],
    )  # fmt: skip


def _acs_word(hop: AcsHop) -> str:
    if hop.separates is None:
        return "?"
    if hop.quirk:
        return "quirk" if hop.separates else "no"
    if hop.separates:
        return "on" if hop.acs else "-"
    return "off" if hop.acs else "no"


def _notes(report: IommuReport, style: Style) -> Iterator[str]:
    told = ("iommu.on", "iommu.group", "iommu.viable")
    for finding in report.findings:
        if finding.check in told or finding.verdict is Verdict.PASS:
            continue
        paint = style.yellow if finding.verdict is Verdict.FAIL else style.dim
        yield f"{paint(finding.check)}: {plain(finding.title)}"
        if finding.remedy:
            yield f"  try: {plain(finding.remedy)}"


def _cut(text: str, room: int) -> str:
    room, text = max(room, 24), plain(text)
    return text if len(text) <= room else f"{text[: room - 1]}…"
