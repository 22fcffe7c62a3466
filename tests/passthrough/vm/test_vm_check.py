"""`vm check`: each thing that would go wrong, on a machine on which everything else is right."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from builders.board import mobile
from builders.host import HostTree
from builders.laptop import DISCRETE, GPU, HYBRID, laptop
from builders.vm import CODE, FOLDER, VARS, machine, profile

from diag.account import NODES
from passthrough.vm.check import check_profile
from passthrough.vm.disks import uses
from romkit.finding import Finding, Severity, Verdict

TEXT = (
    '[memory]\nsize = "4G"\n[cpu]\npin = ["1", "2"]\n[gpu]\naddress = "01:00.0"\n'
    'rom = "vbios.rom"\n[acpi]\nbattery = true\nvbios = true\n[[disk]]\nvolume = "LINUX-VM"\n'
    '[[disk]]\npath = "data.qcow2"\n[integrated]\n'
)


def ready(board: tuple[int, int] = HYBRID) -> HostTree:
    """The laptop with all that TEXT asks for. Its card is the ROM's: 10de:1c8d."""
    tree = machine(laptop(device=0x1C8D, subsystem=board))
    tree.file("/proc/meminfo", f"MemTotal: {16 << 20} kB\nMemAvailable: {12 << 20} kB")
    tree.file("/proc/self/limits", "Max locked memory  unlimited  unlimited  bytes")
    tree.file("/proc/self/status", "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapEff:\t1ffffffffff")
    tree.file("/sys/devices/system/cpu/online", "0-7").file("/proc/self/mounts", "")
    tree.link("/dev/mapper/LINUX-VM", "../dm-1").file("/dev/dm-1")
    tree.file("/sys/class/block/dm-1/dm/name", "LINUX-VM").folder("/sys/class/block/dm-1/holders")
    return tree.file(f"{FOLDER}/data.qcow2", b"QFI\xfb")


def findings(tree: HostTree, text: str = TEXT) -> tuple[Finding, ...]:
    return check_profile(profile(text), tree.host()).findings


def blocking(tree: HostTree, text: str = TEXT) -> list[str]:
    return [f.check for f in findings(tree, text) if f.blocks]


def test_where_all_is_right_nothing_blocks() -> None:
    found = findings(ready())
    assert [(f.check, f.title) for f in found if f.blocks] == []
    passed = {f.check for f in found if f.verdict is Verdict.PASS}
    assert passed >= {
        "iommu.group", "vm.gpu", "vm.hidden", "vm.vendor-id", "vm.irqchip", "vm.subsystem",
        "vm.place", "vm.port-hotplug", "vm.rom-file", "host.memory", "host.memlock",
        "guest.files", "guest.disks", "guest.nvram", "guest.rom", "guest.memory", "guest.cpus",
    }  # fmt: skip
    # The table is not written yet, and will be: that the guest has no battery is not said.
    assert "vm.battery" not in {f.check for f in found}


WRONG: list[tuple[str, Callable[[HostTree], object], str]] = [
    ("guest.files", lambda t: t.without(f"{FOLDER}/data.qcow2"), "data.qcow2 is not there"),
    ("guest.nvram", lambda t: t.file(f"{FOLDER}/win10.vm/vars.fd", bytes(99)), "99 bytes"),
    ("guest.cpus", lambda t: t.file("/sys/devices/system/cpu/online", "0-1"), "CPU 2"),
    ("guest.disks", lambda t: t.file("/proc/self/mounts", "/dev/mapper/LINUX-VM /mnt ext4 rw 0 0"),
     "mounted at /mnt"),
    ("guest.disks", lambda t: t.file("/proc/swaps", "Filename\n/dev/dm-1 partition 1 0 -2"),
     "is swap"),
    ("guest.disks", lambda t: t.folder("/sys/class/block/dm-1/holders/dm-4").file(
        "/sys/class/block/dm-4/dm/name", "crypt"), "part of crypt"),
    ("guest.disks", lambda t: t.file("/proc/41/comm", "qemu-system-x86").link(
        "/proc/41/fd/9", f"{FOLDER}/data.qcow2"), "qemu-system-x86 (41) has"),
    ("guest.rom", lambda t: t.device(GPU, vendor=0x10DE, device=0x2520, group=1,
                                     parent="0000:00:01.0", driver="vfio-pci"), "another card"),
    ("host.memory", lambda t: t.file("/proc/meminfo", f"MemTotal: {4 << 20} kB"), "does not fit"),
    ("guest.profile", lambda t: t.without(CODE), "no UEFI firmware"),
    ("guest.profile", lambda t: t.file(f"{FOLDER}/vbios.rom", b"no ROM"), "vbios.rom"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "spoil", "title"), WRONG, ids=lambda v: str(v)[:20])
def test_what_is_wrong_blocks(check: str, spoil: Callable[[HostTree], object], title: str) -> None:
    tree = ready()
    spoil(tree)
    found = [f for f in findings(tree) if f.check == check and f.blocks]
    assert found
    assert any(title in f.title for f in found)
    assert all(f.remedy for f in found)


def test_too_little_free_memory_warns() -> None:
    tree = ready().file("/proc/meminfo", f"MemTotal: {16 << 20} kB\nMemAvailable: {1 << 20} kB")
    (found,) = [f for f in findings(tree) if f.check == "guest.memory"]
    assert (found.verdict, found.severity) == (Verdict.FAIL, Severity.WARNING)


