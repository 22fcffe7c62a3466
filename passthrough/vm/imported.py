"""A VM that somebody has already, as a profile: libvirt's XML, or the script that starts QEMU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from diag.vm_file import VmFile, parse_vm_file
from passthrough.vm.draft import Draft, Imported
from passthrough.vm.imported_qemu import read_words
from passthrough.vm.imported_xml import read_domain
from passthrough.vm.machine_sections import HYPERV
from passthrough.vm.shell_text import expanded, unknown_variables

if TYPE_CHECKING:
    from diag.pci import PciAddress

#: Virtual graphics by QEMU's and libvirt's names.
_VIDEOS = {
    "qxl": "qxl", "qxl-vga": "qxl", "virtio": "virtio", "virtio-vga": "virtio",
    "virtio-vga-gl": "virtio", "virtio-gpu-pci": "virtio", "VGA": "std", "vga": "std",
    "std": "std", "ramfb": "ramfb", "none": "none",
}  # fmt: skip


def import_vm(text: str, *, name: str = "imported", folder: str = "/") -> Imported:
    """A profile of a VM's description, as far as one can say it; the rest is in `Imported.left`.

    Args:
        text: libvirt's XML (``virsh dumpxml``), or a file with QEMU's command line.
        name: what the VM is called where its description does not say.
        folder: where the profile will be, absolute.

    Raises:
        NotAVm: the text is neither.
    """
    if "<domain" not in text:
        text = expanded(text)
    vm = parse_vm_file(text)  # refuses what is neither, and XML that declares entities
    draft = Draft(name)
    if vm.libvirt:
        read_domain(text, draft)
    else:
        read_words(text, draft)
    _shared(vm, draft)
    made = draft.finish(folder)
    unknown = [f"{name}: what it stands for is not known" for name in unknown_variables(made.text)]
    return replace(made, left=(*made.left, *unknown))


def _shared(vm: VmFile, draft: Draft) -> None:
    """What both forms say and `parse_vm_file` has read already."""
    if vm.machine:
        if vm.is_q35:
            draft.set("machine", "type", vm.machine)
        else:
            draft.leave(f"machine type {vm.machine}", "a q35 is made: it has PCI Express")
    if vm.irqchip in ("kvm", "split", "qemu"):
        # libvirt's `qemu` is the split one.
        draft.set("machine", "irqchip", "kernel" if vm.irqchip == "kvm" else "split")
    draft.set("hide", "kvm", vm.kvm_hidden)
    draft.set("hide", "vendor_id", vm.vendor_id or "")
    known = [feature for feature in vm.hyperv if feature in HYPERV]
    for feature in vm.hyperv:
        if feature not in HYPERV:
            draft.leave(f"Hyper-V feature {feature}", "a profile does not know it")
    draft.values.setdefault("hide", {}).setdefault("hyperv", []).extend(known)
    _hostdevs(vm, draft)
    videos = [video for video in vm.videos if video in _VIDEOS]
    draft.set("display", "video", _VIDEOS[videos[0]] if videos else "none")
    for video in vm.videos:
        if video not in videos[:1]:
            draft.leave(f"virtual graphics {video}", "a profile has one of its own models")


def _hostdevs(vm: VmFile, draft: Draft) -> None:
    """The GPU, its audio function, and a mediated device."""
    gpu = next((h for h in vm.hostdevs if h.source is not None and not h.source.function), None)
    sound: PciAddress | None = None
    for hostdev in vm.hostdevs:
        if hostdev is gpu and hostdev.source is not None:
            draft.set("gpu", "address", str(hostdev.source))
            draft.set("gpu", "rom", hostdev.rom_file)
            draft.set("gpu", "rom_bar", hostdev.rom_bar)
            vendor, device = hostdev.subsystem
            if vendor is not None and device is not None:
                draft.set("gpu", "subsystem", f"{vendor:04x}:{device:04x}")
            else:
                draft.set("gpu", "subsystem", "none")
            if hostdev.place is not None:
                draft.set("gpu", "guest_address", _short(hostdev.place))
            if hostdev.port is not None:
                draft.set("gpu", "port", _short(hostdev.port))
                draft.set("gpu", "hotplug", hostdev.hotplug)
        elif hostdev.mdev:
            if hostdev.place is not None:
                draft.set("integrated", "guest_address", _short(hostdev.place))
            draft.set("integrated", "rom", hostdev.rom_file)
        elif gpu is not None and hostdev.source and gpu.source and sound is None and (
            hostdev.source.same_slot(gpu.source)
        ):  # fmt: skip
            sound = hostdev.source
            draft.set("gpu", "audio_address", str(sound))
        elif hostdev.source is not None:
            draft.leave(f"host device {hostdev.source}", "a profile passes a GPU with its audio")
    if gpu is not None and sound is None:
        draft.set("gpu", "audio", "vfio-pci")


def _short(place: PciAddress) -> str:
    return str(place).removeprefix("0000:")
