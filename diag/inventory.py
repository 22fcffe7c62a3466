"""Everything that diag knows of one machine, each part read when it is first asked for."""

from __future__ import annotations

from functools import cached_property

from diag.boot import BootLoader, Distribution, read_boot_loader, read_distribution
from diag.device import PciDevice, read_devices
from diag.errors import Unreadable
from diag.host import Host
from diag.iommu import IommuGroup, Member
from diag.kernel import Kernel
from diag.logs import HostLog, read_log
from diag.pci import PciAddress

GROUPS = "/sys/kernel/iommu_groups"


class Inventory:
    """A machine's parts.

    Args:
        host: the machine, or its capture.
        wake: read the configuration of sleeping devices too, which wakes them.
        vm_text: the VM that is meant: libvirt's XML, or a QEMU command line; None: no certain one.
    """

    def __init__(self, host: Host, *, wake: bool = False, vm_text: str | None = None) -> None:
        self.host = host
        self.wake = wake
        self.vm_text = vm_text

    def __repr__(self) -> str:
        return f"<Inventory of {self.host.note}>"

    @cached_property
    def kernel(self) -> Kernel:
        """The running kernel: release, command line, modules, configuration."""
        return Kernel(self.host)

    @cached_property
    def distribution(self) -> Distribution:
        """What is installed."""
        return read_distribution(self.host)

    @cached_property
    def boot_loader(self) -> BootLoader:
        """Where kernel parameters are changed: ``boot_loader.add("iommu=pt")`` says how."""
        return read_boot_loader(self.host, self.distribution)

    @cached_property
    def log(self) -> HostLog | None:
        """The kernel's log of this start; None where nobody can be asked for it.

        Raises:
            Unreadable: this user may not read it.
        """
        return read_log(self.host)

    @cached_property
    def devices(self) -> tuple[PciDevice, ...]:
        """All PCI functions, in the order of their addresses.

        Raises:
            Unreadable: sysfs cannot be read.
        """
        return read_devices(self.host, wake=self.wake)

    def device(self, address: PciAddress) -> PciDevice | None:
        """The function at `address`; None if there is none."""
        return self._by_address.get(address)

    @cached_property
    def _by_address(self) -> dict[PciAddress, PciDevice]:
        return {device.address: device for device in self.devices}

    @cached_property
    def gpus(self) -> tuple[PciDevice, ...]:
        """The display controllers."""
        return tuple(device for device in self.devices if device.is_gpu)

    def siblings(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """The other functions of the same card: its audio, USB and UCSI."""
        return tuple(
            other
            for other in self.devices
            if other.address != device.address and other.address.same_slot(device.address)
        )

    def audio_of(self, device: PciDevice) -> PciDevice | None:
        """The audio function of a card; None if it has none, or it is switched off."""
        sounds = (o for o in self.siblings(device) if o.class_code and o.class_code.code == 0x0403)
        return next(sounds, None)

    @cached_property
    def groups(self) -> tuple[IommuGroup, ...]:
        """The IOMMU groups, as the kernel has formed them; none where there is no IOMMU in use.

        Raises:
            Unreadable: they cannot be listed.
        """
        found = []
        for name in self.host.names(GROUPS) or ():
            if not name.isdecimal():
                continue
            members = []
            for entry in self.host.names(f"{GROUPS}/{name}/devices") or ():
                try:
                    address = PciAddress.parse(entry)
                except ValueError:  # a platform device
                    continue
                members.append(Member(address, self._is_bridge(address)))
            found.append(IommuGroup.of(int(name), members))
        return tuple(sorted(found, key=lambda group: group.number))

    def _is_bridge(self, address: PciAddress) -> bool | None:
        device = self.device(address)
        if device is None or device.class_code is None:
            return None
        return device.class_code.is_bridge

    def group_of(self, device: PciDevice) -> IommuGroup | None:
        """The group that a device is in."""
        return next((group for group in self.groups if device.address in group.addresses), None)

    def holds(self, path: str) -> bool | None:
        """Whether `path` exists; None where that cannot be known."""
        try:
            return self.host.exists(path)
        except Unreadable:
            return None
