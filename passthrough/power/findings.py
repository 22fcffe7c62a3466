"""What stands in the way of switching a card's power, as far as the machine shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from diag.device import DEVICES
from diag.errors import Unreadable
from diag.graphics import is_integrated
from diag.holders import device_nodes, read_holders
from diag.kernel import COMMAND_LINE
from diag.power import BBSWITCH, GpuPower, read_power, read_switch
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.inventory import Inventory

_KERNEL = "Linux, Documentation/power/pci.rst"
_BBSWITCH_C = "bbswitch.c, bbswitch_off"


def _blocks(
    check: str, device: PciDevice, title: str, *evidence: Evidence, remedy: str, source: str
) -> Finding:
    return Finding(
        check, Verdict.FAIL, Severity.BLOCKER, str(device.address), title, evidence, remedy, source
    )


def off_findings(machine: Inventory, gpu: PciDevice, *, cut: bool) -> Iterator[Finding]:
    """What forbids switching a GPU off.

    Args:
        machine: where it is.
        gpu: which one.
        cut: whether its power is cut under whatever uses it (bbswitch), and not the kernel asked.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    if is_integrated(machine, gpu):
        yield _blocks(
            "power.integrated", gpu, "this GPU is part of the processor: it is not switched off",
            remedy="name the other GPU: passthrough status shows all", source=_KERNEL,
        )  # fmt: skip
    if not cut:
        return
    sound = machine.audio_of(gpu)
    for device in (gpu, *machine.siblings(gpu)):
        if device.driver is None or (sound is not None and device.address == sound.address):
            continue
        path = f"{DEVICES}/{device.address}/driver"
        yield _blocks(
            "power.driver", device,
            f"{device.driver} has {device.address}: its power is not cut under a driver",
            Evidence(path, device.driver),
            remedy=f"passthrough detach {gpu.address}, or modprobe -r the driver's module",
            source=_BBSWITCH_C,
        )  # fmt: skip
    if sound is not None and sound.driver is not None:
        yield from _holders(machine, sound)


def _holders(machine: Inventory, sound: PciDevice) -> Iterator[Finding]:
    """Programs that use the audio function: its driver waits for them before it lets go."""
    title, source = "who uses the audio function could not be looked at", "Linux, snd_card_free"
    subject = str(sound.address)
    try:
        nodes = device_nodes(machine, sound)
        holders = read_holders(machine.host, nodes)
    except Unreadable as error:
        yield Finding("power.audio-in-use", Verdict.UNKNOWN, Severity.BLOCKER, subject, title,
                      (Evidence(error.path, error.why),), error.hint, source)  # fmt: skip
        return
    if holders.found:
        seen = tuple(
            Evidence(", ".join(holder.nodes), f"{holder.name} ({holder.pid})")
            for holder in holders.found
        )
        names = ", ".join(f"{holder.name} ({holder.pid})" for holder in holders.found)
        yield _blocks(
            "power.audio-in-use", sound, f"the audio function is in use by {names}", *seen,
            remedy="end them, or let them use another sound card", source=source,
        )  # fmt: skip
    elif holders.hidden:
        yield Finding("power.audio-in-use", Verdict.UNKNOWN, Severity.BLOCKER, subject, title,
                      remedy="run it as root", source=source)  # fmt: skip


def on_findings(machine: Inventory, gpu: PciDevice) -> Iterator[Finding]:
    """What forbids switching a GPU on where bbswitch is not loaded.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    reading = read_power(machine, gpu)
    if reading.power is GpuPower.GONE:
        yield _blocks(
            "power.gone", gpu, "it has fallen off the bus: it answers with ones only",
            *reading.evidence, remedy=f"passthrough reset {gpu.address}", source=_KERNEL,
        )  # fmt: skip
    elif reading.power is GpuPower.OFF and read_switch(machine, BBSWITCH) is None:
        yield _blocks(
            "power.cut", gpu, "its power was cut behind the kernel's back, which cannot give it"
            " back", *reading.evidence,
            remedy="switch it on with what switched it off (modprobe bbswitch, acpi_call);"
            f" else passthrough reset {gpu.address}", source=_KERNEL,
        )  # fmt: skip


def sleep_findings(machine: Inventory, gpu: PciDevice) -> Iterator[Finding]:
    """What may keep a GPU from sleeping."""
    subject = str(gpu.address)
    if gpu.driver is None and not gpu.asleep:
        yield Finding(
            "power.no-driver", Verdict.FAIL, Severity.WARNING, subject,
            "no driver has it: the kernel leaves it in D0 unless its port can cut its power",
            (Evidence(f"{DEVICES}/{gpu.address}/driver", "not there"),),
            "bind it first: vfio-pci puts an idle card into D3hot", _KERNEL,
        )  # fmt: skip
    if machine.kernel.value("pcie_port_pm") == "off":
        yield Finding(
            "power.port", Verdict.FAIL, Severity.WARNING, subject,
            "its port is kept awake: the card can reach D3hot, and its power is not cut",
            (Evidence(COMMAND_LINE, "pcie_port_pm=off"),),
            machine.boot_loader.remove("pcie_port_pm=off"), "Linux, drivers/pci/pci.c",
        )  # fmt: skip
