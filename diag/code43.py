"""The checklist for Code 43: what makes a Windows guest's driver give up on a GPU.

It weighs what the machine shows and, where the description of the VM is known, what that says.
"""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check, check
from diag.checks.display import mux, muxless
from diag.checks.drivers import audio_driver, audio_msi, nouveau, nvidia_programs, vm_rule
from diag.checks.gpu import present, reset, subsystem
from diag.checks.iommu import iommu_group, iommu_on, iommu_viable
from diag.checks.power import audio as audio_power
from diag.checks.power import state, switches
from diag.checks.rom import shadow, source
from diag.checks.vm import VM_CHECKS
from diag.graphics import NVIDIA, candidates, is_integrated
from diag.inventory import Inventory
from romkit.finding import Evidence, Finding, Severity

ACER = "field report: dGPU passthrough on an Acer Nitro 5"


@check("code43.started", "Has NVIDIA's driver started the card since its last power cut?",
       Severity.WARNING, ACER)  # fmt: skip
def started(machine: Inventory) -> Iterable[Finding]:
    """Some laptops' cards work in a guest only if NVIDIA's Linux driver has started them and
    `nvidia-smi -r` has reset them after their power was last cut. Nothing shows whether it has.
    """
    for gpu in candidates(machine):
        if gpu.ids is None or gpu.ids.vendor != NVIDIA:
            continue
        subject = str(gpu.address)
        if gpu.driver == "nvidia":
            seen = Evidence(f"/sys/bus/pci/devices/{subject}/driver", "nvidia")
            yield started.passed(subject, "NVIDIA's driver has it now", seen)
        else:
            title = "whether NVIDIA's driver has started it since its last power cut is not known"
            remedy = (
                "if Code 43 stays: load nvidia, nvidia-smi -r, then detach it without a power cut"
            )
            yield started.unknown(subject, title, remedy=remedy)


@check("code43.guest-driver", "Is the guest's driver new enough?", Severity.WARNING,
       "NVIDIA support answer 5173; lion328/gpu-passthrough")  # fmt: skip
def guest_driver(machine: Inventory) -> Iterable[Finding]:
    """Drivers from R465 on (465.89, March 2021) start in a virtual machine, and newer ones ask for
    less: no battery, nothing hidden. Only the guest can say what it has. A Linux guest tells two
    causes apart: where NVIDIA's driver works in it, host and card are in order, and what refuses is
    the Windows driver.
    """
    for gpu in candidates(machine):
        if gpu.ids is not None and gpu.ids.vendor == NVIDIA:
            title = "which driver the guest has only the guest can say"
            remedy = (
                "install the newest driver for this card in the guest: 465.89 or later; to tell "
                "faults of the host from the Windows driver's refusal, start a live Linux with "
                "NVIDIA's driver in the same VM: if it works there, the host is in order"
            )
            yield guest_driver.unknown(str(gpu.address), title, remedy=remedy)


#: The checklist, in the order in which to go through it.
CODE43_CHECKS: tuple[Check, ...] = (
    present, iommu_on, iommu_group, iommu_viable, state, switches, audio_power, audio_driver,
    vm_rule, source, shadow, muxless, subsystem, mux, reset, started, nouveau, nvidia_programs,
    audio_msi, guest_driver, *VM_CHECKS,
)  # fmt: skip


def code43(machine: Inventory) -> tuple[Finding, ...]:
    """The checklist gone through: what the machine shows, and what the VM's description says.

    Args:
        machine: with `vm_text` where a VM's description is at hand.
    """
    kept = {str(gpu.address) for gpu in machine.gpus if is_integrated(machine, gpu)}
    found = (finding for item in CODE43_CHECKS for finding in item.run(machine))
    return tuple(finding for finding in found if finding.subject not in kept)
