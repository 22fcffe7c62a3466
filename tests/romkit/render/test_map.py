from __future__ import annotations

import re

import pytest
from builders.board import mobile, nvidia_gop
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.render.map import cells, map_text, marks
from romkit.render.style import Style
from romkit.rom import Rom

FILLS = "█▓░▒▚"
SAMPLES = {
    "desktop": nvidia_desktop(),
    "mobile": nvidia_mobile(),
    "nvgi": nvgi(1, nvidia_desktop()),
    "ab": nvgi(3, nvidia_desktop()).ljust(0x8000, b"\xff")
    + nvgi(3, nvidia_desktop())
    + b"\xff" * 99,
    "live": image(pcir(vendor=0x1002)) + b"\xff" * 2048 + b"live" * 99 + b"\xff" * 700,
    "vfct": vfct(image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002))),
    "isa": b"\x55\xaa\x04" + bytes(2045),
    "flash": image(pcir(vendor=0x1002)) + b"\xff" * (2 << 20) + b"live" * 5,
}


def drawn(text: str) -> list[tuple[int, int]]:
    """Start and length of the bar in each line that has one, in columns."""
    out = []
    for line in text.splitlines():
        columns = [n for n, c in enumerate(line) if c in FILLS]
        if columns:
            assert columns == list(range(columns[0], columns[-1] + 1))
            out.append((columns[0], len(columns)))
    return out


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("name", SAMPLES)
def test_bars_are_a_staircase_that_fills_the_width(name: str, width: int) -> None:
    rom = parse_rom(SAMPLES[name])
    places = drawn(map_text(rom, width))
    assert len(places) == len(rom.regions)
    at = places[0][0]
    for start, length in places:
        assert start == at
        assert length >= 1
        at = start + length
    if width >= 80:
        assert at <= width


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", SAMPLES)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    text = map_text(parse_rom(SAMPLES[name]), width)
    assert max(map(len, text.splitlines())) <= width


@given(st.lists(st.integers(0, 1 << 31), min_size=1, max_size=60), st.integers(0, 200))
def test_cells_add_up_and_none_is_lost(sizes: list[int], spare: int) -> None:
    width = len(sizes) + spare
    shares = cells(sizes, width)
    assert sum(shares) == width
    assert min(shares) >= 1
    # A larger region never has fewer cells.
    for n, size in enumerate(sizes):
        for m, other in enumerate(sizes):
            if size > other:
                assert shares[n] >= shares[m]


def test_cells_are_proportional() -> None:
    assert cells([100, 300], 42) == [11, 31]
    assert cells([1, 1 << 30], 20) == [1, 19]
    assert cells([], 20) == []
    assert cells([0, 0], 5) == [3, 2]


def test_more_regions_than_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="3 regions"):
        cells([1, 2, 3], 2)


def test_a_desktop_rom_line_by_line() -> None:
    lines = map_text(parse_rom(SAMPLES["nvgi"])).splitlines()
    assert lines[0] == "0x1200 bytes (4.5 KiB), 3 images, NVGI version 1 container"
    regions = [line for line in lines if "-0x" in line]
    assert [line.split()[-5:-1] for line in regions[:1]] == [["NVGI", "version", "1", "container"]]
    # Nodes: both chains, both, only NVIDIA's; a diamond where a chain ends.
    assert [line[:4] for line in regions] == ["    ", " ● ●", " ◆ ●", "   ◆"]
    assert "0x0400-0x0800  0x400    1 KiB  0  00 x86  10de:1c03" in regions[1]
    assert "1  03 EFI" in regions[2]
    assert "2  e0 FWSEC  10de:1c00" in regions[3]
    assert lines[-2:] == [
        "PCIR chain (firmware, Linux): 0 → 1 last",
        "NPDE chain (NVIDIA's driver): 0 → 1 → 2 last",
    ]


def test_a_mobile_rom_shows_what_the_first_image_covers() -> None:
    text = map_text(parse_rom(SAMPLES["mobile"]))
    assert "PCIR 0x40 (covers 0xc00)" in text
    assert "PCIR chain (firmware, Linux): 0 last" in text


