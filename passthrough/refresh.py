"""A plan that lets the host's driver set a GPU up anew, so that a guest's driver takes it.

Linux' driver has to have had the card since its last loss of power (both field reports); after
that it may be handed over until its power is cut again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.device import DEVICES
from diag.kernel import ModuleState
from diag.power import GpuPower, read_power
from passthrough.plan import Plan
from passthrough.reset import driver_steps
from passthrough.slot import NVIDIA, nvidia_modules, read_slot, read_users
from passthrough.steps import (
    Bind,
    Confirm,
    LoadModule,
    PersistenceOff,
    RefreshGpu,
    RunUnit,
    SetAttribute,
    SetPowerControl,
    Unbind,
    UnloadModule,
)  # fmt: skip
from passthrough.steps.module import is_loaded
from passthrough.steps.nvidia import SMI
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.device import PciDevice
    from diag.inventory import Inventory
    from passthrough.step import Step


def plan_refresh(inventory: Inventory, gpu: PciDevice) -> Plan:
    """Load NVIDIA's driver, bind it, persistence off, `nvidia-smi -r`, and all as it was.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    slot = read_slot(inventory, gpu)
    users = read_users(inventory, slot)
    host, address = inventory.host, str(gpu.address)
    had, unloaded = gpu.driver, nvidia_modules(host, slot)
    loaded = is_loaded(host, "nvidia")
    steps: list[Step] = [RunUnit(unit, running=False) for unit in users.units]
    if had == "nvidia":
        # What else of NVIDIA's is loaded counts as a client.
        others = [module for module in unloaded if module != "nvidia"]
        steps += [UnloadModule(module) for module in others]
    else:
        others = []
        # The override would keep NVIDIA's driver off when it is loaded, and another one would
        # come between.
        steps += [SetAttribute(f"{DEVICES}/{address}/driver_override", "nvidia"), Unbind(address)]
        steps += [] if loaded else [LoadModule("nvidia")]
        steps.append(Bind(address, "nvidia"))
    steps += [PersistenceOff(address), RefreshGpu(address)]
    if had != "nvidia":
        if not loaded:
            # udev may have loaded the rest of the stack meanwhile.
            steps += [UnloadModule(module) for module in NVIDIA]
        else:
            steps.append(Unbind(address))
        steps.append(
            SetAttribute(f"{DEVICES}/{address}/driver_override", gpu.driver_override or "")
        )
        if had is not None:
            steps += driver_steps(inventory, had)
            steps.append(Bind(address, had))
        if gpu.power_control == "auto":
            steps.append(SetPowerControl(address, "auto"))
    steps += [LoadModule(module) for module in reversed(others)]
    steps += [RunUnit(unit, running=True) for unit in users.units]
    group = None if slot.group is None else slot.group.number
    steps.append(Confirm(address, group, had or ""))
    findings = (*users.findings, *_findings(inventory, gpu))
    return Plan(f"refresh {address}", tuple(steps), findings)


def _findings(inventory: Inventory, gpu: PciDevice) -> Iterator[Finding]:
    power = read_power(inventory, gpu)
    if power.power in (GpuPower.OFF, GpuPower.GONE):
        yield _blocks(
            gpu, "refresh.dead", f"it is {power.power.value}: no driver reaches it",
            *power.evidence, remedy="passthrough reset",
        )  # fmt: skip
    if inventory.kernel.state("nvidia") is ModuleState.ABSENT:
        yield _blocks(
            gpu, "refresh.no-driver", "NVIDIA's driver is not installed for this kernel",
            remedy="install it; another vendor's card needs no refresh",
        )  # fmt: skip
    if not inventory.host.has_program(SMI):
        yield _blocks(
            gpu, "refresh.no-program", f"{SMI} is not installed",
            remedy="it comes with NVIDIA's driver, in a package of its own on some distributions",
        )  # fmt: skip


def _blocks(gpu: PciDevice, check: str, title: str, *evidence: Evidence, remedy: str) -> Finding:
    return Finding(
        check, Verdict.FAIL, Severity.BLOCKER, str(gpu.address), title, evidence, remedy,
        "nvidia-smi(1), --gpu-reset",
    )  # fmt: skip
