"""Checks of the kernel command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from diag.checks.check import Check, check
from diag.inventory import Inventory
from diag.kernel import COMMAND_LINE, Kernel, module_name
from romkit.finding import Evidence, Finding, Severity

PARAMETERS = "Linux, Documentation/admin-guide/kernel-parameters.txt"
FIELD = "field report: GPU passthrough on a Clevo P650HP6"

#: Values of intel_iommu (kernel-parameters.txt); others are ignored without a word that shows.
_INTEL_IOMMU = frozenset({
    "on", "off", "igfx_off", "forcedac", "strict", "sp_off", "sm_on", "sm_off", "tboot_noforce",
})  # fmt: skip
#: What people write → what they mean.
_MEANT = {
    "vm.ignore_msrs": "kvm.ignore_msrs=1",
    "kvm_ignore_msrs": "kvm.ignore_msrs=1",
    "ignore_msrs": "kvm.ignore_msrs=1",
    "kvm.ignore_msr": "kvm.ignore_msrs=1",
    "kvm_intel.ignore_msrs": "kvm.ignore_msrs=1",
    "kvm_amd.ignore_msrs": "kvm.ignore_msrs=1",
    "vfio_pci_ids": "vfio-pci.ids=",
    "vfio_pci.id": "vfio-pci.ids=",
    "vfio.pci.ids": "vfio-pci.ids=",
    "vfio.ids": "vfio-pci.ids=",
    "acs_override": "pcie_acs_override=",
    "pci_acs_override": "pcie_acs_override=",
    "pcie_port_pm.off": "pcie_port_pm=off",
    "i915.enable_gvt_g": "i915.enable_gvt=1",
    "iommu.pt": "iommu=pt",
    "modprobe_blacklist": "modprobe.blacklist=",
}


def _command_line(kernel: Kernel, word: str = "") -> Evidence:
    return Evidence(COMMAND_LINE, word or kernel.command_line or "")


@check(
    "kernel.parameters",
    "Are the parameters on the command line ones that the kernel knows?",
    Severity.WARNING,
    PARAMETERS,
)
def parameters(machine: Inventory) -> Iterable[Finding]:
    """The kernel ignores what it does not know, without a word. This looks for what people mistype:
    ``vm.ignore_msrs`` for kvm.ignore_msrs, ``iommu=pt,`` with a comma behind it, values that
    intel_iommu does not have.
    """
    kernel = machine.kernel
    if kernel.command_line is None:
        return
    found = False
    for key, value in dict.fromkeys((p.key, p.value) for p in kernel.parameters):
        word = key if value is None else f"{key}={value}"
        for title, meant in _mistakes(key, value):
            found = True
            remedy = machine.boot_loader.replace(word, meant)
            yield parameters.failed("machine", title, _command_line(kernel, word), remedy=remedy)
    if not found:
        yield parameters.passed("machine", "no mistyped parameter", _command_line(kernel))


def _mistakes(key: str, value: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a parameter, and what was meant."""
    name = module_name(key)
    if name in _MEANT:
        meant = _MEANT[name]
        yield f"{key} is no parameter", f"{meant}{value or ''}" if meant.endswith("=") else meant
    elif (
        value and value.endswith(",") and ("iommu" in name or name in ("vfio_pci.ids", "isolcpus"))
    ):
        yield (
            f"{key} ends with a comma: a typo, or something is missing",
            f"{key}={value.rstrip(',')}",
        )
    elif name == "intel_iommu" and value is not None:
        wrong = [part for part in value.split(",") if part not in _INTEL_IOMMU]
        if wrong:
            yield (
                f"intel_iommu has no value {', '.join(wrong)}",
                "intel_iommu=on iommu=pt" if "pt" in wrong else "intel_iommu=on",
            )


