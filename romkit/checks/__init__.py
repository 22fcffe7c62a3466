"""What is wrong with a ROM, alone or against a device: findings, with evidence and remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from romkit.checks.content import CONTENT_CHECKS
from romkit.checks.device import DeviceId, against_device
from romkit.checks.efi import EFI_CHECKS, SEAL_CHECKS
from romkit.checks.structure import STRUCTURE_CHECKS
from romkit.errors import NotARom
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.rom import Rom, parse_rom

Check = Callable[[Rom], Iterable[Finding]]

#: What `parse` asks: everything but public-key arithmetic.
QUICK_CHECKS: tuple[Check, ...] = (*STRUCTURE_CHECKS, *CONTENT_CHECKS, *EFI_CHECKS)

#: Every check of a ROM alone, in the order in which people ask.
CHECKS: tuple[Check, ...] = (*QUICK_CHECKS, *SEAL_CHECKS)

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
    if device is not None:
        findings.extend(against_device(rom, device))
    return tuple(findings)


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
