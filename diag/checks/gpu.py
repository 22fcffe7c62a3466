"""Checks of the GPU itself: what it is, who shows a picture with it, what can reset it."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.attribute import ABI_ASUS, ABI_PCI, attribute, first_of
from diag.checks.check import Check, check
from diag.checks.display import DISPLAY_CHECKS
from diag.errors import Unreadable
from diag.graphics import candidates, clevo_mode, is_console
from diag.inventory import Inventory
from diag.pci import PciId
from romkit.finding import Evidence, Finding, Severity
from romkit.render.text import human_size

#: Where asus-wmi, and asus-armoury after it, show what the firmware has set.
_ASUS_DISABLE = (
    "/sys/devices/platform/asus-nb-wmi/dgpu_disable",
    "/sys/class/firmware-attributes/asus-armoury/attributes/dgpu_disable/current_value",
)


@check("gpu.present", "Is there a GPU to hand over?", Severity.NOTE, ABI_PCI)
def present(machine: Inventory) -> Iterable[Finding]:
    """A GPU that is part of the processor stays with the host; another one can be handed over.

    A laptop's GPU that was switched off before the kernel started is not on the bus at all.
    """
    found = candidates(machine)
    seen = [attribute(gpu, "class", gpu.class_code) for gpu in machine.gpus]
    if found:
        names = ", ".join(f"{gpu.address} ({gpu.ids})" for gpu in found)
        yield present.passed("machine", f"a GPU that can be handed over: {names}", *seen)
        return
    place = Evidence("/sys/bus/pci/devices", f"{len(machine.devices)} functions")
    what = "only the processor's own GPU" if machine.gpus else "no GPU"
    if machine.gpus and all(is_console(gpu) for gpu in machine.gpus):
        what = "only the display of the server's remote console"
    remedy = (
        "for the integrated GPU look at GVT-g or SR-IOV; if there is another GPU, enable it in "
        "the firmware's setup and start cold"
        if machine.gpus
        else "if there is one, enable it in the firmware's setup and start cold; "
        "in a virtual machine there is none unless one was passed to it"
    )
    title = f"{what} is on the PCI bus: nothing to pass through"
    yield present.failed("machine", title, *(seen or [place]), remedy=remedy)


@check("gpu.disabled", "Has the firmware taken the GPU off the bus?", Severity.BLOCKER, ABI_ASUS)
def disabled(machine: Inventory) -> Iterable[Finding]:
    """On ASUS laptops `dgpu_disable` takes the discrete GPU from the bus until it is undone."""
    stated = first_of(machine, _ASUS_DISABLE)
    if stated is None:
        return
    if stated.value == "1":
        title = "the firmware has switched the discrete GPU off: the kernel does not see it"
        remedy = f"echo 0 > {stated.where}, then start the machine again"
        yield disabled.failed("machine", title, stated, remedy=remedy)
    else:
        yield disabled.passed("machine", "the firmware leaves the discrete GPU on", stated)


@check(
    "gpu.subsystem", "Which subsystem ids must a guest see?", Severity.WARNING,
    "QEMU, hw/vfio/pci.c, x-pci-sub-vendor-id; libvirt, qemu:override",
)  # fmt: skip
def subsystem(machine: Inventory) -> Iterable[Finding]:
    """Drivers of laptop GPUs go by the subsystem ids, and so does what their installer offers: one
    report got NVIDIA's audio driver too once it set 1558:65a2. A guest sees the card's own; where
    the card shows none, they must be given.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        ids = gpu.subsystem
        if ids is None or ids in (PciId(0, 0), PciId(0xFFFF, 0xFFFF)):
            title = "the card shows no subsystem ids: a laptop's driver will not know it"
            remedy = (
                "give the laptop's own, which its maker's .inf names: "
                "-device vfio-pci,...,x-pci-sub-vendor-id=0x....,x-pci-sub-device-id=0x...."
            )
            seen = attribute(gpu, "subsystem_vendor", "0x0000")
            yield subsystem.failed(subject, title, seen, remedy=remedy)
            continue
        mode = clevo_mode(gpu)
        changes = f"; it is the id of {mode} mode and changes with it" if mode else ""
        title = f"the guest is to see {ids} (libvirt: {ids.vendor} and {ids.device}){changes}"
        yield subsystem.passed(subject, title, attribute(gpu, "subsystem_device", ids))


