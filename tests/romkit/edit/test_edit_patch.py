"""patch: every place that states the old value, and no other."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from builders.authenticode import sign
from builders.board import (
    TURING,
    amd,
    amd_gop,
    amd_legacy,
    desktop,
    gop_between,
    gop_driver,
    mobile,
    nvidia_gop,
    nvidia_legacy,
    nvidia_own,
)
from builders.changes import replay, same, sum8
from builders.rom import efi_image, image, nvgi, pcir, vfct
from hypothesis import given
from hypothesis import strategies as st

from romkit import DeviceId, RomError, parse_rom
from romkit.checks.device import subsystems
from romkit.edit import Edit, EfiIds, patch, wrap_driver
from romkit.efi.compression import compress
from romkit.errors import EditRefused

DESKTOP = desktop(gop=nvidia_gop())
MOBILE = mobile(gop=nvidia_gop(last=0x80))


def ids(edit: Edit) -> list[str]:
    return [f"{i.pcir.vendor_id:04x}:{i.pcir.device_id:04x}" for i in edit.rom.images]


def test_device_in_all_images_that_carry_it() -> None:
    edit = patch(parse_rom(DESKTOP), device=0x1C8F)
    assert ids(edit) == ["10de:1c8f", "10de:1c8f", "10de:1c80", "10de:0000"]
    assert sum8(edit.data[:2048]) == 0
    assert replay(edit) == edit.data
    assert [c.reason for c in edit.changes] == [
        "device 1c8d → 1c8f",
        "balances the sum of the image at 0x0: its last byte, behind padding",
        "device 1c8d → 1c8f",
    ]


def test_vendor_in_nvidia_s_own_images_too() -> None:
    edit = patch(parse_rom(MOBILE), vendor=0x1234)
    assert {i[:4] for i in ids(edit)} == {"1234"}
    for start, end in ((0, 4), (4, 7), (7, 9), (9, 11), (0, 11)):
        assert sum8(edit.data[start * 512 : end * 512]) == 0


def test_class() -> None:
    edit = patch(parse_rom(DESKTOP), class_code=0x030200)
    assert [i.pcir.class_code for i in edit.rom.images] == [0x030200, 0x030200, 0, 0]
    assert sum8(edit.data[:2048]) == 0


def test_an_image_for_another_device_is_noted() -> None:
    board = nvidia_legacy(indicator=0) + nvidia_gop(device=0)
    edit = patch(parse_rom(board), device=0x1C8F)
    assert ids(edit) == ["10de:1c8f", "10de:0000"]
    assert edit.notes == ("the EFI image at 0x800 is left as it is: it is for 10de:0000",)


def test_subsystem_everywhere() -> None:
    legacy = bytearray(nvidia_legacy())
    legacy[0x54:0x58] = b"\0\0\0\0"  # the end of the PCIR: no subsystem there
    for version in (1, 2, 3):
        box = bytearray(nvgi(version, DESKTOP))
        box[0x0C:0x10] = struct.pack("<HH", 0x1025, 0x118B)
        edit = patch(parse_rom(bytes(box)), subsystem=(0x17AA, 0x3FAB))
        assert set(dict(subsystems(edit.rom)).values()) == {(0x17AA, 0x3FAB)}
        assert len(subsystems(edit.rom)) >= 2
        assert sum8(edit.data[:16]) == sum8(box[:16])
        start = edit.rom.rom_offset
        assert sum8(edit.data[start : start + 2048]) == 0
        back = patch(edit.rom, subsystem=(0x1025, 0x118B))
        assert back.data == box


def test_subsystem_of_an_atom_bios() -> None:
    edit = patch(parse_rom(amd()), subsystem=(0x1002, 0x0B36))
    assert edit.rom.images[0].atom is not None
    assert edit.rom.images[0].atom.subsystem == (0x1002, 0x0B36)
    assert [c.offset for c in edit.changes] == [0x21, 0x118]


def test_a_vfct_entry_and_its_table() -> None:
    table = vfct(amd_legacy(device=0x1636), amd_legacy(device=0x1637))
    rom = parse_rom(table)
    edit = patch(rom, device=0x1638)
    assert sum8(edit.data) == 0
    first, second = edit.rom.container.vfct_images if edit.rom.container else ()
    assert (first.device_id, second.device_id) == (0x1638, 0x1637)
    assert patch(edit.rom, device=0x1636).data == table


def test_a_subsystem_that_is_not_stated_cannot_be_replaced() -> None:
    with pytest.raises(EditRefused, match="states no subsystem"):
        patch(parse_rom(image(pcir(vendor=0x8086))), subsystem=(1, 2))


EXPECTED = DeviceId(0x10DE, 0x1C8D, (0x1025, 0x118B), 0x030000)


def test_what_is_expected_is_compared() -> None:
    assert patch(parse_rom(DESKTOP), device=0x1C8F, expect=EXPECTED).changed
    assert patch(parse_rom(DESKTOP), device=0x1C8F, expect=DeviceId(0x10DE, 0x1C8D)).changed


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        (DeviceId(0x10DE, 0x1C03), "it is for 10de:1c8d, not 10de:1c03"),
        (DeviceId(0x1002, 0x1C8D), "it is for 10de:1c8d, not 1002:1c8d"),
        (DeviceId(0x10DE, 0x1C8D, (1, 2)), "its subsystem is 1025:118b, not 0001:0002"),
        (DeviceId(0x10DE, 0x1C8D, None, 0x030200), "its class is 030000, not 030200"),
    ],
)
def test_another_rom_than_expected_is_refused(expect: DeviceId, message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        patch(parse_rom(DESKTOP), device=0x1C8F, expect=expect)


@pytest.mark.parametrize(
    "values",
    [
        {"device": 0x10000},
        {"vendor": -1},
        {"class_code": 0x1000000},
        {"subsystem": (0, 0x10000)},
        {"device_list": [0]},
        {"device_list": [1] * 200},
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(EditRefused):
        patch(parse_rom(DESKTOP), **values)


def test_nothing_to_patch() -> None:
    edit = patch(parse_rom(DESKTOP), device=0x1C8D)
    assert not edit.changed
    assert "nothing to patch" in edit.notes[0]
    with pytest.raises(EditRefused, match="no PCI data structure"):
        patch(parse_rom(b"\x55\xaa\x01" + bytes(509)), device=1)


def test_a_sum_that_was_wrong_is_left_and_said() -> None:
    raw = bytearray(amd())
    raw[0x21] ^= 1
    edit = patch(parse_rom(bytes(raw)), device=0x67EF)
    assert sum8(edit.data[:2048]) == sum8(raw[:2048]) != 0
    assert "romkit fix" in edit.notes[-1]
    assert patch(edit.rom, device=0x67DF).data == raw


def test_notes_on_signatures() -> None:
    stream = compress(sign(gop_driver()))
    signed = efi_image(stream, compression=1, vendor=0x1002, device=0x67DF)
    edit = patch(parse_rom(amd_legacy(indicator=0) + signed), device=0x67EF)
    assert edit.notes == (
        "the driver at 0x800 is signed, and stays so: its signature covers the driver, not the ids "
        "and lengths in front of it",
    )
    assert edit.rom.efi_images[0].efi is not None
    assert edit.rom.efi_images[0].efi.digest_ok
    turing = desktop(gop=nvidia_gop(5), version=TURING)
    (note,) = patch(parse_rom(turing), device=0x1E87).notes
    assert "Turing cards refuse it in their flash" in note


def test_copies_are_left_alone_and_said() -> None:
    flash = DESKTOP + b"\xff" * 512 + DESKTOP
    edit = patch(parse_rom(flash), device=0x1C8F)
    assert edit.data[-len(DESKTOP) :] == DESKTOP
    assert "the copy of the ROM behind it is left as it is" in edit.notes


def test_asking_for_the_wrong_vendor_by_its_number() -> None:
    raw = efi_image(gop_driver(), vendor=0x1002)
    edit = patch(parse_rom(raw), vendor=0x03EA)
    assert ids(edit) == ["03ea:1c03"]


# Section: device list


def test_a_list_goes_into_the_header_of_an_efi_image() -> None:
    edit = patch(parse_rom(amd()), device_list=[0x67EF, 0x67FF])
    assert edit.rom.efi_images[0].device_list == (0x67EF, 0x67FF)
    assert edit.rom.images[0].device_list == ()
    shorter = patch(edit.rom, device_list=[0x67EF])
    assert shorter.rom.efi_images[0].device_list == (0x67EF,)
    assert patch(shorter.rom, device_list=[0x67EF, 0x67FF]).data == edit.data
    assert patch(edit.rom, device_list=[]).data == amd()


def test_a_list_does_not_run_into_an_npde() -> None:
    rom = parse_rom(DESKTOP)
    assert patch(rom, device_list=[1, 2, 3]).rom.efi_images[0].device_list == (1, 2, 3)
    with pytest.raises(EditRefused, match="room for 3 device ids, not for 4"):
        patch(rom, device_list=[1, 2, 3, 4])


def test_a_header_filled_with_ff_is_free_too() -> None:
    raw = bytearray(amd_gop())
    raw[0x38:0x58] = b"\xff" * 0x20
    edit = patch(parse_rom(bytes(raw)), device_list=[0x67EF])
    assert edit.data[0x38:0x3E] == b"\xef\x67\0\0\xff\xff"
    assert patch(edit.rom, device_list=[]).data == raw


def test_a_list_in_an_x86_image_keeps_its_room() -> None:
    structure = pcir(vendor=0x8086, device_list=0x1C, length=0x1C, revision=3)
    raw = image(structure, body={0x5C: struct.pack("<4H", 1, 2, 3, 0)})
    edit = patch(parse_rom(raw), device_list=[7])
    assert edit.rom.images[0].device_list == (7, 7, 7)
    assert sum8(edit.data) == 0
    assert patch(edit.rom, device_list=[1, 2, 3]).data == raw
    with pytest.raises(EditRefused, match="room for 3"):
        patch(parse_rom(raw), device_list=[1, 2, 3, 4])


def test_a_list_that_could_not_be_given_back_is_not_taken_away() -> None:
    structure = pcir(vendor=0x8086, device=9, device_list=0x1C, length=0x1C, revision=3)
    raw = image(structure, body={0x5C: struct.pack("<4H", 1, 2, 3, 0)})
    with pytest.raises(EditRefused, match="could not be given back") as caught:
        patch(parse_rom(raw), device_list=[])
    assert "nothing but 0009" in caught.value.hint
    edit = patch(parse_rom(raw), device_list=[9])
    assert patch(edit.rom, device_list=[1, 2, 3]).data == raw


@pytest.mark.parametrize("npde", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_a_list_that_join_made_can_be_taken_away_and_given_back(npde: bool, count: int) -> None:
    listed = tuple(range(1, count + 1))
    raw = wrap_driver(gop_driver(), EfiIds(0x1002, 0x67DF, 0x030000, listed), npde=npde)
    edit = patch(parse_rom(raw), device_list=[])
    assert edit.rom.images[0].device_list == ()
    assert patch(edit.rom, device_list=listed).data == raw


def test_a_range_with_an_efi_image_in_it_has_no_sum_to_keep() -> None:
    """The new vendor makes the sum right by chance; the old one makes it wrong again."""
    board = bytearray(gop_between(nvidia_gop()))
    board[2047] = (board[2047] - sum(board[:2048])) & 0xFF
    length = int.from_bytes(board[0x50:0x52], "little") * 512
    total = sum8(board[:length])
    assert total
    vendor = 0x2000 + (0x10 + 0xDE - 0x20 - total) % 256
    edit = patch(parse_rom(bytes(board)), vendor=vendor)
    assert sum8(edit.data[:length]) == 0
    assert sum8(edit.data[:2048]) == 0
    back = patch(edit.rom, vendor=0x10DE)
    assert back.data == board
    assert any("its length covers an EFI image" in note for note in back.notes)


def test_a_rom_without_room_for_a_list() -> None:
    with pytest.raises(EditRefused, match="no image of this ROM can hold"):
        patch(parse_rom(image(pcir())), device_list=[1])


BOARDS = (
    DESKTOP,
    MOBILE,
    nvgi(2, DESKTOP),
    amd(tail=b"\xff" * 512 + b"data" * 20),
    nvidia_legacy() + nvidia_own(last=True),
    gop_between(nvidia_gop()),
)


@given(
    board=st.sampled_from(BOARDS),
    values=st.fixed_dictionaries(
        {},
        optional={
            # Values that no image has, so that the way back is clear.
            "vendor": st.integers(0x2000, 0x3000),
            "device": st.integers(0x8000, 0xFFFF),
            "class_code": st.integers(0x030001, 0x03FFFF),
            "subsystem": st.tuples(st.integers(0x2000, 0x3000), st.integers(0, 0xFFFF)),
        },
    ),
)
def test_patch_and_its_inverse(board: bytes, values: dict[str, Any]) -> None:
    rom = parse_rom(board)
    main = rom.images[0].pcir
    old: dict[str, Any] = {
        "vendor": main.vendor_id,
        "device": main.device_id,
        "class_code": main.class_code,
        "subsystem": subsystems(rom)[0][1],
    }
    try:
        edit = patch(rom, **values)
    except RomError:
        assert "subsystem" in values
        return
    assert replay(edit) == edit.data
    assert same(patch(edit.rom, **{key: old[key] for key in values}).data, board)
