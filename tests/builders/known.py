"""All that diag knows of a host, as plain values that can be compared and sent as JSON."""

from __future__ import annotations

from diag.checks import run_checks
from diag.device import PciDevice
from diag.host import Host
from diag.inventory import Inventory


def known(host: Host) -> list[list[object]]:
    """Devices, groups and findings."""
    inventory = Inventory(host)
    devices = [_values(device) for device in inventory.devices]
    groups = [[group.number, *map(str, group.addresses)] for group in inventory.groups]
    findings = [
        [f.check, f.verdict.value, f.subject, f.title, f.remedy, *map(repr, f.evidence)]
        for f in run_checks(inventory)
    ]
    return [devices, groups, findings]


def _values(device: PciDevice) -> list[str]:
    """All that a function says. Its config without the serial number, which a capture has not."""
    values = [repr(getattr(device, name)) for name in device.__slots__ if name != "unread"]
    config = device.config
    if config is not None:
        values += [repr((config.capabilities, config.extended_capabilities, config.acs))]
    return [*values, *(f"{name} {error}" for name, error in sorted(device.unread.items()))]
