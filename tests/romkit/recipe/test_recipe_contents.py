"""The vendors' tables that recipes put into images, read by hand."""

from __future__ import annotations

import struct

from romkit.recipe import build_rom, load_recipe


def built(table: str) -> bytes:
    head = "[[image]]\ncode_type = 0\nvendor = 1\ndevice = 2\nsize = 0x2000\n"
    return build_rom(load_recipe(head + table))


def test_bit() -> None:
    data = built(
        """
        [image.nvidia]
        version = "86.06.68.00.26"
        build_date = "02/24/16"
        modification_date = "03/01/16"
        build_number = 20160224
        board_id = 0x0130
        board = "G410-0030"
        chip_sku = "400-0"
        subsystem = "1043:85a6"
        sign_on = "GP106 VGA BIOS"
        oem_vendor = "Nobody"
        offset = 0x1e0
        """
    )
    header = data[0x1E0:0x1EC]
    assert header[:6] == b"\xff\xb8BIT\0"
    assert struct.unpack("<HBBB", header[6:11]) == (0x0100, 12, 6, 3)
    assert sum(header) & 255 == 0
    tokens = {chr(t[0]): t[1:] for t in struct.iter_unpack("<BBHH", data[0x1EC : 0x1EC + 18])}
    assert list(tokens) == ["B", "i", "S"]

    _, size, at = tokens["B"]
    assert size == 5
    assert data[at : at + 5] == bytes.fromhex("00680686 26")

    version, size, at = tokens["i"]
    assert (version, size) == (2, 0x3C)
    assert struct.unpack_from("<IH", data, at + 7) == (20160224, 0x0130)
    assert data[at + 15 : at + 23] == b"02/24/16"
    assert data[at + 0x30 : at + 0x3C] == b"4000G4100030"

    version, size, at = tokens["S"]
    assert (version, size) == (2, 21)
    strings = list(struct.iter_unpack("<HB", data[at : at + 21]))
    assert [length for _, length in strings] == [14, 0, 0, 0, 6, 0, 0]
    assert data[strings[0][0] :].startswith(b"GP106 VGA BIOS\0")
    assert data[strings[4][0] :].startswith(b"Nobody\0")
    assert strings[1] == (0, 0)

    assert data[0x38:0x40] == b"03/01/16"
    assert struct.unpack_from("<HH", data, 0x54) == (0x1043, 0x85A6)


def test_a_bit_without_a_subsystem_has_zeros_there() -> None:
    assert built('[image.nvidia]\nversion = "86.00.00.00.01"')[0x54:0x58] == bytes(4)


def test_atom() -> None:
    data = built(
        """
        [image.atom]
        revision = "1.1"
        subsystem = "1682:9470"
        date = "09/13/16 02:47"
        strings = ["113-TEST-W80", "ELLESMERE", "", "GDDR5"]
        bootup_message = "a message"
        version = "015.050"
        config_filename = "test.bin"
        build = "00000042"
        offset = 0x23a
        """
    )
    assert struct.unpack_from("<H", data, 0x48) == (0x23A,)
    assert struct.unpack_from("<HBB4s", data, 0x23A) == (36, 1, 1, b"ATOM")
    assert struct.unpack_from("<HH", data, 0x23A + 0x18) == (0x1682, 0x9470)
    assert data[0x30:0x3A] == b" 761295520"
    assert data[0x50:0x5E] == b"09/13/16 02:47"
    assert data[0x2F] == 4
    (names,) = struct.unpack_from("<H", data, 0x6E)
    assert data[names:].startswith(b"113-TEST-W80\0ELLESMERE\0\0GDDR5\0")
    (message,) = struct.unpack_from("<H", data, 0x23A + 0x10)
    assert data[message:].startswith(b"a message\0")
    (config,) = struct.unpack_from("<H", data, 0x23A + 0x0C)
    assert data[config:].startswith(b"test.bin\0\00000000042\0")
    assert data[:1024].count(b"ATOMBIOSBK-AMD VER015.050\0") == 1


def test_an_old_atom_has_its_part_number_at_a_fixed_place() -> None:
    data = built('[image.atom]\npart_number = "113-OLD"')
    assert data[0x2F] == 0
    assert data[0x80:0x88] == b"113-OLD\0"


def test_vbt() -> None:
    data = built(
        """
        [image.vbt]
        platform = "SKYLAKE"
        version = 100
        bdb_version = 209
        build_number = "1049"
        sign_on = "a message"
        copyright = "nobody"
        offset = 0xb90
        size = 0x400
        """
    )
    assert struct.unpack_from("<H", data, 0x1A) == (0xB90,)
    table = data[0xB90 : 0xB90 + 0x400]
    assert table[:20] == b"$VBT SKYLAKE".ljust(20, b"\0")
    assert struct.unpack_from("<HHH", table, 20) == (100, 48, 0x400)
    assert sum(table) & 255 == 0
    (bdb,) = struct.unpack_from("<I", table, 28)
    assert struct.unpack_from("<16sHHH", table, bdb) == (b"BIOS_DATA_BLOCK ", 209, 22, 22 + 229)
    assert struct.unpack_from("<BH", table, bdb + 22) == (254, 226)
    block = table[bdb + 25 :]
    assert block[6:10] == b"1049"
    assert block[10:20] == b"a message\0"
    assert block[165:172] == b"nobody\0"


def test_without_a_place_each_table_finds_one() -> None:
    head = "[[image]]\ncode_type = 0\nvendor = 1\ndevice = 2\n[image.npde]\n"
    tables = '[image.nvidia]\nversion = "86.00.00.00.01"\n[image.vbt]\n'
    data = build_rom(load_recipe(head + tables))
    assert data.count(b"BIT\0") == data.count(b"$VBT") == data.count(b"NPDE") == 1
    assert sum(data) & 255 == 0
