"""ROMs as text: exported registry keys (.reg), and ACPI tables as acpidump prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from romkit.find.stream import Allowance, Inner, Stream

#: Values and tables that are looked at.
MAX_TEXTS = 64

#: Characters of one value or table: 2 MiB of data, three to five characters a byte.
MAX_TEXT = 8 << 20

#: Characters between the head of a key and its value.
_MAX_KEY = 1 << 20

_HEADS = ("Windows Registry Editor", "REGEDIT4")
_BOM = b"\xff\xfe"

#: A value with its data, on lines that end in a backslash where they go on.
_HEX = re.compile(r'"vbios"=hex(?:\([0-9a-fA-F]+\))?:((?:[0-9a-fA-F,]++|\\\r?\n[ \t]*+)*+)', re.I)
_HEAD = re.compile(r"^\[(.*)\]", re.M)
_NAME = '"vbios"=hex'

_TABLE = re.compile(rb"VFCT @ 0x[0-9A-Fa-f]+\s*\n")
_TABLE_LINE = re.compile(rb"[ \t]*[0-9A-Fa-f]{4,8}:((?: [0-9A-Fa-f]{2}){1,16})[^\n]*(?:\n|$)")


def open_registry_text(stream: Stream, allowance: Allowance) -> Iterator[Inner]:
    """Every ``vbios`` value of an exported registry text, in UTF-16 (regedit 5) or ASCII."""
    head = stream.bytes_at(0, 128)
    wide = head.startswith(_BOM)
    encoding = "utf-16-le" if wide else "latin-1"
    if not head.decode(encoding, "replace").lstrip("\ufeff").startswith(_HEADS):
        return
    width = 2 if wide else 1
    for hit in stream.hits(_either_case(_NAME.encode(encoding)), MAX_TEXTS):
        text = stream.bytes_at(hit, MAX_TEXT * width).decode(encoding, "replace")
        value = _HEX.match(text)
        if value is None:
            continue
        digits = re.sub(r"[^0-9a-fA-F]", "", value[1])
        data = bytes.fromhex(digits[: len(digits) // 2 * 2])
        before = max(0, hit - _MAX_KEY * width)
        heads = _HEAD.findall(stream.bytes_at(before, hit - before).decode(encoding, "replace"))
        allowance.spend(len(data))
        yield Inner(f"{heads[-1] if heads else 'a key'} > vbios", hit, data)


def _either_case(name: bytes) -> re.Pattern[bytes]:
    return re.compile(re.escape(name), re.I)


def open_acpidump(stream: Stream, allowance: Allowance) -> Iterator[Inner]:
    """Every VFCT table that acpidump printed as hex digits."""
    for _, hit in zip(range(MAX_TEXTS), _TABLE.finditer(stream.view), strict=False):
        text = stream.bytes_at(hit.end(), MAX_TEXT)
        rows, at = [], 0
        while line := _TABLE_LINE.match(text, at):
            rows.append(line[1])
            at = line.end()
        data = bytes.fromhex(b"".join(rows).decode("ascii"))
        if data:
            allowance.spend(len(data))
            yield Inner(f"acpidump text {hit.start():#x}", hit.start(), data)
