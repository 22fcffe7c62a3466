"""libvirt's system daemon, spoken to by virsh: a domain is started, asked and ended.

virsh is a program of its own: what the daemon waits for never hangs us, and no binding has to fit
the installed libvirt. Whether a domain runs is read from its QEMU, which outlives the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthrough.errors import PassthroughError
from passthrough.vm.monitor import QUIT_LIMIT, Ending, Program, gone_or

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: The daemon that runs as root: that of a user has no right to hand devices over.
URI = "qemu:///system"

#: Where it listens: the one daemon, or the one of several that is for QEMU (libvirt,
#: docs/daemons.rst).
SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")

#: Seconds that a domain may take to start: its memory is pinned before it does.
START_LIMIT = 180.0
#: Seconds that any other answer may take. To end a QEMU that does not obey takes libvirt 15.
_ANSWER_LIMIT = 45.0
#: Seconds that libvirt may take to give nodes and files back after a domain's end.
_RELEASE_LIMIT = 30.0
_AGAIN = 0.1

#: In the command line of each QEMU that libvirt starts (src/qemu/qemu_command.c).
_LIBVIRTS = b"charmonitor"

NO_DAEMON = "systemctl start libvirtd, or on newer systems: systemctl start virtqemud.socket"
_NO_ENTRY = (
    "libvirt's QEMU is run as a user of its own, which must be able to enter every folder on the "
    "way: setfacl -m u:libvirt-qemu:x FOLDER; with AppArmor, see what passthrough vm xml says"
)

#: What libvirt and QEMU say, and what helps.
_HINTS = (
    (r"polkit|authentication|access denied|connect socket .*Permission", "run it with sudo"),
    (r"Failed to connect socket|client socket is closed|Connection refused", NO_DAEMON),
    (r"validat", "libvirt 8.2 or later knows all that our domains have: libvirtd --version"),
    (r"etwork .*(not active|not found)|virbr\d", "virsh net-start default"),
    (r"[Pp]ermission denied", _NO_ENTRY),
    (r"manually detached", "passthrough status says which driver has it"),
    (r"passthrough of host PCI", "diag iommu says whether there is an IOMMU; modprobe vfio-pci"),
    (r"in use by driver QEMU", "virsh list: another domain has the card"),
    (r"\bKVM\b|domaintype=kvm", "modprobe kvm_intel or kvm_amd: is there a /dev/kvm?"),
    (r"already exists|already defined", "virsh list --all"),
)  # fmt: skip


class LibvirtError(PassthroughError):
    """libvirt refuses, or does not answer."""


def trouble(said: str) -> LibvirtError:
    """What virsh has said on its standard error, with what helps."""
    lines = [line.removeprefix("error: ").strip() for line in said.splitlines()]
    lines = [line for line in lines if line]
    # The first one says only what was wanted.
    text = " ".join(lines[1:] or lines) or "virsh failed without a word"
    hint = next((hint for sign, hint in _HINTS if re.search(sign, text)), "")
    if hint is NO_DAEMON:
        text = f"libvirt's daemon does not answer: {text}"
    return LibvirtError(text[-600:], hint=hint)


def virsh(machine: Machine, *words: str, limit: float = _ANSWER_LIMIT) -> str:
    """Ask libvirt's system daemon; what it says.

    Raises:
        LibvirtError: it refuses, does not run, or virsh is not installed.
        ProgramBlocked: it does not answer in time.
    """
    if not machine.host.has_program("virsh"):
        raise LibvirtError("virsh is not installed", hint="install libvirt-clients")
    done = machine.run("virsh", "-q", "-c", URI, *words, limit=limit)
    if done.status != 0:
        raise trouble(done.err)
    return done.out.strip()


def find_domain(uuid: str) -> int | None:
    """The QEMU of a domain that libvirt has started; None where none runs. Root sees all."""
    wanted = uuid.lower().encode()
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            # Empty for a process that has ended and waits for its parent.
            words = (place / "cmdline").read_bytes().split(b"\0")
            ours = b"-uuid" in words and words[words.index(b"-uuid") + 1].lower() == wanted
            if ours and any(_LIBVIRTS in word for word in words):
                return int(place.name)
    return None


async def end_domain(
    machine: Machine,
    uuid: str,
    program: Program,
    *,
    patience: float,
    now: asyncio.Event | None = None,
    quitting: float = QUIT_LIMIT,
) -> Ending:
    """End a domain, in order if it can be: asked, destroyed, and by signals without the daemon.

    Args:
        machine: where it runs.
        uuid: of the domain.
        program: its QEMU.
        patience: seconds that the guest may take to shut down; 0 does not ask it.
        now: set by whoever does not want to wait for the guest any longer.
        quitting: seconds that QEMU may take to end.
    """
    if await program.gone(0):
        return Ending.GONE
    ending = await _ended(machine, uuid, program, patience, now, quitting)
    await asyncio.to_thread(await_release, machine, uuid)
    return ending


async def _ended(
    machine: Machine,
    uuid: str,
    program: Program,
    patience: float,
    now: asyncio.Event | None,
    quitting: float,
) -> Ending:
    # A guest that is paused cannot be asked; a daemon that is gone asks nobody.
    if (
        patience > 0
        and await _obeys(machine, "shutdown", uuid)
        and await gone_or(program, patience, now)
    ):
        return Ending.ORDERLY
    if await _obeys(machine, "destroy", uuid) and await program.gone(quitting):
        return Ending.QUIT
    program.terminate()
    if await program.gone(quitting):
        return Ending.QUIT
    program.kill()
    await program.gone(quitting)
    return Ending.KILLED


async def _obeys(machine: Machine, command: str, uuid: str) -> bool:
    try:
        await asyncio.to_thread(virsh, machine, command, uuid)
    except PassthroughError:
        return False
    return True


def await_release(machine: Machine, uuid: str, limit: float = _RELEASE_LIMIT) -> None:
    """Wait until libvirt has tidied up after a domain: it gives nodes and files back then."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if virsh(machine, "domstate", uuid) == "shut off":
                return
        except PassthroughError:  # it knows no such domain any longer, or nobody is there
            return
        time.sleep(_AGAIN)


@dataclass(frozen=True, slots=True)
class LastRun:
    """How a domain has ended, by its log.

    Attributes:
        reason: libvirt's word: shutdown, destroyed, crashed, failed; empty where there is none.
        words: the last that QEMU has said; often nothing.
    """

    reason: str
    words: str


def read_last_run(host: Host, name: str) -> LastRun:
    """The end of a domain's last run (libvirt, src/qemu/qemu_process.c: "shutting down, reason=").

    Raises:
        Unreadable: the log cannot be read.
    """
    log = host.text(f"/var/log/libvirt/qemu/{name}.log") or ""
    run = log.rpartition(": starting up ")[2] if ": starting up " in log else ""
    reasons = re.findall(r": shutting down, reason=(\w+)", run)
    words = re.findall(r"^\S+ \S*qemu\S*: (.+)$", run, re.MULTILINE)
    return LastRun(reasons[-1] if reasons else "", words[-1] if words else "")
