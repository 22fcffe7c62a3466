"""Plans that switch a card on or off, by what the machine has for it.

bbswitch and nvhda are used where they are loaded; else the kernel's own power management.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.device import DEVICES
from diag.power import BBSWITCH, NVHDA, GpuPower, read_power, read_switch
from passthrough.card import pick_card
from passthrough.plan import Plan
from passthrough.power.findings import off_findings, on_findings, sleep_findings
from passthrough.power.model import NVHDA as AUDIO_SWITCH
from passthrough.power.model import Operation, Power, possible, shortest
from passthrough.steps import (
    AwaitPower,
    SetAttribute,
    SetBbswitch,
    SetNvhda,
    SetPowerControl,
    Unbind,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from diag.device import PciDevice
    from diag.inventory import Inventory
    from diag.pci import PciAddress
    from passthrough.step import Step


def plan_power(
    machine: Inventory, *, on: bool, address: PciAddress | None = None, audio: bool = True
) -> Plan:
    """A plan that switches a GPU on or off.

    Args:
        machine: where it is; nothing is woken up to make the plan.
        on: what it shall be.
        address: of the GPU; without it the one that would be handed over.
        audio: whether its audio function is switched too.

    Raises:
        NoGpu, Refused: there is no such GPU, or more than one.
        Unreadable: its power cannot be known.
    """
    gpu = pick_card(machine, address)
    title = f"switch {gpu.address} {'on' if on else 'off'}"
    if read_switch(machine, BBSWITCH) is None:
        return _by_kernel(machine, gpu, title, on=on, audio=audio)
    return _by_bbswitch(machine, gpu, title, on=on, audio=audio)


def _has_power(machine: Inventory, gpu: PciDevice) -> bool:
    """What bbswitch shows: a card that answers with ones is off to it.

    Raises:
        Unreadable: it cannot be known.
    """
    reading = read_power(machine, gpu)
    if reading.power is GpuPower.UNKNOWN and reading.unread is not None:
        raise reading.unread
    return reading.power in (GpuPower.AWAKE, GpuPower.ASLEEP)


def _by_bbswitch(machine: Inventory, gpu: PciDevice, title: str, *, on: bool, audio: bool) -> Plan:
    sound, powered = machine.audio_of(gpu), _has_power(machine, gpu)
    if not on and not powered:
        return Plan(title, ())  # what its audio function shows then, it shows without power
    has_nvhda = audio and read_switch(machine, NVHDA) is not None
    lost = sound is not None and _has_lost_settings(sound)
    start = possible(gpu=powered, listed=sound is not None, lost=lost)
    way = shortest(start, _wanted(on=on, audio=has_nvhda, listed=sound is not None)) or ()
    address = _audio_address(gpu) if sound is None else str(sound.address)
    steps: list[Step] = []
    notes: list[str] = []
    if not on and sound is not None:
        if sound.driver is not None:
            steps.append(Unbind(address))
        if not has_nvhda:
            # A function that the kernel has put to sleep is given its settings back by it.
            steps += [SetPowerControl(address, "auto"), AwaitPower(address, "suspended")]
    steps += [_step(operation, str(gpu.address), address) for operation in way]
    if on and sound is not None and not powered and not has_nvhda:
        if sound.runtime_status == "suspended":
            steps.append(SetPowerControl(address, "on"))
        else:
            notes.append(
                f"{address} has lost its settings with its power: passthrough reset finds it again"
            )
    findings = () if on else tuple(off_findings(machine, gpu, cut=True))
    return Plan(title, tuple(steps), findings, tuple(notes))


def _wanted(*, on: bool, audio: bool, listed: bool) -> Callable[[Power], bool]:
    """What a user wants of both; of the audio function only where it can be switched."""

    def wanted(power: Power) -> bool:
        if power.gpu is not on:
            return False
        if not audio:
            return power.listed is listed
        # A function that is listed is there for the kernel, whatever nvhda shows of it.
        return (power.listed and not power.lost) if on else not power.audio

    return wanted


def _has_lost_settings(sound: PciDevice) -> bool:
    """Whether a function answers, and has none of the addresses that the kernel gave it."""
    config = sound.config
    if config is None or not config.answers or not sound.bars:
        return False
    start = 0x10  # PCI 3.0, 6.1: Base Address Registers; their lowest four bits are no address
    places = (start + 4 * bar.index for bar in sound.bars)
    words = (int.from_bytes(config.data[place : place + 4], "little") for place in places)
    return all(word & ~0xF == 0 for word in words)


def _step(operation: Operation, gpu: str, audio: str) -> Step:
    if operation.switch == AUDIO_SWITCH:
        return SetNvhda(gpu, audio, operation.on)
    return SetBbswitch(gpu, operation.on)


def _audio_address(gpu: PciDevice) -> str:
    """Where nvhda looks for the audio function: it is the card's function 1 (nvhda.c)."""
    return str(gpu.address).rpartition(".")[0] + ".1"


def _by_kernel(machine: Inventory, gpu: PciDevice, title: str, *, on: bool, audio: bool) -> Plan:
    reading = read_power(machine, gpu)
    sound = machine.audio_of(gpu)
    has_nvhda = audio and read_switch(machine, NVHDA) is not None
    functions = [gpu, *(machine.siblings(gpu) if audio and not has_nvhda else ())]
    parent = None if gpu.parent is None else machine.device(gpu.parent)
    chain = ([parent] if parent is not None else []) + functions
    steps: list[Step] = []
    if on:
        findings = list(on_findings(machine, gpu))
        steps += [SetPowerControl(str(d.address), "on") for d in chain if d.power_control == "auto"]
        if steps or reading.power is not GpuPower.AWAKE:
            steps.append(AwaitPower(str(gpu.address), "D0"))
        if has_nvhda and sound is None:
            steps.append(SetNvhda(str(gpu.address), _audio_address(gpu), on=True))
        return Plan(title, tuple(steps), tuple(findings))
    findings = [*off_findings(machine, gpu, cut=False), *sleep_findings(machine, gpu)]
    if has_nvhda and sound is not None:
        steps += [Unbind(str(sound.address))] if sound.driver else []
        steps.append(SetNvhda(str(gpu.address), str(sound.address), on=False))
    for device in reversed(chain):
        if device.d3cold_allowed is False:
            steps.append(SetAttribute(f"{DEVICES}/{device.address}/d3cold_allowed", "1"))
        if device.power_control == "on":
            steps.append(SetPowerControl(str(device.address), "auto"))
    if steps or reading.power is not GpuPower.ASLEEP:
        steps.append(AwaitPower(str(gpu.address), "D3"))
    return Plan(title, tuple(steps), tuple(findings))
