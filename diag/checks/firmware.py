"""Checks of what the firmware lets the kernel do."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check, check
from diag.firmware import LOCKDOWN, SECURE_BOOT, lockdown, secure_boot
from diag.inventory import Inventory
from diag.kernel import ModuleState
from romkit.finding import Evidence, Finding, Severity

#: Modules that no distribution's kernel has in it, so that somebody else has to sign them.
OUT_OF_TREE = ("bbswitch", "nvhda", "nvidia", "kvmfr", "vendor_reset")


@check(
    "firmware.secure-boot",
    "Does Secure Boot keep modules out?",
    Severity.WARNING,
    "Linux, Documentation/admin-guide/module-signing.rst; UEFI 2.10, 3.3",
)
def secure_boot_modules(machine: Inventory) -> Iterable[Finding]:
    """With Secure Boot, kernels of distributions load only modules that somebody has signed whom
    they trust. bbswitch, nvhda and a driver of NVIDIA's that DKMS built need a key of your own,
    enrolled in the firmware (MOK).
    """
    on = secure_boot(machine.host)
    if on is None:
        return
    kernel = machine.kernel
    said = Evidence(SECURE_BOOT, "on" if on else "off")
    if not on:
        yield secure_boot_modules.passed("machine", "Secure Boot is off", said)
        return
    states = {name: kernel.state(name) for name in OUT_OF_TREE}
    shown = [Evidence(f"module {n}", s.value) for n, s in states.items() if s in _THERE]
    waiting = [name for name, state in states.items() if state is ModuleState.AVAILABLE]
    loaded = [name for name, state in states.items() if state is ModuleState.LOADED]
    if waiting and not loaded:
        names = ", ".join(waiting)
        yield secure_boot_modules.failed(
            "machine",
            f"Secure Boot is on, and {names} is not of the kernel's own: it loads only if signed",
            said,
            *shown,
            remedy="run: mokutil --import with the certificate that DKMS signs with "
            "(/var/lib/dkms/mok.pub, on Ubuntu /var/lib/shim-signed/mok/MOK.der) and restart; or "
            "turn Secure Boot off in the firmware's setup",
        )
    else:
        title = (
            f"{', '.join(loaded)} is loaded all the same" if loaded else "it stops no module here"
        )
        yield secure_boot_modules.passed("machine", f"Secure Boot is on; {title}", said, *shown)


_THERE = (ModuleState.AVAILABLE, ModuleState.LOADED)


@check(
    "firmware.lockdown",
    "Is the kernel locked down?",
    Severity.WARNING,
    "Linux, security/lockdown/; kernel_lockdown(7)",
)
def locked_down(machine: Inventory) -> Iterable[Finding]:
    """Lockdown keeps root from changing the kernel: no unsigned modules, no writing to a card's
    configuration or BARs through sysfs, no /dev/mem, no replaced ACPI tables. VFIO itself works.
    """
    state = lockdown(machine.host)
    if state is None:
        return
    said = Evidence(LOCKDOWN, state)
    if state == "none":
        yield locked_down.passed("machine", "the kernel is not locked down", said)
        return
    yield locked_down.failed(
        "machine",
        f"the kernel is locked down ({state}): writing to cards through sysfs, replacing ACPI "
        "tables and unsigned modules are refused; VFIO works",
        said,
        remedy="only if one of these is needed: turn Secure Boot off in the firmware's setup, or "
        + machine.boot_loader.remove("lockdown=" + state)
        if f"lockdown={state}" in (machine.kernel.command_line or "")
        else "only if one of these is needed: turn Secure Boot off in the firmware's setup",
    )


FIRMWARE_CHECKS: tuple[Check, ...] = (secure_boot_modules, locked_down)
