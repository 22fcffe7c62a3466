"""NVIDIA: a BIT and the data that its tokens lead to.

The tokens are B (version), i (dates, board) and, where there is a text, S. Source of the layouts:
romkit.layout.nvidia.
"""

from __future__ import annotations

from romkit.layout.nvidia import (
    BIT_BIOS_DATA,
    BIT_HEADER,
    BIT_INTERNAL_BOARD,
    BIT_INTERNAL_BOARD_AT,
    BIT_INTERNAL_USE,
    BIT_STRING_PTR,
    BIT_TOKEN,
    LEGACY_SUBSYSTEM_AT,
    MODIFICATION_DATE_AT,
    NPDE_SUBSYSTEM,
)
from romkit.recipe.model import NvidiaRecipe
from romkit.recipe.pieces import Pieces
from romkit.vendor.strings import REAL_MODE_SEGMENT

_BCD_VERSION = 0x0100

#: Data versions of the tokens, as on every board since Tesla.
_TOKEN_VERSIONS = {"B": 2, "S": 2, "i": 2}

_STRINGS = (
    "sign_on",
    "printed_version",
    "copyright",
    "oem_string",
    "oem_vendor",
    "oem_product",
    "oem_revision",
)


def put_bit(pieces: Pieces, nvidia: NvidiaRecipe) -> None:
    """Add the table and all that belongs to it.

    Raises:
        RecipeError: there is no room for it.
    """
    strings = [getattr(nvidia, name) for name in _STRINGS]
    parts = {"B": BIT_BIOS_DATA.build(_version(nvidia)), "i": _internal_use(nvidia)}
    if any(strings):
        parts["S"] = bytes(BIT_STRING_PTR.sizeof() * len(strings))
    data_at = BIT_HEADER.sizeof() + BIT_TOKEN.sizeof() * len(parts)
    texts = b"".join(text.encode("ascii") + b"\0" for text in strings if text)
    size = data_at + sum(map(len, parts.values())) + len(texts)
    at = pieces.place(nvidia.offset, size, "nvidia", within=REAL_MODE_SEGMENT)

    where = at + data_at
    tokens = b""
    for letter, data in parts.items():
        tokens += BIT_TOKEN.build(
            {
                "token_id": ord(letter),
                "data_version": _TOKEN_VERSIONS[letter],
                "data_size": len(data),
                "data_pointer": where,
            }
        )
        where += len(data)
    if "S" in parts:
        parts["S"] = _string_pointers(strings, where)
    pieces.write(at, _header(len(parts)) + tokens + b"".join(parts.values()) + texts)

    if nvidia.modification_date is not None:
        date = nvidia.modification_date.encode("ascii")
        pieces.put(MODIFICATION_DATE_AT, date, "nvidia.modification_date")
    vendor, device = nvidia.subsystem or (0, 0)
    # Zeros where there is none: made-up bytes would be taken for one.
    ids = NPDE_SUBSYSTEM.build({"subsystem_vendor_id": vendor, "subsystem_id": device})
    pieces.put(LEGACY_SUBSYSTEM_AT, ids, "nvidia.subsystem")


def _header(tokens: int) -> bytes:
    fields = {
        "identifier": b"\xff\xb8",
        "signature": b"BIT\0",
        "bcd_version": _BCD_VERSION,
        "header_size": BIT_HEADER.sizeof(),
        "token_size": BIT_TOKEN.sizeof(),
        "token_entries": tokens,
        "header_checksum": 0,
    }
    fields["header_checksum"] = -sum(BIT_HEADER.build(fields)) & 0xFF
    return BIT_HEADER.build(fields)


def _version(nvidia: NvidiaRecipe) -> dict[str, int]:
    digits = bytes(int(digit, 16) for digit in nvidia.version.split("."))
    return {"bios_version": int.from_bytes(digits[:4], "big"), "bios_oem_version": digits[4]}


def _internal_use(nvidia: NvidiaRecipe) -> bytes:
    data = BIT_INTERNAL_USE.build(
        {
            **_version(nvidia),
            "features": 0,
            "build_number": nvidia.build_number or 0,
            "board_id": nvidia.board_id or 0,
            "dac_load_pointer": 0,
            "build_date": (nvidia.build_date or "").encode("ascii").ljust(8, b"\0"),
            "device_id": 0,
        }
    )
    if nvidia.board is None and nvidia.chip_sku is None:
        return data
    project, _, project_sku = (nvidia.board or "").partition("-")
    sku, _, modifier = (nvidia.chip_sku or "").partition("-")
    return data.ljust(BIT_INTERNAL_BOARD_AT, b"\0") + BIT_INTERNAL_BOARD.build(
        {
            "chip_sku": sku.encode("ascii").ljust(3, b"\0"),
            "chip_sku_modifier": modifier.encode("ascii").ljust(1, b"\0"),
            "project": project.encode("ascii").ljust(4, b"\0"),
            "project_sku": project_sku.encode("ascii").ljust(4, b"\0"),
        }
    )


def _string_pointers(strings: list[str | None], where: int) -> bytes:
    """Pointers to the texts, which follow from `where` on."""
    pointers = b""
    for text in strings:
        pointer = where if text else 0
        pointers += BIT_STRING_PTR.build({"pointer": pointer, "size": len(text or "")})
        where += len(text) + 1 if text else 0
    return pointers
