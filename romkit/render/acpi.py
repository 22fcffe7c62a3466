"""ACPI tables and files for a guest, for people."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from romkit.acpi.outline import Outlined
from romkit.acpi.path import GuestPath
from romkit.acpi.qemu import NAMESPACE, libvirt_text, shell_text
from romkit.acpi.table import AcpiTable
from romkit.finding import Finding, Verdict
from romkit.render.style import Style
from romkit.render.text import human_size, plain


def files_text(
    paths: Sequence[str],
    arguments: Sequence[tuple[str, str]],
    notes: Sequence[str],
    access: Sequence[str],
    style: Style,
) -> str:
    """What was written, and how the guest gets it.

    Args:
        paths: the files.
        arguments: for QEMU.
        notes: what else there is to know.
        access: what libvirt's QEMU needs to read the files.
        style: colours.
    """
    mark = style.yellow("!")
    lines = [plain(path) for path in paths]
    lines += [f"  {mark} {plain(note)}" for note in notes]
    lines += ["", style.bold("QEMU"), indent(shell_text(arguments), "  ")]
    lines += ["", style.bold("libvirt"), f"  <domain ... {NAMESPACE}>"]
    lines += [indent(libvirt_text(arguments), "  ")]
    lines += [f"  {mark} {plain(line)}" for line in access]
    return "\n".join(lines)


def table_text(
    table: AcpiTable, findings: Sequence[Finding], entries: Sequence[Outlined], style: Style
) -> str:
    """Header, checksum and outline."""
    head = f"{plain(table.signature)} {plain(table.oem_table_id)}".rstrip()
    size = f"{table.length:#x} bytes ({human_size(table.length)})"
    lines = [
        style.bold(head) + f", {size}",
        f"  revision {table.revision}, OEM {plain(table.oem_id)} {table.oem_revision:#x}, "
        f"made by {plain(table.creator_id)} {table.creator_revision:#x}",
    ]
    for finding in findings:
        good = finding.verdict is Verdict.PASS
        mark = style.green("✓") if good else style.red("✗") if finding.blocks else style.yellow("!")
        told = [f"  {mark}"]
        if finding.check == "acpi.checksum":
            told.append(f"checksum {table.checksum:02x}:")
        told.append(plain(finding.title))
        if not good and finding.remedy:
            told.append(plain(finding.remedy))
        lines.append(" ".join(told))
    for entry in entries:
        name = style.cyan(plain(entry.path)) if entry.path else ""
        words = " ".join(word for word in (entry.kind, name, plain(entry.detail)) if word)
        lines.append(f"  {entry.offset:6x}  {'  ' * entry.depth}{words}")
    return "\n".join(lines)


def path_text(path: GuestPath, style: Style) -> str:
    """The path, and whether the guest has it."""
    known = {True: "QEMU makes it", False: "QEMU makes none", None: "unknown"}[path.has_node]
    color = {True: style.green, False: style.yellow, None: style.dim}[path.has_node]
    return f"{style.bold(path.path)}\n  node: {color(known)}: {path.reason}"
