"""Checks of memory: what a VM with a passed-through device locks, and huge pages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from diag.account import LIMITS, locked_memory_limit, read_account
from diag.checks.check import Check, check
from diag.checks.vm_parts import vm_of
from diag.demand import VmDemand
from diag.host import Host
from diag.inventory import Inventory
from romkit.finding import Evidence, Finding, Severity
from romkit.render.text import human_size

HUGE_PAGES = "/sys/kernel/mm/hugepages"
MEMORY = "/proc/meminfo"

#: QEMU locks its VM's memory and the cards' regions on top; libvirt adds the same for VFIO
#: (src/qemu/qemu_domain.c, qemuDomainGetMemLockLimitBytes).
OVERHEAD = 1 << 30
#: Less than any Windows guest; without a VM to look at, a smaller limit is surely too small.
_SMALL = 4 << 30


def demand(machine: Inventory) -> VmDemand | None:
    """What the VM that is meant needs; None where none is meant.

    Raises:
        Unreadable: its description cannot be understood.
    """
    vm = vm_of(machine)
    return None if vm is None else vm.demand


def _meminfo(host: Host, key: str) -> int | None:
    found = re.search(rf"^{key}:\s+(\d{{1,15}}) kB", host.text(MEMORY) or "", re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _vm(vm: VmDemand) -> Evidence:
    return Evidence("the VM's memory", human_size(vm.memory or 0))


@check(
    "host.memory",
    "Is there enough memory for the VM?",
    Severity.BLOCKER,
    "Linux, drivers/vfio/vfio_iommu_type1.c: all of a guest's memory is pinned",
)
def memory(machine: Inventory) -> Iterable[Finding]:
    """A passed-through device may write anywhere in the guest's memory, so all of it is pinned from
    the first moment: it can be neither swapped out nor shared.
    """
    vm, total = demand(machine), _meminfo(machine.host, "MemTotal")
    if vm is None or vm.memory is None or total is None:
        return
    evidence = (_vm(vm), Evidence(f"{MEMORY}: MemTotal", human_size(total)))
    if vm.memory + OVERHEAD > total:
        yield memory.failed(
            "VM",
            "the VM's memory does not fit beside the host",
            *evidence,
            remedy=f"give the VM at most {human_size(max(total - 2 * OVERHEAD, 0) >> 30 << 30)}",
        )
    else:
        yield memory.passed("VM", "the VM's memory fits", *evidence)


@check(
    "host.memlock",
    "May this user lock a VM's memory?",
    Severity.WARNING,
    "getrlimit(2), RLIMIT_MEMLOCK; Linux, drivers/vfio/vfio_iommu_type1.c",
)
def memlock(machine: Inventory) -> Iterable[Finding]:
    """VFIO pins all of a guest's memory, and that counts against the limit of the user who starts
    QEMU. Where it is smaller, QEMU ends with ``vfio_dma_map = -12 (Cannot allocate memory)``.
    Root is not limited; for its own VMs libvirt raises the limit.
    """
    limit, account = locked_memory_limit(machine.host), read_account(machine.host)
    whole, vm = vm_of(machine), demand(machine)
    if limit is None or (whole is not None and whole.libvirt):
        return
    said = "unlimited" if limit == (1 << 64) - 1 else human_size(limit)
    evidence = [Evidence(f"{LIMITS}: Max locked memory", said)]
    if account is not None and account.locks_anything:
        evidence.append(
            Evidence("/proc/self/status: CapEff", f"{account.capabilities:x} (IPC_LOCK)")
        )
        yield memlock.passed("machine", "this user may lock any amount of memory", *evidence)
        return
    needed = (vm.memory or 0) + OVERHEAD if vm is not None else _SMALL
    if vm is not None:
        evidence.append(_vm(vm))
    if limit < needed:
        wanted = f"{needed >> 10}" if vm is not None else "unlimited"
        yield memlock.failed(
            "machine",
            f"this user may lock {said}, a VM with a GPU needs "
            f"{'' if vm else 'more than '}{human_size(needed)}",
            *evidence,
            remedy=f"write into /etc/security/limits.d/vfio.conf: USER - memlock {wanted}, and log "
            "in again (in a systemd unit: LimitMEMLOCK=infinity)",
        )
    else:
        yield memlock.passed("machine", "this user may lock enough memory", *evidence)


@check(
    "host.hugepages",
    "Are huge pages set apart as the VM needs them?",
    Severity.WARNING,
    "Linux, Documentation/admin-guide/mm/hugetlbpage.rst",
)
def hugepages(machine: Inventory) -> Iterable[Finding]:
    """Huge pages make a guest's memory faster. What is set apart for them is lost for everything
    else; a VM that wants them does not start when too few are free.
    """
    vm, total = demand(machine), _meminfo(machine.host, "MemTotal")
    evidence, free, reserved = [], 0, 0
    for name in machine.host.names(HUGE_PAGES) or ():
        found = re.fullmatch(r"hugepages-(\d{1,12})kB", name)
        if found is None:
            continue
        size = int(found[1]) << 10
        all_, left = (
            _number(machine.host, f"{HUGE_PAGES}/{name}/{part}_hugepages")
            for part in ("nr", "free")
        )
        if all_:
            evidence.append(Evidence(f"{HUGE_PAGES}/{name}", f"{all_} pages, {left} of them free"))
        free, reserved = free + left * size, reserved + all_ * size
    wants = vm is not None and vm.hugepages
    if wants and vm is not None and vm.memory is not None and free < vm.memory:
        pages = -(-vm.memory // (2 << 20))
        yield hugepages.failed(
            "VM",
            f"the VM wants {human_size(vm.memory)} of huge pages, {human_size(free)} are free",
            *evidence,
            _vm(vm),
            remedy=f"run: sysctl vm.nr_hugepages={pages}; where memory is in pieces already: "
            + machine.boot_loader.add(f"hugepages={pages}"),
        )
    elif reserved and total is not None and total - reserved < OVERHEAD:
        yield hugepages.failed(
            "machine",
            f"huge pages leave the host only {human_size(max(total - reserved, 0))}",
            *evidence,
            Evidence(f"{MEMORY}: MemTotal", human_size(total)),
            remedy="run: sysctl vm.nr_hugepages=N with a smaller number",
        )
    elif reserved and vm is not None and not wants:
        yield hugepages.failed(
            "VM",
            f"{human_size(reserved)} are set apart for huge pages, which this VM does not use",
            *evidence,
            remedy="add <memoryBacking><hugepages/></memoryBacking> to the VM (in QEMU's line: "
            "-mem-path /dev/hugepages), or set no huge pages apart",
        )
    elif reserved:
        yield hugepages.passed("machine", f"{human_size(free)} of huge pages are free", *evidence)


def _number(host: Host, path: str) -> int:
    found = re.fullmatch(r"\d{1,15}", host.text(path, 64) or "", re.ASCII)
    return int(found[0]) if found else 0


MEMORY_CHECKS: tuple[Check, ...] = (memory, memlock, hugepages)
