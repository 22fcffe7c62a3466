"""Whether one function keeps others apart: the kernel's rule for Access Control Services.

`pci_acs_enabled` in drivers/pci/pci.c, with the quirks of drivers/pci/quirks.c. A function that is
not asked for ACS (a single endpoint) counts as having it; conventional PCI never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from diag.acs_quirks import depends_on_type, find_quirk, has_shifted_control
from diag.config_space import ACS, PCI_EXPRESS
from diag.errors import Unreadable
from diag.firmware import TABLES
from diag.pci import ACS_REQUIRED, Acs, acs_names

if TYPE_CHECKING:
    from diag.config_space import ConfigSpace
    from diag.device import PciDevice
    from diag.host import Host
    from diag.pci import PciAddress

#: Config bytes that an ordinary user may read, and those without extended capabilities.
_USER, _CONVENTIONAL = 64, 256


class PortType(Enum):
    """What a function is on PCI Express (Base Specification 7.5.3.2), in words."""

    ENDPOINT = "endpoint"
    LEGACY_ENDPOINT = "legacy endpoint"
    ROOT_PORT = "root port"
    UPSTREAM = "upstream port of a switch"
    DOWNSTREAM = "downstream port of a switch"
    TO_PCI = "PCIe-to-PCI bridge"
    FROM_PCI = "PCI-to-PCIe bridge"
    INTEGRATED = "integrated endpoint"
    EVENT_COLLECTOR = "event collector"
    #: No PCI Express capability.
    CONVENTIONAL = "conventional PCI"

    @property
    def is_port(self) -> bool:
        """Whether requester ids pass through it unchanged."""
        return self in (PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM)


_TYPES = {
    0: PortType.ENDPOINT, 1: PortType.LEGACY_ENDPOINT, 4: PortType.ROOT_PORT, 5: PortType.UPSTREAM,
    6: PortType.DOWNSTREAM, 7: PortType.TO_PCI, 8: PortType.FROM_PCI, 9: PortType.INTEGRATED,
    10: PortType.EVENT_COLLECTOR,
}  # fmt: skip
_NUMBERS = {kind: number for number, kind in _TYPES.items()}

#: What the kernel asks of every function of this type, and of others only if there are several.
_ALWAYS_ASKED = (PortType.ROOT_PORT, PortType.DOWNSTREAM)
_NEVER = (
    PortType.CONVENTIONAL, PortType.TO_PCI, PortType.FROM_PCI, PortType.EVENT_COLLECTOR,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AcsHop:
    """One function on the way, and whether it keeps what meets there apart.

    Attributes:
        address: which function.
        kind: what it is on PCI Express; None where that could not be read.
        separates: the kernel's answer; None where it could not be measured.
        acs: the capability as it is shown; None where there is none, or it could not be read.
        missing: the bits that the kernel asks for and does not find.
        quirk: why the kernel does not go by the config; empty where it does.
        multifunction: whether it is one of several functions of a device.
        unread: why the config could not be read.
    """

    address: PciAddress
    kind: PortType | None
    separates: bool | None
    acs: Acs | None = None
    missing: tuple[str, ...] = ()
    quirk: str = ""
    multifunction: bool = False
    unread: Unreadable | None = None

    @property
    def title(self) -> str:
        """What it is, in words."""
        return "PCI function" if self.kind is None else self.kind.value

    @property
    def text(self) -> str:
        """What its ACS means for isolation, as the end of a sentence about it."""
        if self.separates is None:
            hint = f" ({self.unread.hint})" if self.unread and self.unread.hint else ""
            why = self.unread.why if self.unread else "unknown"
            return f"ACS could not be measured: {why}{hint}"
        if self.quirk:
            return f"{'counts as having ACS' if self.separates else 'has no ACS'} ({self.quirk})"
        if self.separates:
            return "ACS on" if self.acs else "needs no ACS: nothing else meets there"
        if self.kind is PortType.CONVENTIONAL:
            return "conventional PCI, which has no ACS"
        if self.kind in _NEVER:
            return f"a {self.title}, which has no ACS"
        if self.acs is None:
            return f"no ACS capability: {', '.join(self.missing)} missing"
        return f"ACS is there, but off: {', '.join(self.missing)}"


def port_type(config: ConfigSpace) -> PortType | None:
    """What a function is; None where the bytes do not reach that far."""
    place = config.capability(PCI_EXPRESS)
    if place is not None:
        flags = config.data[place + 2 : place + 4]
        return _TYPES.get(int.from_bytes(flags, "little") >> 4 & 15) if len(flags) == 2 else None
    has_list = len(config.data) >= _USER and bool(config.data[6] & 0x10)
    if len(config.data) >= _CONVENTIONAL or (len(config.data) >= _USER and not has_list):
        return PortType.CONVENTIONAL
    return None


def leads_to_slot(config: ConfigSpace) -> bool:
    """Whether a port leads to a slot, not to something soldered.

    PCI Express Base Specification 7.5.3.2, Slot Implemented.
    """
    place = config.capability(PCI_EXPRESS)
    if place is None:
        return False
    return bool(int.from_bytes(config.data[place + 2 : place + 4], "little") & 0x100)


def is_multifunction(host: Host, device: PciDevice) -> bool | None:
    """Whether the kernel takes it for one of several functions; None where it cannot be known.

    A virtual function of SR-IOV never is (drivers/pci/iov.c).
    """
    if _is_virtual(host, device):
        return False
    if device.address.function > 0:
        return True
    config = device.config
    if config is None or not config.answers or len(config.data) < 15:
        return None
    return bool(config.data[14] & 0x80)


def read_hop(host: Host, device: PciDevice, *, siblings: bool = False) -> AcsHop:
    """The kernel's answer for one function.

    Args:
        host: the machine.
        device: the function.
        siblings: whether other functions of the same device are there, which settles whether it
            is one of several where its config cannot tell.
    """
    address = device.address
    several = is_multifunction(host, device)
    multifunction = siblings if several is None else several
    config, unread = _config(device)
    kind = None if config is None else port_type(config)
    if _is_virtual(host, device):
        return AcsHop(address, PortType.ENDPOINT, True)
    if config is not None and kind is None:
        unread = _too_short(device, len(config.data))
    if device.ids is not None and (kind is not None or not depends_on_type(device.ids)):
        quirk = find_quirk(
            device.ids, _NUMBERS.get(kind) if kind else None, multifunction=multifunction,
            on_root_bus=parent_of(device) is None, has_ivrs=_has(host, f"{TABLES}/IVRS"),
        )  # fmt: skip
        if quirk is not None:
            acs = None if config is None else config.acs
            bits = () if quirk.separates else acs_names(ACS_REQUIRED)
            return AcsHop(
                address, kind, quirk.separates, acs, bits, quirk.why, multifunction, unread
            )
    if config is None or kind is None:
        return AcsHop(address, kind, None, multifunction=multifunction, unread=unread)
    if kind in _NEVER:
        return AcsHop(address, kind, False, None, acs_names(ACS_REQUIRED), "", multifunction)
    if len(config.data) <= _CONVENTIONAL:
        if kind not in _ALWAYS_ASKED and several is False:
            return AcsHop(address, kind, True)
        unread = _too_short(device, len(config.data))
        return AcsHop(address, kind, None, multifunction=multifunction, unread=unread)
    acs = _shown_acs(device, config, kind)
    if kind not in _ALWAYS_ASKED and not multifunction:
        return AcsHop(address, kind, True, acs)
    missing = acs_names(ACS_REQUIRED) if acs is None else acs.missing
    if missing is None:
        return AcsHop(address, kind, None, acs, multifunction=multifunction, unread=unread)
    return AcsHop(address, kind, not missing, acs, missing, "", multifunction)


def parent_of(device: PciDevice) -> PciAddress | None:
    """The bridge whose bus it is on; None on a root bus.

    Behind Intel VMD a new hierarchy with a domain of its own begins.
    """
    above = device.parent
    return above if above is not None and above.domain == device.address.domain else None


def _shown_acs(device: PciDevice, config: ConfigSpace, kind: PortType) -> Acs | None:
    acs = config.acs
    shifted = device.ids is not None and has_shifted_control(device.ids, _NUMBERS.get(kind))
    if acs is None or not shifted:
        return acs
    place = next(where for where, number in config.extended_capabilities if number == ACS)
    control = config.data[place + 8 : place + 12]
    known = len(control) == 4
    return Acs(acs.capability, int.from_bytes(control, "little") & 0x7F if known else None)


def _config(device: PciDevice) -> tuple[ConfigSpace | None, Unreadable | None]:
    """The config if it is good for anything, or else why not."""
    path = f"/sys/bus/pci/devices/{device.address}/config"
    config = device.config
    if config is None:
        return None, device.unread.get("config", Unreadable(path, "there is no such file"))
    if not config.answers:
        return None, Unreadable(path, "it answers with ones only: no power, or gone")
    return config, None


def _too_short(device: PciDevice, size: int) -> Unreadable:
    path = f"/sys/bus/pci/devices/{device.address}/config"
    if size < _CONVENTIONAL:
        why = f"an ordinary user reads only {size} bytes of the config"
        return Unreadable(path, why, needs_root=True, hint="run as root")
    return Unreadable(path, f"only {size} bytes of the config are there; ACS would be behind them")


def _is_virtual(host: Host, device: PciDevice) -> bool:
    return _has(host, f"/sys/bus/pci/devices/{device.address}/physfn")


def _has(host: Host, path: str) -> bool:
    try:
        return host.exists(path)
    except Unreadable:
        return False
