"""QEMU, its firmware, libvirt and the kernel's log."""

from __future__ import annotations

import json

import pytest
from builders.host import HostTree

from diag.account import STATUS
from diag.checks.libvirt import APPARMOR, HOOKS, apparmor, device_acl, group, hard_limit, hooks
from diag.checks.logs import drivers, failures
from diag.checks.qemu import NEEDED, installed, ovmf, ovmf_files, vfio_options
from diag.logs import DMESG, JOURNAL
from diag.qemu import options_argv, version_argv
from romkit.finding import Finding, Verdict

BANNER = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c) 2003-2022"


def machine() -> HostTree:
    return HostTree().kernel().os_release("debian").said(*version_argv(), out=BANNER)


def options(*names: str) -> str:
    return "vfio-pci options:\n" + "".join(f"  {name}=<str>  - something\n" for name in names)


# QEMU.


def test_qemu_is_installed_or_how_to_install_it() -> None:
    (found,) = machine().ask(installed)
    assert (found.verdict, found.title) == (Verdict.PASS, "QEMU 7.2.22")
    commands = {"debian": "apt install", "arch": "pacman -S", "fedora": "dnf install"}
    for id_, command in commands.items():
        (found,) = HostTree().folder("/usr/bin").os_release(id_).ask(installed)
        assert found.blocks
        assert command in found.remedy


def test_a_qemu_that_nobody_asked_is_unknown_not_absent() -> None:
    (found,) = HostTree().file("/usr/bin/qemu-system-x86_64").ask(installed)
    assert found.verdict is Verdict.UNKNOWN


def test_a_part_of_a_machine_says_nothing_of_programs() -> None:
    """A directory with /sys and /etc only: nobody has looked where QEMU would be."""
    (found,) = HostTree().kernel().os_release("debian").ask(installed)
    assert found.verdict is Verdict.UNKNOWN


def test_what_vfio_pci_takes() -> None:
    (found,) = machine().said(*options_argv(), out=options(*NEEDED)).ask(vfio_options)
    assert found.verdict is Verdict.PASS
    (found,) = machine().said(*options_argv(), out=options(*NEEDED[:-1])).ask(vfio_options)
    assert found.blocks
    assert NEEDED[-1] in found.title
    nothing = "Device 'vfio-pci' not found\n"
    (found,) = machine().said(*options_argv(), err=nothing, status=1).ask(vfio_options)
    assert found.title == "this QEMU has no vfio-pci"
    (found,) = machine().ask(vfio_options)
    assert found.verdict is Verdict.UNKNOWN
    assert HostTree().folder("/usr/bin").ask(vfio_options) == ()


CODE = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
VARS = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
FOLDER = "/usr/share/qemu/firmware"


def descriptor(architecture: str = "x86_64", device: str = "flash") -> str:
    return json.dumps({
        "description": "UEFI firmware for x86_64",
        "interface-types": ["uefi"],
        "mapping": {
            "device": device,
            "executable": {"filename": CODE, "format": "raw"},
            "nvram-template": {"filename": VARS, "format": "raw"},
        },
        "targets": [{"architecture": architecture, "machines": ["pc-q35-*"]}],
        "features": ["enrolled-keys", "requires-smm", "secure-boot"],
    })  # fmt: skip


def test_ovmf_is_found_by_its_descriptor() -> None:
    tree = machine().file(f"{FOLDER}/40-x.json", descriptor()).file(CODE, b"\0").file(VARS, b"\0")
    (found,) = tree.ask(ovmf)
    assert found.verdict is Verdict.PASS
    assert "4 MiB, Secure Boot on, needs SMM" in found.title
    (found,) = tree.ask(ovmf_files)
    assert found.verdict is Verdict.PASS


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", descriptor("aarch64"), descriptor(device="memory")]
)
def test_no_ovmf_in_what_is_damaged_masked_or_for_others(text: str) -> None:
    tree = machine().file(f"{FOLDER}/40-x.json", text).file(CODE, b"\0")
    (found,) = tree.ask(ovmf)
    assert found.verdict is Verdict.FAIL
    assert "apt install ovmf" in found.remedy
    assert tree.ask(ovmf_files) == ()


