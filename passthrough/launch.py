"""The plan that makes a guest run: its card, parts of another, memory, network, TPM, QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from diag.device import DEVICES
from passthrough.detach import AudioPolicy, plan_detach
from passthrough.journal import VOLATILE
from passthrough.plan import Plan
from passthrough.programs import FIRST_SOCKET
from passthrough.steps import GiveNode, MakeFolder, RunDomain, RunProgram
from passthrough.steps.mdev import MDEVS
from passthrough.vm.check import looks_of
from passthrough.vm.cpus import SYSTEMD, cpu_findings, isolate_steps, pin_steps
from passthrough.vm.libvirt_findings import domain_findings, domain_notes
from passthrough.vm.mdev import mdev_findings, mdev_steps
from passthrough.vm.memory import page_findings, page_steps
from passthrough.vm.monitor import PATIENCE
from passthrough.vm.network import bridge_findings, tap_steps, vde_findings, vde_steps
from passthrough.vm.reachable import reach_findings
from passthrough.vm.tpm import tpm_findings, tpm_steps
from romkit.finding import Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.inventory import Inventory
    from passthrough.programs import User
    from passthrough.step import Step
    from passthrough.vm.guest import Guest
    from passthrough.vm.libvirt import Domain
    from passthrough.vm.qemu import CommandLine

#: Bytes that QEMU pins besides the guest's memory: libvirt's choice too.
_BESIDES = 1 << 30
_AUDIO = {
    "pass": AudioPolicy.VFIO_PCI, "vfio-pci": AudioPolicy.VFIO_PCI, "none": AudioPolicy.NONE,
    "pci-stub": AudioPolicy.PCI_STUB,
}  # fmt: skip


def title_of(name: str, *, install: bool = False) -> str:
    """What the run of a guest is called in the journal."""
    return f"{'install' if install else 'launch'} {name}"


def folder_of(name: str) -> str:
    """Where the sockets of a guest's session are."""
    return f"{VOLATILE}/guest-{name}"


def monitor_of(name: str) -> str:
    """The socket of a guest's monitor."""
    return f"{folder_of(name)}/monitor"


