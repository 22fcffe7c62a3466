"""Option ROM images put together by hand, field by field from the specifications.

Nothing here uses romkit: what these bytes mean is known before romkit reads them.
"""

from __future__ import annotations

import struct


def pcir(
    *,
    signature: bytes = b"PCIR",
    vendor: int = 0x10DE,
    device: int = 0x1C03,
    device_list: int = 0,
    length: int = 0x18,
    revision: int = 0,
    class_code: int = 0x030000,
    blocks: int = 2,
    vendor_revision: int = 1,
    code_type: int = 0,
    indicator: int = 0x80,
    runtime_blocks: int = 0,
    utility: int = 0,
    clp: int = 0,
) -> bytes:
    head = struct.pack(
        "<4sHHHHB3sHHBBH",
        signature,
        vendor,
        device,
        device_list,
        length,
        revision,
        class_code.to_bytes(3, "little"),
        blocks,
        vendor_revision,
        code_type,
        indicator,
        runtime_blocks,
    )
    return head + (struct.pack("<HH", utility, clp) if length >= 0x1C else b"")


def npde(
    *,
    blocks: int,
    last: int = 0,
    revision: int = 0x101,
    length: int = 20,
    flags: int = 1,
    gop: int = 0,
    subsystem: tuple[int, int] = (0x1043, 0x85A6),
) -> bytes:
    whole = struct.pack(
        "<4sHHHBBIHH", b"NPDE", revision, length, blocks, last, flags, gop, *subsystem
    )
    return whole[:length]


def image(
    structure: bytes,
    *,
    blocks: int = 2,
    signature: bytes = b"\x55\xaa",
    pointer: int = 0x40,
    extension: bytes = b"",
    size_byte: int | None = None,
    fill: int = 0x5A,
    fix_sum: bool = True,
    body: dict[int, bytes] | None = None,
) -> bytes:
    """An image of `blocks` * 512 bytes: header, structure at `pointer`, NPDE at the next 16."""
    raw = bytearray([fill]) * (blocks * 512)
    raw[0:2] = signature
    raw[2] = blocks & 0xFF if size_byte is None else size_byte
    raw[3] = 0xCB
    raw[0x18:0x1C] = struct.pack("<HH", pointer, 0)
    raw[pointer : pointer + len(structure)] = structure
    if extension:
        at = (pointer + struct.unpack_from("<H", structure, 10)[0] + 15) // 16 * 16
        raw[at : at + len(extension)] = extension
    for offset, content in (body or {}).items():
        raw[offset : offset + len(content)] = content
    if fix_sum:
        raw[-1] = (raw[-1] - sum(raw)) & 0xFF
    return bytes(raw)


