"""UEFI firmware images put together by hand, from the PI specification, volume 3.

Nothing here uses romkit. The encoders are uefi-firmware's and Python's own.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from uuid import UUID

from uefi_firmware import efi_compressor

FFS2 = UUID("8c8ce578-8a3d-4f1c-9935-896185c32dd3")
LZMA = UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf")
LZMA_X86 = UUID("d42ae6bd-1352-4bfb-909a-ca72a6eae889")
TIANO = UUID("a31280ad-481e-41b6-95e8-127f4c984779")
CRC32 = UUID("fc1bcdb0-7d31-49aa-936a-a4600d9dd083")
AMD_ZLIB = UUID("ce3233f5-2cd6-4d87-9152-4a238bb6d1c4")

RAW, COMPRESSION, GUIDED, DISPOSABLE, FV_IMAGE, UI = 0x19, 0x01, 0x02, 0x03, 0x17, 0x15
FILE_RAW, FILE_FREEFORM, FILE_FV, FILE_PAD = 0x01, 0x02, 0x0B, 0xF0


def section(kind: int, body: bytes, *, extended: bool = False) -> bytes:
    if extended:
        return b"\xff\xff\xff" + struct.pack("<BI", kind, len(body) + 8) + body
    return struct.pack("<I", len(body) + 4)[:3] + bytes([kind]) + body


def sections(*parts: bytes) -> bytes:
    whole = b""
    for part in parts:
        whole += bytes(-len(whole) % 4) + part
    return whole


def guided(guid: UUID, data: bytes, *, attributes: int = 1, front: bytes = b"") -> bytes:
    offset = 4 + 20 + len(front)
    return section(GUIDED, guid.bytes_le + struct.pack("<HH", offset, attributes) + front + data)


def efi_compressed(data: bytes) -> bytes:
    packed = bytes(efi_compressor.EfiCompress(data, len(data)))
    return section(COMPRESSION, struct.pack("<IB", len(data), 1) + packed)


def tiano_compressed(data: bytes) -> bytes:
    packed = bytes(efi_compressor.TianoCompress(data, len(data)))
    return section(COMPRESSION, struct.pack("<IB", len(data), 1) + packed)


def uncompressed(data: bytes) -> bytes:
    return section(COMPRESSION, struct.pack("<IB", len(data), 0) + data)


def custom_compressed(data: bytes, front: bytes = b"") -> bytes:
    return section(COMPRESSION, struct.pack("<IB", len(data), 2) + front + lzma_alone(data))


def lzma_alone(data: bytes) -> bytes:
    """As edk2's LzmaCompress writes it: the size in the header, no end marker."""
    return bytes(efi_compressor.LzmaCompress(data, len(data)))


def lzma_guided(data: bytes) -> bytes:
    return guided(LZMA, lzma_alone(data))


def tiano_guided(data: bytes) -> bytes:
    return guided(TIANO, bytes(efi_compressor.TianoCompress(data, len(data))))


def lzma_x86_guided(data: bytes) -> bytes:
    """The x86 filter, then LZMA: liblzma's own encoder chain, behind the "alone" header."""
    chain = [
        {"id": lzma.FILTER_X86},
        {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 20},
    ]
    raw = lzma.compress(data, lzma.FORMAT_RAW, filters=chain)
    return guided(LZMA_X86, struct.pack("<BIQ", 0x5D, 1 << 20, len(data)) + raw)


def amd_zlib_guided(data: bytes) -> bytes:
    packed = zlib.compress(data)
    head = bytes(0x14) + struct.pack("<I", len(packed))
    return guided(AMD_ZLIB, head.ljust(0x100, b"\0") + packed)


def file(guid: UUID, kind: int, body: bytes, *, large: bool = False) -> bytes:
    size = 24 + len(body) + (8 if large else 0)
    field = b"\0\0\0" if large else struct.pack("<I", size)[:3]
    head = bytearray(
        guid.bytes_le + struct.pack("<HBB", 0, kind, 0x01 if large else 0) + field + b"\0"
    )
    if large:
        head += struct.pack("<Q", size)
    head[16] = -sum(head) & 0xFF
    head[17] = 0xAA
    head[23] = 0xF8
    return bytes(head) + body


