from __future__ import annotations

import json
import random
import time

import pytest
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.diff import RomDiff, diff
from romkit.rom import Rom

DESKTOP = nvidia_desktop()
SAMPLES = [
    DESKTOP,
    nvidia_mobile(),
    nvgi(1, DESKTOP),
    nvgi(3, DESKTOP) + b"\xff" * 600 + b"live" * 200,
    vfct(image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002, device=0x1234))),
    image(pcir(indicator=0), fix_sum=False) + efi_image(b"MZ" * 300, machine=0xAA64),
    b"\x55\xaa\x04" + bytes(2045),
]


def compare(a: bytes, b: bytes) -> RomDiff:
    return diff(parse_rom(a), parse_rom(b))


def statuses(d: RomDiff) -> list[tuple[int, str]]:
    return [(i.image.code_type, i.status) for i in d.images]


def changed(d: RomDiff, number: int) -> dict[str, tuple[object, object]]:
    return {f"{c.structure} {c.name}": (c.a, c.b) for c in d.images[number].changes}


def test_a_stripped_container_leaves_the_images_identical() -> None:
    d = compare(nvgi(1, DESKTOP), DESKTOP)
    assert not d.equal
    assert d.images_equal
    assert (d.container.status, d.container.a, d.container.b) == (
        "removed",
        "NVGI version 1",
        None,
    )
    assert d.container.bytes.a_size == 0x400
    assert statuses(d) == [(0, "same"), (3, "same"), (0xE0, "same")]
    assert [(i.bytes.a_offset, i.bytes.b_offset) for i in d.images] == [
        (0x400, 0),
        (0x800, 0x400),
        (0xC00, 0x800),
    ]
    assert d.chains == ()
    assert d.tail.status == "same"


def test_an_inserted_image_is_one_addition() -> None:
    legacy, driver, own = DESKTOP[:0x400], DESKTOP[0x400:0x800], DESKTOP[0x800:]
    d = compare(legacy + own, legacy + driver + own)
    assert statuses(d) == [(0, "same"), (3, "added"), (0xE0, "same")]
    assert [(i.a_number, i.b_number) for i in d.images] == [(0, 0), (None, 1), (1, 2)]
    back = compare(legacy + driver + own, legacy + own)
    assert statuses(back) == [(0, "same"), (3, "removed"), (0xE0, "same")]


def test_of_two_images_of_one_type_the_identical_one_is_the_counterpart() -> None:
    legacy = image(pcir(indicator=0))
    x64 = efi_image(b"MZ" + b"x" * 700, indicator=0)
    arm = efi_image(b"MZ" + b"a" * 900, machine=0xAA64)
    d = compare(legacy + x64 + arm, legacy + arm)
    assert [(i.a_number, i.b_number, i.status) for i in d.images] == [
        (0, 0, "same"),
        (1, None, "removed"),
        (2, 1, "same"),
    ]


def test_of_two_changed_images_the_one_for_the_same_processor_is_the_counterpart() -> None:
    legacy = image(pcir(indicator=0))
    x64 = efi_image(b"MZ" + b"x" * 700, indicator=0)
    arm = efi_image(b"MZ" + b"a" * 700, machine=0xAA64)
    d = compare(legacy + x64 + arm, legacy + efi_image(b"MZ" + b"b" * 700, machine=0xAA64))
    assert [(i.a_number, i.b_number) for i in d.images] == [(0, 0), (1, None), (2, 1)]


def test_an_image_that_changed_places_is_said_to_have_moved() -> None:
    own = image(
        pcir(signature=b"NPDS", code_type=0xE0, blocks=3, indicator=0),
        signature=b"VN",
        blocks=3,
        extension=npde(blocks=3),
    )
    legacy = image(pcir(indicator=0), extension=npde(blocks=2))
    driver = efi_image(b"", blocks=2, indicator=0, extension=npde(blocks=2, length=16))
    end = image(pcir(signature=b"NPDS", code_type=0x70, blocks=1), signature=b"VN", blocks=1)
    d = compare(legacy + driver + own + end, legacy + own + driver + end)
    assert [(i.image.code_type, i.status) for i in d.images] == [
        (0, "same"),
        (0xE0, "same"),
        (3, "same"),
        (0x70, "same"),
    ]
    assert sum(i.moved for i in d.images) == 1
    assert not d.images_equal


def test_fields_have_the_names_of_the_specification() -> None:
    a = image(pcir(indicator=0x80), extension=npde(blocks=2, last=0x80))
    b = image(
        pcir(indicator=0x00, device=0x1C02, class_code=0x030200),
        extension=npde(blocks=2, last=0, subsystem=(0x1028, 0x0123)),
    )
    fields = changed(compare(a, b), 0)
    assert fields["PCIR device_id"] == ("1c03", "1c02")
    assert fields["PCIR class_code"] == ("030000", "030200")
    assert fields["PCIR indicator"] == (0x80, 0)
    assert fields["NPDE last"] == (True, False)
    assert fields["NPDE subsystem"] == ("1043:85a6", "1028:0123")
    assert "PCIR vendor_id" not in fields
    assert "image sum8" not in fields  # both sum to zero


