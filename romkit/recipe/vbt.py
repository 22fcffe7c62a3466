"""Intel: a video BIOS table. Source of the layouts: romkit.layout.intel."""

from __future__ import annotations

from romkit.errors import RecipeError
from romkit.layout.intel import (
    BDB_BLOCK_HEADER,
    BDB_HEADER,
    BDB_SKIP,
    BDB_VBIOS_DATA,
    VBT_HEADER,
    VBT_POINTER,
    VBT_POINTER_AT,
)
from romkit.recipe.model import VbtRecipe
from romkit.recipe.pieces import Pieces

_DEFAULT_VERSION = 100
_DEFAULT_BDB_VERSION = 209


def put_vbt(pieces: Pieces, vbt: VbtRecipe, *, pointed_to: bool) -> None:
    """Add the table, and the pointer to it in an x86 image.

    Raises:
        RecipeError: there is no room for it.
    """
    table = _table(vbt, f"{pieces.path}.vbt")
    at = pieces.put(vbt.offset, table, "vbt")
    if pointed_to and at <= 0xFFFF:
        pieces.put(VBT_POINTER_AT, VBT_POINTER.build({"vbt_offset": at}), "vbt.offset")


def _table(vbt: VbtRecipe, path: str) -> bytes:
    block = b""
    if vbt.build_number or vbt.sign_on or vbt.copyright:
        data = BDB_VBIOS_DATA.build(
            {
                "type": 0,
                "release_stage": 0,
                "chipset": 0,
                "lvds_tv_present": 0,
                "reserved": bytes(2),
                "build_number": _field(vbt.build_number, 4),
                "sign_on": _field(vbt.sign_on, 155),
                "copyright": _field(vbt.copyright, 61),
            }
        )
        block = BDB_BLOCK_HEADER.build({"block_id": BDB_SKIP, "block_size": len(data)}) + data
    version = vbt.bdb_version
    bdb = BDB_HEADER.build(
        {
            "signature": b"BIOS_DATA_BLOCK ",
            "version": _DEFAULT_BDB_VERSION if version is None else version,
            "header_size": BDB_HEADER.sizeof(),
            "bdb_size": BDB_HEADER.sizeof() + len(block),
        }
    )
    needed = VBT_HEADER.sizeof() + len(bdb) + len(block)
    size = needed if vbt.size is None else vbt.size
    if size < needed:
        raise RecipeError(f"{path}.size: expected at least {needed:#x}, found {size:#x}")
    header = {
        "signature": _field(f"$VBT {vbt.platform or ''}", 20),
        "version": _DEFAULT_VERSION if vbt.version is None else vbt.version,
        "header_size": VBT_HEADER.sizeof(),
        "vbt_size": size,
        "vbt_checksum": 0,
        "reserved": 0,
        "bdb_offset": VBT_HEADER.sizeof(),
        "aim_offsets": bytes(16),
    }
    whole = (VBT_HEADER.build(header) + bdb + block).ljust(size, b"\0")
    header["vbt_checksum"] = -sum(whole) & 0xFF
    return VBT_HEADER.build(header) + whole[VBT_HEADER.sizeof() :]


def _field(text: str | None, size: int) -> bytes:
    return (text or "").encode("ascii").ljust(size, b"\0")
