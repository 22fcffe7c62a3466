"""Names for what a ROM in a flash image or an ACPI table lies in. Nothing is unpacked."""

from __future__ import annotations

import re

from romkit.container import ContainerKind, find_container, read_nvgi, read_vfct
from romkit.errors import RomError
from romkit.find.stream import Allowance, Stream
from romkit.layout.acpi import DESCRIPTION_HEADER, VFCT

#: Places of each kind that are looked at.
MAX_CONTAINERS = 256

#: Bytes of a container that are looked at, the first image included.
_WINDOW = 2 << 20

#: What looking at one costs, in steps.
_COST = 50

_NVGI = re.compile(b"NVGI")
_NVFW = re.compile(b"NVFW")
_VFCT = re.compile(b"VFCT")


def mark_containers(stream: Stream, allowance: Allowance) -> None:
    """Name the NVGI and NVFW containers and the entries of VFCT tables."""
    for at in stream.hits(_NVGI, MAX_CONTAINERS):
        if not allowance.step(_COST):
            return
        try:
            nvgi = read_nvgi(stream.bytes_at(at, _WINDOW), 0)
        except RomError:
            continue
        stream.mark(at, at + nvgi.rom_offset + 1, f"{nvgi.title} container {at:#x}")
    for at in stream.hits(_NVFW, MAX_CONTAINERS):
        if not allowance.step(_COST):
            return
        nvfw = find_container(stream.bytes_at(at, _WINDOW))
        if nvfw is not None and nvfw.kind is ContainerKind.NVFW:
            stream.mark(at, at + nvfw.rom_offset + 1, f"NVFW container {at:#x}")
    for at in stream.hits(_VFCT, MAX_CONTAINERS):
        if not allowance.step(_COST):
            return
        _mark_vfct(stream, at)


def _mark_vfct(stream: Stream, at: int) -> None:
    header = stream.peek(DESCRIPTION_HEADER, at)
    smallest = DESCRIPTION_HEADER.sizeof() + VFCT.sizeof()
    if header is None or not smallest <= header.length <= _WINDOW:
        return
    try:
        table = read_vfct(stream.bytes_at(at, header.length))
    except RomError:
        return
    stream.mark(at, at + header.length, f"VFCT table {at:#x}")
    for entry in table.vfct_images:
        address = f"{entry.pci_bus:02x}:{entry.pci_device:02x}.{entry.pci_function:x}"
        ids = f"{entry.vendor_id:04x}:{entry.device_id:04x}"
        start = at + entry.offset
        stream.mark(start, at + entry.rom_offset + entry.image_length, f"entry {address} {ids}")
