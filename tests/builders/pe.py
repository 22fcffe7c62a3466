"""Minimal PE images, written field by field: what a UEFI driver in an option ROM looks like."""

from __future__ import annotations

import struct

GOP_GUID = struct.pack("<IHH8B", 0x9042A9DE, 0x23DC, 0x4A38, *bytes.fromhex("96fb7aded080516a"))

E_LFANEW = 0x80
SIZE_OF_HEADERS = 0x200
FILE_ALIGNMENT = 0x20


def utf16(text: str) -> bytes:
    """`text` as a zero-terminated UTF-16LE string."""
    return (text + "\0").encode("utf-16-le")


def padded(data: bytes, alignment: int) -> bytes:
    """`data` with zeros up to a multiple of `alignment`."""
    return data + bytes(-len(data) % alignment)


def optional_header(pe: bytes) -> int:
    """Where the optional header of a built image starts."""
    return int(struct.unpack_from("<I", pe, 0x3C)[0]) + 24


def directories(pe: bytes) -> int:
    """Where the data directories of a built image start."""
    start = optional_header(pe)
    return start + {0x10B: 96, 0x20B: 112}[struct.unpack_from("<H", pe, start)[0]]


def build_pe(
    body: bytes = b"",
    *,
    machine: int = 0x8664,
    subsystem: int = 0x0B,
    plus: bool = True,
    pdb: bytes | None = None,
    codeview: bytes = b"RSDS" + bytes(20),
    names: tuple[bytes, ...] = (b".text", b".reloc"),
    time_date_stamp: int = 0,
    number_of_directories: int = 16,
) -> bytes:
    """A PE32+ (or PE32) image whose first section holds `body`; the others hold 0x20 bytes.

    Args:
        body: contents of the first section.
        machine: COFF machine type.
        subsystem: 0x0B boot service driver.
        plus: PE32+ rather than PE32.
        pdb: path for a CodeView debug entry behind `body`.
        codeview: what stands before the path in the debug data.
        names: section names.
        time_date_stamp: COFF time stamp.
        number_of_directories: as stated; the table itself follows it.
    """
    code = padded(body, FILE_ALIGNMENT)
    debug = (0, 0)
    if pdb is not None:
        at = SIZE_OF_HEADERS + len(code)
        data = codeview + pdb + b"\0"
        code += struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, len(data), at + 28, at + 28) + data
        debug = (0x1000 + at - SIZE_OF_HEADERS, 28)
    contents = [padded(code, FILE_ALIGNMENT), *[b"\x11" * 0x20] * (len(names) - 1)]

    sections, offset, address = b"", SIZE_OF_HEADERS, 0x1000
    for name, raw in zip(names, contents, strict=True):
        sections += struct.pack(
            "<8s6I2HI", name, len(raw), address, len(raw), offset, 0, 0, 0, 0, 0x60000020
        )
        offset += len(raw)
        address += len(raw) + 0xFFF & ~0xFFF

    optional = struct.pack(
        "<HBBIIIII", 0x20B if plus else 0x10B, 14, 0, len(code), 0, 0, 0x1000, 0x1000
    )
    optional += struct.pack("<Q", 0) if plus else struct.pack("<II", 0, 0)
    optional += struct.pack("<II6HI", 0x1000, FILE_ALIGNMENT, 0, 0, 0, 0, 0, 0, 0)
    optional += struct.pack("<IIIHH", address, SIZE_OF_HEADERS, 0, subsystem, 0)
    optional += struct.pack("<4Q" if plus else "<4I", 0, 0, 0, 0)
    optional += struct.pack("<II", 0, number_of_directories)
    tables = [(0, 0)] * 16
    tables[6] = debug
    for entry in tables[: min(number_of_directories, 16)]:
        optional += struct.pack("<II", *entry)

    headers = b"MZ" + bytes(0x3A) + struct.pack("<I", E_LFANEW)
    headers = headers.ljust(E_LFANEW, b"\0") + b"PE\0\0"
    headers += struct.pack(
        "<HHIIIHH", machine, len(names), time_date_stamp, 0, 0, len(optional), 0x2022
    )
    headers += optional + sections
    assert len(headers) <= SIZE_OF_HEADERS
    return headers.ljust(SIZE_OF_HEADERS, b"\0") + b"".join(contents)


def build_rom_image(
    payload: bytes,
    *,
    compression: int = 0,
    machine: int = 0x8664,
    subsystem: int = 0x0B,
    efi_signature: int = 0x0EF1,
    image_offset: int = 0x38,
    initialization_size: int | None = None,
) -> bytes:
    """A code type 3 image without a PCI data structure, in whole blocks of 512 bytes."""
    head = struct.pack(
        "<2sHIHHH8sHH",
        b"\x55\xaa",
        0,
        efi_signature,
        subsystem,
        machine,
        compression,
        bytes(8),
        image_offset,
        0x1C,
    )
    image = padded(head.ljust(image_offset, b"\0") + payload, 512)
    blocks = len(image) // 512 if initialization_size is None else initialization_size
    return image[:2] + struct.pack("<H", blocks) + image[4:]
