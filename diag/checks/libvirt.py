"""Checks of libvirt: what its security drivers let a VM open, its limits and its hooks."""

from __future__ import annotations

import re
from collections.abc import Iterable

from diag.account import read_account
from diag.checks.check import Check, check
from diag.checks.memory import OVERHEAD, demand
from diag.checks.vm_parts import vm_of
from diag.inventory import Inventory
from romkit.finding import Evidence, Finding, Severity
from romkit.render.text import human_size

APPARMOR = "/sys/module/apparmor/parameters/enabled"
#: Where a user's own rules for VMs stand; the second is what older releases leave to edit.
RULES = (
    "/etc/apparmor.d/local/abstractions/libvirt-qemu",
    "/etc/apparmor.d/abstractions/libvirt-qemu",
)
QEMU_CONF = "/etc/libvirt/qemu.conf"
HOOKS = "/etc/libvirt/hooks/qemu.d"

#: What libvirt lets every VM open (src/qemu/qemu.conf.in, cgroup_device_acl).
_DEVICES = (
    "/dev/null", "/dev/full", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/ptmx", "/dev/kvm",
    "/dev/userfaultfd",
)  # fmt: skip
_LEFT_OVER = re.compile(
    r".*(?:~|\.(?:bak|orig|old|save|disabled|swp|rej|rpmsave|rpmnew|pacnew|pacsave|dpkg-\w+))$"
)


def _installed(machine: Inventory) -> bool:
    host = machine.host
    return (
        host.exists("/etc/libvirt") or host.has_program("libvirtd") or host.has_program("virtqemud")
    )


@check(
    "libvirt.apparmor",
    "Does AppArmor let libvirt's VM open its files?",
    Severity.BLOCKER,
    "libvirt, src/security/virt-aa-helper.c: qemu:commandline is not looked at",
)
def apparmor(machine: Inventory) -> Iterable[Finding]:
    """libvirt writes an AppArmor profile for each VM at its start, with the files that its XML
    names. It does not look into qemu:commandline: an ACPI table or a ROM that is named only there
    is refused, and QEMU says that it cannot open it.
    """
    vm = vm_of(machine)
    if vm is None or not vm.libvirt or not _installed(machine):
        return
    if machine.host.text(APPARMOR) != "Y":
        return
    wanted = [path for path in vm.demand.hidden_files if not path.startswith("/dev/")]
    if not wanted:
        return
    texts = {path: machine.host.text(path) or "" for path in RULES}
    enabled = Evidence(APPARMOR, "Y")
    missing = [path for path in wanted if not any(_allows(text, path) for text in texts.values())]
    for path in missing:
        yield apparmor.failed(
            path,
            f"AppArmor will refuse {path} to the VM",
            enabled,
            Evidence("qemu:commandline", path),
            *(Evidence(rules, "no line for it") for rules, text in texts.items() if text),
            remedy=f"write into {RULES[0]}: {path} rk, and run: systemctl reload apparmor",
        )
    for path in wanted:
        if path not in missing:
            place = next(rules for rules, text in texts.items() if _allows(text, path))
            yield apparmor.passed(
                path, "AppArmor lets the VM open it", enabled, Evidence(place, path)
            )


def _allows(rules: str, path: str) -> bool:
    """Whether a rule is for a path: ``*`` stands for what has no slash, ``**`` for anything."""
    for line in rules[: 1 << 16].splitlines():
        words = line.split("#")[0].replace('"', "").rstrip(" ,").split()
        words = [word for word in words if word not in ("owner", "audit", "allow", "file")]
        if len(words) == 2 and words[0].startswith("/") and "r" in words[1]:
            parts = re.split(r"(\*{1,2})", words[0][:500])
            pattern = "".join({"*": "[^/]*", "**": ".*"}.get(p, re.escape(p)) for p in parts[:21])
            if re.fullmatch(pattern, path):
                return True
    return False


