"""Checks of a VM's description against the machine: what keeps a guest's driver from starting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diag.checks.attribute import attribute
from diag.checks.check import Check, check
from diag.checks.vm_parts import passed_gpus, vm_of
from diag.checks.vm_rom import VM_ROM_CHECKS
from diag.device import PciDevice
from diag.graphics import NVIDIA, before_kepler, is_laptop
from diag.inventory import Inventory
from diag.pci import PciAddress
from diag.vm_file import Hostdev, VmFile
from romkit.finding import Evidence, Finding, Severity

QEMU_HYPERV = "QEMU, docs/system/i386/hyperv.rst"
ARCH = "ArchWiki, PCI passthrough via OVMF"
JSCINOZ = "jscinoz/optimus-vfio-docs; lion328/gpu-passthrough"

#: Bytes of a Hyper-V vendor id; QEMU cuts off what is more.
VENDOR_ID_LIMIT = 12


@check("vm.gpu", "Does the VM get a GPU of this machine?", Severity.BLOCKER, JSCINOZ)
def gets_gpu(machine: Inventory) -> Iterable[Finding]:
    """An address in a VM's description may be another machine's, or an old one's."""
    vm = vm_of(machine)
    if vm is None:
        return
    sources = [hostdev.source for hostdev in vm.hostdevs if hostdev.source is not None]
    seen = Evidence("the VM", " ".join(map(str, sources)) or "no function of the host")
    for gpu, _ in passed_gpus(machine, vm):
        yield gets_gpu.passed(str(gpu.address), "the VM gets it", seen)
    if any(True for _ in passed_gpus(machine, vm)):
        return
    gone = [source for source in sources if machine.device(source) is None]
    title = f"the VM gets {gone[0]}, which is not here" if gone else "the VM gets no GPU"
    gpus = " ".join(str(gpu.address) for gpu in machine.gpus) or "none"
    remedy = f"the GPUs of this machine: {gpus}"
    yield gets_gpu.failed("the VM", title, seen, remedy=remedy)


def _nvidia(machine: Inventory, vm: VmFile) -> Iterator[tuple[PciDevice, Hostdev]]:
    for gpu, hostdev in passed_gpus(machine, vm):
        if gpu.ids is not None and gpu.ids.vendor == NVIDIA:
            yield gpu, hostdev


@check("vm.hidden", "Is KVM hidden from the guest's driver?", Severity.WARNING,
       "NVIDIA support answer 5173 (R465); libvirt, formatdomain, kvm hidden")  # fmt: skip
