"""Firmware updates that are cut into blocks, each behind a header and a script: AMI's PFAT
capsules and Dell's PFS updates. The blocks are put together again before anything is searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from romkit.find.stream import Allowance, Inner, Stream
from romkit.find.unpack import zlib_stream
from romkit.layout.bios_guard import (
    AMI_PFAT_HEADER,
    BIOS_GUARD_HEADER,
    BIOS_GUARD_SCRIPT,
    BIOS_GUARD_SIGNATURE,
    PFS_ENTRY,
    PFS_ENTRY_SIZES,
    PFS_HEADER,
    SIGNED_FLASH_ADDRESS_MAP,
)

#: Updates, entries and packed parts in one stream.
MAX_PARTS = 256

_AMI_TAG_AT = 8
_AMI = re.compile(b"_AMIPFAT")
_PFS = re.compile(rb"PFS\.HDR\.")

#: In front of the zlib streams of Dell's update programs; a checksum byte follows it.
_DELL_ZLIB = re.compile(rb"\xee\xaa\x76\x1b\xec\xbb\x20\xf1\xe6\x51.\x78[\x01\x5e\x9c\xda]", re.S)
_DELL_ZLIB_AT = 11

#: Bytes of a block's signature, by the first word in it.
_SIGNATURE_2048 = 8 + 256 + 4 + 256
_SIGNATURE_3072 = 8 + 384 + 4 + 384

#: What flash shows where no block was written.
_ERASED = b"\xff"


@dataclass(frozen=True, slots=True)
class _Block:
    """A BIOS Guard block: where its data are, where they belong, and where the block ends."""

    start: int
    size: int
    flash_offset: int
    end: int
    marker: bytes


def open_updates(stream: Stream, allowance: Allowance) -> Iterator[Inner]:
    """Put AMI's and Dell's updates together, and unpack Dell's zlib streams."""
    for hit in stream.hits(_AMI, MAX_PARTS):
        yield from _open_ami(stream, hit - _AMI_TAG_AT, allowance)
    for hit in stream.hits(_DELL_ZLIB, MAX_PARTS):
        unpacked = zlib_stream(stream.view[hit + _DELL_ZLIB_AT :], allowance)
        if unpacked:
            yield Inner(f"Dell zlib stream {hit:#x}", hit, unpacked)
        del unpacked  # or it would be held while the next one is unpacked
    seen: set[int] = set()
    for hit in stream.hits(_PFS, MAX_PARTS):
        yield from _open_pfs(stream, hit, seen, allowance)


def _block(stream: Stream, at: int) -> _Block | None:
    header = stream.peek(BIOS_GUARD_HEADER, at)
    if header is None or header.data_size == 0:
        return None
    script = at + BIOS_GUARD_HEADER.sizeof()
    start = script + header.script_size
    end = start + header.data_size
    if end > len(stream):
        return None
    orders = stream.peek(BIOS_GUARD_SCRIPT, script)
    offset = orders.flash_offset if orders is not None else 0
    if header.attributes & SIGNED_FLASH_ADDRESS_MAP:
        signature = stream.peek(BIOS_GUARD_SIGNATURE, end)
        kind = signature.kind if signature is not None else 0
        end += _SIGNATURE_2048 if kind == 1 else _SIGNATURE_3072
    # Version and platform are the same in all blocks of an update.
    return _Block(start, header.data_size, offset, end, stream.bytes_at(at, 0x14))


def _open_ami(stream: Stream, base: int, allowance: Allowance) -> Iterator[Inner]:
    header = stream.peek(AMI_PFAT_HEADER, base)
    if header is None:
        return
    at, number, marker = base + header.size, 0, b""
    whole, room = bytearray(), allowance.room
    while allowance.step():
        block = _block(stream, at)
        if block is None or (marker and block.marker != marker):
            break
        if len(whole) + block.size > room:
            allowance.note(f"the AMI PFAT update at {base:#x} is too large: the rest is left")
            break
        marker = block.marker
        whole += stream.view[block.start : block.start + block.size]
        number += 1
        at = block.end
    if not number:
        return
    stream.mark(base, at, f"AMI PFAT update {base:#x}", broken=True)
    allowance.spend(len(whole))
    yield Inner(f"{number} blocks", base, whole)


def _open_pfs(stream: Stream, base: int, seen: set[int], allowance: Allowance) -> Iterator[Inner]:
    header = stream.peek(PFS_HEADER, base)
    if header is None:
        return
    start = base + PFS_HEADER.sizeof()
    end = start + header.payload_size
    if end > len(stream):
        return
    blocks: list[_Block] = []
    at = start
    while at < end and at not in seen and allowance.step():
        seen.add(at)
        entry = stream.peek(PFS_ENTRY, at)
        if entry is None:
            break
        data = at + PFS_ENTRY_SIZES.get(entry.version, PFS_ENTRY_SIZES[2])
        guid = UUID(bytes_le=entry.guid)
        block = _block(stream, data)
        if block is not None and block.start + block.size == data + entry.data_size:
            blocks.append(block)
        else:
            stream.mark(data, data + entry.data_size, f"PFS entry {guid} {at:#x}")
        at = data + (
            entry.data_size
            + entry.data_signature_size
            + entry.metadata_size
            + entry.metadata_signature_size
        )
    if blocks:
        stream.mark(base, end, f"Dell PFS blocks {base:#x}", broken=True)
        whole = _in_flash_order(stream, blocks, allowance.room)
        allowance.spend(len(whole))
        yield Inner(f"{len(blocks)} blocks", base, whole)


def _in_flash_order(stream: Stream, blocks: list[_Block], most: int) -> bytearray:
    """The data of the blocks where they belong, FF between. The file has them in another order."""
    whole = bytearray()
    for block in sorted(blocks, key=lambda block: block.flash_offset):
        gap = block.flash_offset - len(whole)
        if gap > 0 and block.flash_offset + block.size <= most:
            whole += _ERASED * gap
        if len(whole) + block.size > most:
            break
        whole += stream.view[block.start : block.start + block.size]
    return whole
