"""Tables that were made to hurt: what they cost, and what is kept of them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from romkit.acpi.errors import MalformedTable
from romkit.acpi.outline import MAX_ENTRIES, outline
from romkit.acpi.table import MAX_TABLES, parse_table, parse_tables, verify_rest


def ssdt(body: bytes, oem_table_id: bytes = b"HOSTILE") -> bytes:
    """A table with a body (ACPI 6.5, 5.2.6): header of 36 bytes, the sum over all is zero."""
    length = (36 + len(body)).to_bytes(4, "little")
    head = b"SSDT" + length + b"\x02\x00" + b"OEMID\0" + oem_table_id.ljust(8, b"\0")
    table = bytearray(head + bytes(4) + b"TEST" + bytes(4) + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def test_millions_of_parents_are_counted_once() -> None:
    before = time.process_time()
    outline(parse_table(ssdt(b"\x08" + b"^" * (4 << 20))))
    assert time.process_time() - before < 10  # quadratic, it was minutes


def test_a_file_is_not_copied_for_each_of_its_tables() -> None:
    """4096 small tables in front of a large one: copied for each, 16 MiB would be 64 GiB."""
    data = ssdt(b"") * (MAX_TABLES - 1) + ssdt(bytes(16 << 20))
    before = time.process_time()
    assert len(parse_tables(data)) == MAX_TABLES
    assert time.process_time() - before < 5


def test_more_tables_than_any_machine_has_are_refused() -> None:
    before = time.process_time()
    with pytest.raises(MalformedTable, match="more than 4096 tables") as refused:
        parse_tables(ssdt(b"") * ((16 << 20) // 36))
    assert refused.value.offset == MAX_TABLES * 36
    assert time.process_time() - before < 5


def test_padding_of_any_length_is_looked_through_once() -> None:
    data = ssdt(b"") + bytes(16 << 20) + b"x"
    before = time.process_time()
    assert verify_rest(data, parse_tables(data))
    assert time.process_time() - before < 5


def test_an_outline_has_an_end() -> None:
    """Sixteen bytes of memory for each byte of a table would be too many."""
    table = parse_table(ssdt(b"\x5b\x02EVNT" * (2 * MAX_ENTRIES)))
    entries = outline(table)
    assert len(entries) == MAX_ENTRIES + 1
    assert entries[-1].kind == "?"
    assert len(outline(parse_table(ssdt(b"\x5b\x02EVNT" * 5)), limit=5)) == 5


def test_tables_of_one_name_all_become_arrays(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.write_bytes(b"".join(ssdt(b"", name) for name in (b"X", b"X_2", b"X")))
    romkit = Path(sys.executable).with_name("romkit")
    done = subprocess.run(
        [romkit, "acpi", "decode", tables, "-o", "-"], capture_output=True, text=True, check=True
    )
    arrays = re.findall(r"(\w+)\[\w*\] = \{", done.stdout)
    assert len(arrays) == len(set(arrays)) == 3
