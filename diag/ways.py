"""What could change a group that a GPU shares, with its cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from diag.acs import PortType
from diag.firmware import read_product
from diag.iommu import Isolation
from diag.isolation import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.isolation import Explanation, Hierarchy, Merge


class WayKind(Enum):
    """What would have to be changed."""

    NONE_NEEDED = "nothing needed"
    WHOLE_GROUP = "whole group"
    SLOT = "slot"
    FIRMWARE = "firmware"
    PARAMETER = "kernel parameter"
    OVERRIDE = "ACS override"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to a group that can be passed through.

    Attributes:
        kind: what would have to be changed.
        text: what to do, or why nothing is to be done.
        cost: what it costs in security or use; empty where nothing.
    """

    kind: WayKind
    text: str
    cost: str = ""


_OVERRIDE_COST = (
    "not isolation: the kernel is only told to believe it. Devices of the group still reach each "
    "other past the IOMMU, so the guest can read and change what the others send and receive, and "
    "by them the memory of the host; do not run a guest like this that you would not trust with "
    "root"
)


def ways(hierarchy: Hierarchy, explained: Explanation) -> tuple[Way, ...]:
    """What could change the group, the best way first.

    Raises:
        Unreadable: what ports there are cannot be read.
    """
    verdict = explained.verdict
    if verdict is None:
        return ()
    if verdict.isolation is Isolation.ISOLATED:
        shared = " The bridges in its group stay with the host." if verdict.bridges else ""
        return (Way(WayKind.NONE_NEEDED, f"Nothing: the group is the device's own.{shared}"),)
    return tuple(_ways(hierarchy, explained))


def _ways(hierarchy: Hierarchy, explained: Explanation) -> Iterator[Way]:
    strangers = explained.verdict.strangers if explained.verdict else ()
    if strangers:
        names = ", ".join(map(str, strangers[:8]))
        more = f" and {len(strangers) - 8} more" if len(strangers) > 8 else ""
        yield Way(
            WayKind.WHOLE_GROUP,
            f"Take {names}{more} from the host too: bind them to vfio-pci or leave them without "
            "a driver.",
            "the host loses them while the guest runs",
        )
    yield from _slot(hierarchy, explained)
    merges = explained.merges
    off = [m for m in merges if m.certain and any(hop.acs is not None for hop in m.hops)]
    if off:
        names = ", ".join(dict.fromkeys(str(hop.address) for m in off for hop in m.hops))
        yield Way(
            WayKind.PARAMETER,
            f"{names} can do ACS and has it off. The kernel turns it on at boot when an IOMMU is "
            "in use; pci=disable_acs_redir= and pci=config_acs= on the command line, or setpci, "
            "turn it off.",
        )
    if any(_lacks_capability(merge) for merge in merges):
        yield Way(
            WayKind.FIRMWARE,
            "Some firmware hides ACS behind a setting (ACS Enable, mostly with AER, on AMD boards "
            "below AMD CBS, NBIO). A newer firmware may show it. Where there is no such setting, "
            "the hardware has no ACS.",
        )
    values = _override_values(merges)
    if values:
        yield Way(
            WayKind.OVERRIDE,
            f"A kernel with the ACS override patch, which is not part of Linux, and "
            f"pcie_acs_override={','.join(values)} on its command line. Other kernels ignore the "
            "parameter.",
            _OVERRIDE_COST,
        )
    elif merges and all(merge.reason is Reason.BRIDGE for merge in merges):
        yield Way(
            WayKind.NOTHING,
            "Nothing else: the requests of conventional PCI devices carry the id of their bridge, "
            "so that no IOMMU can tell them apart, and no override applies.",
        )
    if not explained.measured:
        yield Way(
            WayKind.NOTHING,
            "What joins the group was not measured in full, so there may be other ways: run as "
            "root, with the ports awake.",
        )


def _slot(hierarchy: Hierarchy, explained: Explanation) -> Iterator[Way]:
    if not hierarchy.above(explained.device):
        return  # a part of the processor or chipset
    if read_product(hierarchy.machine.host).portable:
        return  # soldered
    ports = hierarchy.free_ports(explained.device)
    if ports:
        names = ", ".join(str(port.address) for port in ports[:8])
        yield Way(
            WayKind.SLOT,
            f"Another slot: a card below {names} is kept apart all the way up. Such a slot may be "
            "narrower, or one for M.2.",
        )


def _lacks_capability(merge: Merge) -> bool:
    return merge.certain and any(
        hop.acs is None and hop.kind in (PortType.ROOT_PORT, PortType.DOWNSTREAM)
        for hop in merge.hops
    )


def _override_values(merges: tuple[Merge, ...]) -> tuple[str, ...]:
    """What the patch would have to be told; it leaves conventional PCI and real ACS alone."""
    values: dict[str, None] = {}
    for hop in (hop for merge in merges if merge.certain for hop in merge.hops):
        if hop.acs is not None or hop.kind is None:
            continue
        if hop.kind in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
            values["downstream"] = None
        elif hop.multifunction and hop.kind in (
            PortType.ENDPOINT, PortType.LEGACY_ENDPOINT, PortType.UPSTREAM, PortType.INTEGRATED,
        ):  # fmt: skip
            values["multifunction"] = None
    if any(merge.reason is Reason.BRIDGE for merge in merges):
        return ()
    return tuple(values)
