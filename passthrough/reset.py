"""Plans that reset a card: what the field reports do by hand in twelve steps, and gentler ways.

The long way: its users gone and its drivers off, its power and that of its audio function cut and
given back, the audio function removed, the GPU reset, removed, its port removed, all found again,
whatever has grabbed them unbound, the intended driver loaded and bound, and the GPU refreshed. The
short one leaves out the loss of power and the reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from diag.device import DEVICES
from diag.graphics import is_integrated
from diag.power import BBSWITCH, NVHDA, GpuPower, Switch, read_power, read_switches
from passthrough.plan import Plan
from passthrough.slot import NVIDIA, Slot, module_of, modules_to_unload, read_slot, read_users
from passthrough.steps import (
    Bind,
    Confirm,
    Guard,
    LoadModule,
    PersistenceOff,
    RefreshGpu,
    Remove,
    Rescan,
    ResetDevice,
    RunUnit,
    SetAttribute,
    SetBbswitch,
    SetNvhda,
    SetPowerControl,
    Unbind,
    UnloadModule,
    load_vfio,
)  # fmt: skip
from passthrough.steps.module import is_loaded
from passthrough.steps.nvidia import SMI
from romkit.finding import Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.device import PciDevice
    from diag.host import Host
    from diag.inventory import Inventory
    from passthrough.step import Step

_NVIDIA_VENDOR = 0x10DE

#: Methods that reset all that is on a bus (drivers/pci/pci.c, pci_reset_bus_function).
_BUS_METHODS = ("bus", "cxl_bus")

#: Drivers that take an NVIDIA card by themselves when it is found.
_GRABBERS = ("nouveau", *NVIDIA)


class Form(Enum):
    """How much of a reset."""

    #: The GPU's own reset; nothing is removed.
    FUNCTION = "function"
    #: Power on, removed with its port, and found anew.
    SHORT = "short"
    #: All twelve steps of the field reports.
    FULL = "full"


def plan_reset(
    inventory: Inventory, gpu: PciDevice, *, form: Form = Form.FULL, driver: str | None = None
) -> Plan:
    """A plan that resets a card.

    Args:
        inventory: the machine.
        gpu: which card.
        form: how much of a reset.
        driver: who has the GPU afterwards; empty for nobody. None: who has it now, or else
            NVIDIA's driver for its card where that is installed.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    slot = read_slot(inventory, gpu)
    return _Planner(inventory, slot, form, driver).plan()


def own_reset(slot: Slot, device: PciDevice) -> bool:
    """Whether the kernel offers a reset that hits this function alone."""
    if not device.can_reset:
        return False
    alone = slot.alone_on_its_bus and device is slot.gpu
    # Before Linux 5.15 the kernel does not say which method it has.
    methods = device.reset_methods or ()
    return alone or any(method not in _BUS_METHODS for method in methods)


