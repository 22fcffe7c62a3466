"""The report that ``romkit parse`` and ``romkit verify`` print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from romkit.chain import Chain
from romkit.checks.device import subsystems
from romkit.checks.efi import pe_machine, why_no_start
from romkit.checks.structure import appended_drivers
from romkit.container import ContainerKind
from romkit.efi.gop import GopRole
from romkit.efi.known_ca import known_ca_not_after
from romkit.efi.pe import machine_name
from romkit.entries import Entry, further_entries, vfct_entries
from romkit.finding import Finding, Severity, Verdict, blocking
from romkit.guest import OVMF_MACHINE, GuestView, ovmf_view, seabios_view
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.render.style import Style
from romkit.render.text import broken, plain
from romkit.rom import Rom

VENDORS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel", 0x1234: "QEMU"}
CLASSES = {
    0x0300: "VGA",
    0x0301: "XGA",
    0x0302: "3D controller",
    0x0380: "display",
    0x0200: "Ethernet",
}


def report_text(
    name: str, rom: Rom, findings: Iterable[Finding], style: Style, *, width: int | None = None
) -> str:
    """One ROM, everything that a person asks of it.

    Args:
        name: the file's name, for the first line.
        rom: the ROM.
        findings: what to show below it; passed ones are left out.
        style: colours.
        width: columns that findings are broken to; None for a line each.
    """
    lines = [style.bold(f"{name}: {_headline(rom)}")]
    lines += [f"  {label:<10} {value}" for label, value in _facts(rom)]
    lines += _image_table(rom, style)
    lines += [f"  {label:<10} {value}" for label, value in _ways(rom, style)]
    for entry in further_entries(rom):
        lines += _entry_lines(entry, style)
    shown = [f for f in findings if f.verdict is not Verdict.PASS]
    lines += findings_lines(shown, style, width=width)
    return "\n".join(lines)


def verdict_text(
    name: str,
    findings: Sequence[Finding],
    style: Style,
    *,
    everything: bool = False,
    width: int | None = None,
) -> str:
    """What `verify` prints: the verdict, then the findings with their evidence.

    Args:
        name: the file's name.
        findings: all of them.
        style: colours.
        everything: show the passed ones too.
        width: columns that findings are broken to; None for a line each.
    """
    blocked = len(blocking(findings))
    checks = {f.check for f in findings}
    passed = len(checks - {f.check for f in findings if f.verdict is not Verdict.PASS})
    verdict = style.red(f"{blocked} blocking") if blocked else style.green("nothing blocks")
    first = f"{style.bold(f'{name}:')} {verdict}, {passed} of {len(checks)} checks passed"
    shown = [f for f in findings if everything or f.verdict is not Verdict.PASS]
    return "\n".join([first, *findings_lines(shown, style, evidence=True, width=width)])


def findings_lines(
    findings: Iterable[Finding],
    style: Style,
    *,
    evidence: bool = False,
    width: int | None = None,
) -> list[str]:
    """Findings, worst first, each with its remedy, and its evidence where asked for.

    Args:
        findings: all that are shown.
        style: colours.
        evidence: show what was read, too.
        width: columns that titles and remedies are broken to; None for a line each.
    """
    lines: list[str] = []
    for finding in sorted(findings, key=_rank):
        first, *rest = _title_lines(finding, style, width and width - 4)
        lines += [f"  {_mark(finding, style)} {first}", *(f"    {line}" for line in rest)]
        if evidence:
            lines += [
                style.dim(f"      {plain(e.where)}: {plain(e.value)}") for e in finding.evidence
            ]
        if finding.remedy and finding.verdict is not Verdict.PASS:
            first, *rest = broken(finding.remedy, width and width - 8)
            lines += [f"      → {first}", *(f"        {line}" for line in rest)]
    return lines


def _title_lines(finding: Finding, style: Style, width: int | None) -> list[str]:
    # Broken before it is painted: colours have no width.
    lines = broken(f"{finding.check}: {finding.title}", width)
    subject = "" if finding.subject in ("", "file", "chains") else f"  [{finding.subject}]"
    alone = width is not None and len(lines[-1]) + len(subject) > width
    lines[0] = f"{style.cyan(finding.check)}{lines[0][len(finding.check) :]}"
    if alone:
        return [*lines, style.dim(subject.strip())]
    lines[-1] += style.dim(subject)
    return lines


def important(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What `parse` shows: failures that block or warn, and what could not be measured of those."""
    return tuple(
        f
        for f in findings
        if f.verdict is not Verdict.PASS
        and (f.severity is not Severity.NOTE or f.check in ("gop.x64", "rom.second-copy"))
    )


def _rank(finding: Finding) -> int:
    order = [Severity.BLOCKER, Severity.WARNING, Severity.NOTE]
    passed = finding.verdict is Verdict.PASS
    return len(order) if passed else order.index(finding.severity)


