"""A GPU in its slot: its functions, its port, its group, and who uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.errors import Unreadable
from diag.holders import device_nodes, process_name, read_holders
from passthrough.steps.driver import users_of
from passthrough.steps.module import devices_of, is_loaded
from passthrough.steps.unit import unit_of
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.device import PciDevice
    from diag.holders import Holder
    from diag.host import Host
    from diag.inventory import Inventory
    from diag.iommu import IommuGroup

#: NVIDIA's modules in the order in which they can be unloaded.
NVIDIA = ("nvidia_drm", "nvidia_uvm", "nvidia_modeset", "nvidia_peermem", "nvidia")

#: Services that use NVIDIA's cards and may be stopped: they start again without loss.
SERVICES = ("nvidia-persistenced.service", "nvidia-powerd.service")

#: Their processes, as the kernel shortens their names (15 characters).
_DAEMONS = ("nvidia-persiste", "nvidia-powerd")


@dataclass(frozen=True, slots=True)
class Slot:
    """A GPU and what belongs to it.

    Attributes:
        gpu: its function.
        others: the card's other functions: audio, USB, UCSI.
        port: the port or bridge above it; None for what is part of the processor.
        port_is_its_own: whether nothing else is behind that port.
        group: its IOMMU group; None where no IOMMU is in use.
        strangers: functions in its group that are neither its own nor bridges.
    """

    gpu: PciDevice
    others: tuple[PciDevice, ...]
    port: PciDevice | None
    port_is_its_own: bool
    group: IommuGroup | None
    strangers: tuple[PciDevice, ...]

    @property
    def functions(self) -> tuple[PciDevice, ...]:
        """All its functions, the GPU first."""
        return (self.gpu, *self.others)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where they are."""
        return tuple(str(device.address) for device in self.functions)

    @property
    def alone_on_its_bus(self) -> bool:
        """Whether a reset of its bus hits nobody but the GPU."""
        return self.port_is_its_own and not self.others


def read_slot(inventory: Inventory, gpu: PciDevice) -> Slot:
    """What belongs to a GPU.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    others = inventory.siblings(gpu)
    port = inventory.device(gpu.parent) if gpu.parent is not None else None
    mine = {gpu.address, *(other.address for other in others)}
    behind = {d.address for d in inventory.devices if port and port.address in d.path[:-1]}
    group = inventory.group_of(gpu)
    strange = group.verdict(gpu.address).strangers if group is not None else ()
    found = (inventory.device(address) for address in strange)
    return Slot(
        gpu, others, port, port is not None and behind <= mine, group,
        tuple(device for device in found if device is not None),
    )  # fmt: skip


def module_of(host: Host, driver: str) -> str | None:
    """The module that has a driver; None where that is part of the kernel."""
    return host.link(f"/sys/bus/pci/drivers/{driver}/module")


def nvidia_modules(host: Host, slot: Slot) -> tuple[str, ...]:
    """NVIDIA's modules that are loaded, in the order in which they can be unloaded.

    None where their driver has another card too: that one keeps them.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    if set(devices_of(host, "nvidia")) <= {str(slot.gpu.address)}:
        return tuple(module for module in NVIDIA if is_loaded(host, module))
    return ()


def modules_to_unload(host: Host, slot: Slot) -> tuple[str, ...]:
    """Modules that would take the GPU when it is found again, and that nothing else needs.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    driver = slot.gpu.driver
    module = module_of(host, driver) if driver is not None else None
    # A VFIO driver goes by being unbound; its module stays for other cards, and does no harm.
    if module is None or "vfio" in module or module in (*NVIDIA, "pci_stub"):
        return nvidia_modules(host, slot)
    alone = set(devices_of(host, module)) <= set(slot.addresses)
    built_in = not host.exists(f"/sys/module/{module}/initstate")
    # The kernel's own console counts as a user: such a driver is only unbound.
    ours = () if built_in or not alone or users_of(host, module) else (module,)
    return (*nvidia_modules(host, slot), *ours)


@dataclass(frozen=True, slots=True)
class Users:
    """Who uses a card.

    Attributes:
        units: services that can be stopped for it.
        findings: everybody else, and what could not be looked at.
    """

    units: tuple[str, ...]
    findings: tuple[Finding, ...]


def read_users(inventory: Inventory, slot: Slot, also: tuple[PciDevice, ...] = ()) -> Users:
    """Who has a card's nodes open, and which of NVIDIA's services run.

    Args:
        inventory: the machine.
        slot: the card.
        also: further functions that are looked at.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    host = inventory.host
    functions = (*slot.functions, *also)
    nodes = tuple(dict.fromkeys(n for f in functions for n in device_nodes(inventory, f)))
    units = list(_services(host)) if is_loaded(host, "nvidia") else []
    try:
        holders = read_holders(host, nodes)
    except Unreadable as error:
        return Users(tuple(units), (_unknown(slot, error),))
    found = []
    for holder in holders.found:
        unit = unit_of(host, holder.pid)
        if unit in SERVICES:
            units.append(unit)
        else:
            found.append(_in_use(slot, holder, unit))
    if holders.hidden and nodes:
        where = holders.unread or Unreadable("/proc", "permission denied")
        found.append(_unknown(slot, where, holders.hidden))
    return Users(tuple(dict.fromkeys(units)), tuple(found))


def _services(host: Host) -> Iterator[str]:
    for name in host.names("/proc") or ():
        if name.isdecimal() and process_name(host, name) in _DAEMONS:
            unit = unit_of(host, int(name))
            if unit in SERVICES:
                yield unit


def _in_use(slot: Slot, holder: Holder, unit: str | None) -> Finding:
    # Sound servers have the mixer of each card open, and close it when the card goes.
    harmless = all(node.startswith("/dev/snd/controlC") for node in holder.nodes)
    what = f"{holder.name or 'a process'} (process {holder.pid}) uses it: {', '.join(holder.nodes)}"
    end = f"systemctl stop {unit}" if unit else f"end it: kill {holder.pid}"
    return Finding(
        check="slot.in-use",
        verdict=Verdict.FAIL,
        severity=Severity.WARNING if harmless else Severity.BLOCKER,
        subject=str(slot.gpu.address),
        title=what,
        evidence=(Evidence(f"/proc/{holder.pid}/fd", ", ".join(holder.nodes)),),
        remedy="" if harmless else end,
        source="a driver waits in the kernel for its last user (nv-pci.c, vfio_main.c)",
    )


def _unknown(slot: Slot, why: Unreadable, hidden: int = 0) -> Finding:
    who = f"{hidden} processes of others" if hidden else "the processes"
    return Finding(
        check="slot.in-use",
        verdict=Verdict.UNKNOWN,
        severity=Severity.BLOCKER,
        subject=str(slot.gpu.address),
        title=f"whether anybody uses the card is not known: {who} could not be looked into",
        evidence=(Evidence(why.path, why.why),),
        remedy=why.hint or "run it as root",
    )