def forms_for(inventory: Inventory, gpu: PciDevice) -> tuple[Form, ...]:
    """The forms that fit the observed state, the gentlest first.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    power = read_power(inventory, gpu).power
    answering = power in (GpuPower.AWAKE, GpuPower.ASLEEP)
    if answering and own_reset(read_slot(inventory, gpu), gpu):
        return (Form.FUNCTION, Form.SHORT, Form.FULL)
    return (Form.SHORT, Form.FULL)


def intended_driver(inventory: Inventory, gpu: PciDevice) -> str:
    """Who should have the GPU after a reset that was not told; empty for nobody."""
    if gpu.driver is not None:
        return gpu.driver
    available = inventory.kernel.available or frozenset()
    theirs = gpu.ids is not None and gpu.ids.vendor == _NVIDIA_VENDOR
    return "nvidia" if theirs and "nvidia" in available else ""


@dataclass(frozen=True, slots=True)
class _Planner:
    """The parts of a reset, put together by `plan`."""

    inventory: Inventory
    slot: Slot
    form: Form
    driver: str | None

    @property
    def _host(self) -> Host:
        return self.inventory.host

    @property
    def _gpu(self) -> str:
        return str(self.slot.gpu.address)

    @property
    def _wanted(self) -> str:
        if self.driver is not None:
            return self.driver
        return intended_driver(self.inventory, self.slot.gpu)

    @property
    def _power(self) -> GpuPower:
        return read_power(self.inventory, self.slot.gpu).power

    @property
    def _switches(self) -> dict[str, Switch]:
        return {switch.name: switch for switch in read_switches(self.inventory)}

    def plan(self) -> Plan:
        users = read_users(self.inventory, self.slot)
        unloaded = modules_to_unload(self._host, self.slot)
        steps: list[Step] = [RunUnit(unit, running=False) for unit in users.units]
        steps += [UnloadModule(module) for module in unloaded]
        steps += self._wake()
        steps += [Unbind(a) for a in self._driven(unloaded)]
        if self.form is Form.FUNCTION:
            functions = [d for d in self.slot.functions if own_reset(self.slot, d)]
            steps += [ResetDevice(str(device.address)) for device in functions]
        else:
            steps += self._find_anew(unloaded)
        steps += self._hand_over(unloaded)
        steps += [RunUnit(unit, running=True) for unit in users.units]
        steps.append(self._confirm())
        findings = (*users.findings, *self._findings())
        title = f"reset {self._gpu} ({self.form.value})"
        return Plan(title, tuple(steps), findings, tuple(self._notes()))

    # What stands in the way.

    def _findings(self) -> Iterator[Finding]:
        gpu = self.slot.gpu
        if is_integrated(self.inventory, gpu) or self.slot.port is None:
            yield _blocks(
                gpu, "reset.integrated", "it is part of the processor or sits on the root bus: it "
                "cannot be taken away and found again", "name the discrete GPU",
            )  # fmt: skip
        if self.form is Form.FUNCTION and not own_reset(self.slot, gpu):
            yield _blocks(
                gpu, "reset.no-method", "the kernel offers no reset that hits this GPU alone",
                "passthrough reset --short, or --full",
            )  # fmt: skip
        if self.form is Form.FUNCTION and self._power in (GpuPower.OFF, GpuPower.GONE):
            yield _blocks(gpu, "reset.dead", f"it is {self._power.value}: no reset reaches it",
                          "passthrough reset --short, or --full")  # fmt: skip
        if self._power is GpuPower.OFF and BBSWITCH not in self._switches:
            yield _blocks(
                gpu, "reset.no-power", "its power is cut, and a rescan finds only what has power",
                "load what has cut it (modprobe bbswitch), or boot again",
            )  # fmt: skip

    def _notes(self) -> Iterator[str]:
        if self.form is Form.FULL and BBSWITCH not in self._switches:
            yield "without bbswitch its power is not cut in between"
        if self._cuts_audio_first:
            yield (
                "the audio function goes off before the GPU, where the field reports begin with the"
                " GPU: without power nvhda could not take it back"
            )
        if self.form is not Form.FUNCTION and not self.slot.port_is_its_own:
            yield f"{self.slot.port and self.slot.port.address} stays: others are behind it too"
        if self._wanted == "nvidia" and not self._host.has_program(SMI):
            yield f"{SMI} is not installed: the GPU is not refreshed at the end"
        if self.form is Form.FULL and not self.slot.gpu.can_reset:
            yield "the kernel offers no reset for it: it is only removed and found again"

    # The parts, in their order.

    def _driven(self, unloaded: tuple[str, ...]) -> Iterator[str]:
        """Functions that still have a driver once these modules are gone, the GPU last."""
        for device in reversed(self.slot.functions):
            gone = device.driver is None or module_of(self._host, device.driver) in unloaded
            if not gone:
                yield str(device.address)

    def _wake(self) -> Iterator[Step]:
        """Only what is in D0 is found again."""
        port = self.slot.port
        for device in ((port,) if port is not None else ()) + self.slot.functions:
            sleepy = device.power_control == "auto" and self._power is not GpuPower.OFF
            if device.asleep and sleepy:
                yield SetPowerControl(str(device.address), "on")

    def _find_anew(self, unloaded: tuple[str, ...]) -> Iterator[Step]:
        # What could load a driver by itself when the card appears. The guard comes after the
        # modules are gone, so that the way back can load them again.
        available = self.inventory.kernel.available or frozenset()
        guarded = (m for m in (*unloaded, *_GRABBERS) if m in unloaded or m in available)
        guard = tuple(dict.fromkeys(guarded))
        if guard:
            yield Guard(guard)
        yield from self._power_steps()
        for name in (NVHDA, BBSWITCH):
            if name in self._switches:
                if self._switches[name].parameters.get("unload_state") == "0":
                    path = f"/sys/module/{name}/parameters/unload_state"
                    yield SetAttribute(path, "-1")
                # They keep a pointer to the GPU, which the removal would leave dangling.
                yield UnloadModule(name)
        yield from self._remove()
        port = (str(self.slot.port.address),) if self.slot.port is not None else ()
        yield Rescan((*port, *self.slot.addresses))
        yield from (Unbind(address) for address in reversed(self.slot.addresses))
        if guard:
            yield Guard()

    @property
    def _cuts_audio_first(self) -> bool:
        """Whether steps 1 and 2 of the field reports change places."""
        listed = self.inventory.audio_of(self.slot.gpu) is not None
        both = {BBSWITCH, NVHDA} <= self._switches.keys()
        return self.form is Form.FULL and both and listed and self._power is not GpuPower.OFF

    def _power_steps(self) -> Iterator[Step]:
        """Steps 1 to 4 of the field reports; of the short form only step 3."""
        if BBSWITCH not in self._switches:
            return
        if self.form is Form.SHORT:
            if self._power in (GpuPower.OFF, GpuPower.GONE):
                yield SetBbswitch(self._gpu, on=True)
            return
        # The audio function goes first here (see `_notes`), so that every step can be taken back.
        sound = self._audio
        listed = self.inventory.audio_of(self.slot.gpu) is not None
        both = NVHDA in self._switches and sound is not None
        off = SetNvhda(self._gpu, str(sound), on=False)
        if self._power is GpuPower.OFF:
            yield SetBbswitch(self._gpu, on=True)
            if both and listed:
                yield off
        else:
            if both and listed:
                yield off
            yield SetBbswitch(self._gpu, on=False)
            yield SetBbswitch(self._gpu, on=True)
        if both:
            yield SetNvhda(self._gpu, str(sound), on=True)
            yield Unbind(str(sound))

    @property
    def _audio(self) -> str | None:
        """Where the audio function is, or would be: nvhda looks at function 1 (nvhda.c)."""
        sound = self.inventory.audio_of(self.slot.gpu)
        if sound is not None:
            return str(sound.address)
        return f"{self._gpu[:-1]}1" if NVHDA in self._switches else None

    def _remove(self) -> Iterator[Step]:
        others = [str(device.address) for device in self.slot.others]
        if self._audio is not None and self._audio not in others:
            others.append(self._audio)
        port = self.slot.port if self.slot.port_is_its_own else None
        if self.form is Form.SHORT and port is not None:
            yield Remove(str(port.address), (self._gpu, *others))
            return
        # A reset of the bus needs everybody else off it.
        yield from (Remove(address) for address in reversed(others))
        if self.form is Form.FULL and self.slot.gpu.can_reset:
            # Where its power was cut and given back it must answer by now.
            revived = BBSWITCH in self._switches
            dead = self._power in (GpuPower.GONE, GpuPower.UNKNOWN) and not revived
            yield ResetDevice(self._gpu, dead=dead)
        yield Remove(self._gpu)
        if port is not None:
            yield Remove(str(port.address))

    def _hand_over(self, unloaded: tuple[str, ...]) -> Iterator[Step]:
        """The intended driver gets the GPU; the other functions go to those that had them."""
        wanted = self._wanted
        yield from driver_steps(self.inventory, wanted, unloaded)
        if wanted:
            yield Bind(self._gpu, wanted)
        if wanted == "nvidia":
            yield from refresh_steps(self._host, self._gpu)
            # nvidia-drm counts as a client while it is loaded, so that it comes after the refresh.
            later = [m for m in reversed(unloaded) if m in NVIDIA and m != "nvidia"]
            yield from (LoadModule(module) for module in later)
        for device in self.slot.others:
            if device.driver is not None:
                yield from driver_steps(self.inventory, device.driver, unloaded)
                yield Bind(str(device.address), device.driver)
        # Only now: NVIDIA's module refuses to be loaded while an override keeps it off its card.
        for device in self.slot.functions:
            if device.driver_override is not None and self.form is not Form.FUNCTION:
                path = f"{DEVICES}/{device.address}/driver_override"
                yield SetAttribute(path, device.driver_override)
        yield from self._settle()

    def _settle(self) -> Iterator[Step]:
        """What was set before, and the modules that switch the card's power."""
        if self.form is not Form.FUNCTION:
            for name in (BBSWITCH, NVHDA):
                if name in self._switches:
                    yield LoadModule(name, _options(self._switches[name]))
        port = self.slot.port
        devices = ((port,) if port is not None and self.slot.port_is_its_own else ()) + (
            self.slot.functions
        )
        for device in devices:
            if device.d3cold_allowed is False and self.form is not Form.FUNCTION:
                yield SetAttribute(f"{DEVICES}/{device.address}/d3cold_allowed", "0")
            if device.power_control == "auto":
                yield SetPowerControl(str(device.address), "auto")

    def _confirm(self) -> Step:
        group = self.slot.group
        mates = [d for d in self.slot.others if group and d.address in group.addresses]
        port = self.slot.port
        if port is not None and group is not None and port.address in group.addresses:
            mates.append(port)
        return Confirm(
            self._gpu, None if group is None else group.number, self._wanted,
            tuple(str(device.address) for device in mates),
        )  # fmt: skip


