"""Checks of power: cards that are switched off or gone, and what switches or suspends them."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.attribute import ABI_PCI, attribute
from diag.checks.check import Check, check
from diag.device import PciDevice
from diag.graphics import candidates
from diag.inventory import Inventory
from diag.kernel import COMMAND_LINE, RELEASE
from diag.power import (
    BBSWITCH,
    NVHDA,
    GpuPower,
    PowerReading,
    Switch,
    read_power,
    read_switch,
    read_switches,
)
from romkit.finding import Evidence, Finding, Severity

ACER = "field report: dGPU passthrough on an Acer Nitro 5"
BBSWITCH_C = "bbswitch, bbswitch.c"

#: What brings a card back that answers with ones only, from the gentlest on.
_REVIVE = (
    "remove the card's functions and its port, then rescan: echo 1 > .../remove, "
    "echo 1 > /sys/bus/pci/rescan; if it stays away, switch the machine off, not only restart it"
)


@check("power.state", "Has the GPU its power?", Severity.BLOCKER, ABI_PCI)
def state(machine: Inventory) -> Iterable[Finding]:
    """A card that sleeps is as it should be: the kernel wakes it at its next use. A card whose
    power was cut behind the kernel's back answers with ones only (`rev ff`, `header type 7f`), as
    one does that has fallen off the bus; neither can be handed over.
    """
    for gpu in candidates(machine):
        yield _power_finding(machine, gpu, read_power(machine, gpu))


def _power_finding(machine: Inventory, gpu: PciDevice, reading: PowerReading) -> Finding:
    subject, seen = str(gpu.address), reading.evidence
    if reading.power is GpuPower.AWAKE:
        return state.passed(subject, "it is awake", *seen)
    if reading.power is GpuPower.ASLEEP:
        return state.passed(subject, "it sleeps; the kernel wakes it at its next use", *seen)
    if reading.power is GpuPower.UNKNOWN:
        title = "whether it has its power could not be measured"
        return state.unknown(subject, title, reading.unread)
    if reading.power is GpuPower.GONE:
        title = "it has fallen off the bus: it answers with ones only"
        return state.failed(subject, title, *seen, remedy=_REVIVE)
    if reading.by == BBSWITCH:
        title = "bbswitch has switched it off"
        switch = read_switch(machine, BBSWITCH)
        remedy = f"echo ON > /proc/acpi/bbswitch, then {_unload(switch)}"
        return state.failed(subject, title, *seen, remedy=remedy)
    title = "its power is cut, and the kernel has not suspended it itself: it does not come back"
    remedy = f"switch it on with what switched it off (acpi_call, supergfxctl); else {_REVIVE}"
    return state.failed(subject, title, *seen, remedy=remedy)


def _unload(switch: Switch | None) -> str:
    """How a switch is unloaded without the card being switched off by that.

    bbswitch's unload_state is 0 for off, 1 for on and -1 for unchanged; root alone reads it.
    """
    name = switch.name if switch else BBSWITCH
    if name != BBSWITCH or (switch and switch.parameters.get("unload_state") in ("1", "-1")):
        return f"modprobe -r {name}"
    told = switch is not None and switch.parameters.get("unload_state") == "0"
    why = (
        "unload_state=0 switches"
        if told
        else "if unload_state is 0 (root can read it), that switches"
    )
    return (
        "leave bbswitch loaded, or echo 1 > /sys/module/bbswitch/parameters/unload_state before "
        f"modprobe -r bbswitch: {why} the card off again"
    )


@check("power.audio", "Has the audio function its power?", Severity.WARNING, ACER)
def audio(machine: Inventory) -> Iterable[Finding]:
    """An audio function that is dead, or that was not started again with the GPU, makes the host
    stutter once a guest has it.
    """
    for gpu in candidates(machine):
        sound = machine.audio_of(gpu)
        if sound is None:
            continue
        subject, reading = str(sound.address), read_power(machine, sound)
        if reading.power in (GpuPower.AWAKE, GpuPower.ASLEEP):
            title = f"the audio function is {reading.power.value}"
            yield audio.passed(subject, title, *reading.evidence)
        elif reading.power is GpuPower.UNKNOWN:
            title = "whether the audio function has its power could not be measured"
            yield audio.unknown(subject, title, reading.unread)
        else:
            title = f"the audio function is {reading.power.value}"
            remedy = "remove it and rescan once the GPU is on: it comes back with the GPU"
            yield audio.failed(subject, title, *reading.evidence, remedy=remedy)


@check("power.switches", "Are bbswitch and nvhda out of the way?", Severity.WARNING, ACER)
def switches(machine: Inventory) -> Iterable[Finding]:
    """Both keep a pointer to the card that is stale after remove and rescan: the module then can
    neither be used nor unloaded. Unload both before a card is removed, and load them after.
    """
    loaded = read_switches(machine)
    if not loaded:
        if candidates(machine):
            seen = Evidence("/proc/acpi", "neither bbswitch nor nvhda")
            yield switches.passed("machine", "neither bbswitch nor nvhda is loaded", seen)
        return
    for switch in loaded:
        found = [Evidence(switch.path, "there" if switch.there else "not there")]
        found += [
            Evidence(f"/sys/module/{switch.name}/parameters/{name}", value)
            for name, value in switch.parameters.items()
        ]
        yield switches.failed(
            switch.name,
            f"{switch.name} is loaded: unload it before the card is removed from the bus",
            *found,
            remedy=f"{_unload(switch)}; load it again only after the rescan",
        )


@check("power.switch-state", "What do bbswitch and nvhda say?", Severity.WARNING, BBSWITCH_C)
def switch_state(machine: Inventory) -> Iterable[Finding]:
    """Reading either file wakes the port above the card, so it is read with --wake only. A GPU that
    is OFF cannot be handed over; nvhda's answer is about the audio function alone.
    """
    for switch in read_switches(machine):
        if switch.says is None:
            if switch.there:
                title = f"what {switch.name} says was not read"
                yield switch_state.unknown(switch.name, title, switch.unread)
            continue
        seen = Evidence(switch.path, switch.says)
        if switch.state == "ON":
            yield switch_state.passed(switch.name, f"{switch.name} says ON", seen)
        elif switch.state == "OFF":
            title = f"{switch.name} says OFF"
            remedy = f"echo ON > {switch.path}"
            yield switch_state.failed(switch.name, title, seen, remedy=remedy)
        else:
            title = f"{switch.name} says neither ON nor OFF: the card was removed beneath it"
            remedy = f"modprobe -r {switch.name}; if that fails, restart the machine"
            yield switch_state.failed(switch.name, title, seen, remedy=remedy)


@check("power.nvhda-obsolete", "Does the kernel need nvhda?", Severity.NOTE, "nvhda, README")
def nvhda_obsolete(machine: Inventory) -> Iterable[Finding]:
    """Since Linux 5.4 the kernel itself switches the audio function on."""
    if not any(switch.name == NVHDA for switch in read_switches(machine)):
        return
    kernel = machine.kernel
    newer = kernel.since(5, 4)
    seen = Evidence(RELEASE, kernel.release or "not there")
    if newer is None:
        yield nvhda_obsolete.unknown(NVHDA, "the kernel's version is not known")
    elif newer:
        title = "the kernel does what nvhda does, since 5.4"
        remedy = "modprobe -r nvhda, and take it out of /etc/modules-load.d"
        yield nvhda_obsolete.failed(NVHDA, title, seen, remedy=remedy)
    else:
        yield nvhda_obsolete.passed(NVHDA, "this kernel needs nvhda for the audio function", seen)


@check("power.port", "Does the kernel switch ports against bbswitch?", Severity.WARNING,
       "Bumblebee-Project/bbswitch#140")  # fmt: skip
def port(machine: Inventory) -> Iterable[Finding]:
    """Since Linux 4.8 the kernel suspends PCI Express ports itself. With bbswitch both switch the
    same card: `pcie_port_pm=off` keeps the kernel from it. Without bbswitch that parameter keeps
    the card from ever being switched off.
    """
    if not candidates(machine):
        return
    kernel = machine.kernel
    bbswitch = any(switch.name == BBSWITCH for switch in read_switches(machine))
    value = kernel.value("pcie_port_pm")
    off = value == "off"
    seen = Evidence(COMMAND_LINE, "no pcie_port_pm" if value is None else f"pcie_port_pm={value}")
    if kernel.command_line is None:
        yield port.unknown("machine", "the kernel's command line is not known")
    elif bbswitch and not off and kernel.since(4, 8) is not False:
        title = "bbswitch and the kernel both switch the card's power"
        remedy = f"{machine.boot_loader.add('pcie_port_pm=off')}; or do without bbswitch"
        yield port.failed("machine", title, seen, remedy=remedy)
    elif off and not bbswitch:
        title = "pcie_port_pm=off keeps the card from being switched off, and bbswitch is not there"
        remedy = machine.boot_loader.remove("pcie_port_pm=off")
        yield port.failed("machine", title, seen, remedy=remedy)
    elif bbswitch:
        yield port.passed("machine", "bbswitch alone switches the card's power", seen)
    else:
        yield port.passed("machine", "the kernel alone switches the card's power", seen)


@check("power.idle", "May the GPU sleep when nobody uses it?", Severity.NOTE, ABI_PCI)
def idle(machine: Inventory) -> Iterable[Finding]:
    """With `power/control` on `on`, or vfio-pci's disable_idle_d3, a card without a user stays in
    D0 and draws its power. That is safe, and costs a laptop its battery. A card that is switched
    off or gone is not asked.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        if gpu.power_control is None:
            continue
        if read_power(machine, gpu).power in (GpuPower.OFF, GpuPower.GONE):
            continue
        seen = [attribute(gpu, "power/control", gpu.power_control)]
        idle_d3 = None
        if gpu.driver == "vfio-pci":
            path = "/sys/module/vfio_pci/parameters/disable_idle_d3"
            idle_d3 = machine.host.text(path)
            seen += [] if idle_d3 is None else [Evidence(path, idle_d3)]
        if idle_d3 == "Y":
            title = "vfio-pci keeps it awake (disable_idle_d3)"
            remedy = "take disable_idle_d3=1 out of /etc/modprobe.d, unless the card cannot wake up"
            yield idle.failed(subject, title, *seen, remedy=remedy)
        elif gpu.power_control == "on" and gpu.driver in (None, "vfio-pci"):
            title = "it never sleeps, although no host driver uses it"
            remedy = f"echo auto > /sys/bus/pci/devices/{gpu.address}/power/control"
            yield idle.failed(subject, title, *seen, remedy=remedy)
        elif gpu.power_control == "auto":
            yield idle.passed(subject, "it may sleep when nobody uses it", *seen)