def _mark(finding: Finding, style: Style) -> str:
    if finding.verdict is Verdict.PASS:
        return style.green("✓")
    if finding.verdict is Verdict.UNKNOWN:
        return style.yellow("?")
    if finding.severity is Severity.BLOCKER:
        return style.red("✗")
    return style.yellow("!") if finding.severity is Severity.WARNING else style.dim("·")


def _headline(rom: Rom) -> str:
    text = f"{len(rom.data)} bytes"
    around = rom.container
    if around is not None:
        known = around.kind is not ContainerKind.UNKNOWN
        what = f"{around.title} data" if known else "something unknown"
        text += f", ROM at {rom.rom_offset:#x} behind {what}"
    return text + f", {len(rom.images)} image{'s' * (len(rom.images) != 1)}"


def _facts(rom: Rom) -> Iterator[tuple[str, str]]:
    yield from _identity(rom)
    boards = sorted({f"{v:04x}:{d:04x}" for _, (v, d) in subsystems(rom)})
    if boards:
        yield "subsystem", ", ".join(boards)
    for entry in vfct_entries(rom):
        own = entry.header
        place = f"{own.pci_bus:02x}:{own.pci_device:02x}.{own.pci_function:x}"
        ids = f"{own.vendor_id:04x}:{own.device_id:04x}"
        size = f"{own.image_length} bytes at {own.rom_offset:#x}"
        yield "VFCT entry", f"for {place} {ids}, {size}"
    yield "sha256", rom.sha256


def _identity(rom: Rom) -> Iterator[tuple[str, str]]:
    if not rom.images:
        return
    first = rom.legacy or rom.images[0]
    pcir = first.pcir
    vendor = VENDORS.get(pcir.vendor_id, "vendor")
    kind = CLASSES.get(pcir.class_code >> 8)
    text = f"{vendor} {pcir.vendor_id:04x}:{pcir.device_id:04x}, class {pcir.class_code:06x}"
    family = first.nvidia.family if first.nvidia else None
    yield "device", ", ".join(part for part in (text, kind, family) if part)
    if rom.legacy is not None:
        yield from _vbios(rom.legacy)


def _entry_lines(entry: Entry, style: Style) -> list[str]:
    """The ROM of a further entry of a VFCT: whose it is, and its images."""
    lines = ["  " + style.bold(entry.title)]
    if entry.rom is None:
        return [*lines, "    no option ROM can be read in it"]
    lines += [f"    {label:<10} {value}" for label, value in _identity(entry.rom)]
    return lines + ["  " + line for line in _image_table(entry.rom, style, entry.base)]


def _vbios(legacy: OptionRom) -> Iterator[tuple[str, str]]:
    nvidia, atom, vbt = legacy.nvidia, legacy.atom, legacy.vbt
    if nvidia is not None:
        built = f", built {nvidia.build_date}" if nvidia.build_date else ""
        yield "VBIOS", (nvidia.version or "version not stated") + built
        if nvidia.product or nvidia.board:
            yield "board", ", ".join(t for t in (nvidia.product, nvidia.board) if t)
    if atom is not None:
        yield "VBIOS", f"{atom.part_number or 'no part number'}, built {atom.date}"
        if atom.strings:
            # Boards without a memory of their own name its kind "0".
            names = (s for s in atom.strings if s not in (atom.part_number, "0"))
            yield "board", ", ".join(names)
    if nvidia is None and atom is None and legacy.oem_string:
        yield "VBIOS", legacy.oem_string
    if vbt is not None:
        yield (
            "VBT",
            f"{vbt.platform}, version {vbt.version}, {vbt.vbt_size} bytes at {vbt.offset:#x}",
        )


def _image_table(rom: Rom, style: Style, base: int = 0) -> list[str]:
    if not rom.images:
        return []
    rows = [("#", "offset", "bytes", "type", "device", "class", "seen by", "")]
    for number, image in enumerate(rom.images):
        pcir = image.pcir
        rows.append(
            (
                str(number),
                f"{base + image.offset:#x}",
                str(image.size),
                f"{image.code_type:02x} {image.code_type_name}",
                f"{pcir.vendor_id:04x}:{pcir.device_id:04x}",
                f"{pcir.class_code:06x}",
                _seen_by(rom, image),
                "; ".join(_remarks(image)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    lines = []
    for index, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in (0, 1, 2) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row[:7], widths, strict=True))
        ]
        line = "  " + "  ".join([*cells, row[7]]).rstrip()
        lines.append(style.dim(line) if index == 0 else line)
    return lines


def _seen_by(rom: Rom, image: OptionRom) -> str:
    firmware, driver = image in rom.pcir_chain, image in rom.npde_chain
    if firmware and driver:
        return "all"
    return "firmware" if firmware else "NVIDIA"


