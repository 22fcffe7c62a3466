"""Lines of kernel and QEMU logs that announce a known failure, and what each means.

The wording is that of the kernel's and the drivers' own messages (drivers/pci, drivers/iommu,
drivers/vfio, NVIDIA's NVRM, QEMU's hw/vfio).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure that a log line announces.

    Attributes:
        name: a stable word for programs.
        pattern: what the line holds.
        meaning: what it means for passthrough, in plain words.
    """

    name: str
    pattern: re.Pattern[str]
    meaning: str


def _problem(name: str, pattern: str, meaning: str) -> Problem:
    return Problem(name, re.compile(pattern), meaning)


PROBLEMS = (
    _problem(
        "group_not_viable",
        r"group \d{1,6} is not viable",
        "Another device of the IOMMU group is still with a host driver: bind every device of the "
        "group to vfio-pci, or leave it without a driver. Bridges may keep theirs.",
    ),
    _problem(
        "stuck_d3",
        r"stuck in D3",
        "The card did not wake up when QEMU took it: it was powered off, or its last reset broke "
        "it. Power it on first; often only a reboot of the host helps.",
    ),
    _problem(
        "not_ready_flr",
        r"not ready \d{1,9}ms after FLR",
        "The device did not come back from its function level reset. Another reset method may "
        "work (reset_method in sysfs); else the host has to be restarted.",
    ),
    _problem(
        "not_ready_bus_reset",
        r"not ready \d{1,9}ms after bus reset",
        "The device did not come back from the reset of its bus: the known reset bug of some "
        "AMD cards, or a card without power.",
    ),
    _problem(
        "rom_header_signature",
        r"Invalid PCI ROM header signature",
        "The ROM that the card shows does not start with 55 aa: give the VM a ROM file "
        "(romfile=), and look at it with romkit first.",
    ),
    _problem(
        "bar_reserve",
        r"BAR \d: can't reserve",
        "Something on the host holds this memory of the card: mostly a framebuffer of the boot "
        "(efifb, vesafb, simpledrm). /proc/iomem names the holder.",
    ),
    _problem(
        "fallen_off_bus",
        r"fallen off the bus",
        "The card answers no more: it lost its power or its link. A GPU in this state cannot be "
        "passed on; remove and rescan it with its power on, or restart the host.",
    ),
    _problem(
        "xid",
        r"\bXid \(PCI:",
        "NVIDIA's driver reports an error of the GPU; the number says which.",
    ),
    _problem(
        "rm_init_failed",
        r"RmInitAdapter failed|rm_init_adapter failed",
        "NVIDIA's driver could not start the GPU. In a guest: missing ROM or hidden state; on the "
        "host: often a card that a VM left behind without a reset.",
    ),
    _problem(
        "amdvi_completion_wait",
        r"Completion-Wait loop timed out",
        "The IOMMU of an AMD machine waits in vain for a device to answer: mostly a card that "
        "lost its power or its link.",
    ),
    _problem(
        "io_page_fault",
        r"IO_PAGE_FAULT",
        "A device used memory that the IOMMU did not give it; the access was refused.",
    ),
    _problem(
        "dmar_fault",
        r"DMAR: DRHD: handling fault status|DMAR:\s?\[(?:DMA|INTR|PASID|NO_PASID)",
        "A device used memory that the IOMMU did not give it; the access was refused.",
    ),
    _problem(
        "header_7f",
        r"[Uu]nknown header type 7f",
        "The device answers with ones only: it has no power. For a virtual function of SR-IOV, "
        "or seen inside a guest, it may mean something else.",
    ),
    _problem(
        "link_retrain_failed",
        r"retraining failed|retraining non-functional downstream link",
        "The link to the device did not come up again.",
    ),
    _problem(
        "power_state_inaccessible",
        r"(?:Unable to|[Cc]an't) change power state from \S{1,10} to \S{1,10},? ?\(?"
        r"(?:device|config space) inaccessible|[Rr]efused to change power state",
        "The device does not follow when its power state is changed: it is off, or gone.",
    ),
    _problem(
        "pcie_aer_dpc",
        r"DPC: (?!enabled|error containment cap)|PCIe Bus Error|AER: (?!enabled)"
        r"|\[[ \d]{1,2}\] \w{3,20}\s{2,40}\(First\)",
        "The PCI Express link reports errors; with DPC the port cuts the device off.",
    ),
    _problem(
        "flr_pending_timeout",
        r"(?:timed out waiting for|timeout: )\s?pending transaction",
        "The device had transactions open when it was reset.",
    ),
)

MEANINGS = {problem.name: problem.meaning for problem in PROBLEMS}

#: Whether a line can hold any problem at all: asked first, once a line.
ANY_PROBLEM = re.compile("|".join(problem.pattern.pattern for problem in PROBLEMS))


def find_problems(text: str) -> tuple[str, ...]:
    """The names of the problems that a line announces."""
    if ANY_PROBLEM.search(text) is None:
        return ()
    return tuple(problem.name for problem in PROBLEMS if problem.pattern.search(text))
