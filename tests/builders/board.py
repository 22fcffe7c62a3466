"""ROMs of made-up boards with a GOP driver, or ready for one; field by field, without romkit."""

from __future__ import annotations

import struct

from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, pcir

PASCAL = "86.07.92.00.0F"
TURING = "90.17.2A.00.11"


def gop_driver(text: str = "NVIDIA GPU UEFI Driver", *, machine: int = 0x8664) -> bytes:
    """A PE image that names the Graphics Output Protocol, and a text in UTF-16."""
    return build_pe(GOP_GUID + text.encode("utf-16-le") + bytes(64), machine=machine)


def bit(version: str) -> bytes:
    """NVIDIA's BIT with one token, B, whose data stand right behind it at 0x120."""
    digits = [int(part, 16) for part in version.split(".")]
    header = struct.pack("<2s4sHBBBB", b"\xff\xb8", b"BIT\0", 0x0100, 12, 6, 1, 0)
    header = header[:11] + bytes([-sum(header) & 0xFF])
    token = struct.pack("<cBHH", b"B", 1, 5, 0x120)
    data = bytes([digits[3], digits[2], digits[1], digits[0], digits[4]])
    return (header + token).ljust(0x20, b"\0") + data


def nvidia_legacy(
    version: str = PASCAL,
    *,
    device: int = 0x1C8D,
    own: int = 4,
    length: int | None = None,
    indicator: int = 0x80,
    flags: int = 1,
    subsystem: tuple[int, int] = (0x1025, 0x118B),
    fix_sum: bool = True,
) -> bytes:
    """An x86 image of `own` blocks whose PCIR length is `length` blocks, with BIT and NPDE."""
    return image(
        pcir(device=device, blocks=length or own, indicator=indicator),
        blocks=own,
        extension=npde(blocks=own, flags=flags, subsystem=subsystem),
        fill=0xFF,
        fix_sum=fix_sum,
        body={0x100: bit(version)},
    )


def nvidia_own(
    code_type: int = 0xE0,
    *,
    blocks: int = 3,
    last: bool = False,
    extended: bool = True,
    device: int = 0x1C80,
) -> bytes:
    """An image that only NVIDIA's driver knows, which sums to zero."""
    return image(
        pcir(
            signature=b"NPDS",
            code_type=code_type,
            class_code=0,
            blocks=blocks,
            indicator=0x80 if last else 0,
            device=device,
        ),
        signature=b"VN",
        blocks=blocks,
        extension=npde(blocks=blocks, last=0x80 if last else 0) if extended else b"",
        fill=0xFF,
    )


def nvidia_gop(
    series: int = 3,
    *,
    device: int = 0x1C8D,
    indicator: int = 0x80,
    last: int = 0,
    extended: bool = True,
    payload: bytes | None = None,
    machine: int = 0x8664,
) -> bytes:
    """An EFI image with a GOP driver and NVIDIA's version for it, series << 16 | 9."""
    payload = gop_driver(machine=machine) if payload is None else payload
    blocks = -(-(0x58 + len(payload)) // 512)
    extension = npde(blocks=blocks, last=last, length=16, gop=series << 16 | 9)
    return efi_image(
        payload,
        blocks=blocks,
        device=device,
        indicator=indicator,
        machine=machine,
        extension=extension if extended else b"",
    )


def mobile(*, gop: bytes = b"", padding: int = 0, version: str = PASCAL) -> bytes:
    """00 + E0 + E0 + 70, covered by the PCIR length of the first; then `gop`, then padding."""
    own = nvidia_own() + nvidia_own(blocks=2)
    notebook = nvidia_own(0x70, blocks=2, last=not gop, extended=False, device=0)
    legacy = nvidia_legacy(
        version,
        length=4 + 3 + 2 + 2,
        indicator=0 if gop else 0x80,
        flags=0x0B if gop else 0x0A,
    )
    return legacy + own + notebook + gop + b"\xff" * padding


def desktop(*, gop: bytes = b"", version: str = PASCAL) -> bytes:
    """00 + `gop` + E0 + 70: firmware stops behind `gop`, NVIDIA's driver goes on."""
    legacy = nvidia_legacy(version, indicator=0 if gop else 0x80)
    notebook = nvidia_own(0x70, blocks=2, last=True, extended=False, device=0)
    return legacy + gop + nvidia_own() + notebook


def gop_between(gop: bytes) -> bytes:
    """The mobile board as a careless tool leaves it: `gop` behind the first E0 image."""
    whole = mobile()
    at = (4 + 3) * 512
    broken = bytearray(whole[:at] + gop + whole[at:])
    broken[0x40 + 0x15] = 0
    return bytes(broken)


def amd_legacy(*, blocks: int = 4, indicator: int = 0x80, device: int = 0x67DF) -> bytes:
    """An x86 image with an ATOM header at 0x100, balanced at 0x21; code up to its last byte."""
    header = struct.pack("<HBB4s8H2H", 36, 1, 1, b"ATOM", *[0] * 8, 0x1682, 0x9470)
    raw = bytearray(
        image(
            pcir(vendor=0x1002, device=device, blocks=blocks, indicator=indicator),
            blocks=blocks,
            body={0x48: struct.pack("<H", 0x100), 0x100: header.ljust(36, b"\0")},
            fix_sum=False,
        )
    )
    raw[0x21] = (raw[0x21] - sum(raw)) & 0xFF
    return bytes(raw)


def amd_gop(*, indicator: int = 0x80, device: int = 0x67DF) -> bytes:
    """An EFI image with AMD's GOP driver."""
    driver = gop_driver("AMD GOP X64 Release Driver Rev.1.60.0.15.50.Feb  1 2016.14:59:32")
    return efi_image(driver, vendor=0x1002, device=device, indicator=indicator)


def amd(*, gop: bool = True, tail: bytes = b"") -> bytes:
    """00 [+ 03], then `tail`."""
    legacy = amd_legacy(indicator=0 if gop else 0x80)
    return legacy + (amd_gop() if gop else b"") + tail
