"""IOMMU groups: who shares one, and whether that keeps a device from being passed through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.pci import PciAddress, PciClass


class Isolation(Enum):
    """Who shares the group with a device."""

    #: Nothing but its own functions and bridges.
    ISOLATED = "isolated"
    #: Something else is there too.
    STRANGERS = "strangers"
    #: Somebody is there of whom it is not known what it is: neither of the two.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One function in a group.

    Attributes:
        address: where it is.
        bridge: whether it is a host or PCI bridge; None where that is not known.
    """

    address: PciAddress
    bridge: bool | None = None


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """What a group means for one of its members.

    Attributes:
        isolation: the answer.
        strangers: members that are neither a bridge nor a function of the same device.
        bridges: the host and PCI bridges in the group, which may stay with the host.
        unknown: members of which it is not known what they are.
    """

    isolation: Isolation
    strangers: tuple[PciAddress, ...]
    bridges: tuple[PciAddress, ...]
    unknown: tuple[PciAddress, ...]


@dataclass(frozen=True, slots=True)
class IommuGroup:
    """A group: the smallest set of functions that VFIO hands over.

    Attributes:
        number: as the kernel counts; numbers may be missing between two groups.
        members: in the order of their addresses, each once.
    """

    number: int
    members: tuple[Member, ...]

    @classmethod
    def of(cls, number: int, members: Iterable[Member]) -> IommuGroup:
        """A group of these members, sorted, each once."""
        return cls(number, tuple(sorted(set(members), key=lambda member: member.address)))

    @property
    def addresses(self) -> tuple[PciAddress, ...]:
        """Where its members are."""
        return tuple(member.address for member in self.members)

    def verdict(self, address: PciAddress) -> GroupVerdict:
        """Whether a member is alone in its group but for its own functions and bridges.

        A host bridge has no driver and a PCI bridge may keep its own, so neither stands in the
        way; an ISA bridge, an SMBus or an audio controller with a driver does (VFIO's rule for
        a viable group, drivers/vfio/vfio.c up to Linux 5.18 and `driver_managed_dma` after it).
        """
        others = [member for member in self.members if not member.address.same_slot(address)]
        strangers = tuple(member.address for member in others if member.bridge is False)
        bridges = tuple(member.address for member in others if member.bridge)
        unknown = tuple(member.address for member in others if member.bridge is None)
        if strangers:
            isolation = Isolation.STRANGERS
        else:
            isolation = Isolation.UNKNOWN if unknown else Isolation.ISOLATED
        return GroupVerdict(isolation, strangers, bridges, unknown)


def bridge_by_class(class_code: PciClass | None, class_name: str | None) -> bool | None:
    """Whether a function is a host or PCI bridge, from its class or else from its class's name.

    Returns:
        None where neither is known.
    """
    if class_code is not None:
        return class_code.is_bridge
    if class_name is None:
        return None
    return "".join(class_name.split()).lower() in ("hostbridge", "pcibridge")
