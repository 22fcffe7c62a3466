"""The distribution and the boot loader, so that a remedy names the right file and command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import Enum

from diag.errors import Unreadable
from diag.host import Host

#: What the boot loader says of itself (https://systemd.io/BOOT_LOADER_INTERFACE): UTF-16.
LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is installed (os-release(5)).

    Attributes:
        id: like ``debian``; ``linux`` where it is not known.
        like: what it descends from, nearest first.
        version: like ``12``; empty for one that rolls.
    """

    id: str
    like: tuple[str, ...] = ()
    version: str = ""

    @property
    def family(self) -> str:
        """debian, fedora, arch, suse, nixos, gentoo, void, alpine, or the id itself."""
        families = {
            "debian": "debian", "ubuntu": "debian", "fedora": "fedora", "rhel": "fedora",
            "arch": "arch", "suse": "suse", "opensuse": "suse",
        }  # fmt: skip
        for name in (self.id, *self.like):
            if name.partition("-")[0] in families:
                return families[name.partition("-")[0]]
        return self.id


def read_distribution(host: Host) -> Distribution:
    """The distribution of a host."""
    said = host.text("/etc/os-release") or host.text("/usr/lib/os-release") or ""
    values: dict[str, str] = {}
    for line in said.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            values[key.strip()] = value.strip().strip("\"'")
    like = tuple(values.get("ID_LIKE", "").split())
    return Distribution(values.get("ID") or "linux", like, values.get("VERSION_ID", ""))


#: A program or a part of one → the package that has it, by family.
PACKAGES = {
    "qemu": {
        "debian": "qemu-system-x86", "fedora": "qemu-kvm", "arch": "qemu-desktop",
        "suse": "qemu-x86", "nixos": "qemu", "void": "qemu", "alpine": "qemu-system-x86_64",
        "gentoo": "app-emulation/qemu",
    },
    "ovmf": {
        "debian": "ovmf", "fedora": "edk2-ovmf", "arch": "edk2-ovmf", "suse": "qemu-ovmf-x86_64",
        "nixos": "OVMF", "void": "edk2-ovmf", "alpine": "ovmf", "gentoo": "sys-firmware/edk2",
    },
    "apparmor-tools": {"debian": "apparmor-utils", "arch": "apparmor", "suse": "apparmor-utils"},
}  # fmt: skip
_INSTALL = {
    "debian": "apt install", "fedora": "dnf install", "arch": "pacman -S", "suse": "zypper install",
    "void": "xbps-install", "alpine": "apk add", "gentoo": "emerge",
}  # fmt: skip


def install_command(distribution: Distribution, what: str) -> str:
    """The command that installs one of `PACKAGES` there."""
    package = PACKAGES[what].get(distribution.family, what)
    if distribution.family == "nixos":
        return f"add {package} to environment.systemPackages"
    command = _INSTALL.get(distribution.family)
    return f"{command} {package}" if command else f"install the package {package}"


class LoaderKind(Enum):
    """Who hands the command line to the kernel."""

    GRUB = "GRUB"
    GRUBBY = "GRUB with grubby"
    SYSTEMD_BOOT = "systemd-boot"
    KERNEL_INSTALL = "systemd-boot with kernel-install"
    KERNELSTUB = "kernelstub"
    LIMINE = "Limine"
    PROXMOX = "Proxmox' boot tool"
    REFIND = "rEFInd"
    OSTREE = "rpm-ostree"
    NIXOS = "NixOS"
    UKI = "a unified kernel image"
    UNKNOWN = "an unknown boot loader"