def test_marks_are_places_in_the_file() -> None:
    rom = parse_rom(SAMPLES["nvgi"])
    found = [[(m.name, m.offset) for m in marks(i)] for i in rom.images]
    assert found == [
        [("PCIR", 0x440), ("NPDE", 0x460)],
        [("PCIR", 0x81C), ("NPDE", 0x840), ("EFI stream", 0x858)],
        [("NPDS", 0xC40), ("NPDE", 0xC60)],
    ]


def test_a_broken_chain_shows_where_the_next_image_should_have_been() -> None:
    # The first image says that it covers 7 blocks; behind those, code of the second one.
    rom = parse_rom(
        image(pcir(indicator=0, blocks=7), extension=npde(blocks=2))
        + image(pcir(blocks=9), blocks=9, extension=npde(blocks=9, last=0x80))
    )
    lines = map_text(rom).splitlines()
    (cross,) = [n for n, line in enumerate(lines) if "✗" in line]
    assert lines[cross].startswith(" ✗")
    assert "0xe00: the PCIR chain breaks (no signature)" in lines[cross]
    assert "1  00 x86" in lines[cross - 2]  # it lies within that image


def test_a_chain_that_leaves_the_file_is_shown_below_it() -> None:
    lines = map_text(parse_rom(image(pcir(indicator=0)))).splitlines()
    assert any(line.startswith(" ✗  0x400: the PCIR chain breaks (end of file)") for line in lines)


def test_one_column_where_nothing_tells_the_chains_apart() -> None:
    text = map_text(parse_rom(SAMPLES["live"]))
    assert "NPDE" not in text
    assert "PCIR chain (firmware, Linux): 0 last" in text


def test_a_second_copy_shows_its_images() -> None:
    assert "copy, identical: 00+03+e0" in map_text(parse_rom(SAMPLES["ab"]))


def test_a_driver_behind_the_last_image_is_no_copy() -> None:
    text = map_text(parse_rom(mobile() + nvidia_gop()), 120)
    assert "EFI image that no chain reaches: 03" in text
    assert "copy" not in text


@pytest.mark.parametrize("name", SAMPLES)
def test_ascii_says_the_same_in_ascii(name: str) -> None:
    rom = parse_rom(SAMPLES[name])
    text = map_text(rom, ascii=True)
    assert text.isascii()
    assert "?" not in text
    assert [len(line) for line in text.splitlines()] == [
        len(line) for line in map_text(rom).splitlines()
    ]


def test_colour_changes_nothing_but_colour() -> None:
    rom = parse_rom(SAMPLES["nvgi"])
    coloured = map_text(rom, style=Style(True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == map_text(rom)


@st.composite
def mutated(draw: st.DrawFn) -> Rom:
    raw = bytearray(draw(st.sampled_from([b for b in SAMPLES.values() if len(b) < 1 << 16])))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, min(len(raw), 0x900) - 1))
        raw[at] = draw(st.integers(0, 255))
    raw = raw[: draw(st.integers(1, len(raw)))] if draw(st.booleans()) else raw
    try:
        return parse_rom(bytes(raw))
    except RomError:
        return parse_rom(efi_image(b"MZ" * 40))


@settings(max_examples=300)
@given(mutated(), st.integers(1, 200))
def test_any_rom_has_a_map(rom: Rom, width: int) -> None:
    text = map_text(rom, width)
    assert all(c.isprintable() or c == "\n" for c in text)
    places = drawn(text)
    assert len(places) == len(rom.regions)
    assert places[-1][0] + places[-1][1] - places[0][0] == sum(length for _, length in places)
    assert len([line for line in text.splitlines() if "breaks (" in line]) == sum(
        not chain.complete
        for chain in {c.name: c for c in (rom.pcir_chain, rom.npde_chain)}.values()
        if rom.images and (chain.name == "PCIR" or " P N" in text)
    )
