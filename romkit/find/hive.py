"""Windows registry hives: NVIDIA's driver keeps the VBIOS of each adapter in the value ``vbios``.

Its key is ``Control\\Class\\{4d36e968-e325-11ce-bfc1-08002be10318}\\NNNN\\Session`` of every
control set (CurrentControlSet is only a link to one of them). The value is searched, not the
tree: that is as fast as memory, and finds it in hives that were saved from any key downwards
(``reg save``) and in damaged ones. The way up to the root only says where it was.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from romkit.find.stream import Allowance, Inner, Stream
from romkit.layout.regf import (
    BIG_DATA,
    BIG_DATA_SEGMENT,
    BINS_AT,
    CELL,
    KEY_COMP_NAME,
    KEY_HIVE_ENTRY,
    KEY_NODE,
    KEY_VALUE,
)

#: Values that are looked at.
MAX_VALUES = 256

#: Bytes of one value. Drivers store 256 KiB.
MAX_VALUE = 16 << 20

#: Keys that are looked at; a SYSTEM hive has a tenth.
MAX_KEYS = 1 << 21

#: Keys from a value up to the root. Windows allows 512.
MAX_DEPTH = 64

#: Values of one key; pointers to one value that are looked at.
_MAX_LISTED = 4096
_POINTERS = 4

_CELL_HEADER = CELL.sizeof()
_SIGNATURE = b"regf"
_BIN_SIGNATURE = b"hbin"

#: The name of a value stands behind its fields, in ASCII wherever that is possible.
_VBIOS = re.compile(rb"vk\x05\0[\0-\xff]{16}[vV][bB][iI][oO][sS]")
_KEY = re.compile(rb"nk")

# Two fields of KEY_NODE, which a hive has a hundred thousand of: from its start, in bytes.
_NUMBER_OF_VALUES_AT = 0x24
_VALUES_LIST_AT = 0x28

_DATA_IN_PLACE = 0x80000000


def open_hive(stream: Stream, allowance: Allowance) -> Iterator[Inner] | None:
    """Every ``vbios`` value of a hive, padding and all; None where this is no hive."""
    if stream.bytes_at(0, 4) != _SIGNATURE:
        return None
    values = list(stream.hits(_VBIOS, MAX_VALUES))
    if not values and stream.bytes_at(BINS_AT, 4) != _BIN_SIGNATURE:
        return None
    return _values(stream, values, allowance)


def _values(stream: Stream, values: list[int], allowance: Allowance) -> Iterator[Inner]:
    keys = _keys_of(stream, values)
    for at in values:
        if not allowance.step():
            return
        data = _data(stream, at)
        if data:
            allowance.spend(len(data))
            key = keys.get(at, "a key that is not known")
            yield Inner(f"{key} > vbios", at, data)
        else:
            allowance.note(f"the vbios value at {at:#x} cannot be read")
        del data  # or it would be held while the next one is read


def _data(stream: Stream, at: int) -> bytes:
    """The data of the value at `at`; empty where they are not to be had."""
    value = stream.peek(KEY_VALUE, at)
    if value is None or value.data_size & _DATA_IN_PLACE or value.data_size > MAX_VALUE:
        return b""
    cell, room = _cell(stream, value.data_offset)
    if value.data_size > BIG_DATA_SEGMENT:
        big = stream.peek(BIG_DATA, cell)
        if big is not None and room >= BIG_DATA.sizeof():
            return _segments(stream, big.list, big.number_of_segments)[: value.data_size]
    return stream.bytes_at(cell, min(value.data_size, room))


def _segments(stream: Stream, offset: int, number: int) -> bytes:
    table, room = _cell(stream, offset)
    parts = []
    number = min(number, room // 4, MAX_VALUE // BIG_DATA_SEGMENT)
    for entry in range(table, table + 4 * number, 4):
        segment, size = _cell(stream, int.from_bytes(stream.bytes_at(entry, 4), "little"))
        parts.append(stream.bytes_at(segment, min(size, BIG_DATA_SEGMENT)))
    return b"".join(parts)


def _cell(stream: Stream, offset: int) -> tuple[int, int]:
    """Where the content of the cell at `offset` starts, and how many bytes it has."""
    header = stream.peek(CELL, BINS_AT + offset)
    # A size below zero says that the cell is in use; a deleted value still has its data.
    size = abs(header.size) - _CELL_HEADER if header is not None else 0
    return BINS_AT + offset + _CELL_HEADER, max(size, 0)


def _keys_of(stream: Stream, values: list[int]) -> dict[int, str]:
    """The paths of the keys that these values belong to."""
    entries = sorted(_list_entries(stream, values))
    if not entries:
        return {}
    keys: dict[int, str] = {}
    for at in stream.hits(_KEY, MAX_KEYS):
        fields = stream.view[at + _NUMBER_OF_VALUES_AT : at + _VALUES_LIST_AT + 4]
        number = int.from_bytes(fields[:4], "little")
        if not 0 < number <= _MAX_LISTED:
            continue
        start = BINS_AT + int.from_bytes(fields[4:], "little") + _CELL_HEADER
        first = bisect_left(entries, (start, 0))
        for entry, value in entries[first : first + _POINTERS]:
            inside = entry < start + 4 * number and (entry - start) % 4 == 0
            if inside and value not in keys:
                keys[value] = _path(stream, at)
    return keys


def _list_entries(stream: Stream, values: list[int]) -> list[tuple[int, int]]:
    """(place of a pointer to a value, that value), for the first few pointers to each."""
    out = []
    for value in values:
        pointer = (value - _CELL_HEADER - BINS_AT) & 0xFFFFFFFF
        pattern = re.compile(re.escape(pointer.to_bytes(4, "little")))
        out += [(entry, value) for entry in stream.hits(pattern, _POINTERS)]
    return out


def _path(stream: Stream, key: int) -> str:
    """The names of a key and those above it, without the root's own."""
    names: list[str] = []
    for _ in range(MAX_DEPTH):
        node = stream.peek(KEY_NODE, key)
        if node is None or (node.flags & KEY_HIVE_ENTRY and names):
            break
        raw = stream.bytes_at(key + KEY_NODE.sizeof(), node.key_name_length)
        encoding = "latin-1" if node.flags & KEY_COMP_NAME else "utf-16-le"
        names.append(raw.decode(encoding, "replace"))
        if node.flags & KEY_HIVE_ENTRY:
            break
        key = _cell(stream, node.parent)[0]
    return "\\".join(reversed(names))
