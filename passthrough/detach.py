"""Plans that take a card from the host for a guest, and give it back.

In the order of libvirt (virHostdevPreparePCIDevices): every function of the group leaves its
driver, then all are reset, and only then is any of them used.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from diag.device import DEVICES
from diag.graphics import is_integrated
from diag.kernel import ModuleState
from diag.power import GpuPower, read_power
from diag.viability import is_vfio_driver
from passthrough.plan import Plan
from passthrough.reset import own_reset
from passthrough.slot import Slot, module_of, nvidia_modules, read_slot, read_users
from passthrough.steps import (
    Bind,
    Confirm,
    LoadModule,
    Probe,
    ReleaseConsole,
    ReleaseFramebuffer,
    ResetDevice,
    RunUnit,
    SetAttribute,
    Unbind,
    UnloadModule,
)  # fmt: skip
from passthrough.steps.framebuffer import consoles, framebuffers
from passthrough.steps.module import VFIO, is_loaded
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.device import PciDevice
    from diag.inventory import Inventory
    from passthrough.step import Step

_VIABLE = "VFIO's rule for a viable group (drivers/vfio/vfio_main.c, driver_managed_dma)"

#: No driver has this name, so that no driver takes a function with this override.
_NOBODY = "none"


class AudioPolicy(StrEnum):
    """Who has the audio function while the guest has the GPU."""

    #: The guest can have it too.
    VFIO_PCI = "vfio-pci"
    #: Nobody: some guest drivers fail (Code 43) when vfio-pci has touched it.
    NONE = "none"
    #: A driver that does nothing, for kernels that want one.
    PCI_STUB = "pci-stub"


def title_of(gpu: PciDevice) -> str:
    """What a run that has detached a GPU is called in the journal."""
    return f"detach {gpu.address}"


def plan_detach(
    inventory: Inventory,
    gpu: PciDevice,
    *,
    audio: AudioPolicy = AudioPolicy.VFIO_PCI,
    strangers: bool = False,
    options: tuple[str, ...] = (),
) -> Plan:
    """A plan that gives a card's whole group to VFIO. Its effect is kept until it is reattached.

    Args:
        inventory: the machine.
        gpu: the card's GPU.
        audio: who gets its audio function.
        strangers: whether what else is in the group goes too.
        options: of vfio-pci, like ``disable_idle_d3=1``; they count only when it is loaded now.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    slot, host = read_slot(inventory, gpu), inventory.host
    others = slot.strangers if strangers else ()
    # The GPU last: the other functions of its card depend on its power.
    whole = (*others, *reversed(slot.functions))
    users = read_users(inventory, slot, others)
    targets = {device: _driver_for(inventory, gpu, device, audio) for device in whole}
    unloaded = nvidia_modules(host, slot)
    steps: list[Step] = [LoadModule("vfio-pci", options, VFIO)]
    if AudioPolicy.PCI_STUB in targets.values() and not is_loaded(host, "pci_stub"):
        steps.append(LoadModule("pci-stub"))
    # No driver may come back between, whatever loads it.
    steps += [
        SetAttribute(f"{DEVICES}/{device.address}/driver_override", target)
        for device, target in targets.items()
    ]
    steps += [RunUnit(unit, running=False) for unit in users.units]
    steps += _release_screen(inventory, slot)
    steps += [UnloadModule(module) for module in unloaded]
    for device, target in targets.items():
        gone = device.driver is None or module_of(host, device.driver) in unloaded
        if not gone and device.driver != target:
            steps.append(Unbind(str(device.address)))
    for device, target in targets.items():
        if target != _NOBODY:
            steps.append(Bind(str(device.address), target))
    steps += [ResetDevice(str(device.address)) for device in whole if own_reset(slot, device)]
    group = None if slot.group is None else slot.group.number
    for device, target in targets.items():
        steps.append(Confirm(str(device.address), group, "" if target == _NOBODY else target))
    findings = (*users.findings, *_findings(inventory, slot, strangers))
    return Plan(
        title_of(gpu), tuple(steps), findings, tuple(_notes(inventory, slot, options)), keeps=True
    )


def _driver_for(inventory: Inventory, gpu: PciDevice, device: PciDevice, audio: AudioPolicy) -> str:
    sound = inventory.audio_of(gpu)
    if sound is not None and device.address == sound.address:
        return str(audio)
    return "vfio-pci"