@check("gpu.reset", "Can the kernel reset the GPU?", Severity.WARNING, ABI_PCI)
def reset(machine: Inventory) -> Iterable[Finding]:
    """vfio-pci resets a card before a guest gets it and after it has gone. A card without a reset
    keeps the state that the last driver left it in.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        methods = gpu.known("reset_methods")
        if methods:
            seen = attribute(gpu, "reset_method", " ".join(methods))
            yield reset.passed(subject, f"the kernel can reset it: {', '.join(methods)}", seen)
        elif gpu.can_reset:
            title = "the kernel can reset it, and is too old to say how"
            yield reset.passed(subject, title, attribute(gpu, "reset", "there"))
        else:
            title = "the kernel cannot reset it: the guest gets the state that the host left"
            remedy = (
                "plan for one use a boot; a power cycle of the card (bbswitch, D3cold, or remove "
                "its port and rescan) does what a reset would; for AMD look at vendor-reset"
            )
            seen = attribute(gpu, "reset_method", "not there")
            yield reset.failed(subject, title, seen, remedy=remedy)


@check("gpu.reset-alone", "Does its reset need the other functions?", Severity.NOTE, ABI_PCI)
def reset_alone(machine: Inventory) -> Iterable[Finding]:
    """A bus reset takes all functions of the card with it. While one of them is on the bus the
    kernel refuses it for the GPU alone (ENOTTY), although `reset_method` names it.
    """
    for gpu in candidates(machine):
        methods = gpu.known("reset_methods")
        if not methods:
            continue
        subject, beside = str(gpu.address), machine.siblings(gpu)
        seen = attribute(gpu, "reset_method", " ".join(methods))
        if methods[0] in ("flr", "pm", "device_specific", "acpi") or not beside:
            yield reset_alone.passed(subject, "it can be reset alone", seen)
            continue
        names = " ".join(str(other.address) for other in beside)
        title = f"its reset is that of the bus, which {names} shares"
        remedy = (
            "hand all functions of the card to vfio-pci: it then resets them together; by hand, "
            f"remove {names} first"
        )
        yield reset_alone.failed(subject, title, seen, remedy=remedy)


@check("gpu.twins", "Would another card be taken too?", Severity.WARNING, ABI_PCI)
def twins(machine: Inventory) -> Iterable[Finding]:
    """`vfio-pci.ids=` and `new_id` take every card with these ids, the host's own too."""
    for gpu in candidates(machine):
        own = (gpu, *machine.siblings(gpu))
        ids = {function.ids for function in own if function.ids is not None}
        same = [
            other
            for other in machine.devices
            if other.ids in ids and not other.address.same_slot(gpu.address)
        ]
        others = [g for g in machine.gpus if g.address != gpu.address]
        subject = str(gpu.address)
        if same:
            title = f"vfio-pci.ids= and new_id would take {same[0].address} too: the ids are equal"
            remedy = (
                "go by the address: driver_override, "
                f"like echo vfio-pci > /sys/bus/pci/devices/{gpu.address}/driver_override"
            )
            seen = [attribute(function, "device", function.ids) for function in same]
            yield twins.failed(subject, title, *seen, remedy=remedy)
        elif others:
            seen = [attribute(g, "device", g.ids) for g in (gpu, *others)]
            yield twins.passed(subject, "no other function has its ids", *seen)