def hidden(machine: Inventory) -> Iterable[Finding]:
    """NVIDIA's drivers before R465 refuse to start where they see KVM or Hyper-V's own vendor id;
    newer ones do not mind. Hiding both costs nothing, so it is right where the driver's version is
    not certain.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    seen = [
        Evidence("the VM: kvm hidden", "yes" if vm.kvm_hidden else "no"),
        Evidence("the VM: Hyper-V vendor id", vm.vendor_id or "none"),
    ]
    for gpu, _ in _nvidia(machine, vm):
        subject = str(gpu.address)
        if vm.kvm_hidden and vm.vendor_id:
            yield hidden.passed(subject, "the guest does not see KVM", *seen)
            continue
        missing = [] if vm.kvm_hidden else ["KVM is not hidden"]
        missing += [] if vm.vendor_id else ["there is no Hyper-V vendor id"]
        old = gpu.ids is not None and before_kepler(gpu.ids.device)
        why = "this card's drivers" if old else "drivers before R465"
        remedy = (
            "<kvm><hidden state='on'/></kvm> and <hyperv><vendor_id state='on' "
            "value='1234567890a'/></hyperv>"
            if vm.libvirt
            else "-cpu host,kvm=off,hv_vendor_id=1234567890a,hv_relaxed,hv_vapic,hv_time"
        )
        title = f"{' and '.join(missing)}: {why} give Code 43"
        yield hidden.failed(subject, title, *seen, remedy=remedy)


@check("vm.vendor-id", "Does the Hyper-V vendor id arrive in the guest?", Severity.WARNING,
       QEMU_HYPERV)  # fmt: skip
def vendor_id(machine: Inventory) -> Iterable[Finding]:
    """It has up to 12 characters and no comma, and without any other Hyper-V feature QEMU does not
    show Hyper-V at all, and so no vendor id.
    """
    vm = vm_of(machine)
    if vm is None or vm.vendor_id is None:
        return
    seen = Evidence("the VM: Hyper-V vendor id", repr(vm.vendor_id))
    others = Evidence("the VM: Hyper-V features", " ".join(vm.hyperv) or "none")
    if len(vm.vendor_id) > VENDOR_ID_LIMIT:
        title = f"the vendor id has {len(vm.vendor_id)} characters: QEMU cuts it to 12"
        yield vendor_id.failed("the VM", title, seen, remedy="take 12 characters at most")
    elif "," in vm.vendor_id:
        title = "the vendor id has a comma, which breaks QEMU's option"
        yield vendor_id.failed("the VM", title, seen, remedy="take letters and digits")
    elif not vm.vendor_id:
        title = "the vendor id is empty"
        yield vendor_id.failed("the VM", title, seen, remedy="take any 12 letters and digits")
    elif not vm.hyperv:
        title = "the vendor id stands alone: without another Hyper-V feature it is not shown"
        remedy = (
            "<relaxed state='on'/> and <vapic state='on'/>" if vm.libvirt else "hv_relaxed,hv_time"
        )
        yield vendor_id.failed("the VM", title, seen, others, remedy=f"add {remedy}")
    else:
        yield vendor_id.passed("the VM", "the vendor id arrives in the guest", seen, others)


@check("vm.irqchip", "Does the kernel emulate the interrupt controller?", Severity.WARNING, ARCH)
def irqchip(machine: Inventory) -> Iterable[Finding]:
    """With Q35's split interrupt controller NVIDIA's driver gives Code 43, or the guest stutters.
    QEMU's default has changed between versions, so it is best said.
    """
    vm = vm_of(machine)
    if vm is None or not vm.is_q35:
        return
    remedy = "<ioapic driver='kvm'/>" if vm.libvirt else "-machine q35,kernel_irqchip=on"
    seen = Evidence("the VM: interrupt controller", vm.irqchip or "not said")
    if vm.irqchip == "kvm":
        yield irqchip.passed("the VM", "the kernel emulates the interrupt controller", seen)
    elif vm.irqchip is None:
        title = "who emulates the interrupt controller is not said: QEMU's version decides"
        yield irqchip.unknown("the VM", title, remedy=remedy)
    else:
        title = f"the interrupt controller is QEMU's ({vm.irqchip})"
        yield irqchip.failed("the VM", title, seen, remedy=remedy)


@check("vm.subsystem", "Does the guest see the card's subsystem ids?", Severity.WARNING,
       "libvirt, qemu:override (values are decimal); QEMU, hw/vfio/pci.c")  # fmt: skip
def vm_subsystem(machine: Inventory) -> Iterable[Finding]:
    """Drivers of laptops' GPUs go by them. In `qemu:override` numbers are decimal: 0x1025 is 4133,
    and 1025 is wrong.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    for gpu, hostdev in passed_gpus(machine, vm):
        subject, ids = str(gpu.address), gpu.subsystem
        own = (None, None) if ids is None else (ids.vendor, ids.device)
        pairs = zip(hostdev.subsystem, own, strict=True)
        told = tuple(card if given is None else given for given, card in pairs)
        words = ":".join("none" if part is None else f"{part:04x}" for part in told)
        seen = [Evidence("the VM: subsystem ids", words)]
        seen += [Evidence("the VM", text) for text in vm.spare]
        card = attribute(gpu, "subsystem_device", ids or "none")
        vendor = told[0]
        if vm.spare:
            title = f"a subsystem id is no decimal number: {vm.spare[0]}"
            remedy = "libvirt takes decimal numbers only: printf %d 0x1025"
            yield vm_subsystem.failed(subject, title, *seen, card, remedy=remedy)
        elif vendor is None or told[1] is None:
            title = "the card shows no subsystem ids, and the VM gives none"
            remedy = "x-pci-sub-vendor-id and x-pci-sub-device-id, as the laptop's maker names them"
            yield vm_subsystem.failed(subject, title, *seen, card, remedy=remedy)
        elif ids is not None and told != own:
            slip = _meant_hex(hostdev, own)
            title = f"the guest is told {words}, the card is {ids}"
            remedy = (
                f"numbers there are decimal: write {ids.vendor} and {ids.device}"
                if slip
                else "right only if the other mode of the MUX, or another board, is wanted"
            )
            yield vm_subsystem.failed(subject, title, *seen, card, remedy=remedy)
        else:
            yield vm_subsystem.passed(subject, f"the guest sees {words}", *seen, card)