def volume(
    *files: bytes, size: int | None = None, name: UUID | None = None, fill: int = 0xFF
) -> bytes:
    header_length = 0x48
    body = b""
    extension = 0
    if name is not None:
        # The extended header stands in a pad file at the start, as edk2 writes it.
        body = file(UUID(int=2**128 - 1), FILE_PAD, name.bytes_le + struct.pack("<I", 20))
        extension = header_length + 24
    for one in files:
        body += bytes([fill]) * (-(header_length + len(body)) % 8) + one
    length = -(-(header_length + len(body)) // 4096) * 4096 if size is None else size
    head = bytearray(
        bytes(16)
        + FFS2.bytes_le
        + struct.pack("<Q4sIHHHBB", length, b"_FVH", 0x4FEFF, header_length, 0, extension, 0, 2)
        + struct.pack("<IIII", length // 4096, 4096, 0, 0)
    )
    words = struct.unpack(f"<{header_length // 2}H", head)
    struct.pack_into("<H", head, 0x32, -sum(words) & 0xFFFF)
    return (bytes(head) + body).ljust(length, bytes([fill]))


def capsule(body: bytes) -> bytes:
    guid = UUID("3b6686bd-0d76-4030-b70e-b5519e2fc5a0")
    return guid.bytes_le + struct.pack("<III", 28, 0, 28 + len(body)) + body


def spi(bios: bytes, *, at: int = 0x100000, size: int = 0x400000) -> bytes:
    """A flash image with Intel's descriptor, an ME region of noise, and a BIOS region."""
    flash = bytearray(b"\xff" * size)
    struct.pack_into("<4sI", flash, 0x10, b"\x5a\xa5\xf0\x0f", 0x04040003)
    blocks = size // 4096
    regions = [(0, 0), (at // 4096, blocks - 1), (1, at // 4096 - 1), (0x7FFF, 0), (0x7FFF, 0)]
    for number, (base, limit) in enumerate(regions):
        struct.pack_into("<HH", flash, 0x40 + 4 * number, base, limit)
    flash[at : at + len(bios)] = bios
    return bytes(flash)


def bios_guard(data: bytes, flash_offset: int, *, signed: bool = False) -> bytes:
    """One block: header, a script that loads the offset, the data, a 2048-bit signature."""
    script = struct.pack("<4x8sI", b"\x55\x00" + bytes(6), flash_offset).ljust(0x40, b"\x11")
    head = struct.pack(
        "<HH16sIHHIIIII", 2, 0, b"TESTPLATFORM", int(signed), 1, 0, len(script), len(data), 0, 0, 0
    )
    signature = struct.pack("<II", 1, 1) + bytes(0x204) if signed else b""
    return head + script + data + signature


def ami_pfat(*blocks: bytes) -> bytes:
    listing = b"AMI_BIOS_GUARD_FLASH_CONFIGURATIONS\r\n1 0 0 2 ;BIOS.bin\r\n"
    return struct.pack("<II8sB", 17 + len(listing), 0, b"_AMIPFAT", 1) + listing + b"".join(blocks)


def pfs(*entries: bytes, revision: int = 1) -> bytes:
    body = b""
    for number, data in enumerate(entries):
        head = UUID(int=number + 1).bytes_le + struct.pack(
            "<I4s8s8sIIII", revision, b"NNNN", bytes(8), bytes(8), len(data), 3, 2, 1
        )
        body += head.ljust(0x48 if revision == 1 else 0x58, b"\0") + data + b"SIGMES"
    foot = struct.pack("<II8s", len(body), 0, b"PFS.FTR.")
    return struct.pack("<8sII", b"PFS.HDR.", 1, len(body)) + body + foot


def dell_program(data: bytes) -> bytes:
    """A Windows program with the zlib stream that Dell's updates have."""
    packed = zlib.compress(data, 6)
    head = struct.pack("<I", len(packed)) + bytes.fromhex("aaeeaa761becbb20f1e651")
    check = 0
    for byte in head:
        check ^= byte
    return b"MZ" + bytes(1000) + head + bytes([check]) + packed + b"the end"
