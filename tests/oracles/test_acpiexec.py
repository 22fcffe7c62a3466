"""acpiexec evaluates our tables: what a guest's interpreter makes of them."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path

import pytest
from builders.acpi import DEVICE, dsdt
from corpus.conftest import corpus_dir
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracles.acpica import ACPIEXEC, MISSING, buffers, evaluate

from romkit import RomError, parse_rom
from romkit.acpi.battery import Battery, State, Unit, battery_table
from romkit.acpi.path import guest_path, parse_hops
from romkit.acpi.vbios import CHUNK, WINDOW, RomTables, fw_cfg_tables, rom_tables, rom_to_serve

pytestmark = pytest.mark.skipif(ACPIEXEC is None, reason=f"acpiexec {MISSING}")

PATH = guest_path(parse_hops("01.0/00.0"), machine="pc-q35-7.2")
NODELESS = guest_path(parse_hops("01.0/00.0"), machine="pc-q35-5.2")


def image(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def answers(tables: RomTables, requests: list[tuple[int, int]], folder: Path) -> list[bytes]:
    calls = [f"{DEVICE}._ROM {offset} {length}" for offset, length in requests]
    files = [dsdt(), *map(bytes, tables.tables)]
    return [buffers(answer) for answer in evaluate(files, calls, folder)]


def model(rom: bytes, offset: int, length: int) -> bytes:
    """Exactly as many bytes as asked for, 4096 at most, zeros past the end."""
    length = min(length, 4096)
    return rom[offset : offset + length].ljust(length, b"\0")


def whole(rom: bytes, folder: Path) -> bytes:
    requests = [(at, 4096) for at in range(0, len(rom), 4096)]
    return b"".join(answers(rom_tables(rom, PATH), requests, folder))


sizes = st.one_of(
    st.integers(1, 3 * CHUNK),
    st.sampled_from([1, WINDOW, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + WINDOW, 2 * CHUNK, 3 * CHUNK]),
)
#: An offset, from the start, from the edge of a chunk, or from the end of the ROM.
offsets = st.tuples(
    st.sampled_from(["start", "edge", "end", "far"]), st.integers(-5000, 5000), st.integers(1, 2)
)
lengths = st.one_of(st.integers(0, 5000), st.sampled_from([0, 1, 4095, 4096, 4097, 0xFFFFFFFF]))


def place(size: int, offset: tuple[str, int, int]) -> int:
    kind, delta, chunk = offset
    origin = {"start": 0, "edge": chunk * CHUNK, "end": size, "far": 1 << 31}[kind]
    return max(0, origin + delta)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes, st.integers(0, 99), st.lists(st.tuples(offsets, lengths), min_size=1, max_size=40))
@example(CHUNK, 0, [(("edge", -1, 1), 4096), (("edge", 0, 1), 1)])
def test_rom_answers_as_the_model_says(
    size: int, seed: int, wanted: list[tuple[tuple[str, int, int], int]]
) -> None:
    rom = image(size, seed)
    requests = [(place(size, offset), length) for offset, length in wanted]
    with tempfile.TemporaryDirectory() as folder:
        got = answers(rom_tables(rom, PATH), requests, Path(folder))
    assert got == [model(rom, *request) for request in requests]


@pytest.mark.slow
@pytest.mark.parametrize("size", [256 << 10, 1536 << 10])
def test_a_large_rom_is_read_whole(size: int, tmp_path: Path) -> None:
    rom = image(size, size)
    assert whole(rom, tmp_path) == rom


@pytest.mark.slow
def test_real_dumps_are_read_whole(tmp_path: Path) -> None:
    folder = corpus_dir()
    if folder is None:
        pytest.skip("no corpus of real ROM dumps: set ROMKIT_CORPUS to its directory")
    wrong, read = [], 0
    for path in sorted((folder / "roms").iterdir()):
        try:
            rom = rom_to_serve(parse_rom(path.read_bytes()))
            read += 1
            got = whole(rom, tmp_path)
        except RomError:
            continue
        if got[: len(rom)] != rom or any(got[len(rom) :]):
            wrong.append(path.name)
    assert wrong == []
    assert read >= 20


@pytest.mark.parametrize("has_node", [True, False])
def test_the_node_is_made_where_it_is_missing_only(has_node: bool, tmp_path: Path) -> None:
    rom = image(5000, 1)
    tables = rom_tables(rom, NODELESS)
    assert len(tables.tables) == 3
    calls = [f"{DEVICE}._ADR", f"{DEVICE}._ROM 0 4096"]
    address, answer = evaluate([dsdt(device=has_node), *map(bytes, tables.tables)], calls, tmp_path)
    assert integers(address) == [0]
    assert buffers(answer) == rom[:4096]


def test_without_a_node_table_the_device_is_missed(tmp_path: Path) -> None:
    """That is: the test before proves something."""
    tables = [dsdt(device=False), *map(bytes, rom_tables(b"x", NODELESS, node=False).tables)]
    with pytest.raises(AssertionError, match="AE_NOT_FOUND"):
        evaluate(tables, [f"{DEVICE}._ROM 0 1"], tmp_path)


def test_the_rom_of_fw_cfg_is_zeros_where_there_is_no_qemu(tmp_path: Path) -> None:
    tables = fw_cfg_tables(image(5000, 1), PATH)
    requests = [(0, 4096), (4096, 100), (5000, 1), (0, 5000)]
    assert answers(tables, requests, tmp_path) == [
        bytes(min(length, 4096)) for _, length in requests
    ]


# Section: the battery


def integers(answer: str) -> list[int]:
    return [int(number, 16) for number in re.findall(r"\[Integer\] = ([0-9A-F]+)", answer)]


def texts(answer: str) -> list[str]:
    return re.findall(r'\[String\] Length [0-9A-F]+ = "([^"]*)"', answer)


#: What goes together: an idle battery has no rate, a charging one needs AC power and room.
_rates = st.integers(0, 0xFFFFFFFE)
_doings = st.one_of(
    st.tuples(st.just(State.IDLE), st.just(True), st.just(0), st.integers(0, 100)),
    st.tuples(st.just(State.CHARGING), st.just(True), _rates, st.integers(0, 99)),
    st.tuples(st.just(State.DISCHARGING), st.booleans(), _rates, st.integers(1, 100)),
)


@st.composite
def batteries(draw: st.DrawFn) -> Battery:
    state, online, rate, percent = draw(_doings)
    return Battery(
        capacity=draw(st.integers(1, 0xFFFFFFFE)),
        percent=percent,
        unit=draw(st.sampled_from(Unit)),
        state=state,
        rate=rate,
        voltage=draw(st.integers(1, 0xFFFFFFFE)),
        online=online,
        model=draw(st.sampled_from(["BAT0", "X550"])),
    )


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(batteries())
def test_the_battery_says_what_was_asked_for(battery: Battery) -> None:
    names = [*(rf"\_SB.BAT0.{name}" for name in ("_BIX", "_BIF", "_BST", "_STA")), r"\_SB.AC0._PSR"]
    with tempfile.TemporaryDirectory() as folder:
        bix, bif, bst, sta, psr = evaluate(
            [dsdt(), bytes(battery_table(battery))], names, Path(folder)
        )
    unit = {"MWH": 0, "MAH": 1}[battery.unit.name]
    capacity, voltage = battery.capacity, battery.voltage
    # ACPI 6.5, 10.2.2: power unit, design and last full capacity, rechargeable,
    # design voltage; warning and low capacity follow.
    amounts = [unit, capacity, capacity, 1, voltage]
    assert integers(bix)[:6] == [0, *amounts]
    assert len(integers(bix)) == 16
    assert integers(bif)[:5] == amounts
    assert len(integers(bif)) == 9
    assert texts(bix) == texts(bif)
    assert texts(bix)[0] == battery.model
    assert len(texts(bix)) == 4
    state = {"IDLE": 0, "DISCHARGING": 1, "CHARGING": 2}[battery.state.name]
    remaining = integers(bst)[2]
    assert integers(bst) == [state, battery.rate, remaining, voltage]
    assert abs(remaining - capacity * battery.percent / 100) <= 0.5
    assert integers(sta) == [0x1F]
    assert integers(psr) == [int(battery.online)]


def test_a_missing_battery_is_a_device_without_one(tmp_path: Path) -> None:
    tables = [dsdt(), bytes(battery_table(Battery(present=False)))]
    (sta,) = evaluate(tables, [r"\_SB.BAT0._STA"], tmp_path)
    assert integers(sta) == [0x0F]
