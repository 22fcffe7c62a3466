"""What is asked of a guest and its machine before it starts, beside what diag asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from diag.account import Node, parse_nodes, read_account
from diag.checks.check import Check
from diag.errors import Unreadable
from diag.holders import read_holders
from diag.inventory import Inventory
from passthrough.cpu_list import cpus_text
from passthrough.vm.cpus import ONLINE, cpu_findings, online_cpus
from passthrough.vm.disks import uses
from passthrough.vm.guest import Guest
from passthrough.vm.memory import available_memory
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.render.text import human_size

#: Yields the findings of one question; the check makes them.
Look = Callable[[Check, Guest, Inventory], Iterable[Finding]]

#: Bytes of a ROM file that are read.
_ROM_LIMIT = 16 << 20


def guest_files(guest: Guest) -> Iterator[tuple[str, bool, str]]:
    """Path, whether it is written to, and the key that names it."""
    profile = guest.profile
    for drive in guest.drives:
        key = "media" if drive.disk is None else "disk"
        yield drive.path, drive.disk is not None and not drive.disk.read_only, key
    if guest.gpu is not None and guest.gpu.rom:
        yield guest.gpu.rom, False, "gpu.rom"
    if profile.integrated.mdev and profile.integrated.rom:
        yield profile.path(profile.integrated.rom), False, "integrated.rom"
    for path in profile.acpi.tables:
        yield profile.path(path), False, "acpi.tables"
    for entry in profile.fw_cfg:
        if entry.file:
            yield profile.path(entry.file), False, "fw_cfg.file"
    for path in profile.input.evdev:
        yield path, True, "input.evdev"
    if guest.flash is not None:
        yield guest.flash.code, False, "firmware.code"


def files(check: Check, guest: Guest, machine: Inventory) -> Iterable[Finding]:
    """Every file is there, and the user who starts QEMU may open it."""
    account = read_account(machine.host)
    for path, written, key in guest_files(guest):
        try:
            there = machine.host.exists(path)
        except Unreadable as error:
            yield check.unknown(path, f"whether {path} is there is not known", error)
            continue
        if not there:
            seen = Evidence(path, "not there")
            remedy = f"correct `{key}`, or make the file"
            if key == "disk" and path.endswith(".qcow2"):
                remedy = f"qemu-img create -f qcow2 {path} 64G"
            yield check.failed(path, f"{path} is not there", seen, remedy=remedy)
            continue
        said = machine.host.run("ls", "-lnL", path)
        node = None if said is None else parse_nodes(said.out).get(path)
        what = "written to" if written else "read"
        may = None if account is None or node is None else _may(account.uid, account.groups, node,
                                                                written)  # fmt: skip
        if account is not None and account.opens_anything:
            may = True
        if may is None:
            yield check.unknown(path, f"whether this user may open {path} is not known")
        elif may:
            yield check.passed(path, f"{path} can be {what}", Evidence(path, _mode(node)))
        else:
            remedy = f"setfacl -m u:$USER:{'rw' if written else 'r'} {path}, or a udev rule"
            title = f"{path} cannot be {what} by this user"
            yield check.failed(path, title, Evidence(path, _mode(node)), remedy=remedy)


def _mode(node: Node | None) -> str:
    return "there" if node is None else f"{node.mode} {node.uid} {node.gid}"


def _may(uid: int, groups: frozenset[int], node: Node, written: bool) -> bool | None:
    """Whether a user may open a file; None where an access list decides."""
    if node.access_list:
        return None
    if uid == node.uid:
        part = node.mode[1:4]
    else:
        part = node.mode[4:7] if node.gid in groups else node.mode[7:10]
    return part[:2] == "rw" if written else part[0] == "r"


def disks(check: Check, guest: Guest, machine: Inventory) -> Iterable[Finding]:
    """No disk is mounted on the host, or open in another VM."""
    images = []
    for drive in guest.drives:
        if drive.disk is None or not machine.holds(drive.path):
            continue
        found = list(uses(machine.host, drive.path)) if drive.is_device else []
        if found:
            seen = [Evidence(drive.path, text) for text in found]
            remedy = "umount it, swapoff it, or deactivate the volumes on it"
            title = f"{found[0]}: a guest that writes to it destroys it"
            yield check.failed(drive.path, title, *seen, remedy=remedy)
            continue
        images.append(machine.host.chase(drive.path))
    if not images:
        return
    holders = read_holders(machine.host, tuple(images))
    held = {node: holder for holder in holders.found for node in holder.nodes}
    for image in images:
        if image in held:
            holder = held[image]
            title = f"{holder.name} ({holder.pid}) has {image} open"
            remedy = "end the other VM, or give this one its own disk"
            yield check.failed(image, title, Evidence(f"/proc/{holder.pid}/fd", image),
                               remedy=remedy)  # fmt: skip
        elif holders.hidden:
            title = f"who has {image} open is known of this user's programs only"
            yield check.unknown(image, title, holders.unread)
        else:
            yield check.passed(image, f"nobody uses {image}")


def nvram(check: Check, guest: Guest, machine: Inventory) -> Iterable[Finding]:
    """The firmware's variables are there, or can be copied, and fit the firmware."""
    flash = guest.flash
    if flash is None:
        return
    path = guest.profile.vars
    own, template = machine.host.data(path), machine.host.data(flash.template)
    seen = Evidence(path, "not there" if own is None else human_size(len(own)))
    origin = Evidence(flash.template, "not there" if template is None else
                      human_size(len(template)))  # fmt: skip
    if own is None and template is None:
        title = f"neither {path} nor its template is there"
        yield check.failed(path, title, seen, origin, remedy="install OVMF anew")
    elif own is None:
        yield check.passed(path, f"{path} will be copied from {flash.template}", seen, origin)
    elif template is not None and len(own) != len(template) and flash.template_format == "raw":
        title = f"{path} has {len(own)} bytes, and this firmware's variables {len(template)}"
        remedy = "remove it, or firmware.reset = true: the firmware's settings are lost"
        yield check.failed(path, title, seen, origin, remedy=remedy)
    else:
        yield check.passed(path, f"{path} is there", seen)