def test_readings_are_compared_where_the_bytes_differ() -> None:
    a = image(pcir(indicator=0)) + efi_image(b"MZ" + b"x" * 700)
    b = bytearray(a)
    b[0x400 + 0x0A : 0x400 + 0x0C] = b"\x64\xaa"
    fields = changed(compare(a, bytes(b)), 1)
    assert fields["EFI header efi_machine_type"] == ("8664", "aa64")
    assert "image sum8" in fields


def test_a_lost_last_flag_breaks_the_chain() -> None:
    a = image(pcir())
    b = image(pcir(indicator=0))
    d = compare(a, b)
    assert [(c.structure, c.name, c.b) for c in d.chains if c.structure == "PCIR chain"] == [
        ("PCIR chain", "end", "the file ends although no image is the last"),
        ("PCIR chain", "end_offset", 0x400),
    ]


def test_tail_differences() -> None:
    d = compare(DESKTOP + b"\xff" * 512, DESKTOP)
    assert (d.tail.status, d.tail.a) == ("removed", "padding of ff 0x200")
    assert d.images_equal
    d = compare(DESKTOP + b"\xff" * 512, DESKTOP + b"\xff" * 256 + b"live" * 64)
    assert d.tail.status == "changed"
    assert d.tail.bytes.differing == 256


def test_containers_are_compared_by_field() -> None:
    a = nvgi(1, DESKTOP)
    b = bytearray(nvgi(1, DESKTOP))
    b[14:16] = b"\x34\x12"
    d = compare(a, bytes(b))
    fields = {c.name: (c.a, c.b) for c in d.container.changes}
    assert fields == {"subsystem": ("1028:06da", "1028:1234")}
    assert d.container.bytes.differing == 2
    assert d.images_equal


def test_a_rom_without_images_can_be_compared() -> None:
    isa = b"\x55\xaa\x04" + bytes(2045)
    d = compare(isa, isa[:-1] + b"\x01")
    assert (d.images, d.tail.status) == ((), "changed")
    assert not d.equal


@pytest.mark.parametrize(("seed", "step"), [(1, 0x100), (2, 9), (3, 1)])
def test_large_files_are_compared_fast(seed: int, step: int) -> None:
    a = image(pcir()) + random.Random(seed).randbytes(2 << 20)
    b = bytearray(a)
    for at in range(0x1000, len(b), step):
        b[at] ^= 0xFF
    one, other = parse_rom(a), parse_rom(bytes(b))
    start = time.process_time()
    d = diff(one, other)
    # Ten times what it takes here: a loop over the bytes would take longer by far.
    assert time.process_time() - start < 1.0
    assert d.tail.bytes.differing == len(range(0x1000, len(b), step))


@pytest.mark.parametrize("raw", SAMPLES)
def test_a_rom_is_equal_to_itself(raw: bytes) -> None:
    d = compare(raw, bytes(raw))
    assert d.equal
    assert d.images_equal
    assert repr(d) == "<RomDiff equal>"
    assert d.container.status == d.tail.status == "same"
    assert d.chains == ()


def test_equality_needs_the_same_bytes() -> None:
    for raw in SAMPLES:
        for at in (0x30, len(raw) // 2, len(raw) - 1):
            other = bytearray(raw)
            other[at] ^= 1
            try:
                rom = parse_rom(bytes(other))
            except RomError:
                continue
            d = diff(parse_rom(raw), rom)
            assert not d.equal
            assert not (d.images_equal and d.container.status == d.tail.status == "same")


@st.composite
def mutated(draw: st.DrawFn) -> Rom:
    raw = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, min(len(raw), 0x700) - 1))
        raw[at] = draw(st.sampled_from([0, 1, 0x55, 0x7F, 0x80, 0xAA, 0xE0, 0xFF]))
    if draw(st.booleans()):
        raw = raw[: draw(st.integers(1, len(raw)))]
    try:
        return parse_rom(bytes(raw))
    except RomError:
        return parse_rom(DESKTOP)


@settings(max_examples=300)
@given(mutated(), mutated())
def test_any_two_roms_can_be_compared(a: Rom, b: Rom) -> None:
    d = diff(a, b)
    assert d.equal == (a.data == b.data)
    assert json.loads(json.dumps(d.as_json()))["equal"] == d.equal
    own = sum(i.a is not None for i in d.images), sum(i.b is not None for i in d.images)
    assert own == (len(a.images), len(b.images))
    assert [i.b_number for i in d.images if i.b is not None] == list(range(len(b.images)))
    sections = [d.container.bytes, *(i.bytes for i in d.images), d.tail.bytes]
    # Everything in both files is looked at, once.
    assert sum(s.a_size for s in sections) == len(a.data)
    assert sum(s.b_size for s in sections) == len(b.data)
    if all(s.equal for s in sections) and not any(i.moved for i in d.images):
        assert d.equal
    assert diff(a, a).equal
