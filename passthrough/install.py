"""The plan of an installation: what is checked before, disks that are made, and the guest's run.

As in the field report whose ``boot-windows.sh install`` this is, the guest has its GPU from the
start where the profile names one: Windows then finds it while it is installed, and the NVIDIA
driver follows from a CD-ROM drive in the same session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from posixpath import dirname
from typing import TYPE_CHECKING

from passthrough.errors import PassthroughError
from passthrough.launch import plan_launch, title_of
from passthrough.plan import Plan
from passthrough.steps import CreateImage
from passthrough.vm.check import looks_of
from passthrough.vm.device_sections import Gpu
from passthrough.vm.image import free_space, read_image, read_medium
from passthrough.vm.monitor import PATIENCE
from passthrough.vm.reachable import reach_findings
from passthrough.vm.visible import looked_at
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.render.text import human_size

if TYPE_CHECKING:
    from diag.inventory import Inventory
    from passthrough.programs import User
    from passthrough.vm.guest import Drive, Guest
    from passthrough.vm.profile import Profile
    from passthrough.vm.qemu import CommandLine

#: How large a disk is made where nobody says it. Windows 11 is not installed on a smaller one.
SIZE = 64 << 30
#: No system that needs a GPU is installed in less.
_LEAST = 4 << 30
#: QEMU's name of the drive that is installed from.
MEDIUM = "drive-install"


def without_gpu(profile: Profile) -> Profile:
    """A profile whose guest gets no GPU, and no tables that are about it."""
    acpi = replace(profile.acpi, vbios=False, vbios_rom="")
    return replace(profile, gpu=Gpu(), acpi=acpi)


def plan_install(
    inventory: Inventory,
    guest: Guest,
    line: CommandLine,
    user: User,
    *,
    size: int = 0,
    over: bool = False,
    patience: float = PATIENCE,
    strangers: bool = False,
) -> Plan:
    """The plan of `plan_launch`, with disks that are made and checks of media and disks before.

    Args:
        inventory: the machine.
        guest: what is installed, with its medium in a drive.
        line: its QEMU command line.
        user: who QEMU is run as, and whose the disks are.
        size: bytes of disks that are made; 0 for what the profile says.
        over: whether disks may have something on them already.
        patience: seconds that the guest may take to shut down when it must.
        strangers: whether what else is in the GPU's group goes too.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    run = plan_launch(inventory, guest, line, user, patience=patience, strangers=strangers)
    missing = [d for d in guest.drives if d.disk is not None and not inventory.host.exists(d.path)]
    made = [
        CreateImage(d.path, d.format, size or (d.disk.size if d.disk else 0) or SIZE, user.uid)
        for d in missing
        if not d.is_device
    ]
    findings = [*_missing(missing), *_room(inventory, made), *_drives(guest)]
    if inventory.host.live:
        coming = {drive.path for drive in missing}
        unusable = list(reach_findings(guest, user, "install.files", made=coming))
        findings += unusable
        known = {finding.subject for finding in unusable}
        findings += [f for f in (*_media(guest), *_disks(guest, over=over))
                     if f.subject not in known]  # fmt: skip
    findings += looks_of(guest, inventory, "guest.nvram", "guest.memory")
    if any(step.format == "qcow2" for step in made) and not inventory.host.has_program("qemu-img"):
        findings.append(_fails("install.qemu-img", "qemu-img", "qemu-img is not installed",
                               "install qemu-utils (Debian), qemu-img (Fedora), or make the disk "
                               'yourself; format = "raw" needs none'))  # fmt: skip
    findings += [f for f in run.findings if f.check != "launch.files"]  # asked above, with more
    notes = (f"the picture: {looked_at(guest.profile)}", *run.notes)
    name = title_of(guest.profile.name, install=True)
    return replace(run, title=name, steps=(*made, *run.steps), findings=tuple(findings),
                   notes=notes)  # fmt: skip


def _fails(
    check: str, subject: str, title: str, remedy: str, *seen: Evidence,
    severity: Severity = Severity.BLOCKER,
) -> Finding:  # fmt: skip
    return Finding(check, Verdict.FAIL, severity, subject, title, seen, remedy, "")


