"""Remedies name the file and the command of the boot loader that is there."""

from __future__ import annotations

import pytest
from builders.host import HostTree

from diag.boot import (
    LOADER_INFO,
    BootLoader,
    LoaderKind,
    initramfs_command,
    read_boot_loader,
    read_distribution,
)


def loader_of(tree: HostTree) -> BootLoader:
    host = tree.host()
    return read_boot_loader(host, read_distribution(host))


def said_by_loader(name: str) -> bytes:
    return b"\x06\0\0\0" + f"{name}\0".encode("utf-16-le")


GRUB = "/etc/default/grub"
ENTRIES = "/boot/loader/entries"

MACHINES = {
    "debian": (
        HostTree().os_release("debian").file(GRUB),
        "add a=b to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then run: update-grub",
    ),
    "mint": (HostTree().os_release("linuxmint", "ubuntu debian").file(GRUB), "update-grub"),
    "arch": (HostTree().os_release("arch").file(GRUB), "grub-mkconfig -o /boot/grub/grub.cfg"),
    "suse": (
        HostTree().os_release("opensuse-tumbleweed", "opensuse suse").file(GRUB),
        "grub2-mkconfig -o /boot/grub2/grub.cfg",
    ),
    # Fedora has entries of systemd-boot's form, which GRUB reads.
    "fedora": (
        HostTree().os_release("fedora").file(GRUB).file("/usr/sbin/grubby")
        .file(f"{ENTRIES}/f.conf", "options x"),
        "run: grubby --update-kernel=ALL --args=a=b",
    ),
    "clevo": (
        HostTree().os_release("manjaro", "arch").file(f"{ENTRIES}/m.conf", "options x"),
        f"add a=b to the options line in {ENTRIES}/*.conf",
    ),
    "kernel-install": (
        HostTree().os_release("debian").file(LOADER_INFO, said_by_loader("systemd-boot 252"))
        .file("/etc/kernel/cmdline", "root=x").file(GRUB),
        "add a=b to the line in /etc/kernel/cmdline, then run: kernel-install add-all",
    ),
    "pop": (
        HostTree().os_release("pop", "ubuntu debian").file("/etc/kernelstub/configuration", "{}")
        .file(f"{ENTRIES}/p.conf", "options x"),
        "run: kernelstub --add-options=a=b",
    ),
    "cachyos": (
        HostTree().os_release("cachyos", "arch").file("/etc/default/limine")
        .file(LOADER_INFO, said_by_loader("Limine 9.3")),
        "add a=b to KERNEL_CMDLINE[default] in /etc/default/limine, then run: limine-update",
    ),
    "proxmox": (
        HostTree().os_release("debian").file("/etc/kernel/proxmox-boot-uuids", "AAAA").file(GRUB)
        .file(LOADER_INFO, said_by_loader("systemd-boot 252")),
        "add a=b to the line in /etc/kernel/cmdline, then run: proxmox-boot-tool refresh",
    ),
    "proxmox with GRUB": (
        HostTree().os_release("debian").file("/etc/kernel/proxmox-boot-uuids", "AAAA").file(GRUB),
        "then run: update-grub",
    ),
    "bazzite": (
        HostTree().os_release("bazzite", "fedora").file("/run/ostree-booted").file(GRUB),
        "run: rpm-ostree kargs --append=a=b",
    ),
    "nixos": (
        HostTree().os_release("nixos"),
        "a=b to boot.kernelParams in /etc/nixos/configuration.nix, then run: nixos-rebuild boot",
    ),
    "unified image": (
        HostTree().os_release("arch").file("/etc/kernel/cmdline", "root=x")
        .file("/etc/mkinitcpio.d/linux.preset", 'default_uki="/efi/EFI/Linux/arch.efi"'),
        "add a=b to the line in /etc/kernel/cmdline, then run: mkinitcpio -P",
    ),
    "refind": (
        HostTree().os_release("arch").file("/boot/refind_linux.conf", '"Boot" "root=x"'),
        "add a=b to the lines in /boot/refind_linux.conf",
    ),
    "nothing known": (HostTree(), "add a=b to the kernel command line"),
}  # fmt: skip


@pytest.mark.parametrize("name", MACHINES)
def test_how_a_parameter_is_added(name: str) -> None:
    tree, remedy = MACHINES[name]
    assert remedy in loader_of(tree).add("a=b")


def test_values_with_spaces_are_quoted_for_the_shell() -> None:
    tree, _ = MACHINES["fedora"]
    loader = loader_of(tree)
    assert loader.add('acpi_osi="Windows 2015"').endswith("--args='acpi_osi=\"Windows 2015\"'")
    assert loader.remove("a") == "run: grubby --update-kernel=ALL --remove-args=a"
    assert loader.replace("a", "b") == f"{loader.remove('a')}; {loader.add('b')}"
    ostree = loader_of(MACHINES["bazzite"][0])
    assert ostree.add("a", "b") == "run: rpm-ostree kargs --append=a --append=b"


def test_folders_that_only_root_lists_do_not_stop_it() -> None:
    tree = HostTree().os_release("debian").file(GRUB).refused("/boot/efi/loader/entries")
    assert loader_of(tree.refused(LOADER_INFO)).kind is LoaderKind.GRUB


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("mkinitcpio", "mkinitcpio -P"),
        ("update-initramfs", "update-initramfs -u -k all"),
        ("dracut", "dracut --force --regenerate-all"),
    ],
)
def test_the_initial_ram_disk_is_made_by_what_is_installed(program: str, command: str) -> None:
    host = HostTree().os_release("debian").file(f"/usr/sbin/{program}").host()
    assert initramfs_command(host, read_distribution(host)) == command