@check(
    "libvirt.device-acl",
    "Does libvirt let the VM open its devices?",
    Severity.BLOCKER,
    "libvirt, src/qemu/qemu.conf.in, cgroup_device_acl",
)
def device_acl(machine: Inventory) -> Iterable[Finding]:
    """A VM may open only the devices that its XML names and those of cgroup_device_acl. A device
    that stands in qemu:commandline alone, like /dev/input/by-id/... for evdev or /dev/kvmfr0, is
    refused.
    """
    vm = vm_of(machine)
    if vm is None or not vm.libvirt:
        return
    shared = ("/dev/shm/", "/dev/hugepages")
    files = vm.demand.hidden_files
    wanted = [p for p in files if p.startswith("/dev/") and not p.startswith(shared)]
    if not wanted:
        return
    text = machine.host.text(QEMU_CONF) or ""
    lines = "\n".join(line.partition("#")[0] for line in text.splitlines())
    found = re.search(r"^\s*cgroup_device_acl\s*=\s*\[([^\]]*)\]", lines, re.MULTILINE)
    allowed = re.findall(r'"([^"]*)"', found[1]) if found else list(_DEVICES)
    said = Evidence(
        QEMU_CONF,
        f"cgroup_device_acl: {', '.join(allowed)}" if found else "cgroup_device_acl is not set",
    )
    for path in wanted:
        if path in allowed:
            yield device_acl.passed(path, "the VM may open it", said)
            continue
        listed = ", ".join(f'"{name}"' for name in (*allowed, path))
        yield device_acl.failed(
            path,
            f"libvirt will refuse {path} to the VM",
            Evidence("qemu:commandline", path),
            said,
            remedy=f"write into {QEMU_CONF}: cgroup_device_acl = [{listed}] and run: systemctl "
            "restart libvirtd; for evdev, <input type='evdev'> in the XML needs no such line",
        )


@check(
    "libvirt.hard-limit",
    "Does the VM's hard limit leave room for its memory?",
    Severity.BLOCKER,
    "libvirt, src/qemu/qemu_domain.c, qemuDomainGetMemLockLimitBytes; formatdomain, memtune",
)
def hard_limit(machine: Inventory) -> Iterable[Finding]:
    """``<memtune><hard_limit>`` is also how much memory QEMU may lock. With a passed-through device
    that has to be all of the VM's memory and about 1 GiB more; without a hard limit libvirt works
    it out itself.
    """
    vm = demand(machine)
    if vm is None or vm.hard_limit is None or vm.memory is None:
        return
    evidence = (
        Evidence("memtune/hard_limit", human_size(vm.hard_limit)),
        Evidence("memory", human_size(vm.memory)),
    )
    if vm.hard_limit < vm.memory + OVERHEAD:
        yield hard_limit.failed(
            "VM",
            "the hard limit is too small for a VM with a passed-through device",
            *evidence,
            remedy="remove <hard_limit> from the VM's XML (virsh edit), or set it to "
            f"{(vm.memory + OVERHEAD) >> 10} KiB",
        )
    else:
        yield hard_limit.passed("VM", "the hard limit leaves room", *evidence)


@check(
    "libvirt.group",
    "May this user speak to libvirt?",
    Severity.NOTE,
    "libvirt, src/remote/libvirtd.conf.in, unix_sock_group",
)
def group(machine: Inventory) -> Iterable[Finding]:
    """libvirt's system daemon asks for a password unless the user is in the group libvirt. VMs of
    ``qemu:///session`` do not get PCI devices as a rule: they run without the rights for it.
    """
    if not _installed(machine):
        return
    account = read_account(machine.host)
    text = machine.host.text("/etc/group")
    found = re.search(r"^(libvirtd?):[^:\n]*:(\d{1,10}):", text or "", re.MULTILINE)
    if account is None or found is None:
        return
    evidence = (
        Evidence("/etc/group", f"{found[1]} is {found[2]}"),
        Evidence(
            "/proc/self/status: Uid, Groups",
            f"{account.uid}, {' '.join(map(str, sorted(account.groups)))}",
        ),
    )
    if account.is_root or int(found[2]) in account.groups:
        yield group.passed("machine", "this user may speak to libvirt's system daemon", *evidence)
    else:
        yield group.failed(
            "machine",
            f"this user is not in the group {found[1]}",
            *evidence,
            remedy=f"run: usermod -aG {found[1]} USER, and log in again",
        )


@check(
    "libvirt.hooks",
    "Is nothing in libvirt's folder of hooks that should not run?",
    Severity.WARNING,
    "libvirt, src/util/virhook.c: every executable file of qemu.d is run",
)
def hooks(machine: Inventory) -> Iterable[Finding]:
    """libvirt runs every executable file in hooks/qemu.d, whatever its name: the copy that an
    editor left beside a hook unbinds the GPU a second time.
    """
    names = machine.host.names(HOOKS)
    if not names:
        return
    left = [name for name in names if _LEFT_OVER.fullmatch(name)]
    for name in left:
        path = f"{HOOKS}/{name}"
        yield hooks.failed(
            path, f"{name} looks like a copy that was left behind; libvirt runs it",
            Evidence(HOOKS, ", ".join(names)), remedy=f"run: chmod -x {path}, or move it elsewhere",
        )  # fmt: skip
    if not left:
        yield hooks.passed(HOOKS, "nothing but hooks in it", Evidence(HOOKS, ", ".join(names)))


LIBVIRT_CHECKS: tuple[Check, ...] = (apparmor, device_acl, hard_limit, group, hooks)
