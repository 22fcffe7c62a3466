"""What devices are called: by udev's database, else by pci.ids, else by their ids."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from diag.errors import Unreadable
from diag.pci import PciAddress, PciClass, PciId

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.host import Host

#: Where distributions keep pci.ids (https://pci-ids.ucw.cz).
PLACES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/pci.ids")


class Names:
    """The names that a host has for its devices.

    The list of 1.5 MB is read once and never parsed as a whole: a vendor's block is found by the
    line that begins with its id.

    Args:
        host: the machine; its own list is asked, so that a capture needs none of this machine's.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._blocks = lru_cache(maxsize=None)(self._find_block)
        self._list: bytes | None = None

    def __repr__(self) -> str:
        return f"<Names of {self.host.note}>"

    def of(self, device: PciDevice) -> str:
        """A device's vendor and model, as much as is known of them."""
        said = self._said(device.address)
        vendor, model = said.get("ID_VENDOR_FROM_DATABASE"), said.get("ID_MODEL_FROM_DATABASE")
        if device.ids is None:
            return " ".join(name for name in (vendor, model) if name) or "unknown device"
        vendor = vendor or self.vendor(device.ids.vendor)
        model = model or self.model(device.ids)
        vendor = vendor or f"Vendor {device.ids.vendor:04x}"
        return f"{vendor} {model or f'Device {device.ids.device:04x}'}"

    def class_of(self, device: PciDevice) -> str:
        """What kind of device it is, in lspci's words."""
        code = device.class_code
        if code is None:
            return "unknown class"
        return code.name or self.class_name(code) or f"Class {code}"

    def vendor(self, vendor: int) -> str | None:
        """A vendor's name; None where the list has none."""
        return _named(self._blocks(f"{vendor:04x}"))

    def model(self, ids: PciId) -> str | None:
        """A device's name without its vendor's; None where the list has none."""
        return _entry(self._blocks(f"{ids.vendor:04x}"), f"{ids.device:04x}")

    def board(self, ids: PciId, board: PciId) -> str | None:
        """The name of a board that a device is on; None where the list has none."""
        key = f"{ids.device:04x}"
        block = self._blocks(f"{ids.vendor:04x}")
        start = block.find(f"\n\t{key}  ".encode())
        if start < 0:
            return None
        line = f"\n\t\t{board.vendor:04x} {board.device:04x}  ".encode()
        end = block.find(b"\n\t", start + 1)
        while end >= 0 and block[end + 2 : end + 3] == b"\t":
            end = block.find(b"\n\t", end + 1)
        place = block.find(line, start, end if end >= 0 else len(block))
        return _line(block, place + len(line)) if place >= 0 else None

    def class_name(self, code: PciClass) -> str | None:
        """The name of a class and its subclass; None where the list has none."""
        block = self._blocks(f"C {code.code >> 8:02x}")
        return _entry(block, f"{code.code & 0xFF:02x}") or _named(block)

    def _said(self, address: PciAddress) -> dict[str, str]:
        try:
            return dict(self.host.properties(str(address)))
        except Unreadable:
            return {}

    def _find_block(self, key: str) -> bytes:
        """The lines of a vendor or a class, from its own to the next one's; empty if it is not
        in the list."""
        data = self._data()
        start = data.find(f"\n{key}  ".encode())
        if start < 0:
            return b""
        end = start
        while (end := data.find(b"\n", end + 1)) >= 0:
            if data[end + 1 : end + 2] not in (b"\t", b"#", b"\n", b""):
                break
        return data[start + 1 : end if end >= 0 else len(data)]

    def _data(self) -> bytes:
        if self._list is None:
            self._list = b""
            for place in PLACES:
                try:
                    found = self.host.data(place)
                except Unreadable:
                    continue
                if found:
                    self._list = b"\n" + found
                    break
        return self._list


def _line(block: bytes, place: int) -> str:
    end = block.find(b"\n", place)
    return block[place : end if end >= 0 else len(block)].decode("utf-8", "replace").strip()


def _named(block: bytes) -> str | None:
    """The name in a block's first line, behind its key and two spaces."""
    return _line(block, 0).partition("  ")[2].strip() or None


def _entry(block: bytes, key: str) -> str | None:
    line = f"\n\t{key}  ".encode()
    place = block.find(line)
    return (_line(block, place + len(line)) or None) if place >= 0 else None
