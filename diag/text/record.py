"""A reading as plain JSON types. None means that the text does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diag.iommu import Isolation
from diag.pci import acs_names
from diag.text.problems import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.config_space import ConfigSpace
    from diag.iommu import IommuGroup
    from diag.pci import Acs, PciAddress, PciClass
    from diag.text.cmdline import CommandLines
    from diag.text.device import TextDevice
    from diag.text.dmesg import Log
    from diag.text.reading import Reading


def record(reading: Reading) -> dict[str, Any]:
    """All that a text says; keys are there for the kinds of text that are in it."""
    result: dict[str, Any] = {
        "format": reading.format,
        "parts": [
            {"format": part.format, "first_line": part.first_line, "lines": part.lines}
            for part in reading.parts
        ],
    }
    if reading.lists_devices:
        result |= _listing(reading)
    if reading.records:
        result["records"] = [_record(device) for device in reading.records]
    if reading.groups:
        result["group_count"] = len(reading.groups)
        result["groups"] = _groups(reading.groups)
    if reading.log is not None:
        result |= _log(reading.log)
    if reading.log_groups:
        result["groups_from_dmesg"] = _groups(reading.log_groups)
    if reading.command_lines is not None:
        result |= _command_lines(reading.command_lines)
    return result


def _listing(reading: Reading) -> dict[str, Any]:
    hints = dict(reading.hinted)
    return {
        "device_count": len(reading.addresses),
        "addresses": _texts(reading.addresses),
        "devices": [
            {**_record(device), "name": device.name, "dead": device.dead}
            for device in reading.devices
        ],
        "gpus": [_gpu(reading, address, hints.get(address)) for address in reading.gpus],
        "dead": _texts(reading.dead),
        "acs_devices": _texts(d.address for d in reading.devices if d.access_control),
        "hex_devices": sum(device.config is not None for device in reading.devices),
        "acs": {
            str(d.address): _acs_record(acs)
            for d in reading.devices
            if (acs := d.access_control) is not None
        },
        "parents": {str(child): str(parent) for child, parent in reading.parents},
    }


def _gpu(reading: Reading, address: PciAddress, hint: PciClass | None) -> dict[str, Any]:
    device = reading.device(address)
    result: dict[str, Any] = {"address": str(address), "class": _text(hint)}
    if device is not None:
        result |= {
            "class": _text(device.display_class or hint),
            "class_from": "code" if device.class_code else "name" if device.class_name else "hex",
            "class_text": _class_text(device),
            "name": device.name,
            **_common(device),
            "dead": device.dead,
            "pm_state": device.power_state,
            "link": device.link,
        }
        if device.config is not None:
            result["from_hex"] = _config(device.config)
    else:
        result["class_from"] = "comment"
    return result | _isolation(reading, address)


def _isolation(reading: Reading, address: PciAddress) -> dict[str, Any]:
    group, verdict = reading.group_of(address), reading.verdict(address)
    known = verdict is not None and verdict.isolation is not Isolation.UNKNOWN
    return {
        "group": None if group is None else group.number,
        "verdict": verdict.isolation.value if verdict and known else None,
        "strangers": _texts(verdict.strangers) if verdict and known else None,
        "bridges_in_group": _texts(verdict.bridges) if verdict else [],
        "own_functions_in_other_groups": _texts(reading.functions_elsewhere(address)),
    }


def _common(device: TextDevice) -> dict[str, Any]:
    return {
        "ids": _text(device.ids),
        "subsystem": _text(device.subsystem),
        "driver": device.driver,
        "modules": list(device.modules),
        "rev": None if device.revision is None else f"{device.revision:02x}",
        "numa_node": device.numa_node,
        "iommu_group": device.iommu_group,
    }


def _record(device: TextDevice) -> dict[str, Any]:
    return {
        "address": str(device.address),
        "class": _text(device.class_code or device.display_class),
        "class_text": _class_text(device),
        **_common(device),
    }


def _class_text(device: TextDevice) -> str | None:
    """The class as lspci prints it, name and digits or one of them."""
    name, code = device.class_name, device.class_code
    if code is None:
        return name
    return f"{name} [{code}]" if name else str(code)


def _config(config: ConfigSpace) -> dict[str, Any]:
    return {
        "ids": _text(config.ids),
        "class": _text(config.class_code),
        "rev": None if config.revision is None else f"{config.revision:02x}",
        "header_type": config.header_type,
        "bytes": len(config.data),
        "subsystem": _text(config.subsystem),
        "pm_state": config.power_state,
        "link": config.link,
    }


def _acs_record(acs: Acs) -> dict[str, Any]:
    return {
        "capability": None if acs.capability is None else list(acs_names(acs.capability)),
        "control": None if acs.control is None else list(acs_names(acs.control)),
        "missing": None if acs.missing is None else list(acs.missing),
    }


def _groups(groups: Iterable[IommuGroup]) -> dict[str, list[str]]:
    return {str(group.number): _texts(group.addresses) for group in groups}


def _log(log: Log) -> dict[str, Any]:
    names = sorted({name for line in log.problems for name in line.problems})
    return {
        "lines": [
            {
                "line": line.number,
                "problems": list(line.problems),
                "devices": _texts(line.devices),
            }
            for line in log.problems
        ],
        "problems": names,
        "meanings": {name: MEANINGS[name] for name in names},
        "xids": list(log.xids),
        "xid_bus_device": list(log.xid_slots),
        "iommu_seen": log.iommu,
    }


def _command_lines(lines: CommandLines) -> dict[str, Any]:
    return {
        "parameters_of_interest": [
            [p.variable, p.key, p.value] for p in lines.parameters if p.of_interest
        ],
        "vfio_ids": list(lines.vfio_ids),
        "acs_override": lines.acs_override,
        "token_count": len(lines.parameters),
        "not_a_command_line": lines.of_modules,
        "traps": list(lines.traps),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]
