"""fix: every fault alone, and what cannot be mended."""

from __future__ import annotations

import pytest
from builders.board import (
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
from builders.changes import replay, sum8
from builders.rom import efi_image, image, npde, nvgi, pcir, vfct
from hypothesis import given
from hypothesis import strategies as st

from romkit import RomError, parse_rom, verify
from romkit.checks.content import DECIMAL_AMD
from romkit.edit import FAULTS, fix
from romkit.edit.fix import Fault
from romkit.errors import EditRefused
from romkit.finding import Severity, Verdict
from romkit.guest import ovmf_view, seabios_view


def faults(data: bytes) -> list[str]:
    return [
        f.check
        for f in verify(data)
        if f.verdict is Verdict.FAIL and f.severity is not Severity.NOTE
    ]


@pytest.mark.parametrize("data", [desktop(), mobile(), amd(), nvidia_gop(), image(pcir())])
def test_nothing_to_mend(data: bytes) -> None:
    edit = fix(parse_rom(data))
    assert not edit.changed
    assert edit.notes == ("nothing to mend",)


def test_a_driver_between_nvidia_s_own_images() -> None:
    broken = gop_between(nvidia_gop())
    assert "rom.efi-unreachable" in faults(broken)
    edit = fix(parse_rom(broken))
    assert edit.data == mobile(gop=nvidia_gop(last=0x80))
    assert faults(edit.data) == []
    assert ovmf_view(edit.rom).started
    assert seabios_view(edit.rom).started
    assert sum8(edit.data[: 11 * 512]) == sum8(edit.data[:2048]) == 0
    assert replay(edit) == edit.data


def test_a_driver_that_hides_what_follows_from_nvidia_too() -> None:
    broken = gop_between(nvidia_gop(last=0x80))
    rom = parse_rom(broken)
    assert [i.code_type for i in rom.images] == [0x00, 0xE0, 0x03]
    edit = fix(rom)
    assert edit.data == mobile(gop=nvidia_gop(last=0x80))
    assert replay(edit) == edit.data


def test_a_driver_behind_nvidia_s_own_images_of_a_desktop_board() -> None:
    gop = nvidia_gop(last=0x80)
    own = nvidia_own()
    broken = nvidia_legacy(indicator=0) + own + gop
    edit = fix(parse_rom(broken))
    assert [i.code_type for i in edit.rom.pcir_chain] == [0x00, 0x03]
    assert [i.code_type for i in edit.rom.npde_chain] == [0x00, 0x03, 0xE0]
    assert edit.rom.npde_chain.complete
    assert faults(edit.data) == []


def test_a_driver_at_the_right_place_that_a_last_bit_hides() -> None:
    broken = nvidia_legacy() + nvidia_gop() + nvidia_own(last=True)
    edit = fix(parse_rom(broken))
    assert edit.data == nvidia_legacy(indicator=0) + nvidia_gop() + nvidia_own(last=True)
    assert {c.kind for c in edit.changes} == {"changed"}


def test_a_driver_without_a_place_is_noted() -> None:
    broken = bytearray(gop_between(nvidia_gop()))
    broken[0x40 + 0x10] = 10  # a length that fits nothing
    edit = fix(parse_rom(bytes(broken)), ["gop"])
    assert not edit.changed
    assert "fits no place for it" in edit.notes[0]


def test_a_driver_that_was_only_appended() -> None:
    edit = fix(parse_rom(amd_legacy() + amd_gop()))
    assert edit.data == amd()
    several = fix(parse_rom(amd_legacy() + amd_gop(indicator=0) + amd_gop(indicator=0)))
    assert [i.pcir.last for i in several.rom.pcir_chain] == [False, False, True]
    mobile_edit = fix(parse_rom(mobile() + nvidia_gop()))
    assert [i.code_type for i in mobile_edit.rom.npde_chain] == [0, 0xE0, 0xE0, 0x70, 3]
    assert faults(mobile_edit.data) == []


@pytest.mark.parametrize(
    "behind",
    [
        amd_legacy(),  # another copy
        efi_image(gop_driver(), vendor=0x8086),  # of another vendor
        amd_gop()[:-512],  # cut off
        b"\xff" * 512 + amd_gop(),  # not right behind
    ],
)
def test_what_is_no_appended_driver_is_left_alone(behind: bytes) -> None:
    assert not fix(parse_rom(amd_legacy() + behind)).changed


def test_a_missing_last_bit() -> None:
    edit = fix(parse_rom(amd_legacy(indicator=0) + b"\xff" * 512))
    assert edit.data == amd_legacy() + b"\xff" * 512
    edit = fix(parse_rom(nvidia_gop(indicator=0)))
    assert edit.data == nvidia_gop()
    assert fix(parse_rom(nvidia_gop(indicator=0)), ["checksum"]).changed is False


def test_a_chain_that_leads_nowhere_is_noted() -> None:
    raw = bytearray(amd_legacy(indicator=0) + amd_gop())
    raw[2048 + 0x1C] = ord("X")  # no PCIR
    edit = fix(parse_rom(bytes(raw)), ["last"])
    assert not edit.changed
    assert "where it should is not clear" in edit.notes[0]


def test_a_shrunken_copy_whose_rest_is_there() -> None:
    whole = nvidia_legacy(indicator=0)
    shrunk = bytearray(whole + nvidia_gop())
    shrunk[0x300:0x600] = bytes(range(256)) * 3
    shrunk[2], shrunk[0x50] = 3, 3
    edit = fix(parse_rom(bytes(shrunk)))
    assert edit.rom.images[0].pcir.image_length == 2048
    assert edit.data[2] == 4
    assert [i.code_type for i in edit.rom.pcir_chain] == [0x00, 0x03]
    assert sum8(edit.data[:2048]) == 0
    assert faults(edit.data) == []


@pytest.mark.parametrize(
    "rest",
    [
        b"",  # not in the file
        b"\xff" * 2048,  # padding
        nvidia_gop(),  # something else
    ],
)
def test_a_shrunken_copy_whose_rest_is_not_there(rest: bytes) -> None:
    shrunk = image(pcir(blocks=2, indicator=0), blocks=2, extension=npde(blocks=3))
    edit = fix(parse_rom(shrunk + rest), ["length"])
    assert not edit.changed
    assert "dump it again" in edit.notes[0]


def test_a_vendor_typed_as_a_decimal_number() -> None:
    raw = efi_image(gop_driver(), vendor=DECIMAL_AMD, device=1636)
    edit = fix(parse_rom(raw))
    assert edit.rom.images[0].pcir.vendor_id == 0x1002
    assert edit.rom.images[0].pcir.device_id == 1636
    (note,) = edit.notes
    assert "0664 is 1636 typed as a decimal number" in note
    assert replay(edit) == edit.data


def test_a_wrong_sum() -> None:
    raw = bytearray(amd())
    raw[0x21] ^= 0x40
    edit = fix(parse_rom(bytes(raw)))
    assert edit.data == amd()
    assert "damage" in edit.notes[0]
    assert not fix(parse_rom(bytes(raw)), ["last", "vendor"]).changed


def test_a_sum_that_nothing_can_mend_is_noted() -> None:
    raw = image(pcir(), pointer=1024 - 0x18, fix_sum=False)
    edit = fix(parse_rom(raw))
    assert not edit.changed
    assert "safe to change" in edit.notes[0]


def test_an_acpi_table_stays_balanced() -> None:
    raw = bytearray(vfct(amd_legacy()))
    raw[0x68 + 0x21] ^= 0x40
    raw[9] = (raw[9] - sum(raw)) & 0xFF
    edit = fix(parse_rom(bytes(raw)))
    assert sum8(edit.data[0x68:]) == 0
    assert sum8(edit.data) == 0


def test_a_container_is_no_fault_of_the_rom() -> None:
    assert not fix(parse_rom(nvgi(2, desktop()))).changed


def test_unknown_faults_are_refused() -> None:
    with pytest.raises(EditRefused, match="nothing called"):
        fix(parse_rom(amd()), ["everything"])  # type: ignore[list-item]  # wrong on purpose


def test_an_isa_rom_has_nothing_that_could_be_mended() -> None:
    assert not fix(parse_rom(b"\x55\xaa\x01" + bytes(509))).changed


BROKEN = (
    gop_between(nvidia_gop()),
    amd_legacy() + amd_gop(),
    nvidia_legacy(indicator=0) + nvidia_own(),
    efi_image(gop_driver(), vendor=DECIMAL_AMD, indicator=0),
)


@given(
    data=st.sampled_from(BROKEN),
    which=st.sets(st.sampled_from(FAULTS)),
    at=st.integers(0, 0x90),
    value=st.integers(0, 255),
)
def test_no_fix_makes_it_worse(data: bytes, which: set[Fault], at: int, value: int) -> None:
    raw = bytearray(data)
    raw[at] = value
    try:
        edit = fix(parse_rom(bytes(raw)), which)
    except RomError:
        return
    assert replay(edit) == edit.data
    assert len(faults(edit.data)) <= len(faults(bytes(raw)))
    again = fix(edit.rom, which)
    assert not again.changed


def test_an_x86_image_in_the_range_of_another_is_balanced_first() -> None:
    inner = bytearray(nvidia_legacy())
    inner[0x300] ^= 0x40
    outer = nvidia_legacy(length=8, fix_sum=False)
    edit = fix(parse_rom(outer + bytes(inner)))
    assert [i.offset for i in edit.rom.images] == [0, 2048]
    assert sum8(edit.data[2048:4096]) == sum8(edit.data[:4096]) == 0
    assert edit.notes == (
        "a wrong sum can also mean damage: compare with another dump of the same card",
    )