def _meant_hex(hostdev: Hostdev, own: tuple[int | None, int | None]) -> bool:
    """Whether the digits of a decimal number are those of the card's id in hex."""
    pairs = zip(hostdev.subsystem, own, strict=True)
    return any(
        given is not None and card is not None and given != card and str(given) == f"{card:x}"
        for given, card in pairs
    )


@check("vm.place", "Is the GPU at 01:00.0 behind a root port?", Severity.NOTE, JSCINOZ)
def place(machine: Inventory) -> Iterable[Finding]:
    """A laptop's driver may look for the card, and for `_ROM`, where the laptop has it: 01:00.0
    behind the root port 00:01.0. Some got along without.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    wanted, port = PciAddress(0, 1, 0, 0), PciAddress(0, 0, 1, 0)
    for gpu, hostdev in passed_gpus(machine, vm):
        subject = str(gpu.address)
        seen = [
            Evidence("the VM: the GPU's address", str(hostdev.place or "not said")),
            Evidence("the VM: its root port", str(hostdev.port or "none, or not said")),
        ]
        if hostdev.place is None:
            yield place.unknown(subject, "where the guest sees it is not said")
        elif hostdev.place == wanted and hostdev.port == port:
            yield place.passed(subject, "the guest sees it at 01:00.0 behind 00:01.0", *seen)
        else:
            behind = f"behind {hostdev.port}" if hostdev.port else "behind no root port"
            title = f"the guest sees it at {hostdev.place} {behind}"
            remedy = (
                "a pcie-root-port with index 1 at slot 0x01, the GPU at bus 0x01 slot 0x00"
                if vm.libvirt
                else "-device pcie-root-port,id=pcie.1,bus=pcie.0,addr=1.0,chassis=1,hotplug=off "
                f"-device vfio-pci,host={gpu.address},bus=pcie.1,addr=00.0,multifunction=on"
            )
            yield place.failed(subject, title, *seen, remedy=remedy)


@check("vm.port-hotplug", "Has the GPU's root port no hot-plug?", Severity.NOTE,
       "lion328/gpu-passthrough")  # fmt: skip
def port_hotplug(machine: Inventory) -> Iterable[Finding]:
    """For a port with hot-plug QEMU adds a method _DSM, which NVIDIA's laptop driver takes for its
    own and calls with other arguments.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    for gpu, hostdev in _nvidia(machine, vm):
        if hostdev.port is None:
            continue
        seen = Evidence("the VM: hot-plug of its root port", "on" if hostdev.hotplug else "off")
        if not hostdev.hotplug:
            yield port_hotplug.passed(str(gpu.address), "its root port has no hot-plug", seen)
            continue
        remedy = "<target ... hotplug='off'/>" if vm.libvirt else "pcie-root-port,...,hotplug=off"
        title = "its root port has hot-plug, and so a _DSM that is not the laptop's"
        yield port_hotplug.failed(str(gpu.address), title, seen, remedy=remedy)


@check("vm.audio", "Is the audio function passed as the GPU's second function, or not at all?",
       Severity.NOTE, JSCINOZ)  # fmt: skip
