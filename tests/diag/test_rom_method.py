"""Whose a method _ROM is, in tables that iasl has made of what firmware authors write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from builders.host import HostTree
from hypothesis import given
from hypothesis import strategies as st

from diag.firmware import TABLES
from diag.rom_method import plain, read_rom_methods

GPU = r"\_SB.PCI0.PEG0.PEGP"

#: Written in the ways that real tables show → whose it is; None: it cannot be told.
WAYS = {
    "scope": (r"Scope (\_SB.PCI0.PEG0.PEGP) { METHOD }", GPU),
    "devices": (
        r"Scope (\_SB) { Device (PCI0) { Device (PEG0) { Device (PEGP) { METHOD } } } }",
        GPU,
    ),
    "full name": (r"Method (\_SB.PCI0.PEG0.PEGP._ROM, 2) { Return (Arg0) }", GPU),
    "relative name": (
        r"Scope (\_SB.PCI0) { Method (PEG0.PEGP._ROM, 2) { Return (Arg0) } }", GPU,
    ),
    "parents": (
        r"Scope (\_SB.PCI0.GFX0) { Method (^PEG0.PEGP._ROM, 2) { Return (Arg0) } }", GPU,
    ),
    "after others": (
        r"Scope (\_SB.PCI0.PEG0.PEGP) { Name (VROM, Buffer (0x9000) {}) Name (ROMS, 0x14)"
        r" Method (GETR, 1) { Return (VROM) } METHOD }",
        GPU,
    ),
    "integrated": (r"Scope (\_SB.PCI0.GFX0) { METHOD }", r"\_SB.PCI0.GFX0"),
    "branch": (r"Scope (\_SB.PCI0.PEG0.PEGP) { If (COND) { METHOD } }", None),
    "searched scope": (r"Scope (\_SB.PCI0) { Scope (PEG0) { METHOD } }", None),
    "after code": (r"Scope (\_SB.PCI0.PEG0.PEGP) { COND = One METHOD }", None),
}  # fmt: skip

_TABLE = r"""
DefinitionBlock ("", "SSDT", 2, "TEST", "ROM", 1) {
    External (COND, IntObj)
    External (\_SB, DeviceObj)
    External (\_SB.PCI0, DeviceObj)
    External (\_SB.PCI0.GFX0, DeviceObj)
    External (\_SB.PCI0.PEG0, DeviceObj)
    External (\_SB.PCI0.PEG0.PEGP, DeviceObj)
    BODY
}"""


def compiled(body: str, folder: Path) -> bytes:
    if shutil.which("iasl") is None:
        pytest.skip("no iasl on this machine")
    source = _TABLE.replace("BODY", body.replace("METHOD", "Method (_ROM, 2) { Return (Arg0) }"))
    if "Device (PCI0)" in body:  # what it defines it cannot take from elsewhere
        kept = [line for line in source.splitlines() if r"External (\_SB.PCI0" not in line]
        source = "\n".join(kept)
    (folder / "table.asl").write_text(source)
    run = subprocess.run(
        ["iasl", "-ve", "-p", "table", "table.asl"], cwd=folder, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()
    return (folder / "table.aml").read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_the_device_is_told_where_the_table_tells_it(way: str, tmp_path: Path) -> None:
    body, device = WAYS[way]
    data = compiled(body, tmp_path)
    (method,) = read_rom_methods(HostTree().file(f"{TABLES}/SSDT3", data).host())
    assert (method.table, method.device) == (f"{TABLES}/SSDT3", device)
    assert data[method.offset :][:4] == b"_ROM"


@pytest.mark.parametrize(
    "body",
    [
        r"External (\_SB.PCI0.GFX0._ROM, MethodObj) Scope (\_SB.PCI0.PEG0.PEGP)"
        r" { Method (GETR, 2) { Return (\_SB.PCI0.GFX0._ROM (Arg0, Arg1)) } }",
        r'Name (TEXT, "_ROM")',
    ],
    ids=["call", "text"],
)
def test_the_name_alone_is_no_method(body: str, tmp_path: Path) -> None:
    data = compiled(body, tmp_path)
    assert b"_ROM" in data
    assert read_rom_methods(HostTree().file(f"{TABLES}/DSDT", data).host()) == ()


@given(st.binary(max_size=200), st.integers(0, 400), st.binary(max_size=8))
def test_damaged_tables_are_no_reason_to_stop(junk: bytes, at: int, patch: bytes) -> None:
    name = b"\x5c\x2f\x04_SB_PCI0PEG0PEGP"
    inside = name + bytes.fromhex("1408") + b"_ROM" + bytes.fromhex("02a468")
    data = b"SSDT" + (37 + len(inside) + 1).to_bytes(4, "little") + bytes(28)
    data += b"\x10" + bytes([len(inside) + 1]) + inside + junk
    data = data[:at] + patch + data[at + len(patch) :]
    for method in read_rom_methods(HostTree().file(f"{TABLES}/SSDT1", data).host()):
        assert data[method.offset :][:4] == b"_ROM"


def test_paths_of_sysfs_are_padded() -> None:
    assert plain("\\_SB_.PCI0.PEG0.PEGP") == GPU
    assert plain("\\_SB_.PC00.____") == r"\_SB.PC00._"
