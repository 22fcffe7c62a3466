"""Checks of KVM and of what the user may open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diag.account import NODES, Account, Node, group_name, read_account, read_nodes
from diag.checks.check import Check, check
from diag.inventory import Inventory
from diag.kernel import ModuleState
from diag.processor import CPU_INFO, Processor, read_processor
from romkit.finding import Evidence, Finding, Severity

#: What lets a group of users open what vfio-pci offers; the file of the field report.
UDEV_RULE = 'SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660"'
UDEV_FILE = "/etc/udev/rules.d/10-qemu-kvm.rules"
_LS = " ".join(NODES)


@check("host.kvm", "Can this machine run VMs with KVM?", Severity.BLOCKER, "Linux, arch/x86/kvm")
def kvm(machine: Inventory) -> Iterable[Finding]:
    """KVM needs a processor with VT-x (vmx) or AMD-V (svm) that the firmware has not switched off,
    and the module kvm_intel or kvm_amd. /dev/kvm is there once it works.
    """
    processor = read_processor(machine.host)
    evidence = [] if processor is None else [_processor(processor)]
    if machine.host.exists("/dev/kvm"):
        yield kvm.passed("machine", "KVM is there", *evidence, Evidence("/dev/kvm", "there"))
        return
    evidence.append(Evidence("/dev/kvm", "absent"))
    if processor is None:
        yield kvm.unknown("machine", "what processor this is cannot be read: no /proc/cpuinfo")
        return
    module = processor.kvm_module
    if processor.virtualises is None:
        yield kvm.failed(
            "machine", *_no_virtualisation(processor), *evidence, remedy=_enable(processor)
        )
    elif module is not None and machine.kernel.state(module) is ModuleState.ABSENT:
        remedy = f"this kernel has no {module}: install the distribution's usual kernel"
        yield kvm.failed("machine", f"no module {module}", *evidence, remedy=remedy)
    else:
        remedy = f"run: modprobe {module or 'kvm'}; where that fails, dmesg says why"
        yield kvm.failed("machine", "KVM's module is not loaded", *evidence, remedy=remedy)


def _processor(processor: Processor) -> Evidence:
    return Evidence(f"{CPU_INFO}: flags", processor.virtualises or "neither vmx nor svm")


def _no_virtualisation(processor: Processor) -> tuple[str]:
    if processor.virtual:
        return ("this is a VM, and its host does not let it run VMs of its own",)
    return ("the processor cannot run VMs, or the firmware has switched that off",)


def _enable(processor: Processor) -> str:
    if processor.virtual:
        return "on its host, load kvm_intel or kvm_amd with nested=1 and give it -cpu host"
    name = (
        "SVM Mode"
        if processor.vendor == "AuthenticAMD"
        else "Intel Virtualization Technology (VT-x)"
    )
    return f"in the firmware's setup, enable {name}; then start cold"


@check(
    "host.kvm-permission",
    "May this user open /dev/kvm?",
    Severity.WARNING,
    "Linux, Documentation/virt/kvm/api.rst, 2: /dev/kvm",
)
def kvm_permission(machine: Inventory) -> Iterable[Finding]:
    """Who starts QEMU needs to read and write /dev/kvm; most distributions let the group kvm. For
    VMs that libvirt's system daemon starts, libvirt sees to it.
    """
    if not machine.host.exists("/dev/kvm"):
        return
    yield from _permissions(machine, kvm_permission, "/dev/kvm")


@check(
    "host.vfio-permission",
    "May this user open the groups in /dev/vfio?",
    Severity.WARNING,
    "Linux, Documentation/driver-api/vfio.rst; field report: Clevo P650HP6 (udev rule)",
)
def vfio_permission(machine: Inventory) -> Iterable[Finding]:
    """/dev/vfio/N appears when vfio-pci has a device of group N, and root alone may open it unless
    a udev rule says otherwise. For VMs that libvirt's system daemon starts, libvirt sees to it.
    """
    names = machine.host.names("/dev/vfio") or ()
    for name in names:
        if name.isdecimal():
            yield from _permissions(machine, vfio_permission, f"/dev/vfio/{name}")


def _permissions(machine: Inventory, own: Check, path: str) -> Iterator[Finding]:
    account, nodes = read_account(machine.host), read_nodes(machine.host)
    node = (nodes or {}).get(path)
    if account is None or node is None:
        title = f"who may open {path} is not known here"
        yield own.unknown(path, title, remedy=f"on the machine itself: ls -l {path}")
        return
    evidence = (
        Evidence(
            f"{_LS}: {path}", f"{node.mode}{'+' if node.access_list else ''} {node.uid} {node.gid}"
        ),
        Evidence("/proc/self/status: Uid, Groups", _ids(account)),
    )
    allowed = account.may_open(node)
    if allowed is None:
        title = f"an access list decides who may open {path}"
        yield own.unknown(path, title, remedy=f"getfacl {path}")
    elif allowed:
        by = f"root may open {path}" if account.is_root else f"this user may open {path}"
        yield own.passed(path, by, *evidence)
    else:
        yield own.failed(
            path, "this user may not open it", *evidence, remedy=_let_in(machine, node)
        )


def _ids(account: Account) -> str:
    return f"{account.uid}, {' '.join(map(str, sorted(account.groups)))}"


def _let_in(machine: Inventory, node: Node) -> str:
    group = group_name(machine.host, node.gid)
    if node.gid != 0 and node.mode[4:6] == "rw":
        return f"run: usermod -aG {group} USER, and log in again"
    if node.path.startswith("/dev/vfio/"):
        return (
            f"write into {UDEV_FILE}: {UDEV_RULE} and run: udevadm control --reload && udevadm "
            "trigger --subsystem-match=vfio; the user has to be in the group kvm"
        )
    return (
        f'write into {UDEV_FILE}: KERNEL=="kvm", GROUP="kvm", MODE="0660" and run: udevadm control '
        "--reload && udevadm trigger --name-match=kvm; the user has to be in the group kvm"
    )


@check(
    "host.ignore-msrs",
    "Does KVM ignore registers that it does not know?",
    Severity.NOTE,
    "Linux, Documentation/admin-guide/kernel-parameters.txt, kvm.ignore_msrs",
)
def ignore_msrs(machine: Inventory) -> Iterable[Finding]:
    """Windows and its drivers read registers of the processor (MSRs) that KVM may not know. Without
    ``kvm.ignore_msrs=1`` the guest gets a fault for each, and may end in a blue screen.
    """
    value = machine.kernel.module_parameter("kvm", "ignore_msrs")
    if value is None:
        return
    report = machine.kernel.module_parameter("kvm", "report_ignored_msrs")
    evidence = [Evidence("/sys/module/kvm/parameters/ignore_msrs", value)]
    if report is not None:
        evidence.append(Evidence("/sys/module/kvm/parameters/report_ignored_msrs", report))
    if value in ("Y", "1"):
        noise = "; each is written into the log" if report in ("Y", "1") else ""
        yield ignore_msrs.passed("machine", f"KVM ignores unknown registers{noise}", *evidence)
        return
    if machine.kernel.state("kvm") is ModuleState.BUILTIN:
        remedy = machine.boot_loader.add("kvm.ignore_msrs=1", "kvm.report_ignored_msrs=0")
    else:
        remedy = (
            "write into /etc/modprobe.d/kvm.conf: options kvm ignore_msrs=1 report_ignored_msrs=0"
        )
    yield ignore_msrs.failed(
        "machine", "unknown registers give the guest a fault: some Windows guests stop there",
        *evidence, remedy=remedy,
    )  # fmt: skip


HOST_CHECKS: tuple[Check, ...] = (kvm, kvm_permission, vfio_permission, ignore_msrs)
