"""Why a group is as it is: where on the way to the root devices are not kept apart.

The kernel's rule (`pci_device_group` in drivers/iommu/iommu.c) goes up from a device: a bridge to
conventional PCI takes everything behind it into its group; a path to the root on which any
function lacks ACS takes a device into the group of the port above it; functions of one device that
lack ACS are one group. `merges` follows it, and says where it could not look.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from diag.acs import AcsHop, PortType, leads_to_slot, parent_of, read_hop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diag.device import PciDevice
    from diag.inventory import Inventory
    from diag.iommu import GroupVerdict, IommuGroup
    from diag.pci import PciAddress


class Reason(Enum):
    """Why devices are in one group."""

    #: A function on the way to the root lacks ACS.
    PATH = "path"
    #: All that is behind a bridge to conventional PCI looks like one device to the IOMMU.
    BRIDGE = "bridge"
    #: Functions of one device, which may talk to each other inside it.
    FUNCTIONS = "functions"


@dataclass(frozen=True, slots=True)
class Merge:
    """What put devices into one group.

    Attributes:
        reason: the kind of merge.
        hops: the functions that do not keep them apart.
        members: whom it joined.
        certain: whether it was measured; else it may be so, and could not be looked at.
    """

    reason: Reason
    hops: tuple[AcsHop, ...]
    members: tuple[PciAddress, ...]
    certain: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """The ACS bits that the kernel asks for and does not find there."""
        return tuple(dict.fromkeys(bit for hop in self.hops for bit in hop.missing))

    @property
    def text(self) -> str:
        """What joined them, in a sentence."""
        first = self.hops[0]
        if not self.certain:
            blind = next(hop for hop in self.hops if hop.separates is None)
            return f"it may be {blind.title} {blind.address} that joins them: {blind.text}"
        if self.reason is Reason.BRIDGE:
            what = f"{first.address} is a bridge to conventional PCI ({first.title})"
            return f"{what}: all behind it is one device to the IOMMU"
        if self.reason is Reason.FUNCTIONS:
            slot = first.address.slot
            names = ", ".join(f".{hop.address.function}" for hop in self.hops)
            return f"functions {names} of {slot} are not kept apart: {first.text}"
        return f"{first.title} {first.address}: {first.text}; what is below shares its group"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A device, its group, and why the others are in it.

    Attributes:
        device: whom it is about.
        group: its group; None where it has none.
        verdict: who shares it; None where there is no group.
        path: the hops from the root to the device, itself last.
        merges: what joined the members, as far as it was found.
        unexplained: members whom nothing that was found joins with the device.
        elsewhere: its own functions that are in other groups.
    """

    device: PciDevice
    group: IommuGroup | None
    verdict: GroupVerdict | None
    path: tuple[AcsHop, ...]
    merges: tuple[Merge, ...]
    unexplained: tuple[PciAddress, ...]
    elsewhere: tuple[PciAddress, ...]

    @property
    def measured(self) -> bool:
        """Whether all that joins the group was measured."""
        return not self.unexplained and all(merge.certain for merge in self.merges)


