"""The checks: one file a subject, plain functions in one literal tuple."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check
from diag.inventory import Inventory
from romkit.finding import Finding

__all__ = ["CHECKS", "Check", "run_checks"]

#: Every check, in the order in which people ask. A check that is added here is a check that runs.
CHECKS: tuple[Check, ...] = ()


def run_checks(inventory: Inventory, checks: Iterable[Check] = CHECKS) -> tuple[Finding, ...]:
    """What the checks find, in their order."""
    return tuple(finding for check in checks for finding in check.run(inventory))
