"""What a capture may hold, as data. Nothing else leaves the machine.

Left out on purpose: serial numbers and the machine's UUID (DMI), the Windows key (ACPI table
MSDM), network addresses, names of people, and everything whose reading acts on hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from diag.account import NODES
from diag.host import PROGRAM_FOLDERS
from diag.logs import DMESG, JOURNAL
from diag.names import PLACES
from diag.qemu import DESCRIPTORS, PROGRAMS, options_argv, version_argv


class Take(Enum):
    """What is taken of a path."""

    #: The content as it is, UUIDs and MACs redacted: attributes of the kernel, which hold no names.
    PLAIN = "plain"
    #: The content with the names of people and of the machine redacted too.
    TEXT = "text"
    #: Bytes; left out where they hold something that would have to be redacted.
    BYTES = "bytes"
    #: That it is there, and where it leads if it is a link.
    PRESENCE = "presence"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Paths that a capture may hold.

    Attributes:
        pattern: a path with ``*``, ``?`` and ``[]`` inside its parts, as a shell has them;
            ``{release}`` is the running kernel's.
        take: what is taken.
        wakes: whether reading it wakes a sleeping device, so that it needs ``--wake``.
    """

    pattern: str
    take: Take = Take.PLAIN
    wakes: bool = False


def _each(take: Take, folder: str, names: str, *, wakes: bool = False) -> tuple[Allowed, ...]:
    return tuple(Allowed(f"{folder}/{name}", take, wakes) for name in names.split())


_PCI = "/sys/bus/pci/devices/*"

#: Sleeping functions answer these from their configuration, or the port above them does.
_DEVICES = (
    *_each(
        Take.PLAIN, _PCI,
        "vendor device class revision subsystem_vendor subsystem_device modalias label index "
        "resource enable irq numa_node boot_vga driver_override reset_method d3cold_allowed "
        "power_state power/runtime_status power/control "
        "power/runtime_enabled power/runtime_usage power/wakeup msi_bus "
        "ari_enabled firmware_node/path firmware_node/hid firmware_node/adr firmware_node/uid "
        "sriov_numvfs sriov_totalvfs msi_irqs/* "
        "mdev_supported_types/*/name mdev_supported_types/*/available_instances "
        "mdev_supported_types/*/device_api mdev_supported_types/*/description",
    ),
    *_each(
        Take.PRESENCE, _PCI,
        "driver driver/module iommu_group physfn firmware_node reset rom "
        "firmware_node/power_resources_D0/* firmware_node/power_resources_D3hot/* "
        "drm/* sound/* sound/*/* graphics/* vfio-dev/* remove iommu",
    ),
    *_each(
        Take.PLAIN, _PCI,
        "current_link_speed current_link_width max_link_speed max_link_width "
        "secondary_bus_number subordinate_bus_number resource[0-5]_resize",
        wakes=True,
    ),
    Allowed(f"{_PCI}/config", Take.BYTES, wakes=True),
    Allowed("/run/udev/data/+pci:*", Take.TEXT),
    *_each(Take.PRESENCE, "/sys/bus/pci/drivers/*", "module *:*:*.?"),
    *_each(Take.PLAIN, "/sys/bus/pci/slots/*", "address"),
)  # fmt: skip

_IOMMU = (
    *_each(Take.PLAIN, "/sys/kernel/iommu_groups/*", "type reserved_regions name"),
    Allowed("/sys/kernel/iommu_groups/*/devices/*", Take.PRESENCE),
    Allowed("/sys/class/iommu/*", Take.PRESENCE),
    *_each(
        Take.PLAIN, "/sys/class/iommu/*", "intel-iommu/cap intel-iommu/ecap intel-iommu/version"
    ),
    *_each(Take.PLAIN, "/sys/class/iommu/*", "amd-iommu/cap amd-iommu/features"),
)  # fmt: skip

_GRAPHICS = (
    Allowed("/sys/class/i2c-dev/*", Take.PRESENCE),
    *_each(Take.PRESENCE, "/sys/class/drm/*", "device device/driver"),
    *_each(Take.PLAIN, "/sys/class/drm/*", "status enabled"),
    *_each(Take.PLAIN, "/sys/class/graphics/*", "name"),
    *_each(Take.PRESENCE, "/sys/class/graphics/*", "device"),
    *_each(Take.PLAIN, "/sys/class/vtconsole/*", "name bind"),
    Allowed("/sys/class/backlight/*", Take.PRESENCE),
    Allowed("/sys/bus/platform/devices/*", Take.PRESENCE),
    Allowed("/sys/bus/platform/drivers/*", Take.PRESENCE),
    *_each(
        Take.PLAIN, "/sys/bus/platform/devices/*",
        "gpu_mux_mode dgpu_disable egpu_enable egpu_connected",
    ),
    *_each(Take.PLAIN, "/sys/devices/platform/asus-nb-wmi", "gpu_mux_mode dgpu_disable"),
    # Among a firmware's other attributes are serial numbers, asset tags and owners' names.
    *_each(
        Take.PLAIN, "/sys/class/firmware-attributes/*/attributes",
        "gpu_mux_mode/current_value dgpu_disable/current_value",
    ),
    Allowed("/sys/kernel/debug/vgaswitcheroo/switch"),
    *_each(Take.PLAIN, "/sys/class/power_supply/*", "type online present status capacity"),
    *_each(Take.PLAIN, "/proc/acpi", "bbswitch nvhda", wakes=True),
    Allowed("/proc/driver/nvidia/version"),
    Allowed("/proc/driver/nvidia/params"),
    Allowed("/proc/driver/nvidia/gpus/*/power"),
    Allowed("/proc/driver/nvidia/gpus/*/information", wakes=True),
    Allowed("/proc/fb"),
    Allowed("/proc/iomem"),
    Allowed("/sys/bus/mdev/devices/*", Take.PRESENCE),
    Allowed("/sys/class/mdev_bus/*", Take.PRESENCE),
)  # fmt: skip

