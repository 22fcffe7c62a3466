"""Checks of the ROM that a VM's description gives to the guest."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check, check
from diag.checks.vm_parts import passed_gpus, vm_of
from diag.device import PciDevice
from diag.errors import Unreadable
from diag.graphics import is_muxless
from diag.inventory import Inventory
from diag.vm_file import Hostdev, VmFile
from romkit.finding import Evidence, Finding, Severity, Verdict

JSCINOZ = "jscinoz/optimus-vfio-docs; lion328/gpu-passthrough"
PCI_SPEC = "PCI Firmware 3.3, 5.1.2 (PCI data structure: vendor and device id)"

#: Bytes of a ROM file that are read; no card's is larger than 16 MiB.
_LIMIT = 16 << 20


@check("vm.rom", "Does the guest get a ROM?", Severity.WARNING, JSCINOZ)
def vm_rom(machine: Inventory) -> Iterable[Finding]:
    """In the ROM BAR, where the card has one or the VM gives a file; a muxless card's driver takes
    it from the method `_ROM` of an ACPI table, which reads it from a file of fw_cfg. An EFI image
    in it is needed only for a picture before Windows starts.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    for gpu, hostdev in passed_gpus(machine, vm):
        subject = str(gpu.address)
        seen = [
            Evidence("the VM: ROM file", hostdev.rom_file or "none"),
            Evidence("the VM: ROM BAR", "off" if hostdev.rom_bar is False else "on"),
            Evidence("the VM: fw_cfg", ", ".join(name for name, _ in vm.fw_cfg) or "none"),
        ]
        by_method = bool(vm.acpi_tables) and bool(vm.fw_cfg)
        in_bar = hostdev.rom_bar is not False and bool(hostdev.rom_file or gpu.rom_size)
        if not by_method and not hostdev.rom_file and is_muxless(machine, gpu):
            title = "a muxless card, and neither a ROM file nor a table with _ROM"
            remedy = "romkit acpi makes the table of the ROM; -acpitable and -fw_cfg give both"
            yield vm_rom.failed(subject, title, *seen, remedy=remedy)
        elif in_bar or by_method:
            how = "in its ROM BAR" if in_bar else "by an ACPI table"
            yield vm_rom.passed(subject, f"the guest gets a ROM {how}", *seen)
        else:
            title = "the guest gets no ROM: the card has no ROM BAR, and the VM gives no file"
            remedy = "romfile=/path/of/the.rom (libvirt: <rom file='/path/of/the.rom'/>)"
            yield vm_rom.failed(subject, title, *seen, remedy=remedy)


def _files(vm: VmFile, hostdev: Hostdev) -> Iterable[str]:
    if hostdev.rom_file:
        yield hostdev.rom_file
    # What a table's _ROM hands out: any file of fw_cfg that is called a ROM.
    for name, path in vm.fw_cfg:
        if path and ("rom" in name.lower() or path.lower().endswith(".rom")):
            yield path


@check("vm.rom-file", "Is the ROM file this card's?", Severity.BLOCKER, PCI_SPEC)
def rom_file(machine: Inventory) -> Iterable[Finding]:
    """Another card's ROM does not start this one: firmware compares vendor and device id, and the
    driver does too. A file with a container around the ROM shows the guest no ROM at all.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    for gpu, hostdev in passed_gpus(machine, vm):
        for path in dict.fromkeys(_files(vm, hostdev)):
            yield _judge_file(machine, gpu, path)


def _judge_file(machine: Inventory, gpu: PciDevice, path: str) -> Finding:
    subject = str(gpu.address)
    if not path.startswith("/") or "$" in path:
        why = "its path is not absolute: where QEMU starts is not known"
        return rom_file.unknown(subject, f"{path} was not looked at", Unreadable(path, why))
    try:
        data = machine.host.data(path, _LIMIT)
    except Unreadable as error:
        return rom_file.unknown(subject, f"{path} could not be read", error)
    if data is None:
        seen = Evidence(path, "not there")
        return rom_file.failed(subject, f"{path} is not there", seen, remedy="correct the path")
    return _judge_rom(gpu, path, data)


def _judge_rom(gpu: PciDevice, path: str, data: bytes) -> Finding:
    from romkit.checks.device import DeviceId, against_device
    from romkit.errors import RomError
    from romkit.rom import parse_rom

    subject = str(gpu.address)
    try:
        rom = parse_rom(data)
    except RomError as error:
        seen = Evidence(path, error.message)
        remedy = f"romkit find {path}"
        return rom_file.failed(subject, f"{path} is no ROM", seen, remedy=remedy)
    if rom.rom_offset:
        seen = Evidence(path, f"the ROM starts at {rom.rom_offset:#x}")
        title = f"{path} has something before the ROM: the guest sees no ROM"
        return rom_file.failed(subject, title, seen, remedy=f"romkit strip {path} -o NEW.rom")
    if gpu.ids is None:
        return rom_file.unknown(subject, "the card's ids are not known")
    device = DeviceId(gpu.ids.vendor, gpu.ids.device)
    finding = next(f for f in against_device(rom, device) if f.check == "device.id")
    first = Evidence(path, finding.title)
    if finding.verdict is Verdict.PASS:
        return rom_file.passed(subject, f"{path} is this card's", first, *finding.evidence)
    if finding.verdict is Verdict.UNKNOWN:
        return rom_file.unknown(subject, f"{path} does not say which card it is for")
    title = f"{path} is not this card's: {finding.title}"
    return rom_file.failed(subject, title, *finding.evidence, remedy=finding.remedy)


VM_ROM_CHECKS: tuple[Check, ...] = (vm_rom, rom_file)
