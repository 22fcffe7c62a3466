"""Bytes of small recipes, compared with the specifications field by field."""

from __future__ import annotations

import struct

import pytest

from romkit.recipe import build_rom, load_recipe


def built(text: str) -> bytes:
    return build_rom(load_recipe(text))


LEGACY = """
[[image]]
code_type = 0x00
vendor = 0x10de
device = 0x1c03
size = 0x400
"""


def structure(data: bytes, at: int) -> tuple[object, ...]:
    """signature, vendor, device, list, length, revision, class, blocks, ROM revision, type,
    indicator, and the word behind them."""
    fields = struct.unpack_from("<4sHHHHB3sHHBBH", data, at)
    return (*fields[:6], int.from_bytes(fields[6], "little"), *fields[7:])


def test_five_lines_make_a_rom() -> None:
    data = built(LEGACY)
    assert len(data) == 0x400
    assert data[:6] == bytes.fromhex("55aa02 eb00cb")
    assert data[0x18:0x1A] == b"\xa0\x01"
    assert structure(data, 0x1A0) == (
        b"PCIR",
        0x10DE,
        0x1C03,
        0,
        0x18,
        0,
        0x030000,
        2,
        0,
        0,
        0x80,
        0,
    )
    assert sum(data) % 256 == 0
    assert data[0x0E:0x14] == b"VIDEO "
    assert data[0x1E:0x21] == b"IBM"


def test_made_up_bytes_spell_no_signature() -> None:
    data = built(LEGACY + '[[tail]]\nkind = "data"\nsize = 0x10000\nseed = 3')
    assert set(data[0x400:]) <= set(range(0x80, 0xA0))
    assert data[0x400:0x800] != data[0x800:0xC00]


def test_the_same_recipe_makes_the_same_bytes() -> None:
    assert built(LEGACY) == built(LEGACY)
    seeded = '[[tail]]\nkind = "data"\nsize = 64\nseed = {}\n'
    assert built(LEGACY + seeded.format(1)) != built(LEGACY + seeded.format(2))


def test_every_key_of_the_structure() -> None:
    data = built(
        """
        [[image]]
        code_type = 0x55
        structure = "NPDS"
        vendor = 0x1234
        device = 0x5678
        device_list = [0x1111, 0x2222]
        class_code = 0x123456
        size = 0x600
        image_length = 0x800
        initialization_size = 0xa00
        revision = 3
        structure_offset = 0x5b
        structure_length = 0x1c
        vendor_rom_revision = 0xabcd
        max_runtime_image_length = 0x1000
        config_utility_pointer = 0x77
        clp_pointer = 0x99
        indicator = 0x81
        """
    )
    assert len(data) == 0x600
    assert data[:3] == b"VN\x05"
    assert data[0x18:0x1A] == b"\x5b\x00"
    # The list begins at the next even place behind the structure, which ends at 0x77.
    assert structure(data, 0x5B) == (
        b"NPDS",
        0x1234,
        0x5678,
        0x78 - 0x5B,
        0x1C,
        3,
        0x123456,
        4,
        0xABCD,
        0x55,
        0x81,
        8,
    )
    assert struct.unpack_from("<HH", data, 0x5B + 0x18) == (0x77, 0x99)
    assert struct.unpack_from("<HHH", data, 0x78) == (0x1111, 0x2222, 0)


@pytest.mark.parametrize(
    ("name", "signatures"),
    [("PCIR", b"\x55\xaaPCIR"), ("NPDS", b"VNNPDS"), ("RGIS", b"\x77\xbbRGIS")],
)
def test_signatures_come_in_pairs(name: str, signatures: bytes) -> None:
    data = built(LEGACY + f'structure = "{name}"')
    assert data[:2] + data[0x1A0:0x1A4] == signatures


def test_nvidia_types_are_npds_unless_said_otherwise() -> None:
    rows = '[[image]]\ncode_type = 0xe0\n[[image]]\ncode_type = 0xe0\nstructure = "PCIR"'
    data = built(LEGACY + rows)
    assert data[0x400:0x402] == b"VN"
    assert data[0x600:0x602] == b"\x55\xaa"


def test_ids_go_on_and_only_the_last_image_is_the_last() -> None:
    data = built(LEGACY + "[[image]]\ncode_type = 1\n[[image]]\ncode_type = 2\ndevice = 7")
    assert structure(data, 0x1A0)[10] == 0
    second, third = structure(data, 0x400 + 0x20), structure(data, 0x600 + 0x20)
    assert (second[1], second[2], second[10]) == (0x10DE, 0x1C03, 0)
    assert (third[1], third[2], third[10]) == (0x10DE, 7, 0x80)


