"""Checks of QEMU and of the firmware that it gives to guests."""

from __future__ import annotations

from collections.abc import Iterable

from diag.boot import install_command
from diag.checks.check import Check, check
from diag.inventory import Inventory
from diag.qemu import (
    DESCRIPTORS,
    PROGRAM,
    GuestFirmware,
    Qemu,
    options_argv,
    read_guest_firmware,
    read_qemu,
    read_vfio_options,
    version_argv,
)
from romkit.finding import Evidence, Finding, Severity

#: Options of vfio-pci that handing over a GPU takes, and since when QEMU has the youngest: 2.7.
NEEDED = (
    "host",
    "multifunction",
    "rombar",
    "romfile",
    "x-pci-sub-device-id",
    "x-pci-sub-vendor-id",
)


@check("qemu.installed", "Is QEMU installed?", Severity.BLOCKER, "QEMU, system emulation")
def installed(machine: Inventory) -> Iterable[Finding]:
    """QEMU runs the VM, also for libvirt. Versions before 4.0 are older than what guides of today
    write; the field reports used 3.1 and 5.0.
    """
    qemu = read_qemu(machine.host)
    if qemu is None:
        yield installed.failed(
            "machine",
            f"{PROGRAM} is not installed",
            Evidence(f"{PROGRAM} in PATH", "absent"),
            remedy=_install(machine, "qemu"),
        )
    else:
        yield installed.passed(
            "machine", _title(qemu), Evidence(" ".join(version_argv(qemu.program)), qemu.banner)
        )


def _title(qemu: Qemu) -> str:
    return f"QEMU {'.'.join(map(str, qemu.version or ()))}"


def _install(machine: Inventory, what: str) -> str:
    command = install_command(machine.distribution, what)
    return command if command.startswith(("add", "install")) else f"run: {command}"


@check(
    "qemu.vfio-options",
    "Does this QEMU's vfio-pci take what a GPU needs?",
    Severity.BLOCKER,
    "QEMU, hw/vfio/pci.c, vfio_pci_dev_properties",
)
def vfio_options(machine: Inventory) -> Iterable[Finding]:
    """A QEMU built without VFIO has no vfio-pci at all; an option that it does not know ends the
    start: ``Property 'vfio-pci.x' not found``.
    """
    qemu = read_qemu(machine.host)
    if qemu is None:
        return
    argv = " ".join(options_argv(qemu.program))
    options = read_vfio_options(machine.host, qemu.program)
    if options is None:
        yield vfio_options.unknown(
            "machine", "what its vfio-pci takes is not known here", remedy=f"run: {argv}"
        )
        return
    missing = [name for name in NEEDED if name not in options]
    if not options:
        yield vfio_options.failed(
            "machine", "this QEMU has no vfio-pci", Evidence(argv, "no options"),
            remedy=_install(machine, "qemu"),
        )  # fmt: skip
    elif missing:
        yield vfio_options.failed(
            "machine",
            f"vfio-pci of this QEMU has no {', '.join(missing)}",
            Evidence(argv, f"{len(options)} options"),
            remedy=f"a newer QEMU; {_install(machine, 'qemu')}",
        )
    else:
        extra = [name for name in ("x-igd-opregion", "display", "iommufd") if name in options]
        seen = Evidence(argv, f"{len(options)} options, among them {', '.join((*NEEDED, *extra))}")
        yield vfio_options.passed("machine", "vfio-pci takes what a GPU needs", seen)


@check(
    "qemu.ovmf",
    "Is there UEFI firmware (OVMF) for the VM?",
    Severity.WARNING,
    "QEMU, docs/interop/firmware.json",
)
def ovmf(machine: Inventory) -> Iterable[Finding]:
    """A GPU is handed over to a VM with UEFI as a rule: no VGA arbitration, and the ROM's GOP is
    started. QEMU's firmware descriptors name what is installed; libvirt chooses among them.
    """
    found = [firmware for firmware in read_guest_firmware(machine.host) if firmware.there]
    seen = [
        Evidence(firmware.descriptor, f"{firmware.code} ({_kind(firmware)})") for firmware in found
    ]
    if found:
        kinds = "; ".join(dict.fromkeys(map(_kind, found)))
        yield ovmf.passed("machine", f"OVMF is there: {kinds}", *seen)
        return
    if read_qemu(machine.host) is None:
        return  # qemu.installed says what is to be installed first
    yield ovmf.failed(
        "machine",
        "no UEFI firmware for VMs is described",
        *(Evidence(folder, "no descriptor of UEFI for x86_64") for folder in DESCRIPTORS),
        remedy=_install(machine, "ovmf"),
    )


def _kind(firmware: GuestFirmware) -> str:
    words = ["4 MiB" if firmware.is_4m else "2 MiB"]
    if firmware.secure_boot:
        words.append("Secure Boot" + (" on" if firmware.keys_enrolled else ", no keys"))
    if firmware.needs_smm:
        words.append("needs SMM")
    return ", ".join(words)


@check(
    "qemu.ovmf-files",
    "Are the files that firmware descriptors name there?",
    Severity.WARNING,
    "QEMU, docs/interop/firmware.json",
)
def ovmf_files(machine: Inventory) -> Iterable[Finding]:
    """libvirt takes the first descriptor that fits. One that names a file which is not there (a
    package removed by half) makes VMs fail whose firmware was chosen that way.
    """
    for firmware in read_guest_firmware(machine.host):
        if firmware.there:
            variables = firmware.variables
            if variables and not machine.host.exists(variables):
                yield _dangling(machine, firmware, variables)
            else:
                where = Evidence(firmware.descriptor, firmware.code)
                yield ovmf_files.passed(firmware.descriptor, "its files are there", where)
        else:
            yield _dangling(machine, firmware, firmware.code)


def _dangling(machine: Inventory, firmware: GuestFirmware, path: str) -> Finding:
    return ovmf_files.failed(
        firmware.descriptor,
        f"{path or 'its image'} is not there",
        Evidence(firmware.descriptor, path or "names no image"),
        remedy=f"{_install(machine, 'ovmf')}, or remove {firmware.descriptor}",
    )


QEMU_CHECKS: tuple[Check, ...] = (installed, vfio_options, ovmf, ovmf_files)
