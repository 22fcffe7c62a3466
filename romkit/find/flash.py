"""Names for the regions of a flash chip and for capsules. What is in them lies there as it is."""

from __future__ import annotations

import re
from uuid import UUID

from romkit.find.stream import Stream
from romkit.layout.firmware import CAPSULE_HEADER, FLASH_DESCRIPTOR, FLASH_REGION

#: Intel's regions in the order of the table (coreboot's ifdtool).
_REGIONS = (
    "descriptor", "BIOS", "ME", "GbE", "platform data", "device expansion 1", "second BIOS",
    "microcode", "EC", "device expansion 2", "IE", "10 GbE 1", "10 GbE 2",
)  # fmt: skip

_BLOCK = 0x1000
_BLOCK_BITS = 0x7FFF
_SIGNATURE_AT = 0x10
_MAX_DESCRIPTORS = 16

_DESCRIPTOR = re.compile(b"\x5a\xa5\xf0\x0f")

#: (UEFI specification 2.10, section 23.2, and uefi-firmware)
_CAPSULES = {
    UUID("3b6686bd-0d76-4030-b70e-b5519e2fc5a0"): "EFI capsule",
    UUID("4a3ca68b-7723-48fb-803d-578cc1fec44d"): "AMI Aptio capsule",
    UUID("539182b9-abb5-4391-b69a-e3a943f72fcc"): "Intel capsule",
    UUID("6dcbd5ed-e82d-4c44-bda1-7194199ad92a"): "firmware management capsule",
}


def mark_flash(stream: Stream) -> None:
    """Name the regions of Intel flash descriptors, and a capsule at the start."""
    capsule = stream.peek(CAPSULE_HEADER, 0)
    if capsule is not None:
        name = _CAPSULES.get(UUID(bytes_le=capsule.capsule_guid))
        if name is not None:
            stream.mark(0, len(stream), name)
    for hit in stream.hits(_DESCRIPTOR, _MAX_DESCRIPTORS):
        _mark_regions(stream, hit - _SIGNATURE_AT)


def _mark_regions(stream: Stream, base: int) -> None:
    descriptor = stream.peek(FLASH_DESCRIPTOR, base)
    if descriptor is None:
        return
    table = base + (descriptor.flmap0 >> 16 & 0xFF) * 16
    for number, name in enumerate(_REGIONS):
        entry = stream.peek(FLASH_REGION, table + number * FLASH_REGION.sizeof())
        if entry is None:
            return
        first, last = entry.base & _BLOCK_BITS, entry.limit & _BLOCK_BITS
        # An unused entry has its limit below its base. Region 0 is the descriptor itself.
        if not 0 < first <= last:
            continue
        start, end = base + first * _BLOCK, base + (last + 1) * _BLOCK
        if start < len(stream):
            stream.mark(start, end, f"{name} region {start:#x}")
