"""What stands in the way of a domain: the daemon, its rights, and a VM that is there already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from diag.checks.libvirt import QEMU_CONF, apparmor, device_acl
from diag.errors import Unreadable
from diag.inventory import Inventory
from passthrough.vm.libvirt_daemon import NO_DAEMON, SOCKETS, URI, trouble
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.vm.guest import Guest
    from passthrough.vm.libvirt import Domain

_CONFINES_NOBODY = re.compile(r'^\s*security_driver\s*=\s*\[?\s*"none"', re.MULTILINE)


def domain_findings(host: Host, guest: Guest, domain: Domain) -> Iterator[Finding]:
    """Why libvirt would not run a domain, as far as it can be known before.

    Args:
        host: the machine. Only a live one's daemon can be asked.
        guest: what is to run.
        domain: the same as libvirt's XML.

    Raises:
        Unreadable: a file of libvirt's cannot be read.
    """
    if guest.profile.tpm.kind == "emulator" and not host.has_program("swtpm_setup"):
        yield _blocks("launch.libvirt-tpm", "libvirt makes a TPM by swtpm_setup, which is not "
                      "installed", "install swtpm-tools")  # fmt: skip
    if not _CONFINES_NOBODY.search(host.text(QEMU_CONF) or ""):
        machine = Inventory(host, vm_text=domain.xml)
        for check in (apparmor, device_acl):
            yield from (f for f in check.run(machine) if f.verdict is Verdict.FAIL)
    if not host.has_program("virsh"):
        yield _blocks("launch.virsh", "virsh is not installed", "install libvirt-clients")
    elif host.live and not any(host.exists(socket) for socket in SOCKETS):
        yield _blocks("launch.libvirtd", "libvirt's daemon does not run", NO_DAEMON,
                      *(Evidence(socket, "not there") for socket in SOCKETS))  # fmt: skip
    else:
        yield from _known_domains(host, guest)


def domain_notes(host: Host, guest: Guest) -> Iterator[str]:
    """What is otherwise with libvirt than with a QEMU of our own."""
    if guest.profile.tpm.kind == "emulator":
        yield (
            "libvirt keeps the TPM's memory itself (/var/lib/libvirt/swtpm): what the guest has "
            "stored in that of --qemu is not there"
        )
    if host.exists(f"/etc/libvirt/qemu/{guest.profile.name}.xml"):
        yield (
            f"libvirt's own definition of {guest.profile.name} stays as it is: this run is as the "
            "profile says"
        )


def _known_domains(host: Host, guest: Guest) -> Iterator[Finding]:
    profile = guest.profile
    argv = ("virsh", "-q", "-c", URI, "list", "--all", "--uuid", "--name")
    try:
        said = host.run(*argv)
    except Unreadable as error:
        yield _unknown(error.message)
        return
    if said is None:  # a capture that does not tell
        return
    if said.status != 0:
        why = trouble(said.err)
        if why.hint == NO_DAEMON:
            yield _blocks("launch.libvirtd", why.message, NO_DAEMON)
        else:
            yield _unknown(why.message, why.hint)
        return
    pairs = [line.split(maxsplit=1) for line in said.out.splitlines() if line.strip()]
    for uuid, name in (pair for pair in pairs if len(pair) == 2):
        seen = Evidence("virsh list --all", f"{uuid} {name}")
        if (name == profile.name) != (uuid.lower() == profile.uuid.lower()):
            what = "name" if name == profile.name else "UUID"
            other = f"UUID {uuid}" if what == "name" else f"name {name}"
            yield _blocks("launch.libvirt-other", f"libvirt has another VM of this {what}, with "
                          f"the {other}", f'give the profile another name, or machine.uuid = "'
                          f'{uuid}" if it is the same VM' if what == "name" else
                          "give the profile another machine.uuid", seen)  # fmt: skip
        elif name == profile.name and _runs(host, uuid):
            yield _blocks("launch.libvirt-runs", f"{name} runs already, and not by us",
                          f"virsh shutdown {name}", seen)  # fmt: skip


def _runs(host: Host, uuid: str) -> bool:
    said = host.run("virsh", "-q", "-c", URI, "domstate", uuid)
    return said is not None and said.status == 0 and said.out.strip() != "shut off"


def _unknown(why: str, remedy: str = "") -> Finding:
    return Finding("launch.libvirtd", Verdict.UNKNOWN, Severity.BLOCKER, "launch",
                   f"libvirt's daemon was not asked: {why}", (), remedy, "")  # fmt: skip


def _blocks(check: str, title: str, remedy: str, *seen: Evidence) -> Finding:
    return Finding(check, Verdict.FAIL, Severity.BLOCKER, "launch", title, seen, remedy, "")
