"""Checks of who uses the GPU on the host: drivers, programs, and its audio function."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.attribute import ABI_PCI, attribute
from diag.checks.check import Check, as_note, check
from diag.device import PciDevice
from diag.errors import Unreadable
from diag.graphics import MUXLESS, NVIDIA, before_kepler, candidates
from diag.holders import Holders, device_nodes, display_manager, read_holders, running
from diag.inventory import Inventory
from diag.kernel import module_name
from romkit.finding import Evidence, Finding, Severity

VFIO = "Linux, drivers/vfio/pci"
ACER = "field report: dGPU passthrough on an Acer Nitro 5"

#: Drivers that are made to hold a card for a guest, or for nobody.
_STUBS = ("vfio-pci", "pci-stub", "xen-pciback")
#: Modules that take a GPU of a vendor as soon as they see it.
_TAKERS = {
    0x10DE: ("nvidia", "nouveau", "nova_core"),
    0x1002: ("amdgpu", "radeon"),
    0x8086: ("xe", "i915"),
}
#: Programs that keep NVIDIA's driver busy; names as the kernel cuts them, at 15 characters.
_NVIDIA_PROGRAMS = ("nvidia-persiste", "nvidia-powerd")
#: Display servers, whose end is that of the session; names as above.
_DISPLAY_SERVERS = ("Xorg", "X", "gnome-shell", "kwin_wayland", "Xwayland", "sway", "weston")
_UNITS = {"nvidia-persiste": "nvidia-persistenced", "nvidia-powerd": "nvidia-powerd"}


def _is_stub(device: PciDevice) -> bool:
    driver = device.driver
    return driver is None or driver in _STUBS or driver.startswith("vfio")


@check("driver.gpu", "Does a host driver use the GPU?", Severity.WARNING, VFIO)
def gpu_driver(machine: Inventory) -> Iterable[Finding]:
    """A GPU goes to a guest when vfio-pci has it. A driver that is still bound has to let it go
    first, and NVIDIA's waits for ever for its last user when it is unbound.
    """
    for gpu in candidates(machine):
        subject, seen = str(gpu.address), attribute(gpu, "driver", gpu.driver or "none")
        if _is_stub(gpu):
            by = f"{gpu.driver} has it" if gpu.driver else "no driver has it"
            yield gpu_driver.passed(subject, by, seen)
            continue
        remedy = f"passthrough detach {gpu.address}"
        if gpu.driver == "nvidia":
            remedy += " (it unloads the nvidia modules: unbinding a card in use never returns)"
        yield gpu_driver.failed(subject, f"{gpu.driver} uses it", seen, remedy=remedy)


@check("driver.takers", "Would a host driver take the GPU back?", Severity.WARNING,
       "Linux, drivers/pci/pci-driver.c; measured: a rescan clears driver_override")  # fmt: skip
def takers(machine: Inventory) -> Iterable[Finding]:
    """After remove and rescan a card is new to the kernel: its driver_override is gone, and a
    driver that is loaded takes it at once.
    """
    kernel = machine.kernel
    for gpu in candidates(machine):
        names = _TAKERS.get(gpu.ids.vendor if gpu.ids else 0, ())
        if not _is_stub(gpu) or not names:
            continue  # it has it already, as driver.gpu says
        subject = str(gpu.address)
        others = {module_name(g.driver) for g in machine.gpus if g.driver}
        loaded = [name for name in names if kernel.runs(name)]
        if not loaded:
            seen = Evidence("/proc/modules", f"none of {', '.join(names)}")
            yield takers.passed(subject, "no driver that would take it is loaded", seen)
            continue
        seen = Evidence(f"/sys/module/{loaded[0]}", "there")
        title = f"{loaded[0]} is loaded and takes the card at the next rescan"
        if loaded[0] in others:
            remedy = (
                "it serves another GPU, so it has to stay: set driver_override by a udev rule: "
                f'ACTION=="add", KERNEL=="{gpu.address}", ATTR{{driver_override}}="vfio-pci"'
            )
        else:
            remedy = f"modprobe -r {loaded[0]}, and blacklist it in /etc/modprobe.d"
        yield takers.failed(subject, title, seen, remedy=remedy)


@check("driver.override", "Does driver_override say what is bound?", Severity.NOTE, ABI_PCI)
def override(machine: Inventory) -> Iterable[Finding]:
    """Writing driver_override neither unbinds a driver nor binds another one."""
    for gpu in candidates(machine):
        for function in (gpu, *machine.siblings(gpu)):
            wanted = function.driver_override
            if wanted is None:
                continue
            subject = str(function.address)
            seen = [attribute(function, "driver_override", wanted)]
            seen.append(attribute(function, "driver", function.driver or "none"))
            if function.driver in (wanted, None):
                yield override.passed(subject, f"driver_override is {wanted}", *seen)
                continue
            title = f"driver_override names {wanted}, and {function.driver} is bound"
            remedy = (
                f"echo {subject} > /sys/bus/pci/devices/{subject}/driver/unbind; "
                f"echo {subject} > /sys/bus/pci/drivers_probe"
            )
            yield override.failed(subject, title, *seen, remedy=remedy)


@check("driver.holders", "Does a program have the GPU open?", Severity.WARNING,
       "nvidia, nv-pci.c, nv_pci_remove; Linux, drivers/vfio/vfio_main.c")  # fmt: skip
def holders(machine: Inventory) -> Iterable[Finding]:
    """A program that has a node of the card open keeps its driver from letting go. Whose nodes they
    are is looked up in sysfs; other users' programs only root can look into.
    """
    for gpu in candidates(machine):
        subject = str(gpu.address)
        sound = machine.audio_of(gpu)
        own = [gpu] if sound is None else [gpu, sound]
        nodes = tuple(dict.fromkeys(n for f in own for n in device_nodes(machine, f)))
        if not nodes:
            seen = attribute(gpu, "drm", "not there")
            yield holders.passed(subject, "it has no device nodes that could be open", seen)
            continue
        try:
            found = read_holders(machine.host, nodes)
        except Unreadable as error:
            yield holders.unknown(subject, f"who has {', '.join(nodes)} open is not known", error)
            continue
        if found.found:
            seen_by = [
                Evidence(f"/proc/{h.pid}/fd", f"{h.name}: {' '.join(h.nodes)}") for h in found.found
            ]
            who = ", ".join(f"{holder.name} ({holder.pid})" for holder in found.found)
            guest = all(n.startswith("/dev/vfio") for h in found.found for n in h.nodes)
            remedy = "shut the virtual machine down" if guest else _end(machine, found)
            yield holders.failed(subject, f"open in {who}", *seen_by, remedy=remedy)
        elif found.hidden:
            title = f"{found.hidden} processes of other users could not be looked into"
            yield holders.unknown(subject, title, found.unread, remedy="run it again as root")
        else:
            seen = Evidence("/proc/*/fd", f"{found.looked} processes, none has {', '.join(nodes)}")
            yield holders.passed(subject, "no program has it open", seen)


def _end(machine: Inventory, found: Holders) -> str:
    unit = display_manager(machine.host)
    servers = [holder.name for holder in found.found if holder.name in _DISPLAY_SERVERS]
    if unit is None or not servers:
        return "end these programs first"
    return (
        f"keep {' and '.join(dict.fromkeys(servers))} off this GPU (for Xorg: BusID of the host's "
        f"own GPU in /etc/X11/xorg.conf.d); or end the session: systemctl stop {unit}"
    )


@check("driver.nvidia-programs", "Does NVIDIA's own software keep the GPU busy?", Severity.WARNING,
       "nvidia-persistenced(1); NVIDIA/open-gpu-kernel-modules, nv-pci.c")  # fmt: skip
def nvidia_programs(machine: Inventory) -> Iterable[Finding]:
    """nvidia-persistenced keeps the card open, and nvidia-powerd loads the driver again."""
    ours = [gpu for gpu in candidates(machine) if gpu.ids and gpu.ids.vendor == NVIDIA]
    if not ours:
        return
    try:
        found = running(machine.host, _NVIDIA_PROGRAMS)
    except Unreadable as error:
        title = "whether nvidia-persistenced or nvidia-powerd runs is not known"
        yield nvidia_programs.unknown("machine", title, error)
        return
    if not found:
        seen = Evidence("/proc/*/comm", "neither nvidia-persistenced nor nvidia-powerd")
        yield nvidia_programs.passed("machine", "none of NVIDIA's daemons runs", seen)
    for name, pid in found.items():
        unit = _UNITS[name]
        seen = Evidence(f"/proc/{pid}/comm", name)
        remedy = f"systemctl stop {unit}; to keep it from coming back: systemctl mask {unit}"
        yield nvidia_programs.failed("machine", f"{unit} runs", seen, remedy=remedy)


@check("driver.nouveau", "Does nouveau drive an NVIDIA GPU?", Severity.NOTE, ACER)
def nouveau(machine: Inventory) -> Iterable[Finding]:
    """Some laptops' cards work in a guest only after NVIDIA's own driver has started them, and
    nvidia-smi -r has reset them, since their power was last cut. nouveau does neither.
    """
    for gpu in candidates(machine):
        if gpu.ids is None or gpu.ids.vendor != NVIDIA or gpu.driver is None:
            continue
        seen = attribute(gpu, "driver", gpu.driver)
        if gpu.driver != "nouveau":
            yield nouveau.passed(str(gpu.address), "nouveau does not drive it", seen)
            continue
        title = "nouveau drives it: it cannot start the card as the guest's driver may need it"
        remedy = "blacklist nouveau; if the guest shows Code 43, start the card with nvidia first"
        yield nouveau.failed(str(gpu.address), title, seen, remedy=remedy)


@check("driver.vm-rule", "Does NVIDIA's driver accept a virtual machine?", Severity.WARNING,
       "NVIDIA support answer 5173 (R465); pci.ids")  # fmt: skip
def vm_rule(machine: Inventory) -> Iterable[Finding]:
    """Since R465 NVIDIA's Windows driver starts in a virtual machine. Cards before Kepler never got
    that driver: for them the guest must not see KVM, and needs a Hyper-V vendor id of its own.
    """
    for gpu in candidates(machine):
        if gpu.ids is None or gpu.ids.vendor != NVIDIA:
            continue
        subject, seen = str(gpu.address), attribute(gpu, "device", gpu.ids)
        if before_kepler(gpu.ids.device):
            title = "its last driver refuses virtual machines (Code 43): the guest must not see one"
            remedy = (
                "-cpu host,kvm=off,hv_vendor_id=1234567890a,hv_time; libvirt: <hidden state='on'/>"
            )
            yield vm_rule.failed(subject, title, seen, remedy=remedy)
        else:
            title = "Kepler or newer: its drivers since R465 start in a virtual machine"
            yield vm_rule.passed(subject, title, seen)


@check("audio.there", "Is the GPU's audio function on the bus?", Severity.NOTE,
       "Linux, drivers/pci/quirks.c, quirk_nvidia_hda (5.4)")  # fmt: skip
def audio_there(machine: Inventory) -> Iterable[Finding]:
    """Firmware of Optimus laptops hides the audio function. Since 5.4 the kernel switches it on;
    before that nvhda did. A card without outputs needs none, and a virtual function has none.
    """
    for gpu in candidates(machine):
        if gpu.class_code == MUXLESS or gpu.virtual:
            continue
        subject, sound = str(gpu.address), machine.audio_of(gpu)
        if sound is not None:
            seen = attribute(sound, "class", sound.class_code)
            yield audio_there.passed(subject, f"its audio function is {sound.address}", seen)
            continue
        beside = " ".join(str(other.address) for other in machine.siblings(gpu)) or "none"
        where = f"other functions of {gpu.address.slot}"
        seen = Evidence(where, f"{beside}; no function of class 0403 among them")
        old = machine.kernel.since(5, 4) is False
        remedy = (
            "load nvhda, and rescan: echo ON > /proc/acpi/nvhda"
            if old
            else "none is needed for the GPU to work; if it is wanted, rescan with the GPU awake"
        )
        title = "it has no audio function, or its firmware hides it"
        yield audio_there.failed(subject, title, seen, remedy=remedy)


@check("audio.driver", "Does a host driver use the audio function?", Severity.WARNING, VFIO)
def audio_driver(machine: Inventory) -> Iterable[Finding]:
    """Where the audio function shares the GPU's group, VFIO takes that group only once
    snd_hda_intel has let go of it. vfio-pci, pci-stub or no driver at all will do, also where it is
    not passed on. In a group of its own it can stay with the host.
    """
    for gpu in candidates(machine):
        sound = machine.audio_of(gpu)
        if sound is None:
            continue
        subject, seen = str(sound.address), attribute(sound, "driver", sound.driver or "none")
        if _is_stub(sound):
            by = f"{sound.driver} has it" if sound.driver else "no driver has it"
            yield audio_driver.passed(subject, by, seen)
            continue
        remedy = f"passthrough detach {gpu.address}, which takes all functions of the card"
        if gpu.group is not None and sound.group is not None and gpu.group != sound.group:
            title = f"{sound.driver} uses the audio function, which is in another group"
            groups = attribute(sound, "iommu_group", f"{sound.group}, the GPU's is {gpu.group}")
            remedy = f"nothing, if the guest needs no sound of this card; else {remedy}"
            yield as_note(audio_driver.failed(subject, title, seen, groups, remedy=remedy))
            continue
        title = f"{sound.driver} uses the audio function, and has to let go of it first"
        yield audio_driver.failed(subject, title, seen, remedy=remedy)


@check("audio.reset", "Can the audio function be reset?", Severity.NOTE, ACER)
def audio_reset(machine: Inventory) -> Iterable[Finding]:
    """One that the host has used, and that cannot be reset, must be removed and found again before
    a guest gets it: else the host stutters while the guest runs.
    """
    for gpu in candidates(machine):
        sound = machine.audio_of(gpu)
        if sound is None:
            continue
        methods = sound.known("reset_methods")
        subject = str(sound.address)
        if methods or sound.can_reset:
            seen = attribute(sound, "reset_method", " ".join(methods or ("there",)))
            yield audio_reset.passed(subject, "the audio function can be reset", seen)
            continue
        remedy = (
            f"remove it and rescan before vfio-pci takes it: "
            f"echo 1 > /sys/bus/pci/devices/{subject}/remove; or do not pass it on"
        )
        seen = attribute(sound, "reset_method", "not there")
        title = "the audio function has no reset of its own"
        yield audio_reset.failed(subject, title, seen, remedy=remedy)


@check("audio.msi", "Does the audio function use messages for interrupts?", Severity.NOTE,
       "Linux, sound/pci/hda/hda_intel.c, AZX_DCAPS_NO_MSI")  # fmt: skip
def audio_msi(machine: Inventory) -> Iterable[Finding]:
    """Linux gives NVIDIA's audio functions a line interrupt, which crackles in a guest. A guest has
    to ask for messages (MSI) itself.
    """
    for gpu in candidates(machine):
        sound = machine.audio_of(gpu)
        if sound is None:
            continue
        subject = str(sound.address)
        if sound.known("msi") is not None:
            seen = attribute(sound, "msi_irqs", sound.msi)
            yield audio_msi.passed(subject, f"it uses {sound.msi}", seen)
        elif sound.driver == "snd_hda_intel":
            title = "the audio function has a line interrupt: its sound may crackle in a guest"
            remedy = (
                "Linux guest: options snd-hda-intel enable_msi=1; Windows guest: MSISupported=1 "
                "in the device's registry key (MSI utility)"
            )
            seen = attribute(sound, "msi_irqs", "not there")
            yield audio_msi.failed(subject, title, seen, remedy=remedy)
        else:
            title = "which interrupts it uses shows only while a driver runs it"
            yield audio_msi.unknown(subject, title, remedy="look in the guest")


DRIVER_CHECKS: tuple[Check, ...] = (
    gpu_driver, takers, override, holders, nvidia_programs, nouveau, vm_rule, audio_there,
    audio_driver, audio_reset, audio_msi,
)  # fmt: skip