def plan_launch(
    inventory: Inventory,
    guest: Guest,
    line: CommandLine,
    user: User,
    *,
    domain: Domain | None = None,
    patience: float = PATIENCE,
    strangers: bool = False,
) -> Plan:
    """A plan that makes a guest run: card, parts of it, memory, network, TPM, QEMU.

    Args:
        inventory: the machine.
        guest: what is to run.
        line: its QEMU command line.
        user: who QEMU is run as.
        domain: the guest as libvirt's, which then starts QEMU as a user of its own.
        patience: seconds that the guest may take to shut down when it must.
        strangers: whether what else is in the GPU's group goes too.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    profile, host = guest.profile, inventory.host
    name, uid = profile.name, user.uid
    logs = folder_of(name)
    steps: list[Step] = []
    findings = list(_findings(inventory, guest, user, domain))
    # A disk with two writers is lost, and a driver finds no card with another one's ROM.
    findings += looks_of(guest, inventory, "guest.disks", "guest.rom")
    if host.live and domain is None:  # libvirt's QEMU is another user, with rights of its own
        findings += reach_findings(guest, user, "launch.files")
    notes: list[str] = list(line.notes if domain is None else ())
    device = None if guest.gpu is None else inventory.device(guest.gpu.source)
    if guest.gpu is not None and device is None:
        findings.append(_blocks("launch.no-gpu", f"there is no {guest.gpu.source}",
                                "passthrough power on, or diag gpu"))  # fmt: skip
    if device is not None:
        audio = _AUDIO[profile.gpu.audio]
        detach = plan_detach(inventory, device, audio=audio, strangers=strangers)
        steps += detach.steps
        findings += detach.findings
    # Its folder comes early: what is in it goes last.
    steps.append(MakeFolder(folder_of(name), uid if domain is None else 0))
    if device is not None and domain is None:
        steps.append(GiveNode(f"{DEVICES}/{device.address}", uid))
    part = profile.integrated
    if part.mdev and part.address is not None:
        findings += mdev_findings(inventory, part.address, part.mdev, profile.mdev_uuid)
        steps += mdev_steps(part.address, part.mdev, profile.mdev_uuid)
        if domain is None:
            steps.append(GiveNode(f"{MDEVS}/{profile.mdev_uuid}", uid))
    findings += page_findings(host, profile.memory)
    steps += page_steps(host, profile.memory)
    for card in guest.cards:
        network = card.network
        if network.kind == "vde":
            findings += vde_findings(host, network.socket)
            steps += vde_steps(host, name, network.socket, uid, logs)
        elif network.kind == "tap":
            steps += tap_steps(network.interface, uid)
        elif network.kind == "bridge":
            found = bridge_findings(host, network.interface)
            # libvirt needs no helper: it is root.
            findings += [f for f in found if domain is None or f.blocks]
    if profile.tpm.kind == "emulator":
        findings += tpm_findings(host)
        own, version = profile.own_folder, profile.tpm.version
        if domain is None:  # libvirt starts it itself
            steps += tpm_steps(name, f"{own}/swtpm.sock", own, uid, logs, version=version)
    if domain is None or host.exists(SYSTEMD):
        steps += isolate_steps(host, profile)
    if domain is None:
        steps.append(_qemu(guest, line, uid, patience))
        steps += pin_steps(host, profile, f"{name}/qemu", monitor_of(name))
    else:
        findings += domain_findings(host, guest, domain)
        notes += (*domain.notes, *domain_notes(host, guest))
        file = f"{folder_of(name)}/domain.xml"
        steps.append(RunDomain(name, profile.uuid, file, domain.xml, patience))
    return Plan(title_of(name), tuple(steps), tuple(findings), tuple(notes), keeps=True, held=True)


def _qemu(guest: Guest, line: CommandLine, uid: int, patience: float) -> Step:
    profile = guest.profile
    pinned = guest.gpu is not None or profile.integrated.mdev or profile.memory.lock
    # QEMU is given the socket that it listens at: whoever comes early waits in it.
    chardev = f"socket,id=session,fd={FIRST_SOCKET},server=on,wait=off"
    argv = (*line.argv, "-chardev", chardev, "-mon", "chardev=session,mode=control")
    return RunProgram(
        f"{profile.name}/qemu", argv, uid, f"{folder_of(profile.name)}-qemu.log",
        (monitor_of(profile.name),), monitor=monitor_of(profile.name),
        memlock=profile.memory.size + _BESIDES if pinned else 0, patience=patience,
    )  # fmt: skip


def _findings(
    inventory: Inventory, guest: Guest, user: User, domain: Domain | None
) -> Iterator[Finding]:
    host, profile = inventory.host, guest.profile
    yield from cpu_findings(host, profile)
    if user.uid == 0 and domain is None:
        yield Finding(
            "launch.root", Verdict.FAIL, Severity.WARNING, "QEMU",
            "QEMU would run as root: a guest that breaks out of it has the whole machine", (),
            "call it by sudo from your own account, or name one: --user NAME", "",
        )  # fmt: skip
    if profile.machine.accel == "kvm" and not host.exists("/dev/kvm"):
        yield _blocks("launch.kvm", "there is no /dev/kvm",
                      "switch virtualisation on in the firmware's setup; modprobe kvm_intel or "
                      "kvm_amd")  # fmt: skip
    if not host.has_program(guest.program) and not host.exists(guest.program):
        yield _blocks("launch.qemu", f"{guest.program} is not installed",
                      "install qemu-system-x86")  # fmt: skip


def _blocks(check: str, title: str, remedy: str) -> Finding:
    return Finding(check, Verdict.FAIL, Severity.BLOCKER, "launch", title, (), remedy, "")
