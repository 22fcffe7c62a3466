"""Rows of a hex dump as ``lspci -x`` to ``-xxxx`` print them."""

from __future__ import annotations

import re

#: What PCI Express gives a function.
MAX_CONFIG = 4096

_ROW = re.compile(r"\s*([0-9a-fA-F]{2,3}):((?:\s[0-9a-fA-F?]{2}){1,16})\s*$")


def parse_row(text: str) -> tuple[int, bytes] | None:
    """Offset and bytes of one row; None if it is none.

    Bytes that lspci could not read (``??``) end the row.
    """
    found = _ROW.match(text)
    if found is None or (offset := int(found[1], 16)) % 16:
        return None
    pairs = found[2].split()
    known = pairs[: next((i for i, pair in enumerate(pairs) if "?" in pair), len(pairs))]
    return offset, bytes.fromhex("".join(known))


def join_rows(rows: list[tuple[int, bytes]]) -> bytes:
    """The bytes from offset 0 on, up to the first gap: a dump with a row lost is cut there."""
    data = b""
    for offset, row in rows:
        if offset != len(data) or len(data) >= MAX_CONFIG:
            break
        data += row
    return data