@dataclass(frozen=True, slots=True)
class BootLoader:
    """Where kernel parameters are changed on this host.

    Attributes:
        kind: which boot loader.
        file: the file with the parameters; empty where a command keeps them.
        place: what in the file holds them, like a variable's name.
        update: the command that makes a change count; empty where none is needed.
        seen: where it was recognised.
    """

    kind: LoaderKind
    file: str = ""
    place: str = ""
    update: str = ""
    seen: str = ""

    @property
    def quotes_escaped(self) -> bool:
        """Whether the file is read by a shell, so that a quote in a value needs a backslash."""
        return self.kind in (LoaderKind.GRUB, LoaderKind.LIMINE)

    def add(self, *parameters: str) -> str:
        """How to add parameters, as a sentence or a command."""
        return self._change(parameters, remove=False)

    def remove(self, *parameters: str) -> str:
        """How to take parameters away."""
        return self._change(parameters, remove=True)

    def replace(self, old: str, new: str) -> str:
        """How to put one parameter in the place of another."""
        if self._command(remove=True) or self.kind is LoaderKind.OSTREE:
            return f"{self.remove(old)}; {self.add(new)}"
        return self._file_change(f"write {new} in place of {old} in")

    def _change(self, parameters: tuple[str, ...], *, remove: bool) -> str:
        words = " ".join(parameters)
        if self.kind is LoaderKind.OSTREE:
            option = "delete" if remove else "append"
            options = " ".join(f"--{option}={shlex.quote(word)}" for word in parameters)
            return f"run: rpm-ostree kargs {options}"
        command = self._command(remove=remove)
        if command:
            return f"run: {command}{shlex.quote(words)}"
        return self._file_change(f"remove {words} from" if remove else f"add {words} to")

    def _command(self, *, remove: bool) -> str:
        if self.kind is LoaderKind.GRUBBY:
            return f"grubby --update-kernel=ALL --{'remove-' if remove else ''}args="
        if self.kind is LoaderKind.KERNELSTUB:
            return f"kernelstub --{'delete-options' if remove else 'add-options'}="
        return ""

    def _file_change(self, what: str) -> str:
        where = f"{self.place} in {self.file}" if self.place and self.file else self.file
        then = f", then run: {self.update}" if self.update else ""
        return f"{what} {where or 'the kernel command line'}{then}"


def read_boot_loader(host: Host, distribution: Distribution) -> BootLoader:
    """The boot loader of a host, by what it says of itself and by its files.

    Where a folder of the boot partition cannot be listed, what else is there decides.
    """
    for find in (
        _immutable,
        _proxmox,
        _kernelstub,
        _limine,
        _unified,
        _systemd_boot,
        _grub,
        _refind,
    ):
        found = find(host, distribution)
        if found is not None:
            return found
    return BootLoader(LoaderKind.UNKNOWN)


def _immutable(host: Host, distribution: Distribution) -> BootLoader | None:
    if distribution.family == "nixos":
        file = "/etc/nixos/configuration.nix"
        return BootLoader(
            LoaderKind.NIXOS, file, "boot.kernelParams", "nixos-rebuild boot", "/etc/os-release"
        )
    if host.exists("/run/ostree-booted"):
        return BootLoader(LoaderKind.OSTREE, seen="/run/ostree-booted")
    return None


def _proxmox(host: Host, distribution: Distribution) -> BootLoader | None:
    if not host.exists("/etc/kernel/proxmox-boot-uuids"):
        return None
    if "systemd-boot" in _loader_info(host):
        return BootLoader(
            LoaderKind.PROXMOX, "/etc/kernel/cmdline", "the line", "proxmox-boot-tool refresh",
            LOADER_INFO,
        )  # fmt: skip
    return BootLoader(
        LoaderKind.GRUB, "/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT", "update-grub",
        "/etc/kernel/proxmox-boot-uuids",
    )  # fmt: skip


def _kernelstub(host: Host, distribution: Distribution) -> BootLoader | None:
    path = "/etc/kernelstub/configuration"
    return BootLoader(LoaderKind.KERNELSTUB, seen=path) if host.exists(path) else None


def _limine(host: Host, distribution: Distribution) -> BootLoader | None:
    info = _loader_info(host)
    if host.exists("/etc/default/limine") and ("limine" in info or not info):
        return BootLoader(
            LoaderKind.LIMINE, "/etc/default/limine", "KERNEL_CMDLINE[default]", "limine-update",
            "/etc/default/limine",
        )  # fmt: skip
    for path in ("/boot/limine.conf", "/boot/limine/limine.conf", "/boot/efi/limine.conf"):
        if "limine" in info and _there(host, path):
            return BootLoader(LoaderKind.LIMINE, path, "cmdline:", "", path)
    return None


