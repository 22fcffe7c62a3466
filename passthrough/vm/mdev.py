"""A part of the integrated GPU for a guest (GVT-g): what has to be there for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from diag.device import DEVICES
from passthrough.steps.mdev import MDEVS, CreateMdev, type_of
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.inventory import Inventory
    from diag.pci import PciAddress
    from passthrough.step import Step

_SOURCE = "Linux, Documentation/driver-api/vfio-mediated-device.rst"


def mdev_steps(parent: PciAddress, kind: str, uuid: str) -> tuple[Step, ...]:
    """What makes a mediated device."""
    return (CreateMdev(str(parent), kind, uuid),)


def mdev_findings(
    inventory: Inventory, parent: PciAddress, kind: str, uuid: str
) -> Iterator[Finding]:
    """Why a mediated device cannot be made; nothing where it can, or is there already.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    host = inventory.host
    now = type_of(host, uuid)
    if now is not None:
        if now != kind:
            yield _blocks(
                parent, "mdev.other", f"{uuid} is a {now} already, not a {kind}",
                Evidence(f"{MDEVS}/{uuid}/mdev_type", now),
                remedy=f"remove it: echo 1 | sudo tee {MDEVS}/{uuid}/remove",
            )  # fmt: skip
        return
    folder = f"{DEVICES}/{parent}/mdev_supported_types"
    types = host.names(folder)
    if not host.exists(f"{DEVICES}/{parent}"):
        yield _blocks(parent, "mdev.no-gpu", f"there is no {parent}",
                      remedy="diag gpu shows the GPUs")  # fmt: skip
    elif types is None or not types:
        yield from _no_types(inventory, parent, kind)
    elif kind not in types:
        yield _blocks(
            parent, "mdev.type", f"{parent} offers no {kind}", Evidence(folder, " ".join(types)),
            remedy=f"take one of: {', '.join(types)}; larger ones need a larger aperture, which "
            "the firmware's setup sets",
        )  # fmt: skip
    elif host.text(f"{folder}/{kind}/available_instances") == "0":
        users = host.names(MDEVS) or ()
        yield _blocks(
            parent, "mdev.none-left", f"{parent} has no {kind} left",
            Evidence(f"{folder}/{kind}/available_instances", "0"),
            Evidence(MDEVS, " ".join(users) or "empty"),
            remedy="remove one that is not used, or take a smaller type",
        )  # fmt: skip


def _no_types(inventory: Inventory, parent: PciAddress, kind: str) -> Iterator[Finding]:
    """diag knows why GVT-g is not there."""
    from diag.checks.gvt import gvt_g

    known = [f for f in gvt_g.run(inventory) if f.verdict is not Verdict.PASS]
    title = f"{parent} offers no mediated devices, so no {kind}"
    if not known:
        yield _blocks(parent, "mdev.no-types", title,
                      remedy="GVT-g needs an Intel GPU, Broadwell to Comet Lake")  # fmt: skip
    for why in known:
        yield _blocks(parent, "mdev.no-types", f"{title}: {why.title}", *why.evidence,
                      remedy=why.remedy)  # fmt: skip


def _blocks(
    parent: PciAddress, check: str, title: str, *evidence: Evidence, remedy: str
) -> Finding:
    return Finding(
        check, Verdict.FAIL, Severity.BLOCKER, str(parent), title, evidence, remedy, _SOURCE
    )
