from __future__ import annotations

import struct

import pytest
from builders.rom import (
    efi_image,
    image,
    npde,
    nvfw,
    nvgi,
    nvidia_desktop,
    nvidia_mobile,
    pcir,
    vfct,
)
from hypothesis import given
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.rom import Rom
from romkit.tail import TailKind

SAMPLES = {
    "desktop": nvidia_desktop(),
    "mobile": nvidia_mobile(),
    "nvgi1": nvgi(1, nvidia_desktop()),
    "nvgi3": nvgi(3, nvidia_desktop()),
    "nvfw": nvfw(nvidia_desktop()),
    "vfct": vfct(image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002))),
    "ab": nvgi(3, nvidia_desktop()).ljust(0x8000, b"\xff")
    + nvgi(3, nvidia_desktop())
    + b"\xff" * 99,
    "live tail": image(pcir(vendor=0x1002)) + b"\xff" * 2048 + b"PSP firmware" * 99 + b"\xff" * 700,
    "two paddings": image(pcir(vendor=0x1002)) + b"\xff" * 512 + bytes(512),
    "prefix": b"12345" + nvidia_desktop(),
    "isa": b"\x55\xaa\x04" + bytes(2045),
}


def tiles(rom: Rom) -> bool:
    at = 0
    for region in rom.regions:
        if region.offset != at or region.size <= 0:
            return False
        at = region.end
    return at == len(rom.data)


@pytest.mark.parametrize("name", SAMPLES)
def test_container_images_and_tail_tile_the_file(name: str) -> None:
    rom = parse_rom(SAMPLES[name])
    assert bytes(rom) == SAMPLES[name]
    assert tiles(rom)
    around = SAMPLES[name][: rom.rom_offset]
    tail = b"".join(bytes(part) for part in rom.tail or ())
    assert around + b"".join(bytes(i) for i in rom.images) + tail == SAMPLES[name]


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_mutation_parses_or_raises_rom_error(name: str, data: st.DataObject) -> None:
    raw = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    mutated = bytes(raw[:cut])
    try:
        rom = parse_rom(mutated)
    except RomError:
        return
    assert bytes(rom) == mutated
    assert tiles(rom)


@given(st.binary(max_size=2048))
def test_any_bytes_behind_a_signature_parse_or_raise_rom_error(junk: bytes) -> None:
    for head in (b"\x55\xaa", b"NVGI", b"VFCT", b"VN", b"\x77\xbb", b""):
        try:
            rom = parse_rom(head + junk)
        except RomError:
            continue
        assert tiles(rom)


def test_bytes_like_input_is_accepted() -> None:
    data = nvidia_desktop()
    assert parse_rom(bytearray(data)) == parse_rom(memoryview(data)) == parse_rom(data)


def test_an_identical_second_copy_is_told_from_live_data() -> None:
    rom = parse_rom(SAMPLES["ab"])
    assert rom.tail is not None
    kinds = [part.kind for part in rom.tail]
    assert kinds == [TailKind.PADDING, TailKind.COPY, TailKind.PADDING]
    (copy,) = rom.tail.copies
    assert copy.identical
    assert copy.offset == 0x8000
    assert copy.rom_offset == 0x8000 + 0x4600
    assert copy.rom is not None
    assert copy.rom.container is not None
    assert len(copy.rom.images) == 3
    assert not rom.tail.live


def test_a_second_copy_of_another_version_is_different() -> None:
    other = bytearray(nvidia_desktop())
    other[0x300] ^= 1
    rom = parse_rom(nvidia_desktop() + b"\xff" * 512 + bytes(other))
    assert rom.tail is not None
    (copy,) = rom.tail.copies
    assert copy.identical is False


def test_amds_data_behind_the_images_is_live() -> None:
    rom = parse_rom(SAMPLES["live tail"])
    assert rom.tail is not None
    assert [part.kind for part in rom.tail] == [TailKind.PADDING, TailKind.DATA, TailKind.PADDING]
    assert bytes(rom.tail.parts[1]) == b"PSP firmware" * 99
    assert rom.tail.live


def test_an_isa_rom_has_no_images_and_loses_no_byte() -> None:
    rom = parse_rom(SAMPLES["isa"])
    assert rom.images == ()
    assert rom.tail is not None
    assert rom.tail.size == 2048


def test_revision_0_and_3_fields_are_told_apart() -> None:
    """Behind a revision 0 structure stands something else: here bytes that look like fields."""
    old = image(pcir(revision=0, length=0x18, runtime_blocks=7), body={0x58: b"\x11\x22\x33\x44"})
    new = image(pcir(revision=3, length=0x1C, runtime_blocks=7, utility=0x1234, clp=0x5678))
    read_old, read_new = parse_rom(old).images[0].pcir, parse_rom(new).images[0].pcir
    assert read_old.max_runtime_image_length is None
    assert read_old.config_utility_code_header_pointer is None
    assert read_new.max_runtime_image_length == 7 * 512
    assert read_new.config_utility_code_header_pointer == 0x1234
    assert read_new.dmtf_clp_entry_point_pointer == 0x5678


def test_device_list_is_read_from_revision_3_only() -> None:
    listing = struct.pack("<HHH", 0x1C20, 0x1C60, 0)
    new = image(pcir(revision=3, length=0x1C, device_list=0x30), body={0x70: listing})
    old = image(pcir(revision=0, device_list=0x30), body={0x70: listing})
    assert parse_rom(new).images[0].device_list == (0x1C20, 0x1C60)
    assert parse_rom(old).images[0].device_list == ()


def test_a_device_list_without_end_is_none() -> None:
    endless = image(pcir(revision=3, length=0x1C, device_list=0x30))
    assert parse_rom(endless).images[0].device_list == ()


def test_only_x86_images_must_sum_to_zero() -> None:
    legacy = image(pcir(indicator=0), fix_sum=True)
    driver = efi_image(b"MZ" + b"\x01" * 50)
    rom = parse_rom(legacy + driver)
    assert rom.images[0].checksum_ok is True
    assert rom.images[1].checksum_ok is None
    assert rom.images[1].sum8 == sum(driver) % 256


def test_the_sum_runs_over_the_pcir_length_and_stops_at_the_end_of_the_file() -> None:
    long = image(pcir(blocks=4), blocks=2)
    read = parse_rom(long).images[0]
    assert read.truncated
    assert read.sum8 == sum(long) % 256


def test_parsing_reads_headers_only() -> None:
    rom = parse_rom(image(pcir(indicator=0)) + efi_image(b"\0" * 64, compression=1))
    assert all(not image._cache for image in rom.images)


def test_values_can_be_pickled() -> None:
    import pickle

    rom = parse_rom(SAMPLES["desktop"])
    again = pickle.loads(pickle.dumps(rom))
    assert again == rom
    assert bytes(again) == bytes(rom)


def test_repr_is_one_line_in_native_units() -> None:
    rom = parse_rom(nvgi(2, nvidia_desktop()))
    for value in (
        rom,
        rom.container,
        *rom.images,
        rom.images[0].pcir,
        rom.images[0].npde,
        rom.pcir_chain,
    ):
        assert "\n" not in repr(value)
    assert repr(rom.images[0]) == "<OptionRom 10de:1c03 x86 @0x400+0x400>"


def test_npde_of_a_cut_file_keeps_what_is_there() -> None:
    data = image(pcir(), extension=npde(blocks=2))[: 0x60 + 9]
    rom = parse_rom(data)
    assert rom.images[0].npde is not None
    assert rom.images[0].npde.subimage_length is None
