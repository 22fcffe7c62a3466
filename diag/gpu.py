"""Everything that diag knows of one GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diag.connector import Connector, read_connectors
from diag.errors import DiagError, Unreadable
from diag.graphics import candidates, is_integrated
from diag.holders import Holders, device_nodes, read_holders
from diag.iommu import GroupVerdict, IommuGroup
from diag.names import Names
from diag.pci import PciAddress
from diag.power import GpuPower, PowerReading, Switch, read_power, read_switches
from diag.vbios import RomSources, find_sources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.device import PciDevice
    from diag.inventory import Inventory
    from romkit.finding import Finding


class NoGpu(DiagError):
    """There is no GPU, or none at the address that was asked for."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU with what belongs to it.

    Attributes:
        device: its function.
        name: what it is called.
        modules: the modules that would drive it; None where the kernel's list is missing.
        integrated: whether it is part of the processor.
        power: whether it is awake.
        switches: bbswitch and nvhda, where they are loaded.
        group: its IOMMU group; None where no IOMMU is in use.
        verdict: who shares that group.
        siblings: the card's other functions, each with its name.
        roms: where its ROM can be had.
        connectors: its outputs; None where no display driver has it, or they cannot be read.
        nodes: the device nodes of the GPU and its audio function.
        holders: who has them open; None where that could not be looked at.
        findings: what the checks say of it and its siblings.
    """

    device: PciDevice
    name: str
    modules: tuple[str, ...] | None
    integrated: bool
    power: PowerReading
    switches: tuple[Switch, ...]
    group: IommuGroup | None
    verdict: GroupVerdict | None
    siblings: tuple[tuple[PciDevice, str], ...]
    roms: RomSources
    connectors: tuple[Connector, ...] | None
    nodes: tuple[str, ...]
    holders: Holders | None
    findings: tuple[Finding, ...]


def pick_gpu(machine: Inventory, address: PciAddress | None) -> PciDevice:
    """The GPU that is asked for; without an address the one that would be handed over.

    Raises:
        NoGpu: there is none, or what is at the address is none.
        Unreadable: sysfs cannot be read.
    """
    known = ", ".join(str(gpu.address) for gpu in machine.gpus)
    if address is not None:
        device = machine.device(address)
        if device is None or not device.is_gpu:
            what = "no device" if device is None else "no GPU"
            hint = f"the GPUs here: {known}" if known else "`diag report`: no GPU is seen here"
            raise NoGpu(f"{what} at {address}", hint=hint)
        return device
    if not machine.gpus:
        raise NoGpu("there is no GPU here", hint="`diag report` says what else is in the way")
    return (*candidates(machine), *machine.gpus)[0]


def read_gpu(machine: Inventory, device: PciDevice, findings: Iterable[Finding]) -> Gpu:
    """What is known of a GPU.

    Args:
        machine: where it is.
        device: which one.
        findings: what the checks found on this machine; those about others are left out.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    names, siblings = Names(machine.host), machine.siblings(device)
    group = machine.group_of(device)
    sound = machine.audio_of(device)
    functions = [device] if sound is None else [device, sound]
    nodes = tuple(dict.fromkeys(n for f in functions for n in device_nodes(machine, f)))
    about = {str(device.address), *(str(other.address) for other in siblings)}
    integrated = is_integrated(machine, device)
    return Gpu(
        device=device,
        name=names.of(device),
        modules=_modules(machine, device),
        integrated=integrated,
        power=read_power(machine, device),
        switches=read_switches(machine),
        group=group,
        verdict=None if group is None else group.verdict(device.address),
        siblings=tuple((other, names.of(other)) for other in siblings),
        roms=find_sources(machine.host, device),
        connectors=_connectors(machine, device),
        nodes=nodes,
        holders=_holders(machine, nodes),
        findings=tuple(
            finding
            for finding in findings
            if finding.subject in about or (_of_all(finding) and not integrated)
        ),
    )


