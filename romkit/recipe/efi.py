"""The driver in a code type 3 image: its PE, compressed or not, or a stream that is neither."""

from __future__ import annotations

import struct
from functools import lru_cache

from romkit.errors import RecipeError, RomError
from romkit.recipe.pe import Driver, build_pe

#: What every decoder refuses: its first code has more lengths than there are symbols, each of
#: them longer than the stream. The header is right, so that the stream itself is to blame.
BROKEN = struct.pack("<II", 0x40, 0x1000) + b"\xff" * 0x40


@lru_cache(maxsize=64)
def driver_stream(driver: Driver, compression: int, path: str) -> bytes:
    """The driver as it stands in the image.

    Args:
        driver: what it is made of.
        compression: the header's compression type; only 1 compresses.
        path: key path of the table that asks for it, for messages.

    Raises:
        RecipeError: it cannot be made.
    """
    pe = build_pe(driver, path)
    if compression != 1:
        return pe
    from romkit.efi.compression import compress

    try:
        return compress(pe)
    except RomError as err:
        raise RecipeError(f"{path}: the driver cannot be compressed: {err.message}") from err
