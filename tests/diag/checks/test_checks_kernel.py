"""What the checks of modules and of the command line say of machines that are made up for them."""

from __future__ import annotations

import pytest
from builders.host import HostTree

from diag.checks.kernel import blacklist, driver_order, vfio_ids_place, vfio_modules, vfio_virqfd
from diag.checks.parameters import acpi_osi, isolcpus, parameters
from romkit.finding import Verdict

RELEASE = "6.1.0-18-amd64"


def machine(release: str = RELEASE) -> HostTree:
    return HostTree().kernel(release).os_release("debian").file("/proc/modules", "")


def with_modules(*paths: str) -> HostTree:
    dep = "".join(f"kernel/{path}: kernel/drivers/vfio/vfio.ko\n" for path in paths)
    return machine().file(f"/lib/modules/{RELEASE}/modules.dep", dep)


def grub(tree: HostTree) -> HostTree:
    return tree.file("/etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"')


# vfio-pci itself.


def test_vfio_pci_may_be_a_module_packed_or_not() -> None:
    for name in ("vfio-pci.ko", "vfio-pci.ko.xz", "vfio-pci.ko.zst"):
        (found,) = with_modules(f"drivers/vfio/pci/{name}").ask(vfio_modules)
        assert found.verdict is Verdict.PASS, name


def test_vfio_pci_may_be_part_of_the_kernel() -> None:
    tree = with_modules("drivers/net/e1000e.ko")
    tree.file(f"/lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n")
    (found,) = tree.ask(vfio_modules)
    assert (found.verdict, found.title) == (Verdict.PASS, "vfio-pci is part of the kernel")


def test_a_kernel_without_vfio_pci_blocks() -> None:
    # vfio-pci-core alone does not hand over anything.
    (found,) = with_modules("drivers/vfio/pci/vfio-pci-core.ko").ask(vfio_modules)
    assert found.blocks


def test_without_any_list_of_modules_it_is_not_known() -> None:
    (found,) = machine().ask(vfio_modules)
    assert found.verdict is Verdict.UNKNOWN
    (found,) = machine().kernel(RELEASE, {"CONFIG_VFIO_PCI": "m"}).ask(vfio_modules)
    assert found.verdict is Verdict.PASS
    (found,) = machine().kernel(RELEASE, {"CONFIG_KVM": "m"}).ask(vfio_modules)
    assert found.blocks


# vfio_virqfd.

LISTS = {
    "/etc/mkinitcpio.conf": "MODULES=(vfio vfio_iommu_type1 vfio_pci vfio_virqfd)",
    "/etc/mkinitcpio.conf.d/vfio.conf": "MODULES+=(\n  vfio_pci\n  vfio_virqfd\n)",
    "/etc/dracut.conf.d/vfio.conf": 'force_drivers+=" vfio vfio-pci vfio-virqfd "',
    "/etc/initramfs-tools/modules": "vfio\nvfio_virqfd",
    "/etc/modules": "# comment\nvfio_virqfd",
    "/etc/modules-load.d/vfio.conf": "vfio_virqfd",
}


@pytest.mark.parametrize("path", LISTS)
def test_virqfd_is_gone_since_linux_6_2(path: str) -> None:
    (found,) = machine("6.2.0-arch1-1").file(path, LISTS[path]).ask(vfio_virqfd)
    assert found.verdict is Verdict.FAIL
    assert found.evidence[0].where.startswith(path)
    assert path in found.remedy


def test_virqfd_was_needed_before() -> None:
    tree = machine("4.20.1-1-MANJARO").file("/etc/mkinitcpio.conf", LISTS["/etc/mkinitcpio.conf"])
    (found,) = tree.ask(vfio_virqfd)
    assert found.verdict is Verdict.PASS


def test_a_comment_about_virqfd_is_no_virqfd() -> None:
    tree = machine("6.8.0").file("/etc/mkinitcpio.conf", "# MODULES=(vfio_virqfd)\nMODULES=(vfio)")
    assert tree.ask(vfio_virqfd) == ()


def test_lists_that_only_root_reads_leave_it_unknown() -> None:
    (found,) = machine("6.8.0").refused("/etc/mkinitcpio.conf").ask(vfio_virqfd)
    assert found.verdict is Verdict.UNKNOWN
    assert "root" in found.remedy


# Ids for vfio-pci.


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/modules", "vfio-pci.ids=10de:1c20"),
        ("/etc/initramfs-tools/modules", "vfio_pci ids=10de:1c20"),
        ("/etc/modprobe.d/vfio.conf", "vfio-pci.ids=10de:1c20"),
        ("/etc/modprobe.d/vfio.conf", "options vfio-pci.ids=10de:1c20"),
    ],
)
def test_ids_where_nobody_reads_them(path: str, text: str) -> None:
    (found,) = machine().file(path, text).ask(vfio_ids_place)
    assert found.verdict is Verdict.FAIL
    assert "options vfio-pci ids=10de:1c20" in found.remedy


def test_ids_in_modprobe_d_count_for_a_module_only() -> None:
    tree = with_modules("drivers/vfio/pci/vfio-pci.ko")
    tree.file("/etc/modprobe.d/vfio.conf", "options vfio_pci disable_vga=1 ids=10de:1c20")
    (found,) = tree.ask(vfio_ids_place)
    assert found.verdict is Verdict.PASS
    tree.file(f"/lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n")
    (found,) = grub(tree).ask(vfio_ids_place)
    assert found.verdict is Verdict.FAIL
    assert "vfio-pci.ids=10de:1c20" in found.remedy
    assert "update-grub" in found.remedy


