"""Listings of lspci for programs: -vmm, the older -vm, and the quoted fields of -mm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from diag.pci import ADDRESS, PciAddress, PciClass, PciId
from diag.text.device import TextDevice
from diag.text.lspci import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.text.lines import Line

_FIELD = re.compile(
    r"\s*(Slot|Class|Vendor|Device|SVendor|SDevice|PhySlot|Rev|ProgIf|Driver|Module|NUMANode|"
    r"IOMMUGroup|DTNode):(.*)$"
)
_ADDRESS = re.compile(ADDRESS, re.ASCII)
_HEX4 = re.compile(r"[0-9a-fA-F]{4}", re.ASCII)
_HEX2 = re.compile(r"[0-9a-fA-F]{2}", re.ASCII)
_CODE = re.compile(r"\[([0-9a-fA-F]{4})\]$")
_QUOTED = re.compile(rf"\s*({ADDRESS})\s+(\"[^\n]*)$", re.ASCII)
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|-([rp])([0-9a-fA-F]{2})')


def parse_machine(lines: Iterable[Line]) -> Listing:
    """The records of -vmm, -vm and -mm; other lines, also inside a record, are left out."""
    devices: dict[PciAddress, TextDevice] = {}
    owned: set[int] = set()
    quoted = False
    record: dict[str, list[str]] = {}
    start = 0

    def close() -> None:
        if record:
            _add(devices, _device(record, start))
            record.clear()

    for line in lines:
        if line.command:
            close()
            continue
        if (parts := _QUOTED.match(line.text)) is not None:
            close()
            record.update(_quoted_record(parts[1], parts[2]))
            start, quoted = line.number, True
            owned.add(line.number)
            close()
            continue
        found = _FIELD.match(line.text)
        if found is None:
            continue
        key, value = found[1], found[2].strip()
        # -vm calls the slot "Device" too, and so has that key twice.
        if key in ("Slot", "Device") and _ADDRESS.fullmatch(value):
            close()
            record["Slot"] = [value]
            start = line.number
        elif not record:
            continue
        else:
            record.setdefault(key, []).append(value)
        owned.add(line.number)
    close()
    return Listing(tuple(devices.values()), frozenset(owned), "lspci-mm" if quoted else "lspci-vmm")


def _add(devices: dict[PciAddress, TextDevice], device: TextDevice) -> None:
    before = devices.get(device.address)
    devices[device.address] = device if before is None else before.joined(device)


def _quoted_record(slot: str, text: str) -> dict[str, list[str]]:
    record: dict[str, list[str]] = {"Slot": [slot]}
    keys = iter(("Class", "Vendor", "Device", "SVendor", "SDevice"))
    for part in _PART.finditer(text[:1000]):
        if part[2]:
            record["Rev" if part[2] == "r" else "ProgIf"] = [part[3]]
        elif (key := next(keys, None)) is not None and part[1]:
            record[key] = [part[1].replace('\\"', '"')]
    return record


def _device(record: dict[str, list[str]], line: int) -> TextDevice:
    def first(key: str) -> str:
        return record.get(key, [""])[0]

    class_code, class_name = _class(first("Class"))
    vendor, device = first("Vendor"), first("Device")
    names = (_name(part) for part in (vendor, device))
    subsystem_names = (_name(first(key)) for key in ("SVendor", "SDevice"))
    return TextDevice(
        PciAddress.parse(first("Slot")),
        line,
        class_code=class_code,
        class_name=class_name,
        name=" ".join(filter(None, names)) or None,
        ids=_ids(vendor, device),
        revision=_hex(first("Rev")),
        prog_if=_hex(first("ProgIf")),
        subsystem=_ids(first("SVendor"), first("SDevice")),
        subsystem_name=" ".join(filter(None, subsystem_names)) or None,
        driver=first("Driver") or None,
        modules=tuple(filter(None, record.get("Module", []))),
        numa_node=_decimal(first("NUMANode")),
        iommu_group=_decimal(first("IOMMUGroup")),
    )


def _class(value: str) -> tuple[PciClass | None, str | None]:
    code = _code(value)
    return (None if code is None else PciClass(code)), _name(value)


def _code(value: str) -> int | None:
    found = _CODE.search(value)
    if found is not None:
        return int(found[1], 16)
    return int(value, 16) if _HEX4.fullmatch(value) else None


def _name(value: str) -> str | None:
    if _HEX4.fullmatch(value):
        return None
    return _CODE.sub("", value).strip() or None


def _ids(vendor: str, device: str) -> PciId | None:
    codes = _code(vendor), _code(device)
    # A name of four hexadecimal digits is a name, as long as the other half is one.
    if None in codes or bool(_HEX4.fullmatch(vendor)) != bool(_HEX4.fullmatch(device)):
        return None
    return PciId(codes[0] or 0, codes[1] or 0)


def _hex(value: str) -> int | None:
    return int(value, 16) if _HEX2.fullmatch(value) else None


def _decimal(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
