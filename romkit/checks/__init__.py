"""What is wrong with a ROM, alone or against a device: findings, with evidence and remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from romkit.checks.content import CONTENT_CHECKS
from romkit.checks.device import DeviceId, against_device
from romkit.checks.efi import EFI_CHECKS, SIGNATURE_CHECKS, decodable, digest
from romkit.checks.structure import (
    STRUCTURE_CHECKS,
    alignment,
    last_image,
    structure,
    truncated,
    unreachable,
)
from romkit.entries import Entry, further_entries
from romkit.errors import NotARom
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.rom import Rom, parse_rom

Check = Callable[[Rom], Iterable[Finding]]

#: What `parse` asks: everything but public-key arithmetic.
QUICK_CHECKS: tuple[Check, ...] = (*STRUCTURE_CHECKS, *CONTENT_CHECKS, *EFI_CHECKS)

#: Every check of a ROM alone, in the order in which people ask.
CHECKS: tuple[Check, ...] = (*QUICK_CHECKS, *SIGNATURE_CHECKS)

#: What is asked of the ROMs of further entries of a VFCT too.
ENTRY_CHECKS: tuple[Check, ...] = (
    structure,
    truncated,
    last_image,
    unreachable,
    alignment,
    *CONTENT_CHECKS,
    decodable,
    digest,
    *SIGNATURE_CHECKS,
)

__all__ = ["CHECKS", "QUICK_CHECKS", "DeviceId", "verify"]


def verify(
    rom: Rom | bytes,
    device: DeviceId | None = None,
    *,
    checks: tuple[Check, ...] = CHECKS,
) -> tuple[Finding, ...]:
    """Run the checks.

    Args:
        rom: a parsed ROM, or a file's bytes; bytes that are no ROM give one finding that says so.
        device: compare with this device too.
        checks: which; every one unless told.

    Returns:
        All findings, passed ones included, in a fixed order.
    """
    if not isinstance(rom, Rom):
        try:
            rom = parse_rom(rom)
        except NotARom as err:
            return (_not_a_rom(err),)
    findings = [finding for check in checks for finding in check(rom)]
    for entry in further_entries(rom):
        findings.extend(_of_entry(entry, checks))
    if device is not None:
        findings.extend(against_device(rom, device))
    return tuple(findings)


def _of_entry(entry: Entry, checks: tuple[Check, ...]) -> Iterable[Finding]:
    """What is wrong with the ROM of a further entry. Offsets count from the entry."""
    if entry.rom is None:
        yield Finding(
            check="rom.vfct-entry",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING,
            subject=entry.title,
            title="what this entry holds is no option ROM, or does not fit into the file",
            evidence=(
                Evidence(f"{entry.header.rom_offset:#x}", f"{entry.header.image_length} bytes"),
            ),
            remedy="read the table again, as root",
            source="linux drivers/gpu/drm/amd/include/atombios.h",
        )
        return
    for check in checks:
        for finding in check(entry.rom) if check in ENTRY_CHECKS else ():
            if finding.verdict is not Verdict.PASS:
                where = f"{entry.title}, offsets from {entry.base:#x} on: {finding.subject}"
                yield replace(finding, subject=where)


def _not_a_rom(err: NotARom) -> Finding:
    where = "file" if err.offset is None else f"{err.offset:#x}"
    return Finding(
        check="rom.not-a-rom",
        verdict=Verdict.FAIL,
        severity=Severity.BLOCKER,
        subject="file",
        title=err.message,
        evidence=(Evidence(where, err.guess),) if err.guess else (),
        remedy=err.hint,
        source="PCI Firmware Specification 3.3, section 5.1.1",
    )