def rom(check: Check, guest: Guest, machine: Inventory) -> Iterable[Finding]:
    """The ROM is sound, and this card's."""
    from romkit.checks import DeviceId, verify
    from romkit.render.text import count

    profile = guest.profile
    named = (profile.gpu.rom, profile.acpi.vbios_rom if profile.acpi.vbios else "")
    paths = dict.fromkeys(profile.path(path) for path in named if path)
    if guest.gpu is None:
        return
    device = machine.device(guest.gpu.source)
    ids = None
    if device is not None and device.ids is not None:
        sub = device.subsystem
        code = device.class_code
        ids = DeviceId(device.ids.vendor, device.ids.device,
                       None if sub is None else (sub.vendor, sub.device),
                       None if code is None else code.code << 8)  # fmt: skip
    for path in paths:
        data = machine.host.data(path, _ROM_LIMIT)
        if data is None:
            continue  # `files` says so
        found = verify(data, ids)
        wrong = [finding for finding in found if finding.verdict is Verdict.FAIL]
        blocking = [finding for finding in wrong if finding.blocks]
        seen = [Evidence(path, finding.title) for finding in wrong]
        if blocking:
            remedy = blocking[0].remedy or f"romkit verify {path}"
            yield check.failed(path, f"{path}: {blocking[0].title}", *seen, remedy=remedy)
        elif ids is None:
            yield check.unknown(path, f"{path} is sound; the card's ids are not known here")
        else:
            title = f"{path} is sound and for {ids}"
            more = f", {count(len(wrong), 'thing')} to know: romkit verify" if wrong else ""
            yield check.passed(path, title + more, *seen)


def free_memory(check: Check, guest: Guest, machine: Inventory) -> Iterable[Finding]:
    """There is as much memory free as the guest takes at once."""
    memory = guest.profile.memory
    if memory.hugepages != "none":
        return
    free = available_memory(machine.host)
    if free is None:
        yield check.unknown("machine", "how much memory is free is not known")
        return
    seen = Evidence("/proc/meminfo: MemAvailable", human_size(free))
    if free < memory.size:
        title = f"{human_size(free)} are free, and the guest takes {human_size(memory.size)}"
        yield check.failed("machine", title, seen, remedy="end programs, or memory.size smaller")
    else:
        yield check.passed("machine", f"{human_size(free)} are free", seen)


def cpus(check: Check, guest: Guest, machine: Inventory) -> Iterable[Finding]:
    """The CPUs that are pinned are there, and those that are isolated can be."""
    cpu = guest.profile.cpu
    online = online_cpus(machine.host)
    if not (cpu.pin or cpu.emulator) or online is None:
        return
    found = list(cpu_findings(machine.host, guest.profile))
    for finding in found:
        yield check.failed("machine", finding.title, *finding.evidence, remedy=finding.remedy)
    if not found:
        seen = Evidence(ONLINE, cpus_text(online))
        yield check.passed("machine", "the pinned CPUs are here", seen)


LOOKS: tuple[tuple[str, str, Severity, str, Look], ...] = (
    ("guest.files", "Are the guest's files there, and may this user open them?",
     Severity.BLOCKER, "open(2)", files),
    ("guest.disks", "Are the guest's disks free?", Severity.BLOCKER,
     "QEMU, docs/system/images.rst: an image has one writer", disks),
    ("guest.nvram", "Has the guest its firmware's variables?", Severity.BLOCKER,
     "QEMU, docs/interop/firmware.json", nvram),
    ("guest.rom", "Is the ROM sound, and this card's?", Severity.BLOCKER,
     "PCI Firmware 3.3, 5.1.2", rom),
    ("guest.memory", "Is enough memory free?", Severity.WARNING,
     "Linux, drivers/vfio/vfio_iommu_type1.c: all of a guest's memory is pinned", free_memory),
    ("guest.cpus", "Are the pinned CPUs here?", Severity.BLOCKER,
     "Linux, Documentation/ABI/testing/sysfs-devices-system-cpu", cpus),
)  # fmt: skip
