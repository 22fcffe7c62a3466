"""KVM, permissions, memory, GVT-g, Secure Boot and lockdown."""

from __future__ import annotations

import pytest
from builders.host import HostTree

from diag.account import NODES, parse_nodes
from diag.checks.firmware import locked_down, secure_boot_modules
from diag.checks.gvt import gvt_g
from diag.checks.host import ignore_msrs, kvm, kvm_permission, vfio_permission
from diag.checks.memory import hugepages, memlock, memory
from diag.firmware import LOCKDOWN, SECURE_BOOT
from romkit.finding import Verdict

RELEASE = "6.1.0-18-amd64"
VM_4G = "qemu-system-x86_64 -m 4G -device vfio-pci,host=01:00.0"
VM_XML = "<domain type='kvm'><name>win</name><memory unit='KiB'>8388608</memory>{}</domain>"


def machine(flags: str = "fpu vmx", vendor: str = "GenuineIntel", model: int = 158) -> HostTree:
    tree = HostTree().kernel(RELEASE).os_release("debian").file("/proc/modules", "")
    return tree.file(
        "/proc/cpuinfo",
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: {model}\n"
        f"model name\t: A Processor\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: none\n",
    )


def user(tree: HostTree, uid: int = 1000, groups: str = "24 27", capabilities: int = 0) -> HostTree:
    return tree.file(
        "/proc/self/status",
        f"Name:\tdiag\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\n"
        f"Groups:\t{groups} \nCapEff:\t{capabilities:016x}\n",
    )


ROOT = 0x1FF_FFFF_FFFF


# KVM.


def test_kvm_is_there() -> None:
    (found,) = machine().file("/dev/kvm").ask(kvm)
    assert found.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("flags", "vendor", "remedy"),
    [
        ("fpu", "GenuineIntel", "VT-x"),
        ("fpu", "AuthenticAMD", "SVM Mode"),
        ("fpu hypervisor", "GenuineIntel", "nested=1"),
        ("fpu svm", "AuthenticAMD", "modprobe kvm_amd"),
        ("fpu vmx", "GenuineIntel", "modprobe kvm_intel"),
    ],
)
def test_no_kvm_and_what_brings_it(flags: str, vendor: str, remedy: str) -> None:
    (found,) = machine(flags, vendor).ask(kvm)
    assert found.blocks
    assert remedy in found.remedy


def test_a_machine_that_shows_nothing_leaves_kvm_unknown() -> None:
    (found,) = HostTree().ask(kvm)
    assert found.verdict is Verdict.UNKNOWN


LS = """\
crw-rw---- 1 0 107 10, 232 Nov 20 03:28 /dev/kvm

/dev/vfio:
total 0
drwxr-xr-x 2 0 0       60 Nov 20 03:28 devices
crw------- 1 0   0 243,   0 Nov 20 03:28 12
crw-rw-rw- 1 0   0  10, 196 Nov 20 03:28 vfio
"""


def nodes(tree: HostTree, text: str = LS) -> HostTree:
    for path in parse_nodes(text):
        tree.file(path)
    return tree.said(*NODES, out=text)


def test_the_group_of_dev_kvm_decides() -> None:
    (found,) = nodes(user(machine(), groups="107")).ask(kvm_permission)
    assert found.verdict is Verdict.PASS
    tree = nodes(user(machine())).file("/etc/group", "root:x:0:\nkvm:x:107:libvirt-qemu")
    (found,) = tree.ask(kvm_permission)
    assert found.verdict is Verdict.FAIL
    assert "usermod -aG kvm USER" in found.remedy


def test_root_may_open_all() -> None:
    (found,) = nodes(user(machine(), uid=0, groups="", capabilities=ROOT)).ask(kvm_permission)
    assert found.verdict is Verdict.PASS


def test_an_access_list_leaves_it_open() -> None:
    text = LS.replace("crw-rw---- 1 0 107", "crw-rw----+ 1 0 107")
    (found,) = nodes(user(machine()), text).ask(kvm_permission)
    assert found.verdict is Verdict.UNKNOWN
    assert found.remedy == "getfacl /dev/kvm"


