"""Checks of the kernel's modules: vfio's, and what modprobe is told about others."""

from __future__ import annotations

import re
from collections.abc import Iterable

from diag.boot import initramfs_command
from diag.checks.check import Check, check
from diag.device import DEVICES, PciDevice
from diag.inventory import Inventory
from diag.kernel import COMMAND_LINE, ModuleState, module_name
from diag.modprobe import Line, Modprobe, named_modules, read_modprobe, read_module_lists
from romkit.finding import Evidence, Finding, Severity

MODPROBE = "modprobe.d(5)"
FIELD = "field report: GPU passthrough on a Clevo P650HP6"

#: Drivers of the host for GPUs and their audio, which take a card when they come first.
HOST_DRIVERS = ("nvidia", "nouveau", "nova_core", "amdgpu", "radeon", "i915", "xe", "snd_hda_intel")
_VFIO_IDS = re.compile(r"vfio[-_]pci[.\s]+ids=\S+")


@check(
    "kernel.vfio-modules",
    "Does this kernel have vfio-pci?",
    Severity.BLOCKER,
    "Linux, drivers/vfio/pci/Kconfig",
)
def vfio_modules(machine: Inventory) -> Iterable[Finding]:
    """vfio-pci is the driver that hands a device to a VM; it needs vfio and, for most uses,
    vfio_iommu_type1. It may be loaded, part of the kernel, or a module that modprobe finds.
    """
    kernel = machine.kernel
    state = kernel.state("vfio_pci")
    option = kernel.config("CONFIG_VFIO_PCI")
    which = f"kernel {kernel.release}" if kernel.release else "a kernel of unknown release"
    evidence = [Evidence(f"{which}: vfio-pci", state.value)]
    if option is not None:
        evidence.append(Evidence(f"{kernel.config_path}: CONFIG_VFIO_PCI", option))
    if state is ModuleState.UNKNOWN:
        if option in ("y", "m"):
            yield vfio_modules.passed("machine", "the kernel is built with vfio-pci", *evidence)
        elif option == "n":
            yield _no_vfio(machine, evidence)
        else:
            yield vfio_modules.unknown(
                "machine",
                f"no list of modules for {which}: cannot tell if it has vfio-pci",
                remedy="run: modprobe vfio-pci",
            )
    elif state is ModuleState.ABSENT:
        yield _no_vfio(machine, evidence)
    else:
        yield vfio_modules.passed("machine", f"vfio-pci is {state.value}", *evidence)


def _no_vfio(machine: Inventory, evidence: list[Evidence]) -> Finding:
    return vfio_modules.failed(
        "machine",
        "this kernel has no vfio-pci",
        *evidence,
        remedy="install the distribution's usual kernel, or build with CONFIG_VFIO_PCI=m and "
        "CONFIG_VFIO_IOMMU_TYPE1=m",
    )


@check(
    "kernel.vfio-virqfd",
    "Is vfio_virqfd named although it is no module any more?",
    Severity.WARNING,
    "Linux 6.2, drivers/vfio/Makefile: virqfd became part of vfio",
)
def vfio_virqfd(machine: Inventory) -> Iterable[Finding]:
    """Since Linux 6.2 vfio_virqfd is part of vfio. Older guides still list it, and mkinitcpio
    then says ``ERROR: module not found: 'vfio_virqfd'``; dracut fails.
    """
    lines = [
        line for line in read_module_lists(machine.host) if "vfio_virqfd" in named_modules(line)
    ]
    new = machine.kernel.since(6, 2)
    if not lines or new is None:
        return
    evidence = [Evidence(line.where, line.text) for line in lines]
    release = Evidence("kernel", machine.kernel.release or "")
    if not new:
        yield vfio_virqfd.passed("machine", "this kernel still has vfio_virqfd", *evidence, release)
        return
    again = initramfs_command(machine.host, machine.distribution)
    places = ", ".join(dict.fromkeys(line.path for line in lines))
    yield vfio_virqfd.failed(
        "machine",
        f"{places} names vfio_virqfd, which is part of vfio since Linux 6.2",
        *evidence,
        release,
        remedy=f"remove vfio_virqfd from {places}, then run: {again}",
    )


@check(
    "kernel.vfio-ids-place",
    "Are vfio-pci's ids where they have an effect?",
    Severity.WARNING,
    MODPROBE,
)
def vfio_ids_place(machine: Inventory) -> Iterable[Finding]:
    """``vfio-pci.ids=`` belongs on the kernel command line, ``options vfio-pci ids=`` into a file
    in /etc/modprobe.d. In a list of modules the former does nothing; and where vfio-pci is part
    of the kernel, the latter does nothing.
    """
    commands = read_modprobe(machine.host)
    modprobe = Modprobe(commands)
    lists = [line for line in read_module_lists(machine.host) if _VFIO_IDS.search(line.text)]
    wrong = [line for line in commands if _misplaced(line)]
    for line in (*lists, *wrong):
        yield _wrong_place(machine, line)
    option = modprobe.option("vfio_pci", "ids")
    if option is not None:
        ids, line = option
        evidence = Evidence(line.where, line.text)
        if machine.kernel.state("vfio_pci") is ModuleState.BUILTIN:
            yield vfio_ids_place.failed(
                "machine",
                "vfio-pci is part of this kernel, so its options in modprobe.d have no effect",
                evidence,
                remedy=machine.boot_loader.add(f"vfio-pci.ids={ids}"),
            )
        else:
            yield vfio_ids_place.passed(
                "machine", "vfio-pci gets its ids from modprobe.d", evidence
            )
    values = machine.kernel.values("vfio-pci.ids")
    if values:
        said = Evidence(COMMAND_LINE, f"vfio-pci.ids={values[-1]}")
        yield vfio_ids_place.passed("machine", "the command line names ids for vfio-pci", said)