def _remarks(image: OptionRom) -> Iterator[str]:
    if image.truncated:
        yield "cut off"
    elif image.checksum_ok is not None:
        yield "sum ok" if image.checksum_ok else f"sum {image.sum8:02x}"
    elif image.code_type == CodeType.FWSEC and image.sum8:
        # For information: nearly all of them sum to zero.
        yield f"sum {image.sum8:02x}"
    if image.code_type == CodeType.EFI:
        yield from _efi_remarks(image)
    if image.pcir.image_length != image.size:
        yield f"PCIR length {image.pcir.image_length}"
    if image.last:
        yield "last"


def _efi_remarks(image: OptionRom) -> Iterator[str]:
    efi = image.efi
    if efi is None:
        return
    yield machine_name(pe_machine(efi))
    if efi.gop is not None:
        yield " ".join(t for t in (efi.gop.vendor, "GOP", efi.gop.version) if t)
    elif efi.too_large:
        yield "too large to decompress here"
    elif efi.pe is None:
        yield "cannot be read"
    elif efi.gop_role is GopRole.UNKNOWN:
        yield "GOP or not: unknown"
    else:
        yield "uses a GOP, is none" if efi.gop_role is GopRole.CONSUMER else "no GOP"
    if efi.signed:
        states = {True: "signed", False: "signed, but altered", None: "signature unreadable"}
        yield states[efi.digest_ok]
    elif efi.signed is False:
        yield "not signed"


def _ways(rom: Rom, style: Style) -> Iterator[tuple[str, str]]:
    if rom.images:
        yield "PCIR chain", _chain(rom, rom.pcir_chain) + style.dim("  (firmware, Linux)")
        if any(image.npde for image in rom.images):
            yield "NPDE chain", _chain(rom, rom.npde_chain) + style.dim("  (NVIDIA's driver)")
    if rom.tail is not None:
        yield "tail", ", ".join(_tail(rom))
    for signature in sorted({s for i in rom.efi_images for s in _signers(i)}):
        yield "signed by", signature
    if rom.images:
        yield "as romfile", _guests(rom, style)


def _chain(rom: Rom, chain: Chain) -> str:
    numbers = {image.offset: number for number, image in enumerate(rom.images)}
    path = " → ".join(str(numbers[image.offset]) for image in chain) or "nothing"
    if chain.complete:
        return f"{path}, last"
    return f"{path} → {chain.end_offset:#x}: {chain.end.value}"


def _tail(rom: Rom) -> Iterator[str]:
    appended = {offset for offset, _ in appended_drivers(rom)}
    for part in rom.tail or ():
        fill = f" of {part.fill:02X}" if part.fill is not None else ""
        same = {None: "", True: " (identical)", False: " (different)"}[part.identical]
        kind = "live data" if part.kind.value == "data" else part.kind.value
        if part.rom_offset in appended:
            kind, same = "EFI image out of firmware's reach", ""
        yield f"{part.size} bytes {kind}{fill}{same} at {part.offset:#x}"


def _signers(image: OptionRom) -> Iterator[str]:
    for signature in image.efi.signatures if image.efi else ():
        text = signature.signer or "an unreadable certificate"
        if signature.issuing_ca:
            text += f", by {signature.issuing_ca}"
        known = known_ca_not_after(signature.issuing_ca)
        if signature.ca_not_after:
            text += f" (this CA's certificate runs until {signature.ca_not_after.date()})"
        elif known:
            text += (
                f" (this CA's certificate runs until {known.date()}: known, it is not in the file)"
            )
        yield text


def _guests(rom: Rom, style: Style) -> str:
    start = rom.rom_offset
    views = (ovmf_view(rom, start), seabios_view(rom, start=start))
    text = "; ".join(_guest(rom, view, style) for view in views)
    return f"once stripped: {text}" if start else text


def _guest(rom: Rom, view: GuestView, style: Style) -> str:
    places = ", ".join(f"{a.reason} at {a.offset:#x}" for a in view.started)
    if view.firmware == "OVMF":
        # As in the finding guest.ovmf: half a driver says nothing about the whole.
        drivers = [i for i in rom.efi_images if i.efi and pe_machine(i.efi) == OVMF_MACHINE]
        cut = [i for i in drivers if i.truncated]
        if cut:
            return f"OVMF: unknown (the EFI image at {cut[0].offset:#x} is cut off)"
        started = {a.offset for a in view.started}
        left = [i for i in drivers if i.offset not in started]
        if left and all(i.efi and i.efi.too_large for i in left):
            large = ", ".join(f"{i.offset:#x}" for i in left)
            unknown = f"OVMF: unknown (too large for romkit to decompress: the driver at {large})"
            return f"{unknown}, starts {places}" if places else unknown
    if places:
        return f"{view.firmware} {style.green('starts')} {places}"
    return f"{view.firmware} starts nothing ({why_no_start(rom, view)})"