def test_a_descriptor_in_etc_masks_one_of_the_same_name() -> None:
    tree = machine().file(f"{FOLDER}/40-x.json", descriptor()).file(CODE, b"\0")
    (found,) = tree.file("/etc/qemu/firmware/40-x.json", "").ask(ovmf)
    assert found.verdict is Verdict.FAIL


def test_a_descriptor_whose_files_are_gone() -> None:
    tree = machine().file(f"{FOLDER}/40-x.json", descriptor())
    (found,) = tree.ask(ovmf_files)
    assert (found.verdict, found.title) == (Verdict.FAIL, f"{CODE} is not there")
    (found,) = tree.file(CODE, b"\0").ask(ovmf_files)
    assert found.title == f"{VARS} is not there"
    assert HostTree().folder("/usr/bin").ask(ovmf) == ()


# libvirt.

XML = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>win</name><memory unit='GiB'>8</memory>{}
  <qemu:commandline>
    <qemu:arg value='-acpitable'/><qemu:arg value='file=/srv/vm/battery.aml'/>
    <qemu:arg value='-object'/><qemu:arg value='input-linux,id=k,evdev=/dev/input/by-id/kbd'/>
  </qemu:commandline>
</domain>"""
RULES = "/etc/apparmor.d/local/abstractions/libvirt-qemu"


def libvirt() -> HostTree:
    return machine().folder("/etc/libvirt").file(APPARMOR, "Y")


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ("/srv/vm/battery.aml rk,", Verdict.PASS),
        ('  owner "/srv/vm/*.aml" r,', Verdict.PASS),
        ("/srv/** rwk,", Verdict.PASS),
        ("/srv/*.aml r,", Verdict.FAIL),
        ("# /srv/vm/battery.aml r,", Verdict.FAIL),
        ("/srv/vm/battery.aml w,", Verdict.FAIL),
    ],
)
def test_apparmor_and_a_table_that_only_qemu_knows_of(rules: str, verdict: Verdict) -> None:
    (found,) = libvirt().file(RULES, rules).ask(apparmor, vm=XML.format(""))
    assert found.verdict is verdict
    assert found.subject == "/srv/vm/battery.aml"


def test_apparmor_is_not_asked_where_it_is_off() -> None:
    vm = XML.format("")
    assert libvirt().file(APPARMOR, "N").ask(apparmor, vm=vm) == ()
    assert libvirt().ask(apparmor) == ()
    (found,) = libvirt().ask(apparmor, vm=vm)
    assert f"write into {RULES}: /srv/vm/battery.aml rk" in found.remedy


@pytest.mark.parametrize(
    ("conf", "verdict"),
    [
        ("", Verdict.FAIL),
        ('#cgroup_device_acl = [ "/dev/input/by-id/kbd" ]', Verdict.FAIL),
        ('cgroup_device_acl = [\n  "/dev/null",\n  "/dev/input/by-id/kbd"\n]', Verdict.PASS),
    ],
)
def test_devices_that_only_qemu_knows_of(conf: str, verdict: Verdict) -> None:
    (found,) = libvirt().file("/etc/libvirt/qemu.conf", conf).ask(device_acl, vm=XML.format(""))
    assert found.verdict is verdict
    assert found.subject == "/dev/input/by-id/kbd"


def test_qemu_conf_is_roots() -> None:
    (found,) = libvirt().refused("/etc/libvirt/qemu.conf").ask(device_acl, vm=XML.format(""))
    assert found.verdict is Verdict.UNKNOWN
    assert "root" in found.remedy


@pytest.mark.parametrize(
    ("size", "verdict"), [("9437184", Verdict.PASS), ("8388608", Verdict.FAIL)]
)
def test_a_hard_limit_needs_room(size: str, verdict: Verdict) -> None:
    tune = f"<memtune><hard_limit unit='KiB'>{size}</hard_limit></memtune>"
    (found,) = libvirt().ask(hard_limit, vm=XML.format(tune))
    assert found.verdict is verdict
    assert libvirt().ask(hard_limit, vm=XML.format("")) == ()


@pytest.mark.parametrize(
    ("uid", "groups", "verdict"),
    [(0, "", Verdict.PASS), (1000, "27 130", Verdict.PASS), (1000, "27", Verdict.FAIL)],
)
def test_the_group_libvirt(uid: int, groups: str, verdict: Verdict) -> None:
    tree = libvirt().file("/etc/group", "root:x:0:\nlibvirt-qemu:x:64055:\nlibvirt:x:130:me")
    tree.file(STATUS, f"Uid:\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\nGroups:\t{groups}")
    (found,) = tree.ask(group)
    assert found.verdict is verdict


def test_copies_beside_a_hook_run_too() -> None:
    tree = libvirt().file(f"{HOOKS}/gpu", "#!/bin/sh")
    (found,) = tree.ask(hooks)
    assert found.verdict is Verdict.PASS
    tree.file(f"{HOOKS}/gpu.bak").file(f"{HOOKS}/gpu~").file(f"{HOOKS}/gpu.sh.dpkg-old")
    left = [finding.subject.removeprefix(f"{HOOKS}/") for finding in tree.ask(hooks)]
    assert left == ["gpu.bak", "gpu.sh.dpkg-old", "gpu~"]
    assert libvirt().ask(hooks) == ()


# The log.


def log(*lines: str) -> HostTree:
    text = "\n".join(f"[{n:12.6f}] {line}" for n, line in enumerate(lines))
    return HostTree().said(*DMESG, out=text)


def titles(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.subject, finding.title.partition(":")[0]) for finding in findings]


def test_known_failures_in_the_log() -> None:
    tree = log(
        "Linux version 6.1.0",
        "vfio-pci 0000:01:00.0: not ready 1023ms after FLR; waiting",
        "vfio-pci 0000:01:00.0: not ready 2047ms after FLR; waiting",
        "NVRM: GPU at PCI:0000:01:00: GPU has fallen off the bus.",
        "usb 1-1: new device",
    )
    findings = tree.ask(failures)
    assert titles(findings) == [
        ("0000:01:00.0", "not_ready_flr"),
        ("machine", "fallen_off_bus"),
    ]
    assert {f.verdict for f in findings} == {Verdict.FAIL}
    assert findings[0].title.endswith("(2 times)")
    assert all(f.remedy and f.evidence for f in findings)


def test_a_quiet_log() -> None:
    tree = log("Linux version 6.1.0", "usb 1-1: new device")
    (found,) = tree.ask(failures)
    assert found.verdict is Verdict.PASS
    (found,) = tree.ask(drivers)
    assert found.verdict is Verdict.PASS


def test_the_log_is_asked_of_the_journal_where_dmesg_is_roots() -> None:
    refused = "dmesg: read kernel buffer failed: Operation not permitted"
    tree = HostTree().said(*DMESG, err=refused, status=1)
    (found,) = tree.ask(failures)
    assert found.verdict is Verdict.UNKNOWN
    assert "root" in found.remedy
    assert tree.ask(drivers) == ()
    line = "[    5.1] host kernel: bbswitch: device 0000:01:00.0 is in use by driver 'nouveau'"
    tree.said(*JOURNAL, out=line)
    (found,) = tree.ask(drivers)
    assert found.verdict is Verdict.FAIL
    assert titles((found,)) == [("machine", "bbswitch_refused")]


def test_no_log_at_all_is_unknown() -> None:
    (found,) = HostTree().ask(failures)
    assert found.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("vfio_pin_pages_remote: RLIMIT_MEMLOCK (8388608) exceeded", "memlock_exceeded"),
        (
            "NVRM: Attempting to remove device 0000:01:00.0 with non-zero usage count!",
            "nvidia_in_use",
        ),
        (
            'Device is currently in use, task "wr" (197) blocked until device is released',
            "vfio_held",
        ),
        ("bbswitch: No suitable _DSM call found.", "bbswitch_no_method"),
        ("[drm] Unsupported device. GVT-g is disabled", "gvt_unsupported"),
        ("Loading of unsigned module is rejected", "module_refused"),
        ("nvhda: Not multifunction, no audio", "nvhda_no_audio"),
        ("pci 0000:01:00.0: Unsupported reset method 'bus'", "reset_method_unsupported"),
    ],
)
def test_drivers_that_refused(line: str, name: str) -> None:
    (found,) = log("Linux version 6.1.0", line).ask(drivers)
    assert found.verdict is Verdict.FAIL
    assert titles((found,)) == [("machine", name)]
    assert found.remedy