def _misplaced(line: Line) -> bool:
    """A line of modprobe.d that means to give vfio-pci ids and is no command."""
    commands = ("options", "alias", "blacklist", "install", "remove", "softdep", "weakdep")
    return bool(_VFIO_IDS.search(line.text)) and (
        line.words[0] not in commands
        or (line.words[0] == "options" and "vfio-pci.ids=" in line.text)
    )


def _wrong_place(machine: Inventory, line: Line) -> Finding:
    ids = re.search(r"ids=(\S+)", line.text)
    again = initramfs_command(machine.host, machine.distribution)
    return vfio_ids_place.failed(
        "machine",
        f"ids for vfio-pci in {line.path} have no effect",
        Evidence(line.where, line.text),
        remedy="write into /etc/modprobe.d/vfio.conf: options vfio-pci "
        f"ids={(ids[1] if ids else '').strip(chr(34))} and run: {again}",
    )


@check(
    "kernel.blacklist",
    "Does a blacklist keep the GPU's driver out?",
    Severity.WARNING,
    MODPROBE + ": blacklist stops loading by alias only",
)
def blacklist(machine: Inventory) -> Iterable[Finding]:
    """``blacklist nvidia`` stops the kernel from loading a driver for a device that it found. It
    does not stop ``modprobe nvidia``, and nvidia-powerd, nvidia-persistenced, Xorg and nvidia-smi
    run exactly that. ``install nvidia /bin/false`` or ``module_blacklist=nvidia`` stops both.
    """
    kernel = machine.kernel
    modprobe = Modprobe(read_modprobe(machine.host))
    later = ",".join(kernel.values("modprobe.blacklist") + kernel.values("rd.driver.blacklist"))
    stopped = {module_name(name) for name in ",".join(kernel.values("module_blacklist")).split(",")}
    for driver in HOST_DRIVERS[:5]:
        lines = modprobe.commands("blacklist", driver)
        on_line = driver in map(module_name, later.split(","))
        if not lines and not on_line:
            continue
        evidence = [Evidence(line.where, line.text) for line in lines]
        if on_line:
            evidence.append(Evidence(COMMAND_LINE, f"modprobe.blacklist={driver}"))
        firm = modprobe.stopped(driver)
        if firm is not None:
            evidence.append(Evidence(firm.where, firm.text))
        if driver in kernel.loaded and driver not in stopped:
            yield blacklist.failed(
                driver,
                f"{driver} is loaded although it is blacklisted: something ran modprobe {driver}",
                *evidence,
                Evidence("/proc/modules", driver),
                remedy=f"write into /etc/modprobe.d/{driver}.conf: install {driver} /bin/false "
                f"and run: {initramfs_command(machine.host, machine.distribution)}",
            )
        else:
            yield blacklist.passed(driver, f"{driver} is blacklisted and not loaded", *evidence)


@check(
    "kernel.driver-order",
    "Does vfio-pci come before the drivers that would take its card?",
    Severity.WARNING,
    MODPROBE + ": softdep; " + FIELD,
)
def driver_order(machine: Inventory) -> Iterable[Finding]:
    """Ids for vfio-pci count when vfio-pci is loaded. A driver that was loaded before has taken the
    card by then. ``softdep nvidia pre: vfio-pci`` puts them in order; where the other driver is
    in the initial RAM disk, vfio-pci has to be there too.
    """
    modprobe = Modprobe(read_modprobe(machine.host))
    option = modprobe.option("vfio_pci", "ids")
    texts = [*machine.kernel.values("vfio-pci.ids"), option[0] if option else ""]
    ids = {
        ":".join(part.split(":")[:2]).lower() for text in texts for part in text.split(",") if part
    }
    for device in machine.devices:
        if device.ids is None or str(device.ids) not in ids:
            continue
        place = f"{DEVICES}/{device.address}/driver"
        if device.driver == "vfio-pci":
            yield driver_order.passed(
                str(device.address), "vfio-pci has it", Evidence(place, "vfio-pci")
            )
        elif device.driver is not None:
            yield _too_late(machine, modprobe, device, Evidence(place, device.driver))


def _too_late(
    machine: Inventory, modprobe: Modprobe, device: PciDevice, evidence: Evidence
) -> Finding:
    driver = device.driver or ""
    again = initramfs_command(machine.host, machine.distribution)
    line = modprobe.before(driver, "vfio_pci")
    if line is None:
        remedy = f"write into /etc/modprobe.d/vfio.conf: softdep {driver} pre: vfio-pci"
        more = []
    else:
        remedy = "the order is set, so put vfio-pci into the initial RAM disk too"
        more = [Evidence(line.where, line.text)]
    return driver_order.failed(
        str(device.address),
        f"{driver} was there before vfio-pci, which is to have {device.ids}",
        evidence,
        *more,
        remedy=f"{remedy}, and run: {again}",
    )


KERNEL_CHECKS: tuple[Check, ...] = (
    vfio_modules, vfio_virqfd, vfio_ids_place, blacklist, driver_order,
)  # fmt: skip
