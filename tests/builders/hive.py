"""Windows registry hives put together by hand, from msuhanov's specification of the format.

Nothing here uses romkit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import reduce

#: Data of a value, or a key below.
Tree = Mapping[str, "bytes | Tree"]

#: Most bytes of a big data segment.
SEGMENT = 16344


class _Bins:
    """Cells, one behind the other, in one bin."""

    def __init__(self) -> None:
        self.raw = bytearray(32)

    def cell(self, content: bytes) -> int:
        """Append an allocated cell; returns its offset."""
        at = len(self.raw)
        size = -(-(4 + len(content)) // 8) * 8
        self.raw += struct.pack("<i", -size) + content
        self.raw += bytes(at + size - len(self.raw))
        return at

    def patch(self, at: int, field: int, value: int) -> None:
        struct.pack_into("<I", self.raw, at + 4 + field, value)

    def finish(self) -> bytes:
        free = -len(self.raw) % 4096
        if 0 < free < 8:
            free += 4096
        if free:
            self.raw += struct.pack("<i", free) + bytes(free - 4)
        struct.pack_into("<4sII", self.raw, 0, b"hbin", 0, len(self.raw))
        return bytes(self.raw)


def hive(tree: Tree, *, big_data: bool = True, root: str = "ROOT") -> bytes:
    """A hive with these keys and REG_BINARY values.

    Args:
        big_data: values above 16344 bytes as `db` cells (format 1.5), else as one cell (1.3).
    """
    bins = _Bins()
    security = bins.cell(struct.pack("<2sHIIII", b"sk", 0, 0, 0, 1, 20) + bytes(20))
    bins.patch(security, 4, security)
    bins.patch(security, 8, security)
    top = _key(bins, root, tree, 0xFFFFFFFF, security, big_data, flags=0x2C)
    content = bins.finish()
    head = bytearray(4096)
    struct.pack_into(
        "<4sIIQIIIIIII", head, 0, b"regf", 1, 1, 0, 1, 5 if big_data else 3, 0, 1, top,
        len(content), 1,
    )  # fmt: skip
    words = struct.unpack_from("<127I", head)
    struct.pack_into("<I", head, 0x1FC, reduce(lambda a, b: a ^ b, words))
    return bytes(head) + content


def _key(
    bins: _Bins, name: str, tree: Tree, parent: int, security: int, big_data: bool, flags: int
) -> int:
    keys = {k: v for k, v in tree.items() if isinstance(v, Mapping)}
    values = {k: v for k, v in tree.items() if not isinstance(v, Mapping)}
    none = 0xFFFFFFFF
    raw = name.encode("ascii")
    at = bins.cell(
        struct.pack(
            "<2sHQIIIIIIIIII16xIHH", b"nk", flags, 0, 0, parent, len(keys), 0, none, none,
            len(values), none, security, none, 0, len(raw), 0,
        )
        + raw
    )  # fmt: skip
    if values:
        made = [_value(bins, n, data, big_data) for n, data in values.items()]
        bins.patch(at, 0x28, bins.cell(struct.pack(f"<{len(made)}I", *made)))
    if keys:
        below = [
            (_key(bins, n, sub, at, security, big_data, 0x20), _hash(n))
            for n, sub in sorted(keys.items(), key=lambda item: item[0].upper())
        ]
        flat = [number for pair in below for number in pair]
        bins.patch(at, 0x1C, bins.cell(struct.pack(f"<2sH{len(flat)}I", b"lh", len(below), *flat)))
    return at


def _hash(name: str) -> int:
    return reduce(lambda total, c: (total * 37 + ord(c)) & 0xFFFFFFFF, name.upper(), 0)


def _value(bins: _Bins, name: str, data: bytes, big_data: bool) -> int:
    if big_data and len(data) > SEGMENT:
        segments = [
            bins.cell(data[at : at + SEGMENT] + bytes(4)) for at in range(0, len(data), SEGMENT)
        ]
        table = bins.cell(struct.pack(f"<{len(segments)}I", *segments))
        place = bins.cell(struct.pack("<2sHI", b"db", len(segments), table))
    else:
        place = bins.cell(data)
    raw = name.encode("ascii")
    return bins.cell(struct.pack("<2sHIIIHH", b"vk", len(raw), len(data), place, 3, 1, 0) + raw)
