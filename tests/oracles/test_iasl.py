"""iasl itself: it makes of our ASL the bytes that we make, and its own circle closes on them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from builders.acpi import every_term, tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracles.acpica import IASL, MISSING, compile_asl, disassemble, refused_lines

from romkit.acpi import aml as a
from romkit.acpi.aml import DefinitionBlock, External, Name
from romkit.acpi.battery import Battery, State, Unit, battery_table
from romkit.acpi.errors import AmlError
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
    if not outside and b"_BIX" not in bytes(table):
        assert compiled[HEADER:] == bytes(table)[HEADER:]
        return
    # iasl gathers declarations in one block, of which both disassemble alike. And the revision of
    # a _BIX is a byte of zero behind a prefix; in ASL there is no way to say so.
    ours, iasls = (disassemble(data, tmp_path) for data in (bytes(table), compiled))
    if not outside:
        ours = ours.replace("0x00,", "Zero,", 1)
        assert len(compiled) == len(bytes(table)) - 1
    assert ours == iasls


@pytest.mark.parametrize("name", BUILT)
def test_iasl_closes_the_circle_on_what_we_build(name: str, tmp_path: Path) -> None:
    circle(BUILT[name], tmp_path)


def test_iasl_refuses_a_table_that_is_wrong(tmp_path: Path) -> None:
    """That is: the tests before prove something."""
    with pytest.raises(AssertionError):
        compile_asl(str(DefinitionBlock("BAD", [Name(r"\_BIX", [1, 2])])), tmp_path)


# Section: resources, of which iasl knows what cannot be

_small = st.one_of(st.integers(0, 0x40), st.sampled_from([0x100, 0xFFF, 0x1000, 0x2000, 0x2FFF]))
_byte = st.one_of(st.integers(0, 8), st.sampled_from([0x10, 0x20, 0xFF]))
_lists = st.lists(st.integers(0, 15), min_size=1, max_size=3)
_spaces = st.sampled_from([("DWordMemory", a.Space.SystemMemory), ("DWordIO", a.Space.SystemIO)])


def _window(space: tuple[str, a.Space], low: int, high: int, length: int | None, gran: int):
    """As ASL, and how to make it: the text says what was asked for, not what was made."""
    size = high - low + 1 if length is None else length
    ends = "MinFixed, MaxFixed" if length is None else "MinNotFixed, MaxNotFixed"
    rules = f"ResourceProducer, PosDecode, {ends}, NonCacheable, ReadWrite"
    if space[1] is a.Space.SystemIO:
        rules = f"ResourceProducer, {ends}, PosDecode, EntireRange"
    text = f"{space[0]} ({rules}, {gran:#x}, {low:#x}, {high:#x}, 0, {max(size, 0):#x})"
    return text, lambda: a.Window(space[1], 4, low, high, length=length, granularity=gran)


def _listed(macro: str, kind: type, numbers: list[int]):
    return f"{macro} {{{', '.join(map(str, numbers))}}}", lambda: kind(tuple(numbers))


_interrupt = "Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive, , , )"
asked = st.one_of(
    st.builds(
        lambda *n: (f"IO (Decode16, {n[0]}, {n[1]}, {n[2]}, {n[3]})", lambda: a.IO(*n)),
        *(_small, _small, _byte, _byte),
    ),
    st.builds(
        lambda *n: (f"Memory32 (ReadWrite, {n[0]}, {n[1]}, {n[2]}, {n[3]})",
                    lambda: a.Memory32(*n)),
        *(_small, _small, _byte, _small),
    ),
    st.builds(_window, _spaces, _small, _small, st.none() | _small,
              st.sampled_from([0, 0, 1, 2, 0xF, 0xFFE, 0xFFF])),
    st.builds(
        lambda n: (f"Register (SystemIO, 8, 0, 0x400, {n})",
                   lambda: a.Register(a.Space.SystemIO, 8, 0, 0x400, n)),
        st.integers(0, 6),
    ),
    st.builds(lambda n: _listed("IRQNoFlags ()", a.IRQNoFlags, n), _lists),
    st.builds(lambda n: _listed(_interrupt, a.Interrupt, n), _lists),
)  # fmt: skip


#: Shrinking would ask iasl thousands of times, and the message names the few that matter.
ONCE = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=20, deadline=None, phases=ONCE, suppress_health_check=list(HealthCheck))
@given(st.lists(asked, min_size=60, max_size=120))
def test_resources_that_iasl_refuses_are_refused_when_they_are_made(asked_for: list) -> None:
    lines = [
        f"Name (X{number:03X}, ResourceTemplate () {{ {text} }})"
        for number, (text, _) in enumerate(asked_for)
    ]
    with tempfile.TemporaryDirectory() as folder:
        refused = refused_lines(lines, Path(folder))
    let_through = []
    for number, (text, make) in enumerate(asked_for):
        try:
            make()
        except AmlError:
            continue
        if number in refused:
            let_through.append(text)
    assert let_through == []