_KERNEL = (
    *_each(
        Take.PLAIN, "/proc",
        "cpuinfo modules version meminfo sys/kernel/osrelease "
        "sys/kernel/tainted sys/kernel/dmesg_restrict sys/vm/nr_hugepages "
        "sys/vm/max_map_count interrupts self/limits self/status",
    ),
    Allowed("/proc/cmdline", Take.TEXT),
    Allowed("/sys/module/*/parameters/*"),
    *_each(Take.PLAIN, "/sys/module/*", "version srcversion refcnt initstate taint"),
    *_each(Take.PRESENCE, "/sys/module/*", "holders/* drivers/*"),
    Allowed("/sys/kernel/security/lockdown"),
    *_each(
        Take.PLAIN, "/sys/devices/system/cpu",
        "online present possible offline isolated nohz_full smt/active",
    ),
    *_each(Take.PLAIN, "/sys/devices/system/node/*", "cpulist"),
    *_each(Take.PLAIN, "/sys/kernel/mm/hugepages/*", "nr_hugepages free_hugepages"),
    Allowed("/sys/kernel/mm/transparent_hugepage/enabled"),
    *_each(Take.PRESENCE, "/dev", "kvm vfio vfio/* iommu nvidia* dri/* kvmfr* shm udmabuf"),
    Allowed("/boot/config-{release}"),
    Allowed("/proc/config.gz", Take.BYTES),
    Allowed("/usr/lib/modules/*", Take.PRESENCE),
    Allowed("/lib/modules/*", Take.PRESENCE),
    *_each(
        Take.PLAIN, "/lib/modules/{release}", "config modules.dep modules.builtin modules.alias"
    ),
    *_each(
        Take.PLAIN, "/usr/lib/modules/{release}",
        "config modules.dep modules.builtin modules.alias",
    ),
    *_each(
        Take.PLAIN, "/run/booted-system/kernel-modules/lib/modules/{release}",
        "modules.dep modules.builtin modules.alias",
    ),
)  # fmt: skip

_FIRMWARE = (
    *_each(
        Take.PLAIN, "/sys/class/dmi/id",
        "sys_vendor product_name product_version product_family product_sku board_vendor "
        "board_name board_version bios_vendor bios_version bios_date bios_release "
        "ec_firmware_release chassis_type chassis_vendor",
    ),
    Allowed("/sys/firmware/acpi/tables/*", Take.PRESENCE),
    *_each(
        Take.BYTES, "/sys/firmware/acpi/tables",
        "DMAR IVRS VFCT MCFG DSDT SSDT* dynamic/SSDT*",
    ),
    Allowed("/sys/firmware/efi", Take.PRESENCE),
    *_each(Take.PLAIN, "/sys/firmware/efi", "fw_platform_size"),
    *_each(
        Take.BYTES, "/sys/firmware/efi/efivars",
        "SecureBoot-* SetupMode-* MokSBStateRT-* LoaderInfo-*",
    ),
)  # fmt: skip