def vm_audio(machine: Inventory) -> Iterable[Finding]:
    """A guest's driver expects the audio beside the GPU. With some cards passing it gives Code 43,
    and it is enough that vfio-pci, or nobody, has it on the host.
    """
    vm = vm_of(machine)
    if vm is None:
        return
    for gpu, hostdev in passed_gpus(machine, vm):
        sound = machine.audio_of(gpu)
        if sound is None:
            continue
        subject, given = str(sound.address), vm.hostdev(sound.address)
        if given is None:
            seen = Evidence("the VM", f"without {subject}")
            yield vm_audio.passed(subject, "the audio function stays behind", seen)
            continue
        seen = Evidence("the VM: its address", str(given.place or "not said"))
        if given.place is None or hostdev.place is None:
            yield vm_audio.unknown(subject, "where the guest sees the audio function is not said")
        elif given.place.same_slot(hostdev.place):
            yield vm_audio.passed(subject, "the guest sees it beside the GPU", seen)
        else:
            title = f"the guest sees it at {given.place}, not beside the GPU"
            remedy = "give it the GPU's slot and function 1, and the GPU multifunction=on"
            yield vm_audio.failed(subject, title, seen, remedy=remedy)


@check("vm.battery", "Has the guest a battery?", Severity.NOTE, ARCH)
def battery(machine: Inventory) -> Iterable[Finding]:
    """Older drivers of laptops' GPUs give Code 43 in a machine without a battery. Newer ones do not
    ask, and in Windows 11 one can make the touchpad's click dead with PS/2 and virtio mice.
    """
    vm = vm_of(machine)
    if vm is None or not is_laptop(machine):
        return
    for gpu, _ in _nvidia(machine, vm):
        subject = str(gpu.address)
        seen = [Evidence("the VM: ACPI table", table) for table in vm.acpi_tables]
        if any(_has_battery(machine, table) for table in vm.acpi_tables):
            yield battery.passed(subject, "the guest has a battery", *seen)
            continue
        none = Evidence("the VM: ACPI tables", "none with a battery (PNP0C0A)")
        remedy = "romkit acpi battery makes the table; -acpitable file=... gives it to the guest"
        title = "the guest has no battery, which older laptop drivers ask for"
        yield battery.failed(subject, title, *(seen or [none]), remedy=remedy)


#: PNP0C0A as AML holds it: a compressed EISA id behind DWordPrefix, or text (ACPI 6.5, 19.3.4).
_BATTERY = (bytes.fromhex("0c41d00c0a"), b"PNP0C0A")


def _has_battery(machine: Inventory, table: str) -> bool:
    """Whether a table of the VM has a battery.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    data = machine.host.data(table) if table.startswith("/") else None
    return data is not None and any(mark in data for mark in _BATTERY)


@check("vm.display", "Do virtual displays leave the GPU alone?", Severity.NOTE,
       "field reports; jscinoz/optimus-vfio-docs")  # fmt: skip
def display(machine: Inventory) -> Iterable[Finding]:
    """A guest with a GVT-g display and a QXL one beside the GPU has three cards that all want to be
    the first. One virtual display is what a muxless GPU needs.
    """
    vm = vm_of(machine)
    if vm is None or not any(True for _ in passed_gpus(machine, vm)):
        return
    mediated = [hostdev for hostdev in vm.hostdevs if hostdev.mdev]
    names = [*vm.videos, *("GVT-g or another mediated GPU" for _ in mediated)]
    seen = Evidence("the VM: displays besides the GPU", ", ".join(names) or "none")
    if len(names) > 1:
        title = f"the guest has {len(names)} displays besides the GPU"
        remedy = (
            "keep the mediated one: <video><model type='none'/></video>, or -vga none without qxl"
            if mediated
            else "keep one of them"
        )
        yield display.failed("the VM", title, seen, remedy=remedy)
    else:
        yield display.passed("the VM", "at most one display besides the GPU", seen)


VM_CHECKS: tuple[Check, ...] = (
    gets_gpu, hidden, vendor_id, irqchip, *VM_ROM_CHECKS, vm_subsystem, place, port_hotplug,
    vm_audio, battery, display,
)  # fmt: skip
