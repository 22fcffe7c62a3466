"""ROMs in firmware volumes, capsules, flash images and updates cut into blocks."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

import pytest
from builders import firmware as fw
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir

from romkit.find import Found, find_roms

VBIOS_FILE = UUID("0afcdd7a-345e-415e-926d-c5971b580400")
OUTER_FILE = UUID("9e21fd93-9c72-4c15-8c4b-e77f1db2d792")
VOLUME_NAME = UUID("4f1c52d3-d824-4d2a-a2f0-ec40c23c5916")


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def vgabios(blocks: int = 24, seed: int = 7) -> bytes:
    """A legacy image whose content does not repeat, so that every byte is seen."""
    body = {0x60: noise(blocks * 512 - 0x61, seed)}
    return image(pcir(vendor=0x8086, device=0x0166, blocks=blocks), blocks=blocks, body=body)


def only(data: bytes) -> Found:
    notes: list[str] = []
    found = list(find_roms(data, note=notes.append))
    assert len(found) == 1
    assert notes == []
    return found[0]


def steps(found: Found) -> list[str]:
    assert len(found.where) == 1
    return [step.split()[0] for step in found.where[0].path]


ROM = vgabios()
SECTIONS = fw.sections(fw.section(fw.UI, "VBIOS\0".encode("utf-16-le")), fw.section(fw.RAW, ROM))
INNER_VOLUME = fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, SECTIONS), name=VOLUME_NAME)

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "EFI": fw.efi_compressed,
    "Tiano": fw.tiano_compressed,
    "Tiano GUID": fw.tiano_guided,
    "LZMA GUID": fw.lzma_guided,
    "LZMA with x86 filter": fw.lzma_x86_guided,
    "AMD zlib": fw.amd_zlib_guided,
    "custom": fw.custom_compressed,
    "custom behind four bytes": lambda data: fw.custom_compressed(data, b"\xde\xad\xbe\xef"),
}


def test_in_a_raw_section() -> None:
    blob = fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, SECTIONS))
    found = only(blob)
    at = blob.index(ROM)
    assert found.data == ROM
    assert found.offset == at
    assert found.where[0].path == (
        f"volume {fw.FFS2} 0x0",
        f"file {VBIOS_FILE}",
        f"raw section {at - 4:#x}",
    )
    assert str(found.where[0]).endswith(f" > {at:#x}")


def test_in_a_raw_file() -> None:
    found = only(noise(5) + fw.volume(fw.file(VBIOS_FILE, fw.FILE_RAW, ROM)))
    assert found.data == ROM
    assert found.offset == 5 + 0x48 + 24
    assert steps(found) == ["volume", "file"]


def test_in_a_large_file_and_an_extended_section() -> None:
    section = fw.section(fw.RAW, ROM, extended=True)
    found = only(fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, section, large=True)))
    assert found.data == ROM
    assert steps(found) == ["volume", "file", "raw"]


@pytest.mark.parametrize("packer", PACKERS)
def test_in_a_packed_section(packer: str) -> None:
    packed = PACKERS[packer](SECTIONS)
    assert ROM not in packed
    blob = noise(64) + fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, packed))
    found = only(blob)
    assert found.data == ROM
    assert found.offset is None
    assert found.where[0].packed
    assert steps(found)[:2] == ["volume", "file"]
    assert steps(found)[-1] == "raw"


@pytest.mark.parametrize("packer", PACKERS)
def test_in_a_volume_that_is_packed_in_a_volume(packer: str) -> None:
    """As laptops have it: all of the DXE volume in one section."""
    packed = PACKERS[packer](fw.section(fw.FV_IMAGE, INNER_VOLUME))
    blob = fw.volume(fw.file(OUTER_FILE, fw.FILE_FV, packed))
    found = only(blob)
    assert found.data == ROM
    path = found.where[0].path
    assert path[0] == f"volume {fw.FFS2} 0x0"
    assert path[1] == f"file {OUTER_FILE}"
    assert path[4] == f"volume {VOLUME_NAME} 0x4"
    assert path[5] == f"file {VBIOS_FILE}"


def test_sections_that_are_not_packed_are_only_named() -> None:
    inner = fw.guided(fw.CRC32, SECTIONS, attributes=2, front=b"\x12\x34\x56\x78")
    inner = fw.uncompressed(fw.section(fw.DISPOSABLE, inner))
    found = only(fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, inner)))
    assert found.data == ROM
    assert found.offset is not None
    assert steps(found) == ["volume", "file", "compression", "disposable", "GUID", "raw"]


def test_five_layers_of_packing() -> None:
    blob = SECTIONS
    for packer in (fw.efi_compressed, fw.lzma_guided, fw.tiano_guided, fw.lzma_guided):
        blob = fw.section(fw.FV_IMAGE, fw.volume(fw.file(OUTER_FILE, fw.FILE_FV, packer(blob))))
    found = only(blob)
    assert found.data == ROM
    assert steps(found).count("volume") == 4


def test_nesting_has_an_end() -> None:
    blob = SECTIONS
    for _ in range(14):
        blob = fw.lzma_guided(blob)
    notes: list[str] = []
    volume = fw.volume(fw.file(OUTER_FILE, fw.FILE_FREEFORM, blob))
    assert list(find_roms(volume, note=notes.append)) == []
    assert any("too deep" in note for note in notes)
    assert len(list(find_roms(fw.lzma_guided(b"")))) == 0


def test_two_files_behind_each_other() -> None:
    other = vgabios(8, seed=9)
    blob = fw.volume(
        fw.file(OUTER_FILE, fw.FILE_FREEFORM, fw.section(fw.RAW, other)),
        fw.file(VBIOS_FILE, fw.FILE_FREEFORM, fw.lzma_guided(SECTIONS)),
    )
    assert [f.data for f in find_roms(blob)] == [other, ROM]


def test_a_damaged_volume_keeps_what_can_be_read() -> None:
    """The outer volume's length is wrong, and a file in front of the ROM's is destroyed."""
    outer = bytearray(
        fw.volume(
            fw.file(OUTER_FILE, fw.FILE_FREEFORM, noise(64)),
            fw.file(OUTER_FILE, fw.FILE_FV, fw.section(fw.FV_IMAGE, INNER_VOLUME)),
        )
    )
    outer[0x20:0x28] = b"\xff" * 8
    outer[0x48:0x60] = b"\xff" * 24
    found = only(bytes(outer))
    assert found.data == ROM
    assert found.where[0].path[-3:-1] == (
        f"volume {VOLUME_NAME} {bytes(outer).rindex(b'_FVH') - 40:#x}",
        f"file {VBIOS_FILE}",
    )


def test_a_damaged_lzma_section_gives_what_comes_before_the_damage() -> None:
    packed = bytearray(fw.lzma_guided(fw.sections(SECTIONS, fw.section(fw.RAW, noise(300000)))))
    packed[-100000:-90000] = noise(10000, 3)
    blob = fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, bytes(packed)))
    assert [f.data for f in find_roms(blob)] == [ROM]


def test_a_section_that_cannot_be_unpacked_is_noted() -> None:
    notes: list[str] = []
    blob = fw.volume(fw.file(OUTER_FILE, fw.FILE_FREEFORM, fw.guided(fw.LZMA, noise(500))))
    assert list(find_roms(blob, note=notes.append)) == []
    assert notes == ["the LZMA section at 0x60 cannot be unpacked"]


def test_capsule() -> None:
    found = only(fw.capsule(fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, SECTIONS))))
    assert found.data == ROM
    assert found.where[0].path[:2] == ("EFI capsule", f"volume {fw.FFS2} 0x1c")


def test_spi_image_with_two_copies_and_another_version() -> None:
    """Two BIOS volumes and the flash of a GPU: one ROM twice, one once packed."""
    old = vgabios(24, seed=8)
    bios = (
        fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, SECTIONS), size=0x40000)
        + fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, SECTIONS), size=0x40000)
        + fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, fw.lzma_guided(SECTIONS)), size=0x40000)
        + fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, fw.section(fw.RAW, old)))
    )
    blob = fw.spi(bios)
    found = list(find_roms(blob))
    assert [f.data for f in found] == [ROM, old]
    first = blob.index(ROM)
    assert [p.offset for p in found[0].where] == [first, first + 0x40000, 20]
    assert [p.packed for p in found[0].where] == [False, False, True]
    assert found[0].offset == first
    for place in found[0].where:
        assert place.path[0] == "BIOS region 0x100000"
    assert found[1].where[0].path[1] == f"volume {fw.FFS2} 0x1c0000"


def test_a_gpu_flash_with_copies_behind_containers() -> None:
    rom = nvidia_desktop()
    blob = noise(512) + nvgi(3, rom).ljust(0x8000, b"\xff") + nvgi(2, rom) + b"\xff" * 4096
    found = only(blob)
    assert found.data == rom
    assert [str(place) for place in found.where] == [
        "NVGI version 3 container 0x200 > 0x4800",
        "NVGI version 2 container 0x8200 > 0x8600",
    ]


def test_a_mobile_rom_with_its_efi_image() -> None:
    mobile = nvidia_mobile()
    legacy = bytearray(mobile)
    legacy[0x40 + 0x15] = 0
    legacy[1023] = (legacy[1023] + 0x80) & 0xFF
    rom = bytes(legacy) + efi_image(b"", blocks=2, extension=npde(blocks=2, length=16, last=0x80))
    section = fw.lzma_guided(fw.section(fw.RAW, rom))
    assert only(fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, section))).data == rom


# Updates in which headers stand in the middle of a ROM.

BIOS = fw.volume(fw.file(VBIOS_FILE, fw.FILE_FREEFORM, SECTIONS), size=0x8000)
BLOCKS = [BIOS[at : at + 0x1000] for at in range(0, len(BIOS), 0x1000)]


@pytest.mark.parametrize("signed", [False, True])
def test_ami_pfat(signed: bool) -> None:
    blocks = [fw.bios_guard(b, n * 0x1000, signed=signed) for n, b in enumerate(BLOCKS)]
    found = only(noise(77) + fw.ami_pfat(*blocks) + noise(33))
    assert found.data == ROM
    assert found.where[0].path[:2] == ("AMI PFAT update 0x4d", "8 blocks")


@pytest.mark.parametrize("revision", [1, 2])
def test_dell_pfs_blocks_in_another_order(revision: int) -> None:
    blocks = [fw.bios_guard(b, n * 0x1000) for n, b in enumerate(BLOCKS)]
    random.Random(4).shuffle(blocks)
    update = fw.pfs(noise(99), fw.pfs(*blocks, revision=revision), noise(50))
    found = only(update)
    assert found.data == ROM
    assert found.where[0].path[0].startswith("PFS entry 00000000-0000-0000-0000-000000000002")
    assert "8 blocks" in found.where[0].path


def test_dell_pfs_with_a_hole() -> None:
    blocks = [fw.bios_guard(b, 0x100 + n * 0x1000) for n, b in enumerate(BLOCKS)]
    assert only(fw.pfs(*blocks)).data == ROM


def test_dell_program() -> None:
    found = only(fw.dell_program(fw.pfs(BIOS)))
    assert found.data == ROM
    assert found.where[0].path[0] == "Dell zlib stream 0x3ef"


def test_a_lying_block_is_harmless() -> None:
    block = bytearray(fw.bios_guard(BIOS, 0xFFFFF000))
    assert only(fw.pfs(bytes(block))).data == ROM
    block[0x1C:0x20] = b"\xff\xff\xff\xff"
    list(find_roms(fw.ami_pfat(bytes(block))))
