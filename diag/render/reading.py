"""A reading of pasted text, for people."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from diag.iommu import Isolation
from diag.text.problems import MEANINGS
from romkit.render.text import count, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.iommu import Member
    from diag.pci import PciAddress
    from diag.text.cmdline import CommandLines
    from diag.text.device import TextDevice
    from diag.text.dmesg import Log
    from diag.text.reading import Reading
    from romkit.render.style import Style

#: What stands where the text does not say.
UNSAID = "?"
#: Log lines that are printed; the JSON has all.
MAX_LINES = 40


def reading_text(name: str, reading: Reading, style: Style, width: int) -> str:
    """All that a text says about passthrough, and what it leaves open."""
    parts = ", ".join(
        f"{part.title} ({count(part.lines, 'line')} from {part.first_line} on)"
        for part in reading.parts
    )
    blocks = [f"{style.bold(name)}: {parts}"]
    if reading.lists_devices:
        blocks.append(_gpus(reading, style, width))
        blocks.extend(_gpu_notes(reading, style))
    blocks.extend(_dead(reading, style))
    blocks.extend(_groups(reading, style, width))
    blocks.extend(_access_control(reading, style))
    if reading.log is not None:
        blocks.append(_log(reading.log, style))
    if reading.command_lines is not None:
        blocks.append(_command_lines(reading.command_lines, style))
    return "\n\n".join(blocks)


def devices_text(reading: Reading, style: Style, width: int) -> str:
    """All devices of a text in one table."""
    header = ["address", "class", "ids", "rev", "driver", "device"]
    rows = [
        [
            _marked(device, style),
            plain(_class(device)),
            _said(_known(device, "ids")),
            _revision(device),
            _said(device.driver),
            _cut(device.name or UNSAID, width - 78),
        ]
        for device in reading.devices
    ]
    notes = [*_dead(reading, style), style.dim(f"{UNSAID}: the text does not say")]
    return "\n\n".join([_table(rows, header), *notes])


def _table(rows: list[list[str]], header: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=header, disable_numparse=True)


def _gpus(reading: Reading, style: Style, width: int) -> str:
    if not reading.gpus:
        comments = "no GPU in it" if reading.devices else "it names no classes: no GPU can be told"
        return f"{style.bold('GPUs')}: {comments}"
    rows = []
    for address in reading.gpus:
        device, group = reading.device(address), reading.group_of(address)
        rows.append([
            style.cyan(str(address)),
            _said(device.display_class if device else None),
            _said(_known(device, "ids")),
            _said(_known(device, "subsystem")),
            _revision(device),
            _said(device.driver if device else None),
            _state(device),
            UNSAID if group is None else str(group.number),
            _verdict(reading, address, style),
            _cut((device.name if device else None) or UNSAID, width - 95),
        ])  # fmt: skip
    header = ["GPU", "class", "ids", "subsystem", "rev", "driver", "power", "group", "verdict", ""]
    return _table(rows, header)


def _verdict(reading: Reading, address: PciAddress, style: Style) -> str:
    verdict = reading.verdict(address)
    if verdict is None:
        return UNSAID
    if verdict.isolation is Isolation.ISOLATED:
        return style.green("isolated")
    if verdict.isolation is Isolation.STRANGERS:
        return style.red(count(len(verdict.strangers), "stranger"))
    return style.yellow("cannot tell")


def _gpu_notes(reading: Reading, style: Style) -> Iterator[str]:
    for address in reading.gpus:
        lines = list(_notes(reading, address))
        if lines:
            yield "\n".join([style.bold(str(address)), *(f"  {line}" for line in lines)])


def _notes(reading: Reading, address: PciAddress) -> Iterator[str]:
    device, verdict = reading.device(address), reading.verdict(address)
    for stranger in (verdict.strangers if verdict else ())[:MAX_LINES]:
        yield f"shares its group with {stranger} {_described(reading.device(stranger))}".rstrip()
    if verdict and verdict.isolation is Isolation.UNKNOWN:
        yield (
            f"cannot tell what {', '.join(map(str, verdict.unknown[:8]))} in its group is"
            if verdict.unknown
            else "no stranger in its group, but the text may show a part of the group only"
        )
    elsewhere = reading.functions_elsewhere(address)
    if elsewhere:
        yield (
            f"functions in other groups: {', '.join(map(str, elsewhere))}; "
            "as it should be where they are virtual functions of SR-IOV"
        )
    if link := _known(device, "link"):
        yield f"link: {plain(str(link))}"
    if device is not None and device.modules:
        yield f"could be driven by: {plain(', '.join(device.modules))}"
    unsaid = list(_unsaid(reading, address))
    if unsaid:
        yield f"the text does not say: {'; '.join(unsaid)}"


def _unsaid(reading: Reading, address: PciAddress) -> Iterator[str]:
    """What is not in the text, and the command that prints it."""
    device = reading.device(address)
    if _known(device, "ids") is None:
        yield "ids (lspci -nn)"
    if device is None or device.driver is None:
        yield "a driver in use (lspci -nnk; no line there means none)"
    if _known(device, "subsystem") is None:
        yield "subsystem (lspci -nnk)"
    if reading.group_of(address) is None:
        yield "IOMMU group (find /sys/kernel/iommu_groups -type l)"


def _dead(reading: Reading, style: Style) -> Iterator[str]:
    if reading.dead:
        names = ", ".join(map(str, reading.dead[:16]))
        yield (
            f"{style.red('No answer')} from {names}: revision ff, header type 7f or a dump of ones "
            "only. The card has no power or is gone; it cannot be passed on like this."
        )


def _groups(reading: Reading, style: Style, width: int) -> Iterator[str]:
    groups = reading.groups or reading.log_groups
    if not groups:
        return
    gpus = set(reading.gpus)
    with_gpu = [group for group in groups if not gpus.isdisjoint(group.addresses)]
    rows = []
    for group in with_gpu:
        slots = {replace(address, function=0) for address in group.addresses if address in gpus}
        rows += [
            [
                str(group.number) if member is group.members[0] else "",
                str(member.address),
                _role(member, gpus, slots, style),
                _cut(_described(reading.device(member.address)), width - 45),
            ]
            for member in group.members
        ]
    rest = len(groups) - len(with_gpu)
    if rows:
        yield _table(rows, ["group", "member", "role", "device"])
    if rest:
        yield f"{count(rest, 'group')} without a GPU" if rows else count(rest, "IOMMU group")


def _access_control(reading: Reading, style: Style) -> Iterator[str]:
    """Where ACS is there and not on, which merges groups."""
    found = [
        (device.address, missing)
        for device in reading.devices
        if (acs := device.access_control) is not None and (missing := acs.missing)
    ]
    if found:
        lines = [
            style.bold(
                "ACS is there, but these bits are off; the kernel turns them on with its IOMMU"
            )
        ]
        lines += [f"  {address}: {', '.join(missing)}" for address, missing in found[:MAX_LINES]]
        yield "\n".join(lines)


def _role(member: Member, gpus: set[PciAddress], slots: set[PciAddress], style: Style) -> str:
    """What a member is to the GPUs of its group, whose slots these are."""
    if member.address in gpus:
        return style.bold("GPU")
    if replace(member.address, function=0) in slots:
        return f"of {member.address.slot}"
    if member.bridge is None:
        return UNSAID
    return "bridge" if member.bridge else style.red("stranger")


def _log(log: Log, style: Style) -> str:
    lines = [style.bold("Kernel log")]
    seen = {"intel": "Intel VT-d is on", "amd": "AMD-Vi is on"}
    lines.append(f"  IOMMU: {seen.get(log.iommu or '', 'the text does not say')}")
    names = dict.fromkeys(name for line in log.problems for name in line.problems)
    if not names:
        lines.append(f"  {style.green('no known problem')} in these lines")
    for name in names:
        own = [line for line in log.problems if name in line.problems]
        devices = dict.fromkeys(str(address) for line in own for address in line.devices)
        where = ", ".join([*devices][:8]) or ", ".join(log.xid_slots[:8] if name == "xid" else ())
        lines.append(f"  {style.red(name)}{f' {where}' if where else ''}: {MEANINGS[name]}")
        shown = [f"    {line.number}: {_cut(line.text, 160)}" for line in own[:3]]
        more = [f"    and {count(len(own) - 3, 'line')} more"] if len(own) > 3 else []
        lines += shown + more
    if log.xids:
        lines.append(f"  Xid numbers: {', '.join(map(str, log.xids[:MAX_LINES]))}")
    return "\n".join(lines)


def _command_lines(found: CommandLines, style: Style) -> str:
    if found.of_modules:
        lines = [style.bold("A file of modules, and no kernel command line")]
    else:
        lines = [style.bold("Kernel command line")]
    interesting = [p for p in found.parameters if p.of_interest]
    for p in interesting[:MAX_LINES]:
        value = "" if p.value is None else f"={p.value}"
        lines.append(f"  {_cut(f'{p.key}{value}', 160)}  {style.dim(plain(p.variable))}")
    if not interesting and not found.of_modules:
        lines.append("  no parameter that has to do with passthrough")
    lines += [f"  {style.yellow('!')} {plain(trap)}" for trap in found.traps]
    return "\n".join(lines)


def _described(device: TextDevice | None) -> str:
    if device is None:
        return UNSAID
    ids = f" [{known}]" if (known := _known(device, "ids")) else ""
    return f"{_class(device)}: {device.name or UNSAID}{ids}"


def _class(device: TextDevice) -> str:
    code = device.class_code or (device.config.class_code if device.config else None)
    return device.class_name or (code.name if code else None) or _said(code)


def _marked(device: TextDevice, style: Style) -> str:
    if device.dead:
        return style.red(str(device.address))
    return style.cyan(str(device.address)) if device.display_class else str(device.address)


def _revision(device: TextDevice | None) -> str:
    revision = _known(device, "revision")
    return UNSAID if revision is None else f"{revision:02x}"


def _state(device: TextDevice | None) -> str:
    if device is not None and device.dead:
        return "no answer"
    return _said(_known(device, "power_state"))


def _known(device: TextDevice | None, name: str) -> object:
    """A field of a device from the words, or else from the bytes of its dump."""
    value = getattr(device, name, None)
    config = device.config if device is not None else None
    return getattr(config, name) if value is None and config and config.answers else value


def _said(value: object) -> str:
    return UNSAID if value is None else plain(str(value))


def _cut(text: str, room: int) -> str:
    room = max(room, 24)
    text = plain(text)
    return text if len(text) <= room else f"{text[: room - 1]}…"
