"""Tables that were made to hurt: what they cost, and what is kept of them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from romkit.acpi.outline import outline
from romkit.acpi.table import parse_table


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


def test_tables_of_one_name_all_become_arrays(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.write_bytes(b"".join(ssdt(b"", name) for name in (b"X", b"X_2", b"X")))
    romkit = Path(sys.executable).with_name("romkit")
    done = subprocess.run(
        [romkit, "acpi", "decode", tables, "-o", "-"], capture_output=True, text=True, check=True
    )
    arrays = re.findall(r"(\w+)\[\w*\] = \{", done.stdout)
    assert len(arrays) == len(set(arrays)) == 3
