"""Checks of who shows a picture, and with which GPU: MUX, muxless cards, boot framebuffers."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.attribute import ABI_ASUS, attribute, first_of
from diag.checks.check import Check, check
from diag.device import PciDevice
from diag.errors import Unreadable
from diag.graphics import MUXLESS, candidates, clevo_mode, is_laptop, is_muxless
from diag.inventory import Inventory
from romkit.finding import Evidence, Finding, Severity

#: Where asus-wmi, and asus-armoury since 6.19, show what the firmware has set.
_ASUS_MUX = (
    "/sys/devices/platform/asus-nb-wmi/gpu_mux_mode",
    "/sys/class/firmware-attributes/asus-armoury/attributes/gpu_mux_mode/current_value",
)


@check("gpu.mux", "Does the laptop's screen hang on the GPU?", Severity.WARNING, ABI_ASUS)
def mux(machine: Inventory) -> Iterable[Finding]:
    """A MUX leads the panel to one of two GPUs. In discrete mode the host has no other screen than
    that of the GPU that is to be given away; hybrid (mshybrid, Optimus) leaves it the integrated
    one. The mode also changes the subsystem id on some laptops: 1558:65a1 in mshybrid mode and
    1558:65a2 in discrete mode, for one and the same card.
    """
    stated = first_of(machine, _ASUS_MUX)
    remedy = "choose hybrid (mshybrid, Optimus, dynamic) graphics in the firmware's setup"
    if stated is not None and stated.value in ("0", "1"):
        if stated.value == "1":
            yield mux.passed("machine", "the panel is on the integrated GPU (Optimus)", stated)
        else:
            title = "the panel is on the discrete GPU: the host loses its screen to the guest"
            yield mux.failed("machine", title, stated, remedy=f"echo 1 > {stated.where}, restart")
        return
    if not candidates(machine) or not is_laptop(machine):
        return
    for gpu in candidates(machine):
        subject = str(gpu.address)
        evidence = [] if gpu.boot_vga is None else [attribute(gpu, "boot_vga", int(gpu.boot_vga))]
        mode = clevo_mode(gpu)
        if mode:
            evidence.append(attribute(gpu, "subsystem_device", f"{gpu.subsystem} ({mode} mode)"))
        if gpu.boot_vga or mode == "discrete":
            title = "the machine is in discrete mode: its screen hangs on this GPU"
            if len(machine.gpus) == 1:
                title = "the host has no other screen: this is the only GPU on the bus"
                remedy = f"{remedy}, if it has that; else reach the host by SSH while a guest runs"
            yield mux.failed(subject, title, *evidence, remedy=remedy)
        else:
            shown = [other for other in machine.gpus if other.boot_vga]
            evidence += [attribute(other, "driver", other.driver or "none") for other in shown]
            names = " ".join(f"({o.address}, driver {o.driver or 'none'})" for o in shown)
            yield mux.passed(
                subject, f"the firmware booted with another GPU {names}".strip(), *evidence
            )


@check("gpu.muxless", "Has the GPU outputs of its own?", Severity.NOTE, "jscinoz/optimus-vfio-docs")
def muxless(machine: Inventory) -> Iterable[Finding]:
    """A 3D controller (class 0302) has no outputs: its picture needs another display. In laptops it
    has no ROM BAR as a rule, and its driver takes the ROM from the ACPI method `_ROM` at the
    device's own path.
    """
    for gpu in candidates(machine):
        evidence = attribute(gpu, "class", gpu.class_code)
        if gpu.class_code != MUXLESS:
            yield muxless.passed(str(gpu.address), "it can have outputs of its own", evidence)
            continue
        rest = [other for other in machine.gpus if other.address != gpu.address]
        seen = [attribute(other, "class", other.class_code) for other in rest]
        if not is_muxless(machine, gpu):
            title = "a 3D controller without outputs: the guest's picture needs another display"
            remedy = "a virtual display (virtio-gpu, QXL), Looking Glass, or RDP"
            yield muxless.failed(str(gpu.address), title, evidence, *seen, remedy=remedy)
            continue
        title = (
            "a 3D controller without outputs: the guest needs a _ROM method, and its picture "
            "another display; old mobile drivers ask for a battery too"
        )
        remedy = (
            "romkit acpi makes the tables with _ROM and a battery; show the picture with GVT-g, "
            "a virtual display and Looking Glass, or RDP"
        )
        yield muxless.failed(str(gpu.address), title, evidence, *seen, remedy=remedy)


@check(
    "gpu.boot-display", "Does the host's first picture hold the GPU?", Severity.WARNING,
    "Linux, drivers/firmware/sysfb.c; QEMU, BAR can't reserve",
)  # fmt: skip
def boot_display(machine: Inventory) -> Iterable[Finding]:
    """efifb, vesafb or simpledrm draw into a BAR of the GPU that the firmware booted with, and
    vfio-pci cannot reserve it then: `BAR 1: can't reserve [mem ...]`. /proc/iomem names the
    holder, to root only.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        if not gpu.boot_vga:
            if gpu.boot_vga is not None:
                seen = attribute(gpu, "boot_vga", 0)
                yield boot_display.passed(subject, "the firmware did not boot with it", seen)
            continue
        boot = attribute(gpu, "boot_vga", 1)
        holders = [*_drawn_by(machine), *_in_bars(machine, gpu)]
        if holders:
            names = ", ".join(dict.fromkeys(holder.value for holder in holders))
            title = f"the boot framebuffer holds its memory: {names}"
            remedy = (
                f"{machine.boot_loader.add('initcall_blacklist=sysfb_init')} (for efifb alone "
                "video=efifb:off does too); or unbind the consoles and the framebuffer first"
            )
            yield boot_display.failed(subject, title, boot, *holders, remedy=remedy)
        elif _sees_addresses(machine):
            yield boot_display.passed(subject, "no boot framebuffer holds its memory", boot)
        else:
            there = machine.host.exists("/proc/iomem")
            why = "only root sees its addresses" if there else "it is not there"
            title = "the firmware booted with it; whether a framebuffer holds it is not known"
            error = Unreadable("/proc/iomem", why, needs_root=there)
            remedy = "run it again as root" if there else "look on the live machine, as root"
            yield boot_display.unknown(subject, title, error, remedy=remedy)