@check("power.d3cold", "Could the GPU lose its power when idle?", Severity.NOTE,
       "Linux, drivers/pci/pci.c, pci_bridge_d3_possible; QEMU, stuck in D3")  # fmt: skip
def d3cold(machine: Inventory) -> Iterable[Finding]:
    """In D3cold the card's power is cut, and some firmware does not bring it back: QEMU then says
    `stuck in D3`. Such a machine needs D3cold forbidden; others are better off with it.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        if gpu.d3cold_allowed is None:
            continue
        seen = attribute(gpu, "d3cold_allowed", int(gpu.d3cold_allowed))
        stuck = gpu.runtime_status == "error"
        if gpu.d3cold_allowed and stuck:
            error = attribute(gpu, "power/runtime_status", "error")
            title = "it did not wake up from its last sleep, and may be put into D3cold again"
            remedy = (
                f"echo 0 > /sys/bus/pci/devices/{gpu.address}/d3cold_allowed after a cold start"
            )
            yield d3cold.failed(subject, title, seen, error, remedy=remedy)
        else:
            word = "may" if gpu.d3cold_allowed else "may not"
            yield d3cold.passed(subject, f"its power {word} be cut when it is idle", seen)


POWER_CHECKS: tuple[Check, ...] = (
    state, audio, switches, switch_state, nvhda_obsolete, port, idle, d3cold,
)  # fmt: skip
