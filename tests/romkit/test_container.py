from __future__ import annotations

import bz2
import struct

import pytest
from builders.rom import efi_image, image, npde, nvfw, nvgi, nvidia_desktop, pcir, vfct

from romkit import NotARom, parse_rom
from romkit.container import ContainerKind


def test_a_bare_rom_has_no_container() -> None:
    rom = parse_rom(nvidia_desktop())
    assert rom.container is None
    assert rom.rom_offset == 0


@pytest.mark.parametrize("version", [1, 2])
def test_nvgi_1_and_2_point_to_the_rom(version: int) -> None:
    rom = parse_rom(nvgi(version, nvidia_desktop(), rom_offset=0xA00))
    assert rom.container is not None
    assert (rom.container.kind, rom.container.version) == (ContainerKind.NVGI, version)
    assert rom.rom_offset == 0xA00
    assert rom.container.subsystem == (0x1028, 0x06DA)
    assert rom.container.rom_length is None
    assert len(rom.images) == 3


def test_nvgi_3_has_a_directory_with_start_and_length() -> None:
    inside = nvidia_desktop()
    rom = parse_rom(nvgi(3, inside))
    assert rom.container is not None
    assert rom.rom_offset == 0x4600
    assert rom.container.rom_length == len(inside)
    assert rom.container.directory_offset == 0x4000


def test_nvgi_that_leads_nowhere_falls_back_to_the_first_image_and_says_so() -> None:
    data = bytearray(nvgi(2, nvidia_desktop(), rom_offset=0x400))
    data[0x14:0x18] = struct.pack("<I", 0x600)
    rom = parse_rom(bytes(data))
    assert rom.rom_offset == 0x400
    assert rom.container is not None
    assert "0x600" in rom.container.problem


def test_blackwell_flash_starts_at_the_image_that_the_directory_names() -> None:
    """A small E0 image stands in front of it, also with 55 AA and PCIR."""
    rom = parse_rom(nvfw(nvidia_desktop()))
    assert rom.container is not None
    assert rom.container.kind is ContainerKind.NVFW
    assert rom.rom_offset == 0x5400
    assert rom.container.rom_length is None


def test_blackwell_flash_without_a_directory_skips_the_e0_image() -> None:
    data = nvfw(nvidia_desktop()).replace(b"RFRD", b"XXXX")
    rom = parse_rom(data)
    assert rom.rom_offset == 0x5400
    assert rom.container is not None
    assert rom.container.kind is ContainerKind.UNKNOWN


def test_vfct_shows_each_entry_and_its_rom() -> None:
    first, second = image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002, device=0x15BF), blocks=2)
    rom = parse_rom(vfct(first, second))
    assert rom.container is not None
    assert rom.container.kind is ContainerKind.VFCT
    assert rom.rom_offset == 0x68
    entries = rom.container.vfct_images
    assert [(e.pci_bus, e.pci_device, e.device_id) for e in entries] == [
        (4, 0, 0x1636),
        (4, 1, 0x1637),
    ]
    assert [e.rom_offset for e in entries] == [0x68, 0x68 + 1024 + 28]
    assert rom.tail is not None
    (copy,) = rom.tail.copies
    assert copy.rom is not None
    assert copy.rom.images[0].pcir.device_id == 0x15BF


def test_unknown_prefix_needs_a_readable_pcir_and_a_code_type_that_hosts_run() -> None:
    decoys = b"\x55\xaa" + b"\x11" * 100
    decoys += image(pcir(code_type=0xE0, indicator=0), blocks=1)
    rom = parse_rom(b"junk" * 5 + decoys + efi_image(b"MZ"))
    assert rom.rom_offset == 20 + 102 + 512
    assert rom.images[0].code_type == 3


def test_a_sub_image_of_its_own_is_read() -> None:
    own = image(pcir(signature=b"NPDS", code_type=0xE0), signature=b"VN", extension=npde(blocks=2))
    rom = parse_rom(own)
    assert rom.images[0].code_type == 0xE0
    assert len(rom.pcir_chain) == 0


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\xff" * 65536, "FF"),
        (b"\0" * 65536, "00"),
        (b"PK\x03\x04" + bytes(100), "ZIP"),
        (b"MZ" + bytes(300), "PE"),
        (b"regf" + bytes(300), "hive"),
        (bytes(40) + b"_FVH" + bytes(100), "firmware volume"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"55 aa 7c e9 11 22 33\n" * 5, "text"),
        (b"SSDT" + bytes(100), "ACPI"),
        (b"\xaa\x55" + bytes(600), "swapped"),
        (bytes(range(256)), "starts with 00 01"),
        (bz2.compress(b"x"), "bzip2"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
        (b"pk\x03\x04" + bytes(100), "starts with 70 6B"),
        (b"  <HTML><body>", "web page"),
        (b"vn und mehr\n", "a text file"),
        (b"VN und mehr\n", "a text file"),
        (b"VN\0\1" + bytes(600), "sub-image"),
        ("Gr\u00f6\u00dfe \u00fcber alles\n".encode() * 500, "a text file"),
        ("\ufeffWindows Registry Editor Version 5.00\r\n".encode("utf-16-le"), "registry text"),
        ("\ufeffWindows Registry Editor Version 5.00\r\n".encode("utf-16-be"), "registry text"),
        (b"Windows Registry Editor Version 5.00\r\n", "registry text"),
        (b"\xff\xfe\0\xd8\0\0", "starts with FF FE"),
        (nvgi(2, b"", rom_offset=0xA00)[:0x40], "an NVGI container (NVGI says that the ROM starts"),
        (vfct(image(pcir()))[:60], "a VFCT container (the table states 1128 bytes"),
        (bytes(0x1000) + b"NVFW" + bytes(100), "an NVFW container"),
    ],
)
def test_what_is_no_rom_is_named(data: bytes, word: str) -> None:
    with pytest.raises(NotARom) as caught:
        parse_rom(data)
    assert word in str(caught.value)


def test_a_flood_of_false_signatures_is_given_up_quickly() -> None:
    with pytest.raises(NotARom):
        parse_rom(b"X" + b"\x55\xaa" * (4 << 20))