@check(
    "kernel.acpi-osi",
    "Does acpi_osi reach the kernel with the right quotes?",
    Severity.WARNING,
    "Linux, lib/cmdline.c, next_arg; " + FIELD,
)
def acpi_osi(machine: Inventory) -> Iterable[Finding]:
    r"""A space in a value needs double quotes, as in ``acpi_osi="Windows 2015"``. GRUB's file needs
    backslashes before them, since a shell reads it; systemd-boot passes its line on as it is, and
    backslashes there become part of the name, which no firmware asks for.
    """
    line = machine.kernel.command_line
    if line is None or "acpi_osi=" not in line:
        return
    wrong = re.search(r'acpi_osi=\\+"[^"]*"', line)
    parted = re.search(r"acpi_osi=(Windows) ((?:19|20)\d\d(?:\.\d)?)(?=\s|$)", line)
    loader = machine.boot_loader
    quote = r"\"" if loader.quotes_escaped else '"'
    if wrong is not None:
        name = wrong[0].replace("\\", "").partition("=")[2].strip('"')
        yield acpi_osi.failed(
            "machine",
            f'the kernel got the backslashes too: no firmware asks for \\"{name}\\"',
            Evidence(COMMAND_LINE, wrong[0]),
            remedy=loader.replace(wrong[0], f'acpi_osi="{name}"'),
        )
    elif parted is not None:
        name = f"{parted[1]} {parted[2]}"
        yield acpi_osi.failed(
            "machine",
            f'the quotes are lost: the kernel got acpi_osi={parted[1]} and the word "{parted[2]}"',
            Evidence(COMMAND_LINE, parted[0]),
            remedy=loader.replace(parted[0], f"acpi_osi={quote}{name}{quote}"),
        )
    else:
        said = " ".join(f"acpi_osi={value}" for value in machine.kernel.values("acpi_osi"))
        yield acpi_osi.passed(
            "machine", "acpi_osi is quoted as it should be", Evidence(COMMAND_LINE, said)
        )


@check(
    "kernel.isolcpus",
    "Are the processors that isolcpus sets apart a sensible choice?",
    Severity.WARNING,
    PARAMETERS + ", isolcpus",
)
def isolcpus(machine: Inventory) -> Iterable[Finding]:
    """``isolcpus=`` keeps the scheduler off some processors, which a VM is then pinned to.
    Processor 0 has work of the kernel's own that cannot go elsewhere; and some must be left for
    the host.
    """
    value = machine.kernel.value("isolcpus")
    if value is None:
        return
    said = Evidence(COMMAND_LINE, f"isolcpus={value}")
    present = machine.host.text("/sys/devices/system/cpu/present")
    wanted = _cpus(value)
    if wanted is None:
        yield isolcpus.failed(
            "machine",
            "isolcpus is no list of processors",
            said,
            remedy=machine.boot_loader.replace(f"isolcpus={value}", "isolcpus=2-3"),
        )
        return
    there = _cpus(present or "") or frozenset()
    evidence = (said, Evidence("/sys/devices/system/cpu/present", present or "absent"))
    problems = []
    if 0 in wanted:
        problems.append("processor 0 is among them, which the kernel itself needs")
    if there and there <= wanted:
        problems.append("none is left for the host")
    missing = wanted - there if there else frozenset()
    if missing:
        problems.append(f"this machine has no processor {min(missing)}")
    if problems:
        good = sorted((wanted & there) - {0})[: max(len(there) - 1, 1)] if there else []
        better = ",".join(map(str, good))
        loader = machine.boot_loader
        old = f"isolcpus={value}"
        yield isolcpus.failed(
            "machine",
            f"isolcpus: {'; '.join(problems)}",
            *evidence,
            remedy=loader.replace(old, f"isolcpus={better}") if better else loader.remove(old),
        )
    else:
        yield isolcpus.passed("machine", f"{len(wanted)} processors set apart", *evidence)


def _cpus(text: str) -> frozenset[int] | None:
    """The processors of a list like ``1,5,2-3``, words like ``domain,`` before it left out."""
    found: set[int] = set()
    for part in text.split(","):
        if part in ("nohz", "domain", "managed_irq"):
            continue
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5})(?::\d{1,5}/\d{1,5})?)?", part.strip())
        if match is None or int(match[2] or match[1]) > 1 << 14:
            return None
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


PARAMETER_CHECKS: tuple[Check, ...] = (parameters, acpi_osi, isolcpus)