@check("gpu.bars", "Has every BAR its place?", Severity.WARNING, ABI_PCI)
def bars(machine: Inventory) -> Iterable[Finding]:
    """A BAR without an address cannot be used by anybody: the firmware found no room for it."""
    for gpu in candidates(machine):
        memory = [bar for bar in gpu.known("bars") if bar.memory]
        lost = [bar for bar in memory if bar.start == 0]
        seen = [
            attribute(gpu, "resource", f"BAR {bar.index}: {bar.start:#x}, {human_size(bar.size)}")
            for bar in memory
        ]
        if lost:
            title = f"BAR {lost[0].index} ({human_size(lost[0].size)}) has no address"
            remedy = (
                "enable Above 4G Decoding in the firmware's setup; or "
                f"{machine.boot_loader.add('pci=realloc')}"
            )
            yield bars.failed(str(gpu.address), title, *seen, remedy=remedy)
        elif memory:
            yield bars.passed(str(gpu.address), "every BAR has an address", *seen)


#: What every card's largest BAR was before it could be resized, bytes.
_USUAL_BAR = 256 << 20


@check(
    "gpu.large-bars", "Is a BAR larger than old guests expect?", Severity.NOTE,
    "OVMF, opt/ovmf/X-PciMmio64Mb; Linux, resourceN_resize (sysfs-bus-pci)",
)  # fmt: skip
def large_bars(machine: Inventory) -> Iterable[Finding]:
    """A BAR of many GiB (Resizable BAR) needs room above 4 GiB in the guest too: its firmware must
    be UEFI and have a window that is large enough.
    """
    for gpu in candidates(machine):
        memory = [bar for bar in gpu.known("bars") if bar.memory]
        if not memory:
            continue
        largest = max(memory, key=lambda bar: bar.size)
        subject = str(gpu.address)
        where = "above" if largest.above_4g else "below"
        value = f"BAR {largest.index}: {human_size(largest.size)}, {where} 4 GiB"
        seen = [attribute(gpu, "resource", value)]
        if largest.sizes:
            sizes = " ".join(human_size(size) for size in largest.sizes)
            seen.append(attribute(gpu, f"resource{largest.index}_resize", sizes))
        if largest.size <= _USUAL_BAR:
            yield large_bars.passed(subject, "no BAR is larger than 256 MiB", *seen)
            continue
        title = f"BAR {largest.index} has {human_size(largest.size)}: the guest needs room for it"
        window = 2 * largest.size >> 20
        remedy = (
            f"use OVMF, with -fw_cfg name=opt/ovmf/X-PciMmio64Mb,string={window}; where the "
            "guest's driver stumbles over it, switch Resizable BAR off in the firmware's setup"
        )
        yield large_bars.failed(subject, title, *seen, remedy=remedy)


@check("gpu.link", "Has the PCI Express link all its lanes?", Severity.NOTE, ABI_PCI)
def link(machine: Inventory) -> Iterable[Finding]:
    """A GPU lowers its link's speed when it idles, but not the number of lanes. Fewer lanes are the
    slot, the riser, or dirt.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        try:
            found = gpu.known("link")
        except Unreadable as error:
            yield link.unknown(subject, "its link was not looked at", error)
            continue
        if found is None or not found.max_width:
            continue
        seen = attribute(gpu, "current_link_width", found.width)
        most = attribute(gpu, "max_link_width", found.max_width)
        if found.width < found.max_width:
            title = f"the link has {found.width} of {found.max_width} lanes"
            remedy = "many laptops wire fewer lanes: fine; in a desktop, try another slot or reseat"
            yield link.failed(subject, title, seen, most, remedy=remedy)
        else:
            yield link.passed(subject, f"the link has all its {found.width} lanes", seen, most)


GPU_CHECKS: tuple[Check, ...] = (
    present, disabled, *DISPLAY_CHECKS, subsystem, reset, reset_alone, twins, bars, large_bars,
    link,
)  # fmt: skip