class Hierarchy:
    """The PCI functions of a machine, and who of them keeps others apart.

    Args:
        machine: its inventory.
    """

    def __init__(self, machine: Inventory) -> None:
        self.machine = machine
        self._hops: dict[PciAddress, AcsHop] = {}

    def __repr__(self) -> str:
        return f"<Hierarchy of {self.machine.host.note}>"

    def hop(self, device: PciDevice) -> AcsHop:
        """What is known of one function."""
        if device.address not in self._hops:
            several = len(self._slot(device)) > 1
            self._hops[device.address] = read_hop(self.machine.host, device, siblings=several)
        return self._hops[device.address]

    def _slot(self, device: PciDevice) -> list[PciDevice]:
        """All functions of the device that this one is of, itself too."""
        return self._slots[device.address.slot]

    @cached_property
    def _slots(self) -> dict[str, list[PciDevice]]:
        slots: dict[str, list[PciDevice]] = {}
        for device in self.machine.devices:
            slots.setdefault(device.address.slot, []).append(device)
        return slots

    def above(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """The bridges above a device, the nearest first."""
        found = []
        place = parent_of(device)
        steps = device.path[:-1][::-1]
        for step in steps:
            bridge = self.machine.device(step)
            if place is None or step.domain != place.domain or bridge is None:
                break
            found.append(bridge)
        return tuple(found)

    def path(self, device: PciDevice) -> tuple[AcsHop, ...]:
        """The hops from the root to a device, itself last."""
        return tuple(self.hop(step) for step in (*self.above(device)[::-1], device))

    @cached_property
    def merges(self) -> tuple[Merge, ...]:
        """All that joins devices on this machine, by the kernel's rule."""
        members: dict[tuple[Reason, tuple[AcsHop, ...], bool], set[PciAddress]] = {}
        for device in self.machine.devices:
            for merge in self._merges_of(device):
                key = (merge.reason, merge.hops, merge.certain)
                members.setdefault(key, set()).update(merge.members)
        return tuple(
            Merge(reason, hops, tuple(sorted(joined)), certain)
            for (reason, hops, certain), joined in members.items()
        )

    def _merges_of(self, device: PciDevice) -> Iterator[Merge]:
        """What the kernel does when it looks for the group of one device."""
        above = self.above(device)
        for bridge in above:
            hop = self.hop(bridge)
            if hop.kind is not None and hop.kind.is_port:
                continue
            if hop.kind is not None:
                yield Merge(Reason.BRIDGE, (hop,), (bridge.address, device.address), True)
                return
        if above:
            weak = self._weak(above)
            if weak is not None:
                certain = weak.separates is False
                yield Merge(Reason.PATH, (weak,), (above[0].address, device.address), certain)
                if certain:
                    return
        yield from self._functions(device)

    def _weak(self, above: Iterable[PciDevice]) -> AcsHop | None:
        """The first hop on the way up that lacks ACS, or else one that could not be measured."""
        hops = [self.hop(bridge) for bridge in above]
        surely = (hop for hop in hops if hop.separates is False)
        perhaps = (hop for hop in hops if hop.separates is None)
        return next(surely, None) or next(perhaps, None)

    def _functions(self, device: PciDevice) -> Iterator[Merge]:
        mine = self.hop(device)
        if not mine.multifunction or mine.separates:
            return
        others = [self.hop(other) for other in self._slot(device) if other is not device]
        for certain in (True, False):
            hops = [h for h in (mine, *others) if h.separates is False or not certain]
            hops = [hop for hop in hops if not hop.separates]
            if len(hops) > 1 and (certain or any(hop.separates is None for hop in hops)):
                ordered = tuple(sorted(hops, key=lambda hop: hop.address))
                places = tuple(hop.address for hop in ordered)
                yield Merge(Reason.FUNCTIONS, ordered, places, certain)

    def explain(self, device: PciDevice) -> Explanation:
        """Why a device is in the group that it is in.

        Raises:
            Unreadable: the groups cannot be listed.
        """
        group = self.machine.group_of(device)
        members = group.addresses if group is not None else ()
        mine = frozenset(members)
        found = [
            Merge(merge.reason, merge.hops, inside, merge.certain)
            for merge in self.merges
            if len(inside := tuple(place for place in merge.members if place in mine)) > 1
        ]
        certain = _joined(device.address, (merge for merge in found if merge.certain))
        # What could not be measured is told only where nothing that was measured explains it.
        useful = [merge for merge in found if merge.certain or not set(merge.members) <= certain]
        reached = _joined(device.address, useful)
        return Explanation(
            device,
            group,
            None if group is None else group.verdict(device.address),
            self.path(device),
            tuple(merge for merge in useful if set(merge.members) & reached),
            tuple(place for place in members if place not in reached),
            tuple(
                other.address
                for other in self.machine.siblings(device)
                if group is not None and other.address not in mine and other.group is not None
            ),
        )

    def torn(self, *, certain: bool = True) -> tuple[Merge, ...]:
        """Merges that the kernel did not make although ACS is missing: an override is at work.

        Args:
            certain: those that were measured, or else those that may be.

        Raises:
            Unreadable: the groups cannot be listed.
        """
        groups = {place: group.number for group in self.machine.groups for place in group.addresses}
        return tuple(
            merge
            for merge in self.merges
            if merge.certain is certain
            and len({groups[place] for place in merge.members if place in groups}) > 1
        )

    def free_ports(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Other ports with a slot in which a card would be alone: ACS all the way up, measured."""
        above = {bridge.address for bridge in self.above(device)}
        return tuple(
            port
            for port in self.machine.devices
            if port.address not in above
            and port.config is not None
            and leads_to_slot(port.config)
            and self.hop(port).kind in (PortType.ROOT_PORT, PortType.DOWNSTREAM)
            and all(hop.separates for hop in self.path(port))
        )


def _joined(start: PciAddress, merges: Iterable[Merge]) -> set[PciAddress]:
    """Whom merges join with a device, over however many steps."""
    by_place: dict[PciAddress, list[Merge]] = {}
    for merge in merges:
        for place in merge.members:
            by_place.setdefault(place, []).append(merge)
    reached, waiting = {start}, [start]
    while waiting:
        for merge in by_place.pop(waiting.pop(), ()):
            waiting += [place for place in merge.members if place not in reached]
            reached.update(merge.members)
    return reached