_SETTINGS = (
    *_each(
        Take.TEXT, "/etc",
        "os-release modprobe.d/* modules modules-load.d/* default/grub "
        "default/grub.d/* default/limine kernel/cmdline kernel/install.conf mkinitcpio.conf "
        "mkinitcpio.d/* booster.yaml kernelstub/configuration "
        "mkinitcpio.conf.d/* dracut.conf dracut.conf.d/* initramfs-tools/modules "
        "initramfs-tools/initramfs.conf security/limits.conf security/limits.d/* "
        "libvirt/qemu.conf udev/rules.d/* X11/xorg.conf X11/xorg.conf.d/* "
        "apparmor.d/local/abstractions/libvirt-qemu apparmor.d/abstractions/libvirt-qemu "
        "tmpfiles.d/*.conf group",
    ),
    Allowed("/usr/lib/os-release", Take.TEXT),
    Allowed("/usr/local/lib/modprobe.d/*", Take.TEXT),
    *_each(Take.TEXT, "/usr/lib", "modprobe.d/* modules-load.d/*"),
    *_each(Take.TEXT, "/lib", "modprobe.d/* modules-load.d/*"),
    *_each(Take.TEXT, "/run", "modprobe.d/* modules-load.d/*"),
    *_each(
        Take.TEXT, "/boot",
        "loader/loader.conf loader/entries/* efi/loader/loader.conf efi/loader/entries/* "
        "limine.conf limine.cfg limine/limine.conf efi/limine.conf refind_linux.conf",
    ),
    *_each(Take.TEXT, "/efi", "loader/loader.conf loader/entries/*"),
    *_each(
        Take.PRESENCE, "/boot",
        "grub grub/grub.cfg grub2 grub2/grub.cfg efi vmlinuz-*",
    ),
    *(allowed for folder in DESCRIPTORS for allowed in _each(Take.TEXT, folder, "*")),
    *(Allowed(place, Take.PLAIN) for place in PLACES),
    *_each(
        Take.PRESENCE, "/etc",
        "kernel/proxmox-boot-uuids nixos/configuration.nix libvirt/hooks/* libvirt/hooks/qemu.d/*",
    ),
    *_each(Take.PRESENCE, "/usr", "lib/booster/regenerate_images libexec/qemu-kvm bin/kvm"),
    *_each(Take.PRESENCE, "/usr/share", "OVMF/* edk2/* edk2/*/* qemu/*.fd edk2-ovmf/*"),
    *_each(
        Take.PRESENCE, "/etc/systemd/system",
        "*.wants/nvidia-* nvidia-* display-manager.service",
    ),
    *_each(Take.PRESENCE, "/usr/lib/systemd/system", "nvidia-*"),
    *_each(
        Take.PRESENCE, "/run",
        "ostree-booted nvidia-persistenced/socket systemd/system libvirt libvirt/*",
    ),
    *_each(Take.PRESENCE, "/sys/kernel/security", "apparmor selinux"),
    *_each(Take.PLAIN, "/sys/module/apparmor/parameters", "enabled"),
    Allowed("/sys/fs/selinux/enforce"),
    Allowed("/sys/fs/cgroup/cgroup.controllers"),
)  # fmt: skip

#: Programs of which it is noted whether they are there.
_PROGRAMS = (
    "apparmor_status booster bootctl dkms dracut fuser grub-install grub-mkconfig grub2-mkconfig "
    "grubby kernelstub libvirtd limine lsof lspci mkinitcpio modinfo modprobe mokutil "
    "nvidia-persistenced nvidia-powerd nvidia-smi proxmox-boot-tool qemu-kvm qemu-system-x86_64 "
    "reinstall-kernels rpm-ostree setpci swtpm update-grub update-initramfs virsh virt-manager "
    "virtqemud"
)


def _programs(folder: str) -> tuple[Allowed, ...]:
    """A folder, so that a program that is not in it is known to be absent, and its programs."""
    return (Allowed(folder, Take.PRESENCE), *_each(Take.PRESENCE, folder, _PROGRAMS))


#: Every path that may be taken. What stands earlier is read earlier: states before the
#: configuration, so that nothing is woken before it was seen asleep.
ALLOWED: tuple[Allowed, ...] = (
    *_DEVICES,
    *_IOMMU,
    *_GRAPHICS,
    *_KERNEL,
    *_FIRMWARE,
    *_SETTINGS,
    *(allowed for folder in PROGRAM_FOLDERS for allowed in _programs(folder)),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A program whose answer a capture may hold.

    Attributes:
        argv: what is run.
        wakes: whether it reads the configuration of every device.
        unless: a command that, if it ran well, makes this one unnecessary.
    """

    argv: tuple[str, ...]
    wakes: bool = False
    unless: tuple[str, ...] = ()


#: None of them starts a service or writes anything.
COMMANDS: tuple[Command, ...] = (
    Command(("uname", "-a")),
    Command(("uname", "-r")),
    Command(DMESG),
    Command(JOURNAL, unless=DMESG),
    Command(NODES),
    *(Command(version_argv(program)) for program in PROGRAMS),
    *(Command(options_argv(program)) for program in PROGRAMS),
    Command(("virsh", "--version")),
    Command(("swtpm", "--version")),
    Command(("lspci", "-Dnnk"), wakes=True),
    Command(("lspci", "-nnk"), wakes=True),
)

#: Device nodes whose holders are taken: number and name of the process, and which node.
HELD = (
    "/dev/nvidia", "/dev/dri/", "/dev/vfio/", "/dev/snd/", "/dev/fb", "/dev/kvm", "/dev/i2c-",
)  # fmt: skip
#: Processes whose names are taken although they may hold nothing.
_NAMED = (
    "nvidia-persiste nvidia-persistenced nvidia-powerd Xorg Xwayland gnome-shell kwin_wayland "
    "supergfxd switcheroo-cont optimus-manager libvirtd virtqemud"
)
NAMED = frozenset(_NAMED.split())
