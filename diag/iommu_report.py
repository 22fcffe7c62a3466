"""All about IOMMU groups on one machine, in one reading; and the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diag.checks import run_checks
from diag.checks.iommu import IOMMU_CHECKS
from diag.iommu import Isolation
from diag.iommu_support import read_support
from diag.isolation import Hierarchy
from diag.pci import acs_names
from diag.viability import viability
from diag.ways import ways

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.acs import AcsHop
    from diag.device import PciDevice
    from diag.inventory import Inventory
    from diag.iommu import IommuGroup
    from diag.iommu_support import IommuSupport
    from diag.isolation import Explanation, Merge
    from diag.viability import Viability
    from diag.ways import Way
    from romkit.finding import Finding


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One device, its group, and what could be done about it."""

    explained: Explanation
    viable: Viability | None
    ways: tuple[Way, ...]

    @property
    def device(self) -> PciDevice:
        """Whom it is about."""
        return self.explained.device


@dataclass(frozen=True, slots=True)
class IommuReport:
    """The groups of a machine.

    Attributes:
        machine: what was read.
        hierarchy: who keeps whom apart.
        support: what the IOMMU needs, and which of it is there.
        groups: as the kernel has formed them.
        asked: the GPUs, or the device that was asked for.
        findings: of the checks about it.
    """

    machine: Inventory
    hierarchy: Hierarchy
    support: IommuSupport
    groups: tuple[IommuGroup, ...]
    asked: tuple[DeviceReport, ...]
    findings: tuple[Finding, ...]


def read_iommu(machine: Inventory, asked: Iterable[PciDevice] | None = None) -> IommuReport:
    """Everything about the groups of a machine.

    Args:
        machine: the machine.
        asked: the devices to explain; the GPUs if it is not given.

    Raises:
        Unreadable: the devices or the groups cannot be listed.
    """
    hierarchy = Hierarchy(machine)
    devices = machine.gpus if asked is None else tuple(asked)
    return IommuReport(
        machine,
        hierarchy,
        read_support(machine),
        machine.groups,
        tuple(_device(hierarchy, device) for device in devices),
        run_checks(machine, IOMMU_CHECKS),
    )


def _device(hierarchy: Hierarchy, device: PciDevice) -> DeviceReport:
    explained = hierarchy.explain(device)
    group = explained.group
    found = None if group is None else viability(hierarchy.machine, group)
    return DeviceReport(explained, found, ways(hierarchy, explained))


def record(report: IommuReport) -> dict[str, Any]:
    """The report as plain JSON types. None means that it could not be measured, or is not there."""
    support = report.support
    return {
        "in_use": support.in_use,
        "group_count": len(report.groups),
        "groups": {str(group.number): _texts(group.addresses) for group in report.groups},
        "gpus": [_gpu(found) for found in report.asked],
        "support": {
            "vendor": support.vendor.value,
            "units": list(support.units),
            "parts": [
                {
                    "name": part.name,
                    "state": part.state.value,
                    "text": part.text,
                    "evidence": [{"where": e.where, "value": e.value} for e in part.evidence],
                    "remedy": part.remedy,
                }
                for part in support.parts
            ],
        },
        "findings": [finding.as_json() for finding in report.findings],
    }


def _gpu(found: DeviceReport) -> dict[str, Any]:
    device, explained = found.device, found.explained
    group, verdict, viable = explained.group, explained.verdict, found.viable
    known = verdict is not None and verdict.isolation is not Isolation.UNKNOWN
    return {
        "address": str(device.address),
        "class": None if device.class_code is None else str(device.class_code),
        "ids": None if device.ids is None else str(device.ids),
        "driver": device.driver,
        "group": None if group is None else group.number,
        "verdict": verdict.isolation.value if verdict and known else None,
        "strangers": _texts(verdict.strangers) if verdict and known else None,
        "bridges_in_group": _texts(verdict.bridges) if verdict else [],
        "unknown_in_group": _texts(verdict.unknown) if verdict else [],
        "own_functions_in_other_groups": _texts(explained.elsewhere),
        "viable": None if viable is None else viable.viable,
        "viable_rule": None if viable is None else viable.rule,
        "holders": [[str(a), name] for a, name in viable.holders] if viable else [],
        "path": [_hop(hop) for hop in explained.path],
        "merges": [_merge(merge) for merge in explained.merges],
        "unexplained": _texts(explained.unexplained),
        "measured": explained.measured,
        "ways": [{"kind": w.kind.value, "text": w.text, "cost": w.cost} for w in found.ways],
    }


def _hop(hop: AcsHop) -> dict[str, Any]:
    acs = hop.acs
    shown = None
    if acs is not None:
        shown = {
            "capability": None if acs.capability is None else list(acs_names(acs.capability)),
            "control": None if acs.control is None else list(acs_names(acs.control)),
        }
    return {
        "address": str(hop.address),
        "type": None if hop.kind is None else hop.kind.value,
        "separates": hop.separates,
        "acs": shown,
        "missing": list(hop.missing),
        "quirk": hop.quirk,
        "text": hop.text,
    }


def _merge(merge: Merge) -> dict[str, Any]:
    return {
        "reason": merge.reason.value,
        "at": _texts(hop.address for hop in merge.hops),
        "missing": list(merge.missing),
        "members": _texts(merge.members),
        "certain": merge.certain,
        "text": merge.text,
    }


def _texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]