#: Subjects of checks that concern the GPU, also where they speak of the machine or the VM.
_SUBJECTS = ("gpu", "power", "driver", "audio", "rom", "vm")


def _of_all(finding: Finding) -> bool:
    """Whether a finding is about no function, and so about every GPU that can be handed over."""
    try:
        PciAddress.parse(finding.subject)
    except ValueError:
        return finding.check.partition(".")[0] in _SUBJECTS
    return False


def _modules(machine: Inventory, device: PciDevice) -> tuple[str, ...] | None:
    try:
        return machine.kernel.fitting(device.modalias or "")
    except Unreadable:
        return None


def _connectors(machine: Inventory, device: PciDevice) -> tuple[Connector, ...] | None:
    try:
        return read_connectors(machine.host, device)
    except Unreadable:
        return None


def _holders(machine: Inventory, nodes: tuple[str, ...]) -> Holders | None:
    try:
        return read_holders(machine.host, nodes) if nodes else Holders((), 0, 0)
    except Unreadable:
        return None


def gpu_record(gpu: Gpu) -> dict[str, Any]:
    """A GPU as plain JSON types; null where the machine does not say."""
    device, link = gpu.device, gpu.device.link
    awake = {GpuPower.AWAKE: True, GpuPower.UNKNOWN: None}.get(gpu.power.power, False)
    return {
        "address": str(device.address),
        "name": gpu.name,
        "integrated": gpu.integrated,
        **_identity(device),
        "modules": None if gpu.modules is None else list(gpu.modules),
        "msi": device.msi,
        "power": gpu.power.power.value,
        "awake": awake,
        "power_state": device.power_state,
        "runtime_status": device.runtime_status,
        "d3cold_allowed": device.d3cold_allowed,
        "switches": {
            switch.name: {"state": switch.state, "parameters": dict(switch.parameters)}
            for switch in gpu.switches
        },
        "boot_vga": device.boot_vga,
        "group": _group(gpu),
        "bars": [
            {
                "index": bar.index,
                "start": bar.start,
                "size": bar.size,
                "memory": bar.memory,
                "above_4g": bar.above_4g,
                "sizes": list(bar.sizes),
            }
            for bar in device.bars
        ],
        "link": None
        if link is None
        else {
            "speed": link.speed,
            "width": link.width,
            "max_speed": link.max_speed,
            "max_width": link.max_width,
        },
        "rom_size": device.rom_size,
        "rom_sources": [source.name for source in gpu.roms.found],
        "connectors": None
        if gpu.connectors is None
        else [{"name": output.name, "status": output.status} for output in gpu.connectors],
        "reset_methods": list(device.reset_methods) if device.reset_methods else None,
        "can_reset": device.can_reset,
        "siblings": [
            {"address": str(other.address), "name": name, **_identity(other)}
            for other, name in gpu.siblings
        ],
        "nodes": list(gpu.nodes),
        "holders": _holder_record(gpu.holders),
        "findings": [finding.as_json() for finding in gpu.findings],
    }


def _identity(device: PciDevice) -> dict[str, Any]:
    return {
        "ids": str(device.ids) if device.ids else None,
        "class": str(device.class_code) if device.class_code else None,
        "revision": device.revision,
        "subsystem": str(device.subsystem) if device.subsystem else None,
        "driver": device.driver,
        "driver_override": device.driver_override,
    }


def _group(gpu: Gpu) -> dict[str, Any] | None:
    if gpu.group is None or gpu.verdict is None:
        return None
    return {
        "number": gpu.group.number,
        "members": [str(address) for address in gpu.group.addresses],
        "isolation": gpu.verdict.isolation.value,
        "strangers": [str(address) for address in gpu.verdict.strangers],
    }


def _holder_record(holders: Holders | None) -> dict[str, Any] | None:
    if holders is None:
        return None
    found = [{"pid": h.pid, "name": h.name, "nodes": list(h.nodes)} for h in holders.found]
    return {"found": found, "looked": holders.looked, "hidden": holders.hidden}