def efi_image(
    payload: bytes,
    *,
    blocks: int | None = None,
    indicator: int = 0x80,
    machine: int = 0x8664,
    subsystem: int = 0x0B,
    compression: int = 0,
    efi_signature: int = 0x0EF1,
    initialization_blocks: int | None = None,
    extension: bytes = b"",
    **fields: int,
) -> bytes:
    """An EFI image: header of UEFI 2.10, 14.4.2.1, PCIR at 0x1C, driver at 0x58."""
    if blocks is None:
        blocks = -(-(0x58 + len(payload)) // 512)
    fields.setdefault("vendor_revision", 0)
    structure = pcir(
        code_type=3, indicator=indicator, blocks=blocks, length=0x1C, revision=3, **fields
    )
    raw = bytearray(blocks * 512)
    struct.pack_into(
        "<2sHIHHH8xHH",
        raw,
        0,
        b"\x55\xaa",
        blocks if initialization_blocks is None else initialization_blocks,
        efi_signature,
        subsystem,
        machine,
        compression,
        0x58,
        0x1C,
    )
    raw[0x1C : 0x1C + len(structure)] = structure
    raw[0x40 : 0x40 + len(extension)] = extension
    raw[0x58 : 0x58 + len(payload)] = payload[: blocks * 512 - 0x58]
    return bytes(raw)


def nvidia_desktop(*, last: int = 0x80) -> bytes:
    """00 + 03 + E0: firmware stops behind 03, NVIDIA's driver goes on to E0."""
    legacy = image(pcir(indicator=0), extension=npde(blocks=2))
    driver = efi_image(b"", blocks=2, extension=npde(blocks=2, length=16, gop=0x30008))
    own = image(
        pcir(signature=b"NPDS", code_type=0xE0, class_code=0, blocks=3, indicator=0, device=0x1C00),
        signature=b"VN",
        blocks=3,
        extension=npde(blocks=3, last=last),
    )
    return legacy + driver + own


def nvidia_mobile() -> bytes:
    """00 + E0 + 70, all of it covered by the PCIR length of the first image."""
    total = 2 + 3 + 1
    legacy = image(pcir(blocks=total), extension=npde(blocks=2), fix_sum=False)
    own = image(
        pcir(signature=b"NPDS", code_type=0xE0, class_code=0, blocks=3, indicator=0),
        signature=b"VN",
        blocks=3,
        extension=npde(blocks=3),
    )
    notebook = image(
        pcir(signature=b"NPDS", code_type=0x70, class_code=0, blocks=1, device=0),
        signature=b"VN",
        blocks=1,
    )
    raw = bytearray(legacy + own + notebook)
    raw[1023] = (raw[1023] - sum(raw)) & 0xFF
    return bytes(raw)


def nvgi(
    version: int, rom: bytes, *, rom_offset: int = 0x400, rom_length: int | None = None
) -> bytes:
    """`rom` behind an NVGI header of version 1, 2 or 3 (then with an RFRD directory)."""
    if version < 3:
        head = struct.pack("<4sIIHH", b"NVGI", version << 8 | 0x10 << 16, 0x37C, 0x1028, 0x06DA)
        head += struct.pack("<II", 0, rom_offset)
        return head.ljust(rom_offset, b"\xff") + rom
    front = bytearray(b"\xff" * 0x4600)
    front[:16] = struct.pack("<4sIIHH", b"NVGI", 3 << 8 | 0x24 << 16, 0x32C, 0x1043, 0x105F)
    front[0x32C:0x330] = struct.pack("<I", 0x3000)
    length = len(rom) if rom_length is None else rom_length
    front[0x4000:0x4010] = struct.pack("<4sHHII", b"RFRD", 2, 0x20, 0x4600, length)
    return bytes(front) + rom


def nvfw(rom: bytes) -> bytes:
    """A Blackwell flash: a small E0 image and the directory in front of the ROM."""
    front = bytearray(b"\xff" * 0x5400)
    front[:4] = bytes.fromhex("4cc0e00c")
    front[0x1000:0x1004] = b"NVFW"
    decoy = image(pcir(code_type=0xE0, indicator=0), fix_sum=False)
    front[0x4C00 : 0x4C00 + len(decoy)] = decoy
    front[0x2345:0x2349] = b"RFRD"  # code that happens to spell it
    front[0x5200:0x5210] = struct.pack("<4sHHII", b"RFRD", 4, 0x28, 0x4400, 0xFFFFFFFF)
    return bytes(front) + rom


def vfct(*roms: bytes) -> bytes:
    """An ACPI VFCT table with one entry a ROM, for devices 00.0, 01.0, …"""
    body = b""
    for number, rom in enumerate(roms):
        ids = (0x1002, 0x1636 + number, 0x1025, 0x1300 + number)
        body += struct.pack("<III4HII", 4, number, 0, *ids, 1, len(rom)) + rom
    fixed = struct.pack("<16sII16x", bytes(range(16)), 0x4C, 0)
    length = 36 + len(fixed) + len(body)
    head = struct.pack(
        "<4sIBB6s8sI4sI", b"VFCT", length, 1, 0, b"TEST  ", b"TABLE   ", 1, b"ABCD", 1
    )
    table = bytearray(head + fixed + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)