def test_permissions_are_unknown_where_nobody_looked() -> None:
    (found,) = user(machine()).file("/dev/kvm").ask(kvm_permission)
    assert found.verdict is Verdict.UNKNOWN
    assert machine().ask(kvm_permission) == ()


def test_a_group_of_vfio_that_root_alone_may_open() -> None:
    (found,) = nodes(user(machine())).ask(vfio_permission)
    assert (found.subject, found.verdict) == ("/dev/vfio/12", Verdict.FAIL)
    assert 'SUBSYSTEM=="vfio", GROUP="kvm"' in found.remedy
    open_ = LS.replace("crw------- 1 0   0 243", "crw-rw---- 1 0 107 243")
    (found,) = nodes(user(machine(), groups="107"), open_).ask(vfio_permission)
    assert found.verdict is Verdict.PASS


def test_ignored_registers() -> None:
    (found,) = machine().module("kvm", {"ignore_msrs": "Y"}).ask(ignore_msrs)
    assert found.verdict is Verdict.PASS
    (found,) = machine().module("kvm", {"ignore_msrs": "N"}).ask(ignore_msrs)
    assert found.verdict is Verdict.FAIL
    assert "/etc/modprobe.d/kvm.conf" in found.remedy
    tree = machine().module("kvm", {"ignore_msrs": "N"}, builtin=True)
    (found,) = tree.file("/etc/default/grub", "").ask(ignore_msrs)
    assert "kvm.ignore_msrs=1" in found.remedy
    assert "update-grub" in found.remedy
    assert machine().ask(ignore_msrs) == ()


# Memory.


def limit(tree: HostTree, soft: str) -> HostTree:
    line = f"Max locked memory         {soft:<20} {soft:<20} bytes"
    return tree.file("/proc/self/limits", f"Limit  Soft Limit  Hard Limit  Units\n{line}\n")


def test_eight_megabytes_are_not_enough_to_lock() -> None:
    (found,) = limit(user(machine()), "8388608").ask(memlock)
    assert found.verdict is Verdict.FAIL
    assert "limits.d" in found.remedy
    (found,) = limit(user(machine()), "unlimited").ask(memlock)
    assert found.verdict is Verdict.PASS


def test_the_limit_is_measured_against_the_vm() -> None:
    enough = str(5 << 30)
    (found,) = limit(user(machine()), enough).ask(memlock, vm=VM_4G)
    assert found.verdict is Verdict.PASS
    (found,) = limit(user(machine()), str((5 << 30) - 1)).ask(memlock, vm=VM_4G)
    assert found.verdict is Verdict.FAIL
    assert f"memlock {5 << 20}" in found.remedy


def test_root_and_libvirt_are_not_limited() -> None:
    (found,) = limit(user(machine(), uid=0, capabilities=ROOT), "8388608").ask(memlock)
    assert found.verdict is Verdict.PASS
    assert limit(user(machine()), "8388608").ask(memlock, vm=VM_XML.format("")) == ()


@pytest.mark.parametrize(("total", "verdict"), [(16, Verdict.PASS), (4, Verdict.FAIL)])
def test_the_vm_has_to_fit_into_memory(total: int, verdict: Verdict) -> None:
    tree = machine().file("/proc/meminfo", f"MemTotal:       {total << 20} kB\nMemFree: 1 kB")
    (found,) = tree.ask(memory, vm=VM_4G)
    assert found.verdict is verdict
    assert tree.ask(memory) == ()


def pages(tree: HostTree, number: int, free: int) -> HostTree:
    folder = "/sys/kernel/mm/hugepages/hugepages-2048kB"
    tree.file(f"{folder}/nr_hugepages", str(number)).file(f"{folder}/free_hugepages", str(free))
    return tree.file("/proc/meminfo", f"MemTotal: {16 << 20} kB")


def test_huge_pages_for_a_vm_that_wants_them() -> None:
    vm = f"{VM_4G} -mem-path /dev/hugepages"
    (found,) = pages(machine(), 2048, 2048).ask(hugepages, vm=vm)
    assert found.verdict is Verdict.PASS
    (found,) = pages(machine(), 2048, 2047).ask(hugepages, vm=vm)
    assert found.verdict is Verdict.FAIL
    assert "vm.nr_hugepages=2048" in found.remedy
    (found,) = pages(machine(), 0, 0).ask(hugepages, vm=vm)
    assert found.verdict is Verdict.FAIL