def _missing(missing: list[Drive]) -> Iterator[Finding]:
    """Devices are not made, and read-only disks not installed to."""
    for drive in missing:
        if drive.is_device:
            volume = drive.disk.volume if drive.disk else ""
            group, slash, name = volume.partition("/")
            remedy = f"lvcreate -L {SIZE >> 30}G -n {name} {group}" if slash else "check the name"
            yield _fails("install.disk", drive.path, f"{drive.path} is not there", remedy)
        elif drive.disk is not None and drive.disk.read_only:
            yield _fails("install.disk", drive.path, f"{drive.path} is not there, and read-only",
                         "disk.read_only = false")  # fmt: skip


def _drives(guest: Guest) -> Iterator[Finding]:
    """There is a disk, and the installer can see it."""
    disks = [drive for drive in guest.drives if drive.disk is not None]
    if not disks:
        yield _fails("install.disk", "disk", "there is no disk to install to",
                     'a [[disk]] with path = "NAME.qcow2" in the profile')  # fmt: skip
    elif all(drive.bus == "virtio" for drive in disks) and not guest.profile.media.drivers:
        yield _fails("install.virtio", disks[0].path,
                     "all disks are virtio, and there is no medium with drivers: Windows' "
                     "installer shows no disk", "media.drivers with virtio-win's ISO image (Linux "
                     'needs none), or bus = "sata"', severity=Severity.WARNING)  # fmt: skip


def _room(inventory: Inventory, made: list[CreateImage]) -> Iterator[Finding]:
    """There is room for the disks that are made, which grow as they are written."""
    if not inventory.host.live:
        return
    wanted: dict[str, int] = {}
    for step in made:
        folder = dirname(step.path)
        wanted[folder] = wanted.get(folder, 0) + step.size
    for folder, size in wanted.items():
        free = free_space(folder)
        if free is None or free >= size:
            continue
        seen = Evidence(folder, f"{human_size(free)} free")
        title = f"{folder} has {human_size(free)} free, and the disks may grow to "
        title += human_size(size)
        severity = Severity.WARNING if free >= _LEAST else Severity.BLOCKER
        yield _fails("install.space", folder, title, "make room, another folder, or --size",
                     seen, severity=severity)  # fmt: skip


def _media(guest: Guest) -> Iterator[Finding]:
    """What is installed from is whole, and this firmware starts from it."""
    path = guest.profile.path(guest.profile.media.install)
    try:
        medium = read_medium(path)
    except PassthroughError as error:
        yield _fails("install.medium", path, error.message, "media.install with an ISO image")
        return
    if not medium.known:
        yield _fails("install.medium", path, f"{path} is no CD or DVD: no ISO 9660, no UDF",
                     "media.install with an ISO image",
                     Evidence(path, human_size(medium.size)))  # fmt: skip
    elif medium.claims > medium.size:
        yield _fails("install.medium", path, f"{path} is cut short", "load it down again",
                     Evidence(path, f"{medium.size} of {medium.claims} bytes"))  # fmt: skip
    elif (wanted := guest.profile.firmware.kind) not in medium.starts:
        can = " and ".join(medium.starts) or "no machine at all"
        yield _fails("install.medium", path, f"{path} has nothing that {wanted.upper()} starts",
                     f'firmware.kind = "{medium.starts[0]}"' if medium.starts else "another medium",
                     Evidence(f"{path}: El Torito", can), severity=Severity.WARNING)  # fmt: skip


def _disks(guest: Guest, *, over: bool) -> Iterator[Finding]:
    """Nothing that somebody may want is on a disk."""
    for drive in guest.drives:
        if drive.disk is None or drive.disk.read_only:
            continue
        try:
            image = read_image(drive.path, drive.format)
        except PassthroughError as error:
            # The installer may write to it all the same.
            yield _fails("install.over", drive.path, error.message, error.hint)
            continue
        if image is None or not image.holds:
            continue
        if over:
            yield _fails("install.over", drive.path, f"{drive.path} has {image.holds}: the "
                         "installer may replace it", "", severity=Severity.NOTE)  # fmt: skip
        else:
            yield _fails("install.over", drive.path, f"{drive.path} has {image.holds}",
                         "passthrough launch starts what is on it; --over-partitions installs all "
                         "the same")  # fmt: skip
