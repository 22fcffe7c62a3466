"""A function's configuration space: what its bytes say about it."""

from __future__ import annotations

from dataclasses import dataclass

from diag.pci import Acs, PciClass, PciId

#: Capability ids (PCI Code and ID Assignment Specification).
POWER_MANAGEMENT = 0x01
PCI_X = 0x07
SUBSYSTEM = 0x0D
PCI_EXPRESS = 0x10
#: Extended capability id of Access Control Services.
ACS = 0x000D

_SPEEDS = {1: "2.5GT/s", 2: "5GT/s", 3: "8GT/s", 4: "16GT/s", 5: "32GT/s", 6: "64GT/s"}


@dataclass(frozen=True, slots=True)
class ConfigSpace:
    """The bytes from offset 0 on, as many as are known: 64 for an ordinary user, 256 or 4096.

    A property is None where the bytes do not reach, or where the card does not say.
    PCI Local Bus 3.0 chapter 6, PCI Express Base 3.0 chapter 7.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"<ConfigSpace {self.ids or 'no ids'} {len(self.data)} bytes>"

    @property
    def answers(self) -> bool:
        """Whether anything but ones comes back: a card without power answers with ones only.

        The ids alone do not tell: a virtual function's are ones (SR-IOV 1.1, 3.4.1.1),
        and what follows them is not.
        """
        start = self.data[:64]
        return start != b"\xff" * len(start) or not start

    @property
    def ids(self) -> PciId | None:
        """Vendor and device."""
        vendor, device = self._word(0), self._word(2)
        return None if vendor is None or device is None else PciId(vendor, device)

    @property
    def revision(self) -> int | None:
        """Revision id."""
        return self._byte(8)

    @property
    def prog_if(self) -> int | None:
        """Programming interface."""
        return self._byte(9)

    @property
    def class_code(self) -> PciClass | None:
        """Base class and subclass."""
        word = self._word(10)
        return None if word is None else PciClass(word)

    @property
    def header_type(self) -> int | None:
        """0 device, 1 PCI bridge, 2 CardBus bridge; without the multi-function bit."""
        value = self._byte(14)
        return None if value is None else value & 0x7F

    @property
    def subsystem(self) -> PciId | None:
        """Subsystem ids: of a device at 0x2c, of a PCI bridge in a capability of its own."""
        place: int | None = None
        if self.header_type == 0:
            place = 0x2C
        elif self.header_type == 1:
            place = self.capability(SUBSYSTEM)
            place = None if place is None else place + 4
        elif self.header_type == 2:
            place = 0x40
        if place is None:
            return None
        vendor, device = self._word(place), self._word(place + 2)
        if vendor is None or device is None or vendor in (0, 0xFFFF):
            return None
        return PciId(vendor, device)

    @property
    def capabilities(self) -> tuple[tuple[int, int], ...]:
        """Offset and id of each capability, in the order of the list; a loop ends it."""
        if not self.answers or not (self._byte(6) or 0) & 0x10:
            return ()
        place = self._byte(0x14 if self.header_type == 2 else 0x34)
        found: dict[int, int] = {}
        while place is not None and (place := place & 0xFC) >= 0x40 and place not in found:
            kind = self._byte(place)
            if kind is None or kind == 0xFF:
                break
            found[place] = kind
            place = self._byte(place + 1)
        return tuple(found.items())

    @property
    def extended_capabilities(self) -> tuple[tuple[int, int], ...]:
        """Offset and id of each extended capability, from 0x100 on."""
        if not {PCI_EXPRESS, PCI_X} & {kind for _, kind in self.capabilities}:
            return ()
        place = 0x100
        found: dict[int, int] = {}
        while place >= 0x100 and place not in found:
            header = self._dword(place)
            if header is None or header in (0, 0xFFFF_FFFF):
                break
            found[place] = header & 0xFFFF
            place = header >> 20 & 0xFFC
        return tuple(found.items())

    def capability(self, wanted: int) -> int | None:
        """Where the first capability with an id is; None where there is none."""
        return next((place for place, kind in self.capabilities if kind == wanted), None)

    @property
    def power_state(self) -> str | None:
        """D0 to D3, as the power management capability says."""
        place = self.capability(POWER_MANAGEMENT)
        status = None if place is None else self._word(place + 4)
        return None if status is None else f"D{status & 3}"

    @property
    def link(self) -> str | None:
        """Speed and width of the link as they are now, like ``8GT/s x16``."""
        place = self.capability(PCI_EXPRESS)
        status = None if place is None else self._word(place + 18)
        if status is None or (width := status >> 4 & 0x3F) == 0:
            return None
        return f"{_SPEEDS.get(status & 15, 'unknown')} x{width}"

    @property
    def acs(self) -> Acs | None:
        """Access Control Services; None where the capability is not there, or not in the bytes."""
        for place, kind in self.extended_capabilities:
            if kind == ACS:
                able, active = self._word(place + 4), self._word(place + 6)
                return Acs(
                    None if able is None else able & 0x7F,
                    None if active is None else active & 0x7F,
                )
        return None

    def _number(self, place: int, size: int) -> int | None:
        raw = self.data[place : place + size]
        return int.from_bytes(raw, "little") if len(raw) == size else None

    def _byte(self, place: int) -> int | None:
        return self._number(place, 1)

    def _word(self, place: int) -> int | None:
        return self._number(place, 2)

    def _dword(self, place: int) -> int | None:
        return self._number(place, 4)
