"""A synthetic UEFI driver: a valid PE image that firmware can load and start, and that does
nothing but return EFI_SUCCESS.

::

    0x000  headers
    0x200  .text    a few instructions
    0x400  .reloc   one empty block, so that it may be loaded anywhere
    0x600  .data    GUID of the Graphics Output Protocol (or zeros), texts, zeros

Microsoft PE format; UEFI specification 2.10, section 2.1.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from romkit.efi.gop import GOP_GUID
from romkit.errors import RecipeError
from romkit.header import BLOCK

_HEADERS = 0x200
_DATA_AT = 0x600
_SECTION = 0x1000

#: The smallest driver, in bytes.
SMALLEST = _DATA_AT + BLOCK

#: "return EFI_SUCCESS", by PE machine. Others get zeros: nobody here could start them.
_CODE = {
    0x014C: "31c0 c3",  # IA32: xor eax, eax; ret
    0x8664: "31c0 c3",  # X64: xor eax, eax; ret
    0xAA64: "000080d2 c0035fd6",  # AA64: mov x0, #0; ret
    0x01C0: "0000a0e3 1eff2fe1",  # ARM: mov r0, #0; bx lr
    0x01C2: "0000a0e3 1eff2fe1",  # the same; firmware enters it in ARM state at an even address
    0x0EBC: "5677 0400",  # EBC: xor64 r7, r7; ret
    0x5064: "0145 8280",  # RISCV64: c.li a0, 0; c.ret
    0x6264: "04001500 2000004c",  # LOONGARCH64: move a0, zero; jirl zero, ra, 0
}

#: Machines whose images are PE32: all that are not known here are taken for 64 bit.
_PE32 = frozenset({0x014C, 0x01C0, 0x01C2, 0x5032, 0x6232})

_EXECUTABLE = 0x0002
_LARGE_ADDRESS_AWARE = 0x0020
_MACHINE_32BIT = 0x0100
_NX_COMPAT = 0x0100

_CODE_SECTION = 0x60000020  # code, execute, read
_DATA_SECTION = 0xC0000040  # initialized data, read, write
_RELOC_SECTION = 0x42000040  # initialized data, discardable, read


@dataclass(frozen=True, slots=True)
class Driver:
    """What a synthetic driver is made of.

    Attributes:
        machine: PE machine type.
        subsystem: 0x0b boot service driver, 0x0c runtime driver.
        gop: whether the protocol's GUID stands in it.
        strings: UTF-16 texts.
        size: bytes, a multiple of 512; None for as few as are needed.
    """

    machine: int = 0x8664
    subsystem: int = 0x0B
    gop: bool = False
    strings: tuple[str, ...] = ()
    size: int | None = None


def build_pe(driver: Driver, path: str = "driver") -> bytes:
    """The driver's PE image.

    Raises:
        RecipeError: `size` is too small for the texts; the message starts with `path`.
    """
    data = GOP_GUID if driver.gop else bytes(len(GOP_GUID))
    data += b"".join(f"{text}\0".encode("utf-16-le") for text in driver.strings)
    needed = -(-(_DATA_AT + len(data)) // BLOCK) * BLOCK
    size = needed if driver.size is None else driver.size
    if size < needed:
        raise RecipeError(f"{path}.pe_size: expected at least {needed:#x}, found {size:#x}")
    body = _code(driver.machine) + _reloc() + data
    return _headers(driver, size - _DATA_AT) + body.ljust(size - _HEADERS, b"\0")


def read_driver(pe: bytes) -> Driver | None:
    """The driver that `build_pe` makes `pe` of (more may follow it), or None."""
    if len(pe) < SMALLEST or pe[:2] != b"MZ":
        return None
    machine = int.from_bytes(pe[0x44:0x46], "little")
    # The subsystem stands at the same place in PE32 and PE32+; the last section's size does not.
    subsystem = int.from_bytes(pe[0x58 + 68 : 0x58 + 70], "little")
    sections = 0x58 + (224 if machine in _PE32 else 240)
    data_size = int.from_bytes(pe[sections + 2 * 40 + 16 : sections + 2 * 40 + 20], "little")
    size = _DATA_AT + data_size
    if size > len(pe) or data_size % BLOCK:
        return None
    texts = pe[_DATA_AT + len(GOP_GUID) : size]
    strings = []
    while texts[:2] not in (b"\0\0", b""):
        end = next((i for i in range(0, len(texts) - 1, 2) if texts[i : i + 2] == b"\0\0"), None)
        if end is None:
            return None
        strings.append(texts[:end].decode("utf-16-le", "replace"))
        texts = texts[end + 2 :]
    gop = pe.startswith(GOP_GUID, _DATA_AT)
    for stated in (None, size):
        driver = Driver(machine, subsystem, gop, tuple(strings), stated)
        try:
            if build_pe(driver) == pe[:size]:
                return driver
        except (RecipeError, UnicodeEncodeError):
            return None
    return None


def _code(machine: int) -> bytes:
    return bytes.fromhex(_CODE.get(machine, "")).ljust(BLOCK, b"\0")


def _reloc() -> bytes:
    # A block of two entries that relocate nothing (type 0), at offsets that do not overlap.
    return struct.pack("<IIHH", _SECTION, 12, 0, 8).ljust(BLOCK, b"\0")


def _headers(driver: Driver, data_size: int) -> bytes:
    pe32 = driver.machine in _PE32
    directories = [(0, 0)] * 16
    directories[5] = (2 * _SECTION, 12)
    loaded = 3 * _SECTION + -(-data_size // _SECTION) * _SECTION
    # Magic, linker version, sizes of code and data, entry point, base of code (PE32: and of data).
    optional = struct.pack(
        "<HBBIIIII",
        0x10B if pe32 else 0x20B,
        0,
        0,
        BLOCK,
        data_size,
        0,
        _SECTION,
        _SECTION,
    )
    optional += struct.pack("<II", 3 * _SECTION, 0) if pe32 else struct.pack("<Q", 0)
    optional += struct.pack("<II6HI", _SECTION, BLOCK, *[0] * 6, 0)
    optional += struct.pack("<IIIHH", loaded, _HEADERS, 0, driver.subsystem, _NX_COMPAT)
    optional += bytes(4 * (4 if pe32 else 8))  # stack and heap
    optional += struct.pack("<II", 0, len(directories))
    optional += b"".join(struct.pack("<II", *entry) for entry in directories)
    characteristics = _EXECUTABLE | (_MACHINE_32BIT if pe32 else _LARGE_ADDRESS_AWARE)
    coff = struct.pack("<HHIIIHH", driver.machine, 3, 0, 0, 0, len(optional), characteristics)
    sections = b"".join(
        struct.pack("<8sIIIIIIHHI", name, size, at, size, offset, 0, 0, 0, 0, flags)
        for name, size, at, offset, flags in (
            (b".text", BLOCK, _SECTION, 0x200, _CODE_SECTION),
            (b".reloc", BLOCK, 2 * _SECTION, 0x400, _RELOC_SECTION),
            (b".data", data_size, 3 * _SECTION, _DATA_AT, _DATA_SECTION),
        )
    )
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    return (dos + b"PE\0\0" + coff + optional + sections).ljust(_HEADERS, b"\0")
