"""Trees of lspci -t, and what becomes of them in mail."""

from __future__ import annotations

from diag.text.reading import parse_text

TREE = r"""-+-[0000:00]-+-00.0  Acme Root
 |           +-01.0-[01]--+-00.0  Acme GX1 [10de:1234]
 |           |            \-00.1  Acme Tone
 |           +-1c.0-[02-04]----00.0-[03-04]--+-01.0-[04]----00.0  Acme Disk
 |           |                               \-02.0  Acme Port
 |           +-1d.0-[05]--
 |           \-1f.0  Acme LPC
 | ...
 \-[10000:e0]-+-06.0-[e1]----00.0  Acme SSD
              \-17.0  Acme SATA
"""
ADDRESSES = [
    "0000:00:00.0", "0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:00:1c.0", "0000:02:00.0",
    "0000:03:01.0", "0000:04:00.0", "0000:03:02.0", "0000:00:1d.0", "0000:00:1f.0",
    "10000:e0:06.0", "10000:e1:00.0", "10000:e0:17.0",
]  # fmt: skip


def test_every_function_and_its_bridge() -> None:
    reading = parse_text("$ lspci -tvnn\n" + TREE)
    assert reading.format == "lspci-tv"
    assert [str(address) for address in reading.addresses] == ADDRESSES
    parents = {str(child): str(parent) for child, parent in reading.parents}
    assert parents["0000:01:00.1"] == "0000:00:01.0"
    assert parents["0000:04:00.0"] == "0000:03:01.0"
    assert parents["0000:03:02.0"] == "0000:02:00.0"
    assert parents["10000:e1:00.0"] == "10000:e0:06.0"
    assert "0000:00:1f.0" not in parents


def test_a_quoted_tree() -> None:
    quoted = "\n".join(f"> {line}" for line in TREE.splitlines())
    assert [str(address) for address in parse_text(quoted).addresses] == ADDRESSES


def test_a_deep_tree_is_read() -> None:
    deep = "-[0000:00]-" + "".join(f"--01.0-[{bus % 256:02x}]-" for bus in range(600)) + "--00.0"
    assert len(parse_text(deep).addresses) > 250
