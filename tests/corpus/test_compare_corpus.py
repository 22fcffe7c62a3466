"""Comparing, drawing and mapping real ROMs. The offsets below are those that cmp(1) prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from romkit import parse_rom
from romkit.diff import diff
from romkit.render.diff import diff_text
from romkit.render.html import image_html, rom_html
from romkit.render.map import map_text
from romkit.render.svg import map_svg
from romkit.rom import Rom

Find = Callable[[str], Rom]


@pytest.fixture
def rom(corpus: Path) -> Find:
    def find(digest: str) -> Rom:
        (path,) = (corpus / "roms").glob(f"{digest}*")
        return parse_rom(path.read_bytes())

    return find


@pytest.mark.survey
def test_a_rom_stripped_by_hand_has_the_same_images(rom: Find) -> None:
    d = diff(rom("16f1ff99800e"), rom("8fc4c6c61d86"))
    assert d.images_equal
    assert d.container.status == "removed"
    assert (d.tail.status, d.chains) == ("same", ())
    first = diff_text(d).splitlines()[0]
    assert first == "the images are identical: only the container differs"


@pytest.mark.survey
def test_two_routes_to_one_rom_differ_by_padding(rom: Find) -> None:
    d = diff(rom("869c14cebf6c"), rom("7d85cdbe94e5"))
    assert d.images_equal
    assert d.tail.status == "removed"


@pytest.mark.survey
def test_a_driver_that_was_inserted_and_the_chain_that_broke_by_it(rom: Find) -> None:
    d = diff(rom("0f002def2d7d"), rom("abd01b4279c0"))
    assert [(i.image.code_type, i.status) for i in d.images] == [
        (0x00, "changed"),
        (0xE0, "same"),
        (0x03, "added"),
        (0xE0, "same"),
        (0x70, "same"),
    ]
    legacy = d.images[0]
    assert [(r.offset, r.a.hex(), r.b.hex()) for r in legacy.bytes.ranges] == [
        (0x185, "80", "00"),
        (0xEDFF, "74", "f4"),
    ]
    assert ("indicator", 0x80, 0) in [(c.name, c.a, c.b) for c in legacy.changes]
    ends = [(c.structure, c.name, c.b) for c in d.chains if c.name == "end_offset"]
    assert ends == [("PCIR chain", "end_offset", 0x28C00)]


def test_every_rom_has_a_map_a_picture_and_a_page(rom_data: bytes) -> None:
    own = parse_rom(rom_data)
    for width in (80, 100):
        text = map_text(own, width)
        assert max(map(len, text.splitlines())) <= width
        assert all(c.isprintable() or c == "\n" for c in text)
    ET.fromstring(map_svg(own))
    ET.fromstring(rom_html(own).replace("<br>", "<br/>"))
    for image in own.images:
        ET.fromstring(image_html(image))


def test_any_two_roms_compare_without_delay(corpus: Path) -> None:
    roms = [parse_rom(path.read_bytes()) for path in sorted((corpus / "roms").iterdir())]
    for one, other in pairwise(roms):
        start = time.process_time()
        d = diff(one, other)
        assert time.process_time() - start < 2.0
        assert not d.equal
        assert all(c.isprintable() or c == "\n" for c in diff_text(d))