#: Names in /proc/fb and /proc/iomem of what draws before a GPU's own driver does.
_BOOT_DRAWERS = (
    "EFI VGA", "VESA VGA", "efifb", "vesafb", "simplefb", "simpledrm", "efidrm", "vesadrm",
    "BOOTFB", "simple-framebuffer", "efi-framebuffer",
)  # fmt: skip


def _draws(name: str) -> bool:
    return name.startswith(_BOOT_DRAWERS) or name == "simple"


def _drawn_by(machine: Inventory) -> list[Evidence]:
    """Framebuffers of the boot, from /proc/fb: number and name a line."""
    lines = (machine.host.text("/proc/fb") or "").splitlines()
    named = [line.partition(" ")[2].strip() for line in lines]
    return [Evidence("/proc/fb", name) for name in named if _draws(name)]


def _regions(machine: Inventory) -> list[tuple[int, int, str]]:
    """The lines of /proc/iomem: first and last address, and name."""
    found = []
    for line in (machine.host.text("/proc/iomem") or "").splitlines():
        place, _, name = line.strip().partition(" : ")
        first, _, last = place.partition("-")
        try:
            found.append((int(first, 16), int(last, 16), name))
        except ValueError:
            continue
    return found


def _sees_addresses(machine: Inventory) -> bool:
    return any(last for _, last, _ in _regions(machine))


def _in_bars(machine: Inventory, gpu: PciDevice) -> list[Evidence]:
    bars = [(bar.start, bar.start + bar.size) for bar in gpu.bars if bar.memory and bar.start]
    return [
        Evidence("/proc/iomem", name)
        for first, last, name in _regions(machine)
        if _draws(name) and any(start <= first and last < end for start, end in bars)
    ]


DISPLAY_CHECKS: tuple[Check, ...] = (mux, muxless, boot_display)
