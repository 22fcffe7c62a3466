"""Would this VM start here, and would its guest have what its profile promises?

diag's checks look at the command line that the profile makes; what only the profile knows is
looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from diag.checks.check import Check
from diag.checks.host import kvm, kvm_permission, vfio_permission
from diag.checks.iommu import IOMMU_CHECKS
from diag.checks.memory import MEMORY_CHECKS
from diag.checks.vm import VM_CHECKS
from diag.host import Host
from diag.inventory import Inventory
from passthrough.vm.capabilities import Capabilities
from passthrough.vm.guest import Guest, read_guest
from passthrough.vm.looks import LOOKS, Look
from passthrough.vm.problem import BadProfile
from passthrough.vm.profile import Profile
from passthrough.vm.qemu import build_argv
from romkit.finding import Evidence, Finding, Severity, Verdict

#: What diag asks of a command line, and the profile answers: its tables are not written yet.
_ANSWERED = ("vm.battery",)


@dataclass(frozen=True, slots=True)
class CheckedGuest:
    """What came out.

    Attributes:
        findings: of all checks.
        guest: what was looked at; None where the profile cannot become a guest here.
    """

    findings: tuple[Finding, ...]
    guest: Guest | None


def check_profile(profile: Profile, host: Host, *, install: bool = False) -> CheckedGuest:
    """Look at a profile and at the machine that it is to run on. Nothing is changed.

    Args:
        profile: what the VM is to be.
        host: the machine, or its capture.
        install: as for an installation: its medium counts too.
    """
    known = Capabilities(host)
    try:
        guest = read_guest(profile, Inventory(host), install=install, capabilities=known)
        line = build_argv(guest, known)
    except BadProfile as bad:
        return CheckedGuest((*_refusals(bad), *_besides(profile, host, install=install)), None)
    machine = Inventory(host, vm_text=str(line))
    found = [_accepted(profile, known)]
    with_gpu = guest.gpu is not None
    for check in (kvm, kvm_permission) if profile.machine.accel == "kvm" else ():
        found += check.run(machine)
    for check in (vfio_permission, *IOMMU_CHECKS, *VM_CHECKS) if with_gpu else ():
        found += [f for f in check.run(machine) if _concerns(f, guest) and f.check not in _ANSWERED]
    for check in MEMORY_CHECKS:
        # Without a GPU nothing is pinned.
        if with_gpu or check.slug != "host.memlock":
            found += check.run(machine)
    found += looks_of(guest, machine)
    return CheckedGuest(tuple(found), guest)


def _besides(profile: Profile, host: Host, *, install: bool) -> Iterator[Finding]:
    """What is found of a guest without _ROM, where there is no ROM yet to make its tables of.

    Whoever has to dump a ROM first learns at once what else is missing.
    """
    if not profile.acpi.vbios:
        return
    without = replace(profile, acpi=replace(profile.acpi, vbios=False, vbios_rom=""))
    rom = profile.path(profile.acpi.vbios_rom or profile.gpu.rom)
    rest = check_profile(without, host, install=install)
    for finding in rest.findings if rest.guest is not None else ():
        about_it = rom in (finding.subject, *(seen.where for seen in finding.evidence))
        if finding.check not in ("guest.profile", "guest.rom") and not about_it:
            yield finding


def looks_of(guest: Guest, machine: Inventory, *slugs: str) -> Iterator[Finding]:
    """What is found of a guest's own files, disks and CPUs.

    Args:
        guest: the guest.
        machine: where it is to run.
        slugs: the checks that are made; without any, all.
    """
    for slug, title, severity, source, look in LOOKS:
        if not slugs or slug in slugs:
            yield from _bound(slug, title, severity, source, look, guest).run(machine)


def _bound(
    slug: str, title: str, severity: Severity, source: str, look: Look, guest: Guest
) -> Check:
    """A check of this guest."""

    def asked(machine: Inventory) -> Iterable[Finding]:
        return look(made, guest, machine)

    made = Check(slug, title, severity, source, asked)
    return made


def _concerns(finding: Finding, guest: Guest) -> bool:
    """Whether a finding is of the machine as a whole, or of what the guest gets."""
    passed = {str(part.source) for part in (guest.gpu, guest.audio) if part is not None}
    names_a_device = finding.subject.count(":") == 2
    return not names_a_device or finding.subject in passed


def _refusals(bad: BadProfile) -> Iterator[Finding]:
    """What a profile gets wrong about this machine, as findings that block."""
    for problem in bad.problems:
        yield Finding(
            check="guest.profile",
            verdict=Verdict.FAIL,
            severity=Severity.BLOCKER,
            subject=problem.key,
            title=problem.why,
            evidence=(Evidence(f"{bad.file}:{problem.line}", problem.key),) if problem.line else (),
            remedy=bad.hint or (f"allowed: {problem.allowed}" if problem.allowed else ""),
        )


def _accepted(profile: Profile, known: Capabilities) -> Finding:
    slug = "guest.profile"
    if known.qemu is None:
        return Finding(slug, Verdict.UNKNOWN, Severity.BLOCKER, profile.name,
                       "whether QEMU accepts the profile is not known: nobody could ask it",
                       remedy="install qemu-system-x86")  # fmt: skip
    title = "QEMU has all that the profile asks for, and nothing is there twice"
    return Finding(slug, Verdict.PASS, Severity.BLOCKER, profile.name, title,
                   (Evidence(f"{known.program} --version", known.qemu.banner),))  # fmt: skip
