from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.render.svg import heights, map_svg
from romkit.rom import Rom

SVG = "{http://www.w3.org/2000/svg}"


def seven_images() -> bytes:
    """Both chains at odds over seven images, two EFI drivers, a tiny container."""
    raw = image(pcir(blocks=34, indicator=0), blocks=12, extension=npde(blocks=12))
    for code_type, blocks in [(0xE0, 13), (0xE0, 5), (0x70, 2), (0x99, 2)]:
        structure = pcir(signature=b"NPDS", code_type=code_type, blocks=blocks, indicator=0)
        extension = npde(blocks=blocks)
        raw += image(structure, signature=b"VN", blocks=blocks, extension=extension)
    raw += efi_image(b"", blocks=9, indicator=0, extension=npde(blocks=9, length=16))
    raw += efi_image(b"", blocks=3, extension=npde(blocks=3, length=16, last=0x80))
    return nvgi(1, raw, rom_offset=0x40)


def many_copies() -> bytes:
    part = image(pcir(vendor=0x1002)) + (b"live" * 300 + b"\xff" * 1872)[:2560]
    return image(pcir()) + b"\xff" * 512 + part * 10


SAMPLES = {
    "desktop": nvidia_desktop(),
    "mobile": nvidia_mobile(),
    "seven": seven_images(),
    "many": many_copies(),
    "ab": nvgi(3, nvidia_desktop()).ljust(0x8000, b"\xff")
    + nvgi(3, nvidia_mobile())
    + b"\xff" * 99,
    "vfct": vfct(image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002))),
    "isa": b"\x55\xaa\x04" + bytes(2045),
    "flash": image(pcir(vendor=0x1002)) + b"\xff" * (2 << 20) + b"live" * 5,
    "broken": image(pcir(indicator=0, blocks=7), extension=npde(blocks=2))
    + image(pcir(blocks=9), blocks=9, extension=npde(blocks=9, last=0x80)),
    "open": image(pcir(indicator=0)),
    "zero": image(pcir(indicator=0, blocks=0), extension=npde(blocks=0)),
}


def picture(rom: Rom) -> ET.Element:
    return ET.fromstring(map_svg(rom))


def region_groups(svg: ET.Element) -> list[ET.Element]:
    """Groups with a rectangle as wide as the column."""
    return [g for g in svg.iter(f"{SVG}g") if g.find(f"{SVG}rect[@width='410']") is not None]


@pytest.mark.parametrize("name", SAMPLES)
def test_regions_stand_below_each_other_without_gap(name: str) -> None:
    rom = parse_rom(SAMPLES[name])
    rects = [g.find(f"{SVG}rect") for g in region_groups(picture(rom))]
    places = [(float(r.attrib["y"]), float(r.attrib["height"])) for r in rects if r is not None]
    assert len(places) == len(rom.regions)
    for (y, height), (below, _) in pairwise(places):
        assert y + height == pytest.approx(below, abs=0.05)
    assert all(height >= 22 for _, height in places)


@pytest.mark.parametrize("name", SAMPLES)
def test_labels_do_not_overlap(name: str) -> None:
    svg = picture(parse_rom(SAMPLES[name]))
    boxes = []
    for text in svg.iter(f"{SVG}text"):
        size, x, y = (float(text.attrib[key]) for key in ("font-size", "x", "y"))
        content = text.text or ""
        # 0.64 em a character: no letter of these fonts is wider on average, bold ones included.
        width = 0.64 * size * len(content)
        left = x - {"end": width, "middle": width / 2}.get(text.get("text-anchor", ""), 0)
        boxes.append((left, y - 0.76 * size, left + width, y + 0.2 * size, content))
    for n, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[2] <= float(svg.attrib["width"])
        assert one[3] <= float(svg.attrib["height"])
        for other in boxes[:n]:
            apart = (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            )
            assert apart, (one, other)


def test_every_region_has_a_title_to_hover_over() -> None:
    rom = parse_rom(SAMPLES["seven"])
    titles = [g.findtext(f"{SVG}title") or "" for g in region_groups(picture(rom))]
    assert "0x40 to 0x1840" in titles[1]
    assert "covers 0x4400" in titles[1]
    assert "4  99 type 99" in titles[5]
    assert (picture(rom).findtext(f"{SVG}title") or "").startswith("Map of 0x5c40 bytes")


def test_chains_have_a_node_for_each_image_they_reach() -> None:
    rom = parse_rom(SAMPLES["seven"])
    groups = {
        (g.findtext(f"{SVG}title") or "").split()[0]: g
        for g in picture(rom).iter(f"{SVG}g")
        if " chain (" in (g.findtext(f"{SVG}title") or "")
    }

    def numbers(name: str) -> list[str]:
        texts = (t.text or "" for t in groups[name].iter(f"{SVG}text"))
        return [text for text in texts if text.isdigit()]

    assert numbers("PCIR") == ["0", "5", "6"]
    assert numbers("NPDE") == ["0", "1", "2", "3", "4", "5", "6"]


def test_a_broken_chain_is_crossed_out_where_it_breaks() -> None:
    rom = parse_rom(SAMPLES["broken"])
    svg = picture(rom)
    words = [t.text for t in svg.iter(f"{SVG}text")]
    assert "no signature" in words
    assert "at 0xe00" in words
    # 0xe00 lies 0xa00 bytes into the second image, which is 0x1200 bytes long.
    rect = region_groups(svg)[1].find(f"{SVG}rect")
    assert rect is not None
    place = float(rect.attrib["y"]) + float(rect.attrib["height"]) * 0xA00 / 0x1200
    crosses = [p.attrib["d"] for p in svg.iter(f"{SVG}path") if "m0 -10" in p.attrib["d"]]
    (cross,) = crosses
    y = float(cross.split("l")[0].split()[1]) + 5
    assert y == pytest.approx(place, abs=0.2)


def test_one_lane_where_nothing_tells_the_chains_apart() -> None:
    text = map_svg(parse_rom(SAMPLES["flash"]))
    assert "PCIR chain" in text
    assert "NPDE chain" not in text


def test_it_can_stand_in_a_page_more_than_once() -> None:
    text = map_svg(parse_rom(SAMPLES["seven"]))
    assert " id=" not in text
    assert "<style" not in text
    assert "<script" not in text
    assert text.isascii()


@given(st.lists(st.integers(1, 1 << 30), min_size=1, max_size=40), st.floats(10, 2000))
def test_heights_fill_the_picture(sizes: list[int], total: float) -> None:
    least = [22.0] * len(sizes)
    out = heights(sizes, least, total)
    assert sum(out) == pytest.approx(max(total, sum(least)))
    assert all(h >= 22 - 1e-6 for h in out)


def test_heights_above_the_least_are_to_scale() -> None:
    assert heights([100, 200, 1], [10, 10, 10], 310) == pytest.approx([100, 200, 10])


@st.composite
def mutated(draw: st.DrawFn) -> Rom:
    raw = bytearray(draw(st.sampled_from([b for b in SAMPLES.values() if len(b) < 1 << 16])))
    for _ in range(draw(st.integers(0, 8))):
        raw[draw(st.integers(0, min(len(raw), 0x900) - 1))] = draw(st.integers(0, 255))
    try:
        return parse_rom(bytes(raw))
    except RomError:
        return parse_rom(SAMPLES["mobile"])


@settings(max_examples=200)
@given(mutated())
def test_any_rom_has_a_picture(rom: Rom) -> None:
    assert len(region_groups(picture(rom))) == len(rom.regions)
