from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from builders.rom import efi_image, image, npde, nvidia_desktop, nvidia_mobile, pcir

from romkit import parse_rom
from romkit.chain import MAX_IMAGES, ChainEnd
from romkit.image import OptionRom


def offsets(images: Iterable[OptionRom]) -> list[int]:
    return [image.offset for image in images]


def test_desktop_rom_firmware_stops_where_nvidias_driver_goes_on() -> None:
    rom = parse_rom(nvidia_desktop())
    assert offsets(rom.pcir_chain) == [0, 1024]
    assert offsets(rom.npde_chain) == [0, 1024, 2048]
    assert [i.code_type for i in rom.images] == [0, 3, 0xE0]
    assert rom.pcir_chain.complete
    assert rom.npde_chain.complete
    assert not rom.chains_agree


def test_mobile_rom_pcir_length_covers_what_npde_walks_through() -> None:
    rom = parse_rom(nvidia_mobile())
    assert offsets(rom.pcir_chain) == [0]
    assert offsets(rom.npde_chain) == [0, 1024, 2560]
    assert [i.size for i in rom.images] == [1024, 1536, 512]
    assert rom.images[0].pcir.image_length == 3072
    assert rom.images[0].checksum_ok


def test_without_npde_both_chains_are_the_same() -> None:
    rom = parse_rom(image(pcir(vendor=0x1002, indicator=0)) + efi_image(b"MZ", vendor=0x1002))
    assert offsets(rom.pcir_chain) == offsets(rom.npde_chain) == [0, 1024]
    assert rom.chains_agree


def test_rgis_images_are_walked() -> None:
    own = image(
        pcir(signature=b"RGIS", code_type=0xE0),
        signature=b"\x77\xbb",
        extension=npde(blocks=2, last=0x80),
    )
    rom = parse_rom(image(pcir(indicator=0x80), extension=npde(blocks=2)) + own)
    assert [i.pcir.signature for i in rom.npde_chain] == [b"PCIR", b"RGIS"]
    assert offsets(rom.pcir_chain) == [0]


def test_mixed_signatures_are_no_image() -> None:
    """55 AA with NPDS behind it is neither."""
    rom = parse_rom(image(pcir(indicator=0)) + image(pcir(signature=b"NPDS")))
    assert offsets(rom.images) == [0]
    assert rom.pcir_chain.end is ChainEnd.NO_STRUCTURE


@pytest.mark.parametrize(
    ("second", "end"),
    [
        (b"", ChainEnd.END_OF_DATA),
        (b"\xff" * 512, ChainEnd.NO_SIGNATURE),
        (b"\x55\xaa" + b"\xff" * 510, ChainEnd.NO_STRUCTURE),
        (image(pcir(blocks=0, indicator=0)), ChainEnd.ZERO_LENGTH),
    ],
)
def test_why_a_chain_ends(second: bytes, end: ChainEnd) -> None:
    rom = parse_rom(image(pcir(indicator=0)) + second)
    assert rom.pcir_chain.end is end
    assert not rom.pcir_chain.complete
    assert rom.pcir_chain.end_offset == 1024


def test_only_bit_7_is_the_last_flag() -> None:
    rom = parse_rom(image(pcir(indicator=0x7F)) + image(pcir(indicator=0x81)))
    assert [i.last for i in rom.images] == [False, True]


def test_npde_decides_only_where_it_is_long_enough() -> None:
    """length 10 holds a sub-image length but no flag: shorter than PCIR means that more follows."""
    short = npde(blocks=2, length=10)
    rom = parse_rom(image(pcir(blocks=4), blocks=2, extension=short, fix_sum=False) + image(pcir()))
    assert offsets(rom.npde_chain) == [0, 1024]
    assert offsets(rom.pcir_chain) == [0]
    same = parse_rom(image(pcir(blocks=2), extension=short) + image(pcir()))
    assert offsets(same.npde_chain) == [0]


def test_an_endless_rom_is_given_up() -> None:
    rom = parse_rom(image(pcir(blocks=1, indicator=0), blocks=1) * (MAX_IMAGES + 5))
    assert len(rom.pcir_chain) == MAX_IMAGES
    assert rom.pcir_chain.end is ChainEnd.TOO_MANY


def test_an_image_that_only_firmware_reaches_is_listed_too() -> None:
    """NPDE says last, PCIR goes on."""
    rom = parse_rom(image(pcir(indicator=0), extension=npde(blocks=2, last=0x80)) + image(pcir()))
    assert offsets(rom.npde_chain) == [0]
    assert offsets(rom.images) == [0, 1024]


def test_npde_is_found_at_the_next_multiple_of_16_from_the_image_start() -> None:
    # The image itself lies at 0x200 - 8 of the file: alignment counts from the image.
    prefix = bytes(0x1F8)
    rom = parse_rom(prefix + image(pcir(), pointer=0x44, extension=npde(blocks=2)))
    only = rom.images[0]
    assert only.npde is not None
    assert only.npde.offset - only.offset == 0x60
    assert only.npde.subsystem == (0x1043, 0x85A6)


def test_npde_fields_end_with_its_length() -> None:
    extension = npde(blocks=2, length=12, last=0x80) + struct.pack("<I", 0xFFFFFFFF)
    found = parse_rom(image(pcir(), extension=extension)).images[0].npde
    assert found is not None
    assert found.last
    assert found.gop_version is None
    assert found.subsystem is None
