"""The host's side of a guest's network, for as long as the guest runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from passthrough.steps import MakeFolder, MakeTap, RunProgram
from passthrough.steps.tap import NETWORK
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.step import Step

#: Who may use a bridge without root, by QEMU's helper (QEMU, docs/tools/qemu-bridge-helper).
_BRIDGES = ("/etc/qemu/bridge.conf", "/usr/local/etc/qemu/bridge.conf")


#: The bridge of libvirt's network ``default``.
_LIBVIRTS = "virbr0"


def vde_steps(host: Host, name: str, folder: str, uid: int, logs: str) -> Iterator[Step]:
    """A VDE switch with a router that gives guests addresses, where none of that name runs.

    Args:
        host: where.
        name: of the guest.
        folder: of the switch's sockets, as QEMU's ``sock=`` has it.
        uid: number of the user whose they are.
        logs: start of the paths of the logs.
    """
    if host.exists(f"{folder}/ctl"):
        return
    if not host.exists(folder):  # in /run only root can make one
        yield MakeFolder(folder, uid)
    yield RunProgram(
        f"{name}/vde_switch", ("vde_switch", "--sock", folder, "--mode", "0600"), uid,
        f"{logs}-vde_switch.log", ready=f"{folder}/ctl",
    )  # fmt: skip
    yield RunProgram(
        f"{name}/slirpvde", ("slirpvde", "-s", folder, "-D"), uid, f"{logs}-slirpvde.log"
    )


def vde_findings(host: Host, folder: str) -> Iterator[Finding]:
    """What is missing for `vde_steps`."""
    if host.exists(f"{folder}/ctl"):
        return
    for program in ("vde_switch", "slirpvde"):
        if not host.has_program(program):
            yield _blocks(
                "network.vde", f"there is no switch at {folder}, and {program} is not installed",
                remedy="install vde2, or start the switch",
            )  # fmt: skip


def tap_steps(interface: str, uid: int, bridge: str = "") -> tuple[Step, ...]:
    """A TAP interface, unless there is one of this name."""
    return (MakeTap(interface, uid, bridge),)


def bridge_findings(host: Host, bridge: str) -> Iterator[Finding]:
    """Why QEMU's helper would not put a guest into a bridge."""
    if not host.exists(f"{NETWORK}/{bridge}"):
        libvirts = "virsh net-start default: libvirt's network default does not run"
        remedy = libvirts if bridge == _LIBVIRTS else f"ip link add {bridge} type bridge"
        yield _blocks("network.bridge", f"there is no bridge {bridge}", remedy=remedy)
        return
    if not host.exists(f"{NETWORK}/{bridge}/bridge"):
        yield _blocks("network.bridge", f"{bridge} is no bridge",
                      remedy="name the bridge that it belongs to")  # fmt: skip
        return
    for path in _BRIDGES:
        said = host.text(path)
        words = [line.split() for line in (said or "").splitlines()]
        if ["allow", bridge] in words or ["allow", "all"] in words:
            return
    yield Finding(
        "network.bridge-helper", Verdict.FAIL, Severity.WARNING, bridge,
        f"QEMU's helper may not put a guest into {bridge}",
        (Evidence(_BRIDGES[0], "no line that allows it"),),
        f"add to {_BRIDGES[0]}: allow {bridge}", "QEMU, qemu-bridge-helper.c",
    )  # fmt: skip


def _blocks(check: str, title: str, *, remedy: str) -> Finding:
    return Finding(check, Verdict.FAIL, Severity.BLOCKER, "network", title, (), remedy, "")
