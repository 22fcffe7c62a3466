"""Which of the host's CPUs a guest runs on, and how others are kept off them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from passthrough.cpu_list import cpus_text, parse_cpus
from passthrough.steps.affinity import PinGuest
from passthrough.steps.cpuset import CGROUPS, AllowCpus, EnableController, EnterScope, MakePartition
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.step import Step
    from passthrough.vm.profile import Profile

ONLINE = "/sys/devices/system/cpu/online"
#: There while systemd runs the machine (sd_booted(3)).
SYSTEMD = "/run/systemd/system"
#: Where systemd has everything but guests, which are in machine.slice (systemd.special(7)).
_UNITS = ("init.scope", "system.slice", "user.slice")
_GUESTS = "machine.slice"


def online_cpus(host: Host) -> tuple[int, ...] | None:
    """The CPUs that run; None where the kernel does not say.

    Raises:
        Unreadable: the list is there and cannot be read.
    """
    text = host.text(ONLINE)
    return None if text is None else parse_cpus(text)


def isolated_cpus(profile: Profile) -> tuple[int, ...]:
    """The CPUs that a guest has to itself."""
    cpu = profile.cpu
    return tuple(sorted({n for pin in cpu.pin for n in pin})) if cpu.isolate else ()


def cpu_findings(host: Host, profile: Profile) -> Iterator[Finding]:
    """Why the guest cannot have the CPUs that the profile names.

    Raises:
        Unreadable: what the kernel says of its CPUs cannot be read.
    """
    cpu, online = profile.cpu, online_cpus(host)
    if online is None:
        return
    wanted = {number for pin in cpu.pin for number in pin} | set(cpu.emulator)
    seen = (Evidence(ONLINE, cpus_text(online)),)
    gone = sorted(wanted - set(online))
    if gone:
        yield _blocks("launch.cpus", f"CPU {gone[0]} is not here",
                      f"cpu.pin with CPUs of {cpus_text(online)}", seen)  # fmt: skip
    own = set(isolated_cpus(profile))
    if not own:
        return
    if not set(online) - own:
        yield _blocks("launch.isolate", "all CPUs would be the guest's, and none the host's",
                      "leave at least one CPU out of cpu.pin", seen)  # fmt: skip
    both = sorted(own & set(cpu.emulator))
    if both:
        yield _blocks("launch.isolate", f"CPU {both[0]} is of cpu.emulator, and the guest's alone",
                      "cpu.emulator with other CPUs than cpu.pin, or cpu.isolate = false",
                      seen)  # fmt: skip
    known = host.text(f"{CGROUPS}/cgroup.controllers")
    if known is None and not host.live:
        return  # a capture need not have it
    if "cpuset" not in (known or "").split():
        said = (Evidence(f"{CGROUPS}/cgroup.controllers", known or "not there"),)
        yield _blocks("launch.isolate", "the kernel keeps nobody off a CPU here: no cgroup v2 "
                      "with cpuset", "systemd.unified_cgroup_hierarchy=1 on the kernel's command "
                      "line, or cpu.isolate = false", said)  # fmt: skip


def isolate_steps(host: Host, profile: Profile) -> Iterator[Step]:
    """Everything else leaves the guest's CPUs, before QEMU is started.

    Raises:
        Unreadable: what the kernel says of its CPUs cannot be read.
    """
    own = isolated_cpus(profile)
    rest = set(online_cpus(host) or ()) - set(own)
    if not own or not rest:
        return
    if host.exists(SYSTEMD):
        for unit in _UNITS:
            yield AllowCpus(unit, cpus_text(rest))
        return
    yield EnableController("cpuset")
    yield MakePartition(_partition(profile), cpus_text(own))


def pin_steps(host: Host, profile: Profile, mark: str, monitor: str) -> Iterator[Step]:
    """The guest's CPUs and QEMU's other threads are put where they belong, once QEMU runs.

    Args:
        host: the machine.
        profile: of the guest.
        mark: what finds QEMU.
        monitor: path of its monitor.

    Raises:
        Unreadable: what the kernel says of its CPUs cannot be read.
    """
    cpu, own = profile.cpu, isolated_cpus(profile)
    if not cpu.pin and not cpu.emulator:
        return
    others = cpu.emulator
    if own and not others:
        others = tuple(sorted(set(online_cpus(host) or ()) - set(own)))
    systemd = host.exists(SYSTEMD)
    if own and systemd:  # else its CPUs are those of whoever has called us
        yield EnterScope(mark, f"dgpukit-{profile.name}.scope", _GUESTS)
    folder = _partition(profile) if own and not systemd else ""
    guest = tuple(cpus_text(pin) for pin in cpu.pin)
    yield PinGuest(mark, monitor, guest, cpus_text(others), folder)


def _partition(profile: Profile) -> str:
    return f"{CGROUPS}/dgpukit.{profile.name}"


def _blocks(check: str, title: str, remedy: str, seen: tuple[Evidence, ...]) -> Finding:
    return Finding(check, Verdict.FAIL, Severity.BLOCKER, "launch", title, seen, remedy, "")
