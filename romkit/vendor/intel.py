"""Intel: the video BIOS table (VBT).

Sources: linux drivers/gpu/drm/i915/display/intel_vbt_defs.h (struct vbt_header, struct
bdb_header, struct vbios_data), and measurements on real ROMs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from romkit.layout.intel import (
    BDB_BLOCK_HEADER,
    BDB_HEADER,
    BDB_SKIP,
    BDB_VBIOS_DATA,
    VBT_HEADER,
    VBT_POINTER,
    VBT_POINTER_AT,
)
from romkit.vendor.part import read_part
from romkit.vendor.strings import clean

_SIGNATURE = b"$VBT"
_BDB_SIGNATURE = b"BIOS_DATA_BLOCK "

#: "$VBT" is four bytes: it occurs by chance and by intention.
_CANDIDATES = 256


@dataclass(frozen=True, slots=True)
class Vbt:
    """A video BIOS table. What its BIOS data block would say is None where that is damaged.

    Attributes:
        offset: bytes from the start of the file.
        platform: the name behind "$VBT", e.g. "SKYLAKE".
        version: of the table's format.
        header_size: bytes.
        vbt_size: bytes, header, BIOS data block and all.
        checksum_ok: the bytes over `vbt_size` sum to zero; None where the file ends before. It
            verifies in none of the measured ROMs and i915 does not look at it: informative.
        bdb_version: of the BIOS data block's format.
        build_number: of the VBIOS, digits.
        sign_on: what the VBIOS shows at boot, as one line.
        copyright: Intel's copyright line.
    """

    offset: int
    platform: str
    version: int
    header_size: int
    vbt_size: int
    checksum_ok: bool | None
    bdb_version: int | None
    build_number: str | None
    sign_on: str | None
    copyright: str | None

    def __repr__(self) -> str:
        return (
            f"<Vbt {self.platform or '?'} version {self.version} BDB {self.bdb_version}"
            f" {self.vbt_size} bytes @{self.offset:#x}>"
        )


def read_vbt(image: bytes, base: int) -> Vbt | None:
    """Read the VBT of a legacy image.

    The word at 0x1A leads to it (6 of 6 measured Intel images). An image whose word leads
    elsewhere is searched for a table with a BIOS data block in it.

    Args:
        image: the image from its 55 AA on, as far as its declared length or the file goes.
        base: where the image starts in the file, in bytes.
    """
    pointer = read_part(VBT_POINTER, image, VBT_POINTER_AT)
    if pointer is not None and image.startswith(_SIGNATURE, pointer.vbt_offset):
        vbt = _vbt(image, pointer.vbt_offset, base)
        if vbt is not None:
            return vbt
    return _search(image, base)


def find_vbt(data: bytes) -> Vbt | None:
    """The first VBT anywhere in `data`: "$VBT" with a BIOS data block where it says.

    For files that are no option ROM, such as the kernel's i915_vbt or a firmware volume's section.
    """
    return _search(data, 0)


def _search(data: bytes, base: int) -> Vbt | None:
    at = -1
    for _ in range(_CANDIDATES):
        at = data.find(_SIGNATURE, at + 1)
        if at < 0:
            return None
        header = read_part(VBT_HEADER, data, at)
        if header is None:
            return None
        if data.startswith(_BDB_SIGNATURE, at + header.bdb_offset):
            return _vbt(data, at, base)
    return None


def _vbt(data: bytes, at: int, base: int) -> Vbt | None:
    header = read_part(VBT_HEADER, data, at)
    if header is None:
        return None
    covered = data[at : at + header.vbt_size]
    whole = 0 < header.vbt_size == len(covered)
    bdb_at = at + header.bdb_offset
    bdb = read_part(BDB_HEADER, data, bdb_at)
    if bdb is not None and bdb.signature != _BDB_SIGNATURE:
        bdb = None
    vbios = _vbios_data(data, bdb_at + bdb.header_size) if bdb is not None else None
    return Vbt(
        offset=base + at,
        platform=clean(header.signature[len(_SIGNATURE) :].partition(b"\0")[0]),
        version=header.version,
        header_size=header.header_size,
        vbt_size=header.vbt_size,
        checksum_ok=sum(covered) & 0xFF == 0 if whole else None,
        bdb_version=bdb.version if bdb is not None else None,
        build_number=_text(vbios.build_number) if vbios is not None else None,
        sign_on=_text(vbios.sign_on) if vbios is not None else None,
        copyright=_text(vbios.copyright) if vbios is not None else None,
    )


def _vbios_data(data: bytes, at: int) -> Any:
    """The VBIOS's own block, if the BIOS data block begins with it (it does where it has one)."""
    block = read_part(BDB_BLOCK_HEADER, data, at)
    if block is None or block.block_id != BDB_SKIP:
        return None
    if block.block_size < BDB_VBIOS_DATA.sizeof():
        return None
    return read_part(BDB_VBIOS_DATA, data, at + BDB_BLOCK_HEADER.sizeof())


def _text(raw: bytes) -> str | None:
    return clean(raw.partition(b"\0")[0]) or None
