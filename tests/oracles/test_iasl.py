"""iasl itself: it makes of our ASL the bytes that we make, and its own circle closes on them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from builders.acpi import every_term, tables
from hypothesis import HealthCheck, given, settings
from oracles.acpica import IASL, MISSING, compile_asl, disassemble

from romkit.acpi.aml import DefinitionBlock, External, Name
from romkit.acpi.battery import Battery, State, Unit, battery_table
from romkit.acpi.path import guest_path, parse_hops
from romkit.acpi.vbios import fw_cfg_tables, node_table, rom_tables

pytestmark = pytest.mark.skipif(IASL is None, reason=f"iasl {MISSING}")

#: The table header holds the compiler's own name.
HEADER = 36


def circle(table: DefinitionBlock, folder: Path) -> None:
    """Disassembling, compiling and disassembling again comes back to the same text."""
    text = disassemble(bytes(table), folder)
    # -oa leaves everything as it is written; with optimization there is no fixed point.
    again = compile_asl(text, folder, "-oa")
    assert disassemble(again, folder) == text


def same_bytes(table: DefinitionBlock, folder: Path) -> None:
    assert compile_asl(str(table), folder)[HEADER:] == bytes(table)[HEADER:]


def test_iasl_makes_the_same_bytes_of_every_term(tmp_path: Path) -> None:
    same_bytes(every_term(), tmp_path)


def test_iasl_closes_the_circle_on_every_term(tmp_path: Path) -> None:
    circle(every_term(), tmp_path)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables)
def test_iasl_makes_the_same_bytes_of_any_tree(table: DefinitionBlock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        same_bytes(table, Path(folder))


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables)
def test_iasl_closes_the_circle_on_any_tree(table: DefinitionBlock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        circle(table, Path(folder))


PATH = guest_path(parse_hops("01.0/00.0"), machine="pc-q35-5.2")
ROM = bytes(range(256)) * 300

#: Every kind of table that romkit builds.
BUILT = {
    "battery": battery_table(),
    "battery in mAh": battery_table(Battery(2000, 50, Unit.MAH, State.DISCHARGING, 100)),
    "missing battery": battery_table(Battery(present=False)),
    "node": node_table(PATH),
    # A full one looks the same, and is 700 KB of ASL.
    "chunk": rom_tables(ROM, PATH).tables[-2],
    "rom": rom_tables(ROM, PATH).tables[-1],
    "rom by fw_cfg": fw_cfg_tables(ROM, PATH).tables[-1],
}


@pytest.mark.parametrize("name", BUILT)
def test_iasl_makes_the_same_bytes_of_what_we_build(name: str, tmp_path: Path) -> None:
    table = BUILT[name]
    compiled = compile_asl(str(table), tmp_path)
    outside = [term for term in table.body if isinstance(term, External)]
    if outside and not any(term.opcode for term in outside):
        # iasl writes the declarations into the table, in front; we leave them out.
        assert compiled[HEADER:].endswith(bytes(table)[HEADER:])
        return
    # The revision of a _BIX is a byte of zero; in ASL there is no way to say so.
    ours, iasls = (disassemble(data, tmp_path) for data in (bytes(table), compiled))
    assert ours.replace("Zero", "0x00") == iasls.replace("Zero", "0x00")


@pytest.mark.parametrize("name", BUILT)
def test_iasl_closes_the_circle_on_what_we_build(name: str, tmp_path: Path) -> None:
    circle(BUILT[name], tmp_path)


def test_iasl_refuses_a_table_that_is_wrong(tmp_path: Path) -> None:
    """That is: the tests before prove something."""
    with pytest.raises(AssertionError):
        compile_asl(str(DefinitionBlock("BAD", [Name(r"\_BIX", [1, 2])])), tmp_path)
