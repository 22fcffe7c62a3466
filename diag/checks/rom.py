"""Checks of where a GPU's ROM can be had."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.attribute import ABI_PCI, attribute
from diag.checks.check import Check, check
from diag.errors import Unreadable
from diag.graphics import AMD, candidates, is_muxless
from diag.inventory import Inventory
from diag.vbios import VFCT, find_sources, vfct_ids
from romkit.finding import Evidence, Finding, Severity

#: What gets a ROM where the machine itself hands out none.
_ELSEWHERE = (
    "romkit find in the firmware's update or a dump of its flash; GPU-Z in Windows on the bare "
    "machine, before the driver is installed"
)

#: What tells whose a method is.
_CALL_IT = "passthrough rom dump --via acpi calls the GPU's own _ROM, if there is one (acpi_call)"


@check("rom.source", "Is there a ROM to give to the guest?", Severity.WARNING,
       "PCI Firmware 3.3, 4.6; ACPI 6.5, B.3.3 (_ROM); Linux, amdgpu_bios.c")  # fmt: skip
def source(machine: Inventory) -> Iterable[Finding]:
    """A guest's firmware and driver take the ROM from the card's ROM BAR. Laptops' cards often have
    none: theirs is in the firmware, behind the ACPI method `_ROM` or in the table VFCT.
    """
    for gpu in candidates(machine):
        subject, sources = str(gpu.address), find_sources(machine.host, gpu)
        seen = [found.evidence for found in sources.found]
        if sources.found:
            names = ", ".join(found.name for found in sources.found)
            yield source.passed(subject, f"the ROM can be had: {names}", *seen)
        elif sources.unread:
            title = "it has no ROM BAR; whether the firmware has its ROM only root can see"
            yield source.unknown(subject, title, sources.unread[0])
        elif sources.unclear:
            title = "some device has a method _ROM; whether it is this GPU cannot be told"
            yield source.unknown(subject, title, None, *sources.unclear, remedy=_CALL_IT)
        else:
            bar = attribute(gpu, "resource", "no ROM")
            title = "no ROM is to be had here: no ROM BAR, no VFCT, no _ROM of its own"
            yield source.failed(subject, title, bar, *sources.others, remedy=_ELSEWHERE)


@check("rom.shadow", "Is what sysfs gives the ROM itself?", Severity.WARNING,
       "Linux, drivers/pci/rom.c (IORESOURCE_ROM_SHADOW)")  # fmt: skip
def shadow(machine: Inventory) -> Iterable[Finding]:
    """Of the GPU that the firmware booted with, sysfs gives the copy in memory (0xc0000), which the
    firmware has changed: it is no ROM for a guest.
    """
    for gpu in candidates(machine):
        if gpu.boot_vga is None:
            continue
        subject, seen = str(gpu.address), attribute(gpu, "boot_vga", int(gpu.boot_vga))
        if not gpu.boot_vga:
            yield shadow.passed(subject, "sysfs gives the ROM of the card", seen)
            continue
        title = "the firmware booted with it: sysfs gives the used copy, not the ROM"
        remedy = f"boot with another GPU and dump it then; or {_ELSEWHERE}"
        yield shadow.failed(subject, title, seen, remedy=remedy)


@check("rom.vfct", "Is the VFCT for this GPU?", Severity.NOTE,
       "Linux, drivers/gpu/drm/amd/amdgpu/amdgpu_bios.c, amdgpu_acpi_vfct_bios")  # fmt: skip
def vfct(machine: Inventory) -> Iterable[Finding]:
    """The table VFCT holds ROMs of AMD GPUs, each for certain ids: most laptops' only the
    integrated GPU's.
    """
    ours = [gpu for gpu in candidates(machine) if gpu.ids and gpu.ids.vendor == AMD]
    if not ours or not machine.host.exists(VFCT):
        return
    known = vfct_ids(machine.host)
    seen = Evidence(VFCT, " ".join(map(str, known)) or "no entry that can be read")
    for gpu in ours:
        subject = str(gpu.address)
        if gpu.ids in known:
            yield vfct.passed(subject, "the VFCT has its ROM", seen)
        else:
            title = "the VFCT is for another GPU"
            remedy = "do not give its ROM to the guest; look at it with romkit parse"
            yield vfct.failed(subject, title, seen, remedy=remedy)


@check("rom.muxless", "Has the firmware a _ROM method to copy?", Severity.NOTE,
       "ACPI 6.5, B.3.3 (_ROM); jscinoz/optimus-vfio-docs")  # fmt: skip
def muxless(machine: Inventory) -> Iterable[Finding]:
    """The driver of a laptop's 3D controller without ROM BAR asks the method `_ROM` at the device's
    own ACPI path for its ROM. The host's firmware shows whether it is so made; the guest needs one
    of its own.
    """
    for gpu in candidates(machine):
        if not is_muxless(machine, gpu):
            continue
        subject, sources = str(gpu.address), find_sources(machine.host, gpu)
        path = attribute(gpu, "firmware_node/path", gpu.acpi_path or "not there")
        method = [found.evidence for found in sources.found if found.name == "_ROM"]
        hidden = [e for e in sources.unread if not e.path.endswith("VFCT")]
        if method:
            yield muxless.passed(subject, "the firmware has a method _ROM", path, *method)
        elif hidden:
            yield muxless.unknown(subject, "whether the firmware has _ROM is not known", hidden[0])
        elif sources.unclear:
            title = "a method _ROM is there; whether it is this GPU's cannot be told"
            yield muxless.unknown(subject, title, None, path, *sources.unclear, remedy=_CALL_IT)
        else:
            title = "the firmware has no method _ROM for it that could be found"
            remedy = f"the ROM is elsewhere: {_ELSEWHERE}; romkit acpi makes the guest's _ROM of it"
            yield muxless.failed(subject, title, path, *sources.others, remedy=remedy)


@check("rom.readable", "Could the ROM be dumped now?", Severity.NOTE, ABI_PCI)
def readable(machine: Inventory) -> Iterable[Finding]:
    """The file `rom` in sysfs is read only from a card that is awake and enabled: by the driver
    that has it, or by writing 1 to `enable`.
    """
    for gpu in candidates(machine):
        if not gpu.rom_size or gpu.boot_vga:
            continue
        subject = str(gpu.address)
        try:
            config = gpu.known("config")
        except Unreadable as error:
            yield readable.unknown(subject, "whether its ROM can be read is not known", error)
            continue
        enabled = attribute(gpu, "enable", gpu.enabled)
        if config is not None and not config.answers:
            title = "it answers with ones only: its ROM cannot be read now"
            ones = attribute(gpu, "config", config.data[:4].hex(" "))
            yield readable.failed(subject, title, ones, remedy="give it its power back first")
        elif gpu.enabled:
            yield readable.passed(subject, "passthrough rom could dump it now", enabled)
        else:
            title = "it is not enabled: its ROM reads as an error (EIO)"
            remedy = f"passthrough rom {gpu.address} enables it, reads it, and takes that back"
            yield readable.failed(subject, title, enabled, remedy=remedy)


ROM_CHECKS: tuple[Check, ...] = (source, shadow, vfct, muxless, readable)