def test_huge_pages_that_nobody_uses_or_that_starve_the_host() -> None:
    (found,) = pages(machine(), 2048, 2048).ask(hugepages, vm=VM_4G)
    assert "does not use" in found.title
    (found,) = pages(machine(), 8000, 8000).ask(hugepages)
    assert found.verdict is Verdict.FAIL
    (found,) = pages(machine(), 100, 100).ask(hugepages)
    assert found.verdict is Verdict.PASS
    assert pages(machine(), 0, 0).ask(hugepages) == ()


# GVT-g.

IGPU = "0000:00:02.0"


def with_igpu(model: int = 158, driver: str = "i915") -> HostTree:
    tree = machine(model=model)
    return tree.device(IGPU, device=0x591B, class_=0x030000, driver=driver)


def test_gvt_g_offers_its_types() -> None:
    tree = with_igpu()
    tree.folder(f"{tree.place(IGPU)}/mdev_supported_types/i915-GVTg_V5_4")
    (found,) = tree.ask(gvt_g)
    assert found.verdict is Verdict.PASS


def test_gvt_g_says_what_is_missing() -> None:
    tree = with_igpu().cmdline("quiet").file("/lib/modules/x", "")
    tree.file(f"/lib/modules/{RELEASE}/modules.dep", "kernel/drivers/gpu/drm/i915/kvmgt.ko:\n")
    (found,) = tree.file("/etc/default/grub", "").ask(gvt_g)
    assert found.verdict is Verdict.FAIL
    assert "modprobe kvmgt" in found.remedy
    assert "i915.enable_gvt=1" in found.remedy
    # The parameter's file is root's: what the command line says stands in for it.
    tree.refused("/sys/module/i915/parameters/enable_gvt").cmdline("i915.enable_gvt=1")
    (found,) = tree.ask(gvt_g)
    assert "i915.enable_gvt=1" not in found.remedy


def test_gvt_g_is_not_for_newer_processors() -> None:
    (found,) = with_igpu(model=0x7E).ask(gvt_g)  # Ice Lake
    assert found.verdict is Verdict.FAIL
    assert "Broadwell to Comet Lake" in found.title


def test_gvt_g_is_not_asked_without_intels_gpu() -> None:
    assert machine().ask(gvt_g) == ()
    assert machine(vendor="AuthenticAMD").ask(gvt_g) == ()


# Secure Boot and lockdown.

ON, OFF = b"\x06\0\0\0\x01", b"\x06\0\0\0\0"


def test_secure_boot_and_modules_of_others() -> None:
    tree = machine().file(SECURE_BOOT, ON)
    dep = f"/lib/modules/{RELEASE}/modules.dep"
    (found,) = tree.file(dep, "kernel/drivers/vfio/vfio.ko:\n").ask(secure_boot_modules)
    assert found.verdict is Verdict.PASS
    (found,) = tree.file(dep, "updates/dkms/bbswitch.ko:\n").ask(secure_boot_modules)
    assert found.verdict is Verdict.FAIL
    assert "mokutil --import" in found.remedy
    (found,) = tree.module("bbswitch").ask(secure_boot_modules)
    assert found.verdict is Verdict.PASS


def test_secure_boot_off_absent_or_unreadable() -> None:
    (found,) = machine().file(SECURE_BOOT, OFF).ask(secure_boot_modules)
    assert found.verdict is Verdict.PASS
    assert machine().ask(secure_boot_modules) == ()
    assert machine().file(SECURE_BOOT, b"\x06\0").ask(secure_boot_modules) == ()
    (found,) = machine().refused(SECURE_BOOT).ask(secure_boot_modules)
    assert found.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("[none] integrity confidentiality", Verdict.PASS),
        ("none [integrity] confidentiality", Verdict.FAIL),
        ("none integrity [confidentiality]", Verdict.FAIL),
    ],
)
def test_lockdown(text: str, verdict: Verdict) -> None:
    (found,) = machine().file(LOCKDOWN, text).ask(locked_down)
    assert found.verdict is verdict
    assert machine().ask(locked_down) == ()
