"""Edits of real ROMs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.changes import replay, same, sum8

from romkit import Rom, RomError, parse_rom, verify
from romkit.checks.device import subsystems
from romkit.edit import (
    Edit,
    fix,
    gop_extract,
    gop_insert,
    gop_list,
    gop_remove,
    gop_update,
    join,
    join_images,
    patch,
    split,
    strip,
)
from romkit.efi.gop import GopRole
from romkit.errors import EditRefused
from romkit.finding import Severity, Verdict
from romkit.guest import ovmf_view, seabios_view

MOBILE_WITHOUT_GOP = "0f002def2d7d"
PASCAL_GOP = "090ea8422041"
MADE_BY_GOPUPD = "abd01b4279c0"

#: Real ROMs that hold a driver for another machine beside the one for X64.
TWO_MACHINES = "89030fa7f693"


def rom_of(corpus: Path, digits: str) -> Rom:
    (path,) = (corpus / "roms").glob(f"{digits}*")
    return parse_rom(path.read_bytes())


def failing(rom: Rom, prefix: str = "") -> list[str]:
    return [
        f.check
        for f in verify(rom)
        if f.verdict is Verdict.FAIL
        and f.severity is not Severity.NOTE
        and f.check.startswith(prefix)
    ]


def drivers(rom: Rom) -> list[str | None]:
    return [i.efi.pe_sha256 for i in rom.efi_images if i.efi]


# Section: strip


@pytest.mark.survey
def test_a_strip_by_hand_is_repeated(corpus: Path) -> None:
    flash, stripped = rom_of(corpus, "16f1ff99800e"), rom_of(corpus, "8fc4c6c61d86")
    assert same(strip(flash, keep_tail=True).data, stripped.data)
    assert same(strip(flash).data, flash.data[flash.rom_offset : flash.rom_end])


def test_strip_leaves_a_whole_rom(rom_data: bytes, expected: dict[str, Any], rom_name: str) -> None:
    rom, known = parse_rom(rom_data), expected[rom_name]
    edit = strip(rom)
    assert same(replay(edit), edit.data)
    assert failing(edit.rom, "rom.container") == []
    if not rom.images:
        return
    start = known["rom_offset"]
    assert edit.data.startswith(rom_data[start : rom.rom_end])
    kept = [(i.offset + start, i.code_type, i.size) for i in edit.rom.images]
    assert kept == [(i.offset, i.code_type, i.size) for i in rom.images]
    for old, new in ((rom.pcir_chain, edit.rom.pcir_chain), (rom.npde_chain, edit.rom.npde_chain)):
        assert [i.offset for i in old] == [i.offset + start for i in new]
        assert old.end is new.end
    assert drivers(edit.rom) == drivers(rom)
    if known["container"] in ("NVGI", "NVFW"):
        assert len(edit.data) == rom.rom_end - start
        assert edit.data[:2] == b"\x55\xaa"
    cut = strip(rom, keep_tail=True)
    assert same(cut.data, rom_data[start:])


def test_amd_boards_keep_their_live_tail(rom_data: bytes) -> None:
    rom = parse_rom(rom_data)
    if rom.tail is None or not rom.tail.live or any(i.npde for i in rom.images) or not rom.images:
        return
    last = [p for p in rom.tail if p.kind.value == "data"][-1]
    assert strip(rom).data[: last.end - rom.rom_offset] == rom_data[rom.rom_offset : last.end]


@pytest.mark.survey
def test_a_flash_with_two_copies_loses_the_second(corpus: Path) -> None:
    for digits in ("42232c481c03", "8ae3820831d0", "8e2979aba920"):
        rom = rom_of(corpus, digits)
        edit = strip(rom)
        assert len(edit.data) == rom.rom_end - rom.rom_offset
        assert edit.rom.tail is None
        assert any("another copy of the ROM" in c.reason for c in edit.changes)


@pytest.mark.parametrize("choice", ["legacy", "efi", "firmware"])
def test_subsets_are_whole_roms(rom_data: bytes, choice: Any) -> None:
    rom = parse_rom(rom_data)
    try:
        edit = strip(rom, images=choice)
    except EditRefused:
        assert "rom.efi-unreachable" in failing(rom) or not _has(rom, choice)
        return
    assert same(replay(edit), edit.data)
    if edit.changed and any("not among" in c.reason for c in edit.changes):
        assert edit.rom.pcir_chain.complete
        assert edit.rom.npde_chain.complete
    assert set(failing(edit.rom)) <= set(failing(rom))
    kinds = {i.code_type for i in edit.rom.pcir_chain}
    assert kinds <= {"legacy": {0}, "efi": {3}, "firmware": {0, 3}}[choice]


def _has(rom: Rom, choice: str) -> bool:
    kinds = {i.code_type for i in rom.pcir_chain}
    return bool(kinds & {"legacy": {0}, "efi": {3}, "firmware": {0, 3}}[choice])


# Section: split, join


def test_join_undoes_split(rom_data: bytes) -> None:
    rom = parse_rom(rom_data)
    parts = split(rom)
    assert same(join(parts).data, rom_data)
    tiles = [p for p in parts if p.kind in ("container", "image", "tail")]
    assert same(b"".join(p.data for p in sorted(tiles, key=lambda p: p.name)), rom_data)


def test_loose_images_make_the_rom_again(rom_data: bytes) -> None:
    rom = parse_rom(rom_data)
    images = [p.data for p in split(rom) if p.kind == "image"]
    if not images:
        return
    if "rom.shadow" in failing(rom):
        with pytest.raises(EditRefused, match="cut off"):
            join_images(images)
        return
    edit = join_images(images)
    assert same(replay(edit), edit.data)
    whole = rom.pcir_chain.complete and rom.npde_chain.complete
    assert whole <= same(edit.data, rom_data[rom.rom_offset : rom.rom_end])
    assert edit.rom.pcir_chain.complete
    assert edit.rom.npde_chain.complete


# Section: patch


@pytest.mark.parametrize("key", ["vendor", "device", "class_code", "subsystem", "device_list"])
def test_patch_and_its_inverse(rom_data: bytes, key: str) -> None:
    rom = parse_rom(rom_data)
    if not rom.images:
        return
    main = rom.legacy or rom.images[0]
    stated = subsystems(rom)
    lists = [i.device_list for i in rom.images if i.device_list]
    old: dict[str, Any] = {
        "vendor": main.pcir.vendor_id,
        "device": main.pcir.device_id,
        "class_code": main.pcir.class_code,
        "subsystem": stated[0][1] if stated else None,
        "device_list": lists[0] if lists else (),
    }
    new: dict[str, Any] = {
        "vendor": 0x1B36,
        "device": 0x0BAD,
        "class_code": 0x038042,
        "subsystem": (0x1B36, 0x0BAD),
        "device_list": (0x0BAD,),
    }
    try:
        edit = patch(rom, **{key: new[key]})
    except EditRefused:
        assert key == "device_list" or (key == "subsystem" and not stated)
        return
    assert edit.changed
    assert same(replay(edit), edit.data)
    for before, after in zip(rom.images, edit.rom.images, strict=True):
        assert (before.offset, before.size) == (after.offset, after.size)
        if before.checksum_ok:
            assert after.checksum_ok
    assert drivers(edit.rom) == drivers(rom)
    assert same(patch(edit.rom, **{key: old[key]}).data, rom_data)


# Section: fix


@pytest.mark.survey
def test_fix_repairs_what_gopupd_broke(corpus: Path) -> None:
    rom = rom_of(corpus, MADE_BY_GOPUPD)
    edit = fix(rom)
    assert failing(edit.rom) == []
    assert [i.code_type for i in edit.rom.pcir_chain] == [0x00, 0x03]
    assert [i.code_type for i in edit.rom.npde_chain] == [0x00, 0xE0, 0xE0, 0x70, 0x03]
    legacy = edit.rom.images[0]
    assert sum8(edit.data[: legacy.pcir.image_length]) == 0
    assert len(ovmf_view(edit.rom).started) == 1
    assert seabios_view(edit.rom).started
    assert same(replay(edit), edit.data)
    # It is what the right insertion of the same driver gives.
    board = rom_of(corpus, MOBILE_WITHOUT_GOP)
    assert same(edit.data, gop_insert(strip(board).rom, rom).data)
    # And without the driver, it is the ROM that GOPupd was given.
    assert same(gop_remove(edit.rom).data, strip(board).data)


def test_fix_changes_nothing_that_is_right(rom_data: bytes, rom_name: str) -> None:
    rom = parse_rom(rom_data)
    edit = fix(rom)
    assert same(replay(edit), edit.data)
    assert set(failing(edit.rom)) <= set(failing(rom))
    faulty = (MADE_BY_GOPUPD, PASCAL_GOP, "1229876cdb09", "c45d2f6b58a7")
    assert edit.changed == rom_name.startswith(faulty)
    assert not fix(edit.rom).changed


# Section: gop


@pytest.mark.survey
def test_a_driver_goes_where_both_chains_reach_it(corpus: Path) -> None:
    board, donor = rom_of(corpus, MOBILE_WITHOUT_GOP), rom_of(corpus, PASCAL_GOP)
    edit = gop_insert(board, donor)
    legacy, efi = edit.rom.pcir_chain
    assert [i.code_type for i in edit.rom.npde_chain] == [0x00, 0xE0, 0xE0, 0x70, 0x03]
    assert edit.rom.pcir_chain.complete
    assert edit.rom.npde_chain.complete
    assert efi.offset == legacy.pcir.image_length == 0x28C00
    assert sum8(edit.data[: legacy.pcir.image_length]) == 0
    assert sum8(edit.data[: legacy.initialization_size]) == 0
    assert (efi.pcir.vendor_id, efi.pcir.device_id) == (0x10DE, 0x1CBA)
    assert efi.efi is not None
    assert efi.efi.digest_ok
    assert len(edit.data) == len(board.data)
    assert failing(edit.rom) == []
    assert same(gop_remove(edit.rom).data, board.data)


def test_what_is_removed_can_be_put_back(rom_data: bytes, rom_name: str) -> None:
    rom = parse_rom(rom_data)
    try:
        removed = gop_remove(rom)
    except EditRefused:
        return
    assert same(replay(removed), removed.data)
    assert not any(e.role is GopRole.PRODUCER for e in gop_list(removed.rom))
    assert removed.rom.pcir_chain.complete
    if any(i.efi and i.efi.pe is None for i in rom.efi_images):
        with pytest.raises(EditRefused, match="cannot be decompressed"):
            gop_insert(removed.rom, rom)
        return
    if rom.legacy and rom.legacy.nvidia and rom.legacy.nvidia.family is None:
        with pytest.raises(EditRefused, match="cannot be told"):
            gop_insert(removed.rom, rom)
        return
    back = gop_insert(removed.rom, rom)
    assert same(replay(back), back.data)
    ids = {(i.pcir.vendor_id, i.pcir.device_id) for i in rom.images if i.code_type in (0, 3)}
    if len(ids) == 1 and not rom_name.startswith((TWO_MACHINES, MADE_BY_GOPUPD)):
        assert same(back.data, rom_data)


@pytest.mark.survey
def test_a_driver_of_the_same_family_can_be_renewed(corpus: Path) -> None:
    board, donor = rom_of(corpus, "16f1ff99800e"), rom_of(corpus, PASCAL_GOP)
    edit = gop_update(board, donor)
    assert drivers(edit.rom) == drivers(donor)
    assert [i.code_type for i in edit.rom.npde_chain] == [i.code_type for i in board.npde_chain]
    assert same(gop_update(edit.rom, board).data, board.data)


@pytest.mark.survey
def test_a_driver_of_another_family_is_refused(corpus: Path) -> None:
    board = rom_of(corpus, MOBILE_WITHOUT_GOP)
    for digits in ("f2f5c9604098", "003a230836f9", "7b01b9165457", "dcf8fe066a46"):
        with pytest.raises(EditRefused) as caught:
            gop_insert(board, rom_of(corpus, digits))
        assert caught.value.may_force
        assert gop_insert(board, rom_of(corpus, digits), force=True).changed


def test_every_driver_can_be_taken_out(rom_data: bytes) -> None:
    rom = parse_rom(rom_data)
    for entry in gop_list(rom):
        edit = gop_extract(rom, entry.number)
        assert drivers(edit.rom) == [entry.efi.pe_sha256]
        assert edit.rom.pcir_chain.complete


# Section: all of them

EDITS: dict[str, Callable[[Rom], Edit]] = {
    "strip": strip,
    "legacy": lambda rom: strip(rom, images="legacy"),
    "fix": fix,
    "patch": lambda rom: patch(rom, vendor=0x1B36, device=0x0BAD),
    "remove": gop_remove,
    "extract": gop_extract,
    "join": lambda rom: join(split(rom)),
    "join images": lambda rom: join_images([p.data for p in split(rom) if p.kind == "image"]),
}


@pytest.mark.parametrize("name", EDITS)
def test_damaged_dumps_give_an_edit_or_a_rom_error(rom_data: bytes, name: str) -> None:
    step = max(len(rom_data) // 3, 1)
    for number in range(3):
        raw = bytearray(rom_data[: len(rom_data) - number * step // 2])
        for at in range(number * 7 + 2, min(len(raw), 0x400), 61):
            raw[at] ^= 0x80 >> number
        try:
            edit = EDITS[name](parse_rom(bytes(raw)))
        except RomError:
            continue
        assert same(replay(edit), edit.data)
