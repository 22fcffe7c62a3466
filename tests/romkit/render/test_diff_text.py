from __future__ import annotations

import re

from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.diff import diff
from romkit.render.diff import diff_text
from romkit.render.style import Style

DESKTOP = nvidia_desktop()


def text_of(a: bytes, b: bytes) -> str:
    return diff_text(diff(parse_rom(a), parse_rom(b)), Style(False))


def test_identical_files_say_so_and_no_more() -> None:
    lines = text_of(DESKTOP, DESKTOP).splitlines()
    assert lines[0] == "the files are identical"
    assert len(lines) == 3


def test_a_stripped_container_is_said_first() -> None:
    lines = text_of(nvgi(1, DESKTOP), DESKTOP).splitlines()
    assert lines[0] == "the images are identical: only the container differs"
    assert "- container only in A: NVGI version 1, 1024 bytes" in lines
    assert "= image 1 (03 EFI) identical (0x800 → 0x400)" in lines
    assert "bytes" not in lines


def test_a_tail_that_was_cut_off_is_said_first() -> None:
    lines = text_of(DESKTOP + b"\xff" * 512, DESKTOP).splitlines()
    assert lines[0] == "the images are identical: only the tail differs"
    assert "- tail only in A: padding of ff 0x200, 512 bytes" in lines


def test_container_and_tail() -> None:
    lines = text_of(nvgi(1, DESKTOP) + b"\xff" * 512, DESKTOP).splitlines()
    assert lines[0] == "the images are identical: only the container and the tail differ"


def test_an_inserted_driver_and_the_flag_that_was_lost() -> None:
    own = image(
        pcir(signature=b"NPDS", code_type=0xE0, blocks=3, indicator=0),
        signature=b"VN",
        blocks=3,
        extension=npde(blocks=3, last=0x80),
    )
    covering = pcir(blocks=5)
    before = image(covering, extension=npde(blocks=2), fix_sum=False) + own
    driver = efi_image(b"", blocks=9, extension=npde(blocks=9, length=16, gop=0x30008))
    open_end = pcir(blocks=5, indicator=0)
    after = image(open_end, extension=npde(blocks=2), fix_sum=False) + driver + own
    text = text_of(before, after)
    lines = text.splitlines()
    assert lines[0] == "1 image added, 1 image changed, 1 image identical"
    assert "+ image 1 (03 EFI) added: 0x1200 bytes (4.5 KiB) at 0x400, 10de:1c03" in text
    assert re.search(r"PCIR indicator +0x80 \(last image\) → 0x00 \(not the last image\)", text)
    assert "= image 1 → 2 (e0 FWSEC) identical (0x400 → 0x1600)" in lines
    assert re.search(r"end +last image → the next image has no signature", text)
    # Bytes come last: the indicator is at 0x15 of the PCIR at 0x40.
    assert lines.index("bytes") > lines.index("~ PCIR chain")
    assert "    0x0055-0x0056 (1 byte): 80 → 00  PCIR" in lines


def test_ranges_read_as_offsets_of_the_file_where_both_agree() -> None:
    a = nvgi(1, DESKTOP)
    b = bytearray(a)
    b[0x5F0:0x5F3] = b"\xaa\xbb\xcc"
    text = text_of(a, bytes(b))
    assert "    0x05f0-0x05f3 (3 bytes): 5a 5a 5a → aa bb cc" in text
    assert "image 0 (00 x86): 3 bytes in 1 range differ" in text


def test_ranges_of_moved_images_count_from_the_image() -> None:
    b = bytearray(DESKTOP)
    b[0x1F0] ^= 0xFF
    text = text_of(nvgi(1, DESKTOP), bytes(b))
    assert "1 byte in 1 range differs, offsets from its start (0x400 in A, 0x0 in B)" in text
    assert "    0x01f0-0x01f1 (1 byte): 5a → a5" in text


def test_long_lists_are_cut_and_say_how_much_is_missing() -> None:
    a = image(pcir(blocks=40), blocks=40)
    b = bytearray(a)
    for at in range(0x200, 0x200 + 30 * 0x20, 0x20):
        b[at] ^= 1
    lines = text_of(a, bytes(b)).splitlines()
    assert "    … and 14 more ranges" in lines
    assert sum(" (1 byte): " in line for line in lines) == 16


def test_a_change_in_no_field_is_said_to_be_one() -> None:
    a = image(pcir(code_type=0x70, signature=b"NPDS"), signature=b"VN")
    b = bytearray(a)
    b[0x300] ^= 1
    b[0x301] ^= 1  # the sum stays the same: 5a5a → 5b5b is two more
    b[0x302] -= 2
    assert "in no field that romkit reads" in text_of(a, bytes(b))


def test_colour_changes_nothing_but_colour() -> None:
    d = diff(parse_rom(nvidia_mobile()), parse_rom(nvgi(1, DESKTOP)))
    coloured = diff_text(d, Style(True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == diff_text(d, Style(False))


@settings(max_examples=200)
@given(st.data())
def test_any_two_roms_have_a_text(data: st.DataObject) -> None:
    roms = []
    for _ in range(2):
        samples = [DESKTOP, nvidia_mobile(), nvgi(1, DESKTOP) + b"live" * 99]
        raw = bytearray(data.draw(st.sampled_from(samples)))
        for _ in range(data.draw(st.integers(0, 5))):
            at = data.draw(st.integers(0, min(len(raw), 0x900) - 1))
            raw[at] = data.draw(st.integers(0, 255))
        try:
            roms.append(parse_rom(bytes(raw)))
        except RomError:
            return
    text = diff_text(diff(*roms), Style(False))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert text.startswith("the files are identical") == (roms[0].data == roms[1].data)