def _release_screen(inventory: Inventory, slot: Slot) -> Iterator[Step]:
    """The kernel's own use of a display that the firmware has set up on this card."""
    if not slot.gpu.boot_vga:
        return
    host = inventory.host
    found = framebuffers(host)
    if slot.gpu.driver is None and not found:
        return
    yield from (ReleaseConsole(name) for name in consoles(host, "frame buffer"))
    yield from (ReleaseFramebuffer(driver, device) for driver, device in found)


def _notes(inventory: Inventory, slot: Slot, options: tuple[str, ...]) -> Iterator[str]:
    yield "passthrough reattach gives everything back"
    sound = inventory.audio_of(slot.gpu)
    if sound is not None and sound.driver is not None and not own_reset(slot, sound):
        # Acer field report: without one, guests break, hosts stutter, and a restart is needed.
        yield (
            f"{sound.address} was in use and has no reset of its own: where a guest breaks or the "
            "host stutters, run passthrough reset before"
        )
    host = inventory.host
    if slot.gpu.boot_vga and (framebuffers(host) or consoles(host, "VGA")):
        # Seen on Linux 6.1 when vfio-pci takes a card: drivers/gpu/vgaarb.c, vga_remove_vgacon;
        # drivers/video/aperture.c.
        yield (
            "the host shows the firmware's picture on this card: the kernel gives it up for good"
            " when vfio-pci takes the card, and the screen stays dark until a display driver has"
            " it, or until a restart"
        )
    if options and is_loaded(inventory.host, "vfio_pci"):
        yield f"vfio-pci is loaded already: {' '.join(options)} has no effect until it is unloaded"


def _findings(inventory: Inventory, slot: Slot, strangers: bool) -> Iterator[Finding]:
    gpu = slot.gpu
    if is_integrated(inventory, gpu):
        yield _blocks(gpu, "detach.integrated", "it is part of the processor", remedy="name the "
                      "discrete GPU; for a share of this one see GVT-g")  # fmt: skip
    if slot.group is None:
        yield _blocks(
            gpu, "detach.no-group", "it has no IOMMU group: the kernel uses no IOMMU",
            remedy="diag iommu says why, and what to set",
        )  # fmt: skip
    power = read_power(inventory, gpu)
    if power.power in (GpuPower.OFF, GpuPower.GONE):
        remedy = "passthrough reset" if power.power is GpuPower.GONE else "passthrough power on"
        yield _blocks(gpu, "detach.dead", f"it is {power.power.value}", *power.evidence,
                      remedy=remedy)  # fmt: skip
    if inventory.kernel.state("vfio_pci") is ModuleState.ABSENT:
        yield _blocks(
            gpu, "detach.no-vfio", "this kernel has no vfio-pci",
            remedy="install the kernel's modules, or a kernel with CONFIG_VFIO_PCI",
        )  # fmt: skip
    for stranger in () if strangers else slot.strangers:
        if stranger.driver is None or is_vfio_driver(stranger.driver):
            continue
        yield _blocks(
            gpu, "detach.stranger",
            f"{stranger.address} shares its group and {stranger.driver} has it",
            Evidence(f"{DEVICES}/{stranger.address}/driver", stranger.driver),
            remedy="passthrough detach --with-strangers takes it along; diag iommu says why they "
            "share a group",
        )  # fmt: skip


def _blocks(gpu: PciDevice, check: str, title: str, *evidence: Evidence, remedy: str) -> Finding:
    return Finding(
        check, Verdict.FAIL, Severity.BLOCKER, str(gpu.address), title, evidence, remedy, _VIABLE
    )


def plan_reattach(inventory: Inventory, gpu: PciDevice) -> Plan:
    """A plan that gives a card to the host whose detaching no journal remembers.

    The kernel chooses the drivers, as at its start. Where there is a journal, taking it back
    restores exactly what was there: `find_detached` in passthrough.detached.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    slot = read_slot(inventory, gpu)
    users = read_users(inventory, slot)
    steps: list[Step] = []
    for device in slot.functions:
        taken = device.driver is not None and (
            is_vfio_driver(device.driver) or device.driver == AudioPolicy.PCI_STUB
        )
        if device.driver_override is not None:
            steps.append(SetAttribute(f"{DEVICES}/{device.address}/driver_override", ""))
        if taken:
            steps.append(Unbind(str(device.address)))
        if taken or device.driver is None:
            steps.append(Probe(str(device.address), device.modalias or ""))
    return Plan(f"reattach {gpu.address}", tuple(steps), users.findings)