def test_a_small_limit_of_locked_memory_is_told() -> None:
    tree = ready().file("/proc/self/limits", "Max locked memory  8388608  8388608  bytes")
    tree.file("/proc/self/status", "Uid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nCapEff:\t0")
    assert [f.verdict for f in findings(tree) if f.check == "host.memlock"] == [Verdict.FAIL]


def test_a_stranger_in_the_group_is_told() -> None:
    tree = ready().device("0000:01:00.3", class_=0x0C0330, group=1, parent="0000:00:01.0",
                          driver="xhci_hcd")  # fmt: skip
    tree.device("0000:02:00.0", vendor=0x8086, class_=0x020000, group=1, driver="e1000e")
    assert blocking(tree) == ["iommu.viable"]


def test_a_user_who_may_not_open_a_file() -> None:
    tree = ready().file("/proc/self/status", "Uid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nCapEff:\t0")
    path = f"{FOLDER}/data.qcow2"

    def verdict(mode: str, uid: int = 0, gid: int = 0) -> Verdict:
        said = f"{mode} 1 {uid} {gid} 4 Jan  1 00:00 {path}\n"
        tree.said("ls", "-lnL", path, out=said)
        (found,) = [f for f in findings(tree) if f.subject == path and f.check == "guest.files"]
        return found.verdict

    assert verdict("-rw-r--r--") is Verdict.FAIL  # it is written to
    assert verdict("-rw-rw-r--", gid=7) is Verdict.PASS
    assert verdict("-rw-------", uid=7) is Verdict.PASS
    assert verdict("-r--------", uid=7) is Verdict.FAIL
    assert verdict("-rw-rw-rw-") is Verdict.PASS
    assert verdict("-rw-r--r--+") is Verdict.UNKNOWN


def test_what_cannot_be_read_is_unknown() -> None:
    tree = ready().refused(f"{FOLDER}/win10.vm/vars.fd", errno.EACCES)
    assert [f.verdict for f in findings(tree) if f.check == "guest.nvram"] == [Verdict.UNKNOWN]
    tree = ready().refused("/proc/self/mounts")
    assert [f.verdict for f in findings(tree) if f.check == "guest.disks"] == [Verdict.UNKNOWN]
    # QEMU was asked by nobody: neither a pass nor a fail.
    assert [f.verdict for f in findings(ready()) if f.check == "guest.profile"] == [Verdict.UNKNOWN]


def test_who_may_not_use_kvm_is_told() -> None:
    tree = (
        ready().file("/dev/kvm").file("/proc/self/status", "Uid:\t7\t7\t7\t7\nGid:\t7\nCapEff:\t0")
    )
    tree.said(*NODES, out="crw-rw---- 1 0 104 10, 232 Jan  1 00:00 /dev/kvm\n")
    assert "host.kvm-permission" in {f.check for f in findings(tree) if f.verdict is Verdict.FAIL}


def test_the_other_mode_of_the_mux_is_noted() -> None:
    """The Clevo's owner told the guest 1558:65a2 while the card was 1558:65a1."""
    text = TEXT.replace('rom = "vbios.rom"', 'rom = "vbios.rom"\nsubsystem = "1558:65a2"')
    (found,) = [f for f in findings(ready(), text) if f.check == "vm.subsystem"
                and f.subject == GPU]  # fmt: skip
    assert found.verdict is Verdict.FAIL
    assert DISCRETE == (0x1558, 0x65A2)
    assert not found.blocks


def test_without_a_gpu_the_iommu_is_not_asked_about() -> None:
    names = {f.check for f in findings(machine(), "")}
    assert not [name for name in names if name.startswith(("iommu.", "vm."))]


def test_a_partition_of_a_disk_is_in_use() -> None:
    tree = HostTree().file("/dev/sdb").file("/dev/sdb1").file("/proc/self/mounts",
                           "/dev/sdb1 /data\\040x ntfs rw 0 0\nproc /proc proc rw 0 0")  # fmt: skip
    tree.file("/sys/class/block/sdb/sdb1/partition", "1")
    assert list(uses(tree.host(), "/dev/sdb")) == ["/dev/sdb1 is mounted at /data x"]
    assert list(uses(tree.host(), "/dev/sdb2")) == []


def test_variables_of_the_right_size_are_kept() -> None:
    tree = ready().file(f"{FOLDER}/win10.vm/vars.fd", bytes(len(b"firmware")))
    (found,) = [f for f in findings(tree) if f.check == "guest.nvram"]
    assert found.verdict is Verdict.PASS
    tree.without(f"{FOLDER}/win10.vm/vars.fd")
    (found,) = [f for f in findings(tree) if f.check == "guest.nvram"]
    assert f"will be copied from {VARS}" in found.title


def test_a_rom_is_judged_also_where_the_card_is_away() -> None:
    tree = machine().file(f"{FOLDER}/vbios.rom", mobile())
    text = '[gpu]\naddress = "05:00.0"\nrom = "vbios.rom"'
    (found,) = [f for f in findings(tree, text) if f.check == "guest.rom"]
    assert found.verdict is Verdict.UNKNOWN