def driver_steps(
    inventory: Inventory, driver: str, unloaded: tuple[str, ...] = ()
) -> Iterator[Step]:
    """Load what a driver is in, where it is not loaded, or is not any longer by then."""
    if not driver:
        return
    if driver == "vfio-pci":
        if not is_loaded(inventory.host, "vfio_pci"):
            yield load_vfio()
        return
    module = module_of(inventory.host, driver)
    if module is None and not inventory.host.exists(f"/sys/bus/pci/drivers/{driver}"):
        module = driver.replace("-", "_")
    if module is not None and (module in unloaded or not is_loaded(inventory.host, module)):
        yield LoadModule(module)


def refresh_steps(host: Host, address: str) -> Iterator[Step]:
    """What NVIDIA's driver does to a GPU so that a guest's driver takes it."""
    if host.has_program(SMI):
        yield PersistenceOff(address)
        yield RefreshGpu(address)


def _options(switch: Switch) -> tuple[str, ...]:
    """What a switch was loaded with; loading it again must not cut the power."""
    if switch.name != BBSWITCH:
        return ()
    kept = {k: v for k, v in switch.parameters.items() if k in ("skip_optimus_dsm", "unload_state")}
    return tuple(f"{key}={value}" for key, value in {**kept, "load_state": "-1"}.items())


def _blocks(gpu: PciDevice, check: str, title: str, remedy: str) -> Finding:
    return Finding(
        check, Verdict.FAIL, Severity.BLOCKER, str(gpu.address), title, (), remedy,
        "Linux, drivers/pci/remove.c, probe.c",
    )  # fmt: skip
