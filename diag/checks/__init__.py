"""The checks: one file a subject, plain functions in one literal tuple."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check
from diag.checks.drivers import DRIVER_CHECKS
from diag.checks.firmware import FIRMWARE_CHECKS
from diag.checks.gpu import GPU_CHECKS
from diag.checks.gvt import GVT_CHECKS
from diag.checks.host import HOST_CHECKS
from diag.checks.iommu import IOMMU_CHECKS
from diag.checks.kernel import KERNEL_CHECKS
from diag.checks.libvirt import LIBVIRT_CHECKS
from diag.checks.logs import LOG_CHECKS
from diag.checks.memory import MEMORY_CHECKS
from diag.checks.parameters import PARAMETER_CHECKS
from diag.checks.power import POWER_CHECKS
from diag.checks.qemu import QEMU_CHECKS
from diag.checks.rom import ROM_CHECKS
from diag.checks.vm import VM_CHECKS
from diag.inventory import Inventory
from romkit.finding import Finding

__all__ = ["CHECKS", "Check", "find_check", "run_checks"]

#: Every check, in the order in which people ask. A check that is added here is a check that runs.
CHECKS: tuple[Check, ...] = (
    *IOMMU_CHECKS,
    *GPU_CHECKS,
    *POWER_CHECKS,
    *DRIVER_CHECKS,
    *ROM_CHECKS,
    *KERNEL_CHECKS,
    *PARAMETER_CHECKS,
    *HOST_CHECKS,
    *MEMORY_CHECKS,
    *GVT_CHECKS,
    *FIRMWARE_CHECKS,
    *QEMU_CHECKS,
    *LIBVIRT_CHECKS,
    *LOG_CHECKS,
    *VM_CHECKS,
)


def run_checks(inventory: Inventory, checks: Iterable[Check] = CHECKS) -> tuple[Finding, ...]:
    """What the checks find, in their order."""
    return tuple(finding for check in checks for finding in check.run(inventory))


def find_check(slug: str) -> Check | None:
    """The check of a name, like ``iommu.on``; None if there is none."""
    return next((check for check in CHECKS if check.slug == slug), None)