def test_nothing_about_vfio_gives_no_finding() -> None:
    tree = machine().file("/etc/modprobe.d/sound.conf", "options snd_hda_intel power_save=1")
    assert tree.cmdline("quiet").ask(vfio_ids_place) == ()


# Blacklists.


def test_a_blacklist_that_did_not_hold() -> None:
    tree = machine().file("/etc/modprobe.d/nv.conf", "blacklist nvidia\nblacklist nouveau")
    findings = tree.ask(blacklist)
    assert [(f.subject, f.verdict) for f in findings] == [
        ("nvidia", Verdict.PASS),
        ("nouveau", Verdict.PASS),
    ]
    findings = tree.module("nvidia").ask(blacklist)
    assert [f.verdict for f in findings] == [Verdict.FAIL, Verdict.PASS]
    assert "install nvidia /bin/false" in findings[0].remedy


def test_a_blacklist_on_the_command_line_holds_no_better() -> None:
    tree = machine().cmdline("modprobe.blacklist=nouveau,nvidia").module("nouveau")
    assert [f.verdict for f in tree.ask(blacklist)] == [Verdict.PASS, Verdict.FAIL]


# Who comes first.


def laptop(driver: str | None) -> HostTree:
    tree = machine().cmdline("vfio-pci.ids=10de:1c20,10de:10f1")
    return tree.device("0000:01:00.0", vendor=0x10DE, device=0x1C20, class_=0x030000, driver=driver)


def test_vfio_pci_has_the_card_or_came_too_late() -> None:
    (found,) = laptop("vfio-pci").ask(driver_order)
    assert found.verdict is Verdict.PASS
    (found,) = laptop("nvidia").ask(driver_order)
    assert found.verdict is Verdict.FAIL
    assert "softdep nvidia pre: vfio-pci" in found.remedy
    tree = laptop("nvidia").file("/etc/modprobe.d/v.conf", "softdep nvidia pre: vfio-pci")
    (found,) = tree.ask(driver_order)
    assert "initial RAM disk" in found.remedy
    assert laptop(None).ask(driver_order) == ()


# The command line.


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("vm.ignore_msrs=1", "kvm.ignore_msrs=1"),
        ("iommu=pt,", "iommu=pt"),
        ("intel_iommu=pt", "intel_iommu=on iommu=pt"),
        ("vfio-pci-ids=10de:1c20", "vfio-pci.ids=10de:1c20"),
    ],
)
def test_mistyped_parameters(word: str, meant: str) -> None:
    (found,) = grub(machine()).cmdline(f"quiet {word} splash").ask(parameters)
    assert found.verdict is Verdict.FAIL
    assert found.evidence[0].value == word
    assert f"write {meant} in place of {word}" in found.remedy


@pytest.mark.parametrize(
    "line",
    [
        "intel_iommu=on,igfx_off iommu=pt kvm.ignore_msrs=1 kvm-intel.nested=1",
        "amd_iommu=on video=HDMI-A-1:1920x1080@60 isolcpus=1,5,2,6",
        "init=/bin/sh -- vm.ignore_msrs=1",
    ],
)
def test_good_parameters(line: str) -> None:
    (found,) = machine().cmdline(line).ask(parameters)
    assert found.verdict is Verdict.PASS


def test_no_command_line_no_finding() -> None:
    assert machine().ask(parameters) == ()
    (found,) = machine().refused("/proc/cmdline").ask(parameters)
    assert found.verdict is Verdict.UNKNOWN


def test_acpi_osi_as_systemd_boot_passes_it_on() -> None:
    # The Clevo's entry: systemd-boot reads no shell syntax, so the backslashes arrive.
    line = r"rw acpi_osi=! acpi_osi=Linux acpi_osi=\"Windows 2015\" pcie_port_pm=off"
    tree = machine().file("/boot/loader/entries/manjaro.conf", f"options {line}").cmdline(line)
    (found,) = tree.ask(acpi_osi)
    assert found.verdict is Verdict.FAIL
    assert found.evidence[0].value == r"acpi_osi=\"Windows 2015\""
    assert 'acpi_osi="Windows 2015"' in found.remedy
    assert "/boot/loader/entries" in found.remedy


def test_acpi_osi_without_its_quotes() -> None:
    (found,) = grub(machine()).cmdline("acpi_osi=! acpi_osi=Windows 2015").ask(acpi_osi)
    assert found.verdict is Verdict.FAIL
    # GRUB's file is read by a shell.
    assert r"acpi_osi=\"Windows 2015\"" in found.remedy


def test_acpi_osi_as_it_should_be() -> None:
    (found,) = machine().cmdline('acpi_osi=! acpi_osi="Windows 2015" quiet').ask(acpi_osi)
    assert found.verdict is Verdict.PASS
    assert machine().cmdline("quiet").ask(acpi_osi) == ()


@pytest.mark.parametrize(
    ("value", "present", "verdict"),
    [
        ("1,5,2,6", "0-7", Verdict.PASS),
        ("domain,managed_irq,2-3", "0-3", Verdict.PASS),
        ("0-3", "0-7", Verdict.FAIL),
        ("0-7", "0-7", Verdict.FAIL),
        ("4-9", "0-7", Verdict.FAIL),
        ("all", "0-7", Verdict.FAIL),
        ("2-99999999", "0-7", Verdict.FAIL),
    ],
)
def test_isolated_processors(value: str, present: str, verdict: Verdict) -> None:
    tree = machine().cmdline(f"isolcpus={value}")
    (found,) = tree.file("/sys/devices/system/cpu/present", present).ask(isolcpus)
    assert found.verdict is verdict


def test_isolcpus_is_not_asked_of_a_line_without_it() -> None:
    assert machine().cmdline("quiet").ask(isolcpus) == ()