def test_npde_stands_at_the_next_multiple_of_16() -> None:
    data = built(
        LEGACY + 'structure_offset = 0x170\n[image.npde]\nflags = 0x0a\nsubsystem = "1025:118b"'
    )
    fields = struct.unpack_from("<4sHHHBBIHH", data, 0x190)
    assert fields == (b"NPDE", 0x101, 20, 2, 0x80, 0x0A, 0, 0x1025, 0x118B)


def test_npde_is_no_longer_than_it_says() -> None:
    data = built(LEGACY + "[image.npde]\nrevision = 0x100\nlength = 12\nlast = false")
    assert struct.unpack_from("<4sHHHBB", data, 0x1C0) == (b"NPDE", 0x100, 12, 2, 0, 1)
    assert set(data[0x1CC:0x200]) <= set(range(0x80, 0xA0))


def test_an_efi_image() -> None:
    data = built(
        """
        [[image]]
        code_type = 3
        vendor = 0x1002
        device = 0x67df
        [image.efi]
        machine = 0xaa64
        subsystem = 0x0c
        compression = 0
        """
    )
    fields = struct.unpack_from("<2sHIHHH8xHH", data, 0)
    assert fields == (b"\x55\xaa", len(data) // 512, 0xEF1, 0x0C, 0xAA64, 0, 0x58, 0x1C)
    assert data[0x0E:0x16] == bytes(8)
    assert data[0x58:0x5A] == b"MZ"
    assert structure(data, 0x1C)[7] == len(data) // 512


def test_a_mobile_rom_has_two_lengths() -> None:
    data = built(
        """
        [[image]]
        code_type = 0
        vendor = 0x10de
        device = 0x1c8d
        size = 0x800
        image_length = 0x1000
        last = true
        [image.npde]
        last = false
        [[image]]
        code_type = 0xe0
        size = 0x600
        [image.npde]
        [[image]]
        code_type = 0x70
        """
    )
    assert len(data) == 0x1000
    assert structure(data, 0x1A0)[7] == 8
    assert struct.unpack_from("<H", data, 0x1C0 + 8) == (4,)
    # Each sum is right, though the first covers the others.
    assert [sum(data) & 255, sum(data[0x800:0xE00]) & 255, sum(data[0xE00:]) & 255] == [0, 0, 0]


@pytest.mark.parametrize(
    ("checksum", "total"), [('"zero"', 0), ("0x5a", 0x5A), ("0", 0), ("255", 255)]
)
def test_an_image_sums_to_what_is_asked_for(checksum: str, total: int) -> None:
    data = built(LEGACY + f'checksum = {checksum}\n[[tail]]\nkind = "data"\nsize = 10')
    assert sum(data[:0x400]) & 255 == total
    untouched = built(LEGACY + 'checksum = "untouched"')
    assert [n for n in range(0x400) if data[n] != untouched[n]] == [0x3FF]


def test_an_isa_rom_has_no_structure() -> None:
    data = built('[[image]]\nstructure = "none"\nsize = 0x400')
    assert data[:6] == bytes.fromhex("55aa02 eb00cb")
    assert sum(data) & 255 == 0
    assert b"PCIR" not in data


@pytest.mark.parametrize(("version", "rom_offset"), [(1, 0x400), (2, 0xA00)])
def test_nvgi_points_at_the_rom(version: int, rom_offset: int) -> None:
    data = built(
        f'[container]\nkind = "NVGI"\nversion = {version}\nsubsystem = "1043:85a6"\n' + LEGACY
    )
    fields = struct.unpack_from("<4sBBHIHH", data, 0)
    assert fields[:4] == (b"NVGI", 0, version, 0x10)
    assert fields[5:] == (0x1043, 0x85A6)
    assert struct.unpack_from("<I", data, 0x14) == (rom_offset,)
    assert data[rom_offset : rom_offset + 2] == b"\x55\xaa"
    assert len(data) == rom_offset + 0x400


def test_nvgi_3_points_at_a_directory() -> None:
    data = built(
        '[container]\nkind = "NVGI"\nversion = 3\nrom_offset = 0x9400\n'
        "directory_offset = 0x9000\ntotal_size = 0x300\nfill = 0xff\n" + LEGACY
    )
    (flash_status,) = struct.unpack_from("<I", data, 0x300)
    assert flash_status == 0x9000 - 0x1000
    assert struct.unpack_from("<4sHHII", data, 0x9000) == (b"RFRD", 2, 0x20, 0x9400, 0x400)
    assert data[0x9400:0x9402] == b"\x55\xaa"
    assert data[0x400:0x9000] == b"\xff" * 0x8C00


def test_nvfw_counts_from_its_header() -> None:
    data = built('[container]\nkind = "NVFW"\ndecoys = [0x4200]\n' + LEGACY)
    assert data[0x1000:0x1004] == b"NVFW"
    assert struct.unpack_from("<4sHHII", data, 0x4E00) == (b"RFRD", 4, 0x28, 0x4400, 0xFFFFFFFF)
    assert data[0x5400:0x5402] == b"\x55\xaa"
    assert data[0x4200:0x4202] == b"\x55\xaa"
    assert structure(data, 0x4220)[9] == 0xE0


def test_a_vfct_with_two_entries() -> None:
    data = built(
        '[container]\nkind = "VFCT"\naddress = "04:00.0"\nsubsystem = "1025:1300"\nrevision = 5\n'
        + LEGACY
        + '[[tail]]\nkind = "padding"\nfill = 0\nsize = 8\n[[tail]]\nkind = "vfct"\n'
        + 'address = "01:02.3"\nid = "1002:0001"\n[[tail.image]]\nvendor = 0x1002\ndevice = 2\n'
    )
    assert data[:8] == b"VFCT" + struct.pack("<I", len(data))
    assert sum(data) & 255 == 0
    assert struct.unpack_from("<II", data, 0x34) == (0x4C, 0)
    first = struct.unpack_from("<III4HII", data, 0x4C)
    # The first entry's length leads to the second one.
    assert first == (4, 0, 0, 0x10DE, 0x1C03, 0x1025, 0x1300, 5, 0x408)
    second = struct.unpack_from("<III4HII", data, 0x68 + 0x408)
    assert second == (1, 2, 3, 0x1002, 1, 0, 0, 0, 0x200)
    assert data[0x68 + 0x408 + 28 :][:2] == b"\x55\xaa"


def test_an_unknown_prefix() -> None:
    data = built('[container]\nkind = "unknown"\nrom_offset = 0x123\n' + LEGACY)
    assert data[0x123:0x125] == b"\x55\xaa"
    assert len(data) == 0x523


def test_the_parts_of_a_tail() -> None:
    text = LEGACY + (
        '[[tail]]\nkind = "padding"\nsize = 0x10\n'
        '[[tail]]\nkind = "padding"\nfill = 0x00\nsize = 0x20\n'
        '[[tail]]\nkind = "data"\nsize = 0x30\n'
        '[[tail]]\nkind = "data"\nbytes = "aGVsbG8="\n'
        '[[tail]]\nkind = "copy"\n'
        '[[tail]]\nkind = "copy"\nof = 0x200\nsize = 3\n'
        '[[tail]]\nkind = "rom"\n[[tail.image]]\nvendor = 1\ndevice = 2\n'
    )
    data = built(text)
    assert data[0x400:0x430] == b"\xff" * 0x10 + b"\0" * 0x20
    assert data[0x460:0x465] == b"hello"
    assert data[0x465:0x865] == data[:0x400]
    assert data[0x865:0x868] == data[0x200:0x203]
    assert data[0x868:] == built("[[image]]\nvendor = 1\ndevice = 2\n")


def test_what_is_cut_off_and_patched_comes_last() -> None:
    whole = built(LEGACY)
    data = built("truncate = 0x100\n" + LEGACY + '[[patch]]\noffset = 0x2fe\nbytes = "11 22"')
    assert data == whole[:0x2FE] + b"\x11\x22"


def test_given_bytes_are_written_over_by_the_keys() -> None:
    import base64

    given = bytearray(built(LEGACY))
    given[0x300] ^= 0xFF
    encoded = base64.b64encode(given).decode()
    data = built(
        "[[image]]\ncode_type = 0\nvendor = 0x10de\ndevice = 0x1c04\n" + f'bytes = "{encoded}"'
    )
    assert [n for n in range(0x400) if data[n] != given[n]] == [0x1A6]
    assert data[0x1A6:0x1A8] == b"\x04\x1c"