def _unified(host: Host, distribution: Distribution) -> BootLoader | None:
    for name in _listed(host, "/etc/mkinitcpio.d"):
        path = f"/etc/mkinitcpio.d/{name}"
        if any(
            line.split("=")[0].endswith("_uki") for line in (host.text(path) or "").splitlines()
        ):
            return BootLoader(
                LoaderKind.UKI, "/etc/kernel/cmdline", "the line", "mkinitcpio -P", path
            )
    return None


def _systemd_boot(host: Host, distribution: Distribution) -> BootLoader | None:
    info = _loader_info(host)
    entries = None
    for folder in ("/boot", "/efi", "/boot/efi"):
        path = f"{folder}/loader/entries"
        if any(name.endswith(".conf") for name in _listed(host, path)):
            entries = path
            break
    # Fedora's GRUB reads entries of the same form: grubby is asked for first there.
    if "systemd-boot" not in info and (info or entries is None or _has_grub(host)):
        return None
    seen = LOADER_INFO if info else str(entries)
    if host.exists("/etc/kernel/cmdline"):
        update = "kernel-install add-all"
        if host.has_program("reinstall-kernels"):
            update = "reinstall-kernels"
        return BootLoader(
            LoaderKind.KERNEL_INSTALL, "/etc/kernel/cmdline", "the line", update, seen
        )
    file = f"{entries or '/boot/loader/entries'}/*.conf"
    return BootLoader(LoaderKind.SYSTEMD_BOOT, file, "the options line", "", seen)


def _has_grub(host: Host) -> bool:
    return host.exists("/etc/default/grub")


def _grub(host: Host, distribution: Distribution) -> BootLoader | None:
    if not _has_grub(host):
        return None
    path = "/etc/default/grub"
    if host.has_program("grubby"):
        return BootLoader(LoaderKind.GRUBBY, seen=path)
    update = {
        "debian": "update-grub",
        "fedora": "grub2-mkconfig -o /boot/grub2/grub.cfg",
        "suse": "grub2-mkconfig -o /boot/grub2/grub.cfg",
    }.get(distribution.family, "grub-mkconfig -o /boot/grub/grub.cfg")
    return BootLoader(LoaderKind.GRUB, path, "GRUB_CMDLINE_LINUX_DEFAULT", update, path)


def _refind(host: Host, distribution: Distribution) -> BootLoader | None:
    path = "/boot/refind_linux.conf"
    return (
        BootLoader(LoaderKind.REFIND, path, "the lines", "", path) if _there(host, path) else None
    )


def _loader_info(host: Host) -> str:
    try:
        data = host.data(LOADER_INFO)
    except Unreadable:
        return ""
    # Four bytes of attributes stand before the value.
    return (data or b"")[4:].decode("utf-16-le", "replace").rstrip("\0").lower()


def _listed(host: Host, folder: str) -> tuple[str, ...]:
    """What is in a folder; nothing where it cannot be listed."""
    try:
        return host.names(folder) or ()
    except Unreadable:
        return ()


def _there(host: Host, path: str) -> bool:
    try:
        return host.exists(path)
    except Unreadable:
        return False


def initramfs_command(host: Host, distribution: Distribution) -> str:
    """The command that makes the initial RAM disk anew, by the tool that is installed."""
    tools = {
        "mkinitcpio": "mkinitcpio -P",
        "update-initramfs": "update-initramfs -u -k all",
        "dracut": "dracut --force --regenerate-all",
        "booster": "/usr/lib/booster/regenerate_images",
    }
    if distribution.family == "nixos":
        return "nixos-rebuild boot"
    if host.exists("/run/ostree-booted"):
        return "rpm-ostree initramfs --enable"
    found = (command for tool, command in tools.items() if host.has_program(tool))
    return next(found, "the tool that makes your initramfs")
