"""Laws 3 and 4 for every edit, on recipes and boards, whole and damaged."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.board import amd, amd_gop, desktop, gop_between, mobile, nvidia_gop
from builders.changes import replay, same
from builders.rom import nvgi, vfct
from fuzz import mutate

from romkit import Rom, RomError, parse_rom, verify
from romkit.edit import (
    Edit,
    fix,
    gop_extract,
    gop_insert,
    gop_remove,
    gop_update,
    join,
    join_images,
    patch,
    split,
    strip,
)
from romkit.finding import Severity, Verdict
from romkit.recipe import build_rom, load_recipe

RECIPES = Path(__file__).parents[2] / "fixtures/recipes"

DONOR = parse_rom(nvidia_gop())
BOARD = parse_rom(mobile(padding=512))

EDITS: dict[str, Callable[[Rom], Edit]] = {
    "strip": strip,
    "strip, keep tail": lambda rom: strip(rom, keep_tail=True),
    "strip to legacy": lambda rom: strip(rom, images="legacy"),
    "strip to efi": lambda rom: strip(rom, images="efi"),
    "strip to firmware": lambda rom: strip(rom, images="firmware"),
    "split and join": lambda rom: join(split(rom)),
    "join images": lambda rom: join_images([p.data for p in split(rom) if p.kind == "image"]),
    "join as it is": lambda rom: join_images([rom.data]),
    "patch": lambda rom: patch(rom, vendor=0x1B36, device=0x0BAD, class_code=0x030201),
    "patch subsystem": lambda rom: patch(rom, subsystem=(0x1B36, 0x0BAD)),
    "patch list": lambda rom: patch(rom, device_list=(0x0BAD, 0xBEEF)),
    "patch no list": lambda rom: patch(rom, device_list=()),
    "fix": fix,
    "fix sums": lambda rom: fix(rom, ["checksum"]),
    "gop extract": gop_extract,
    "gop insert": lambda rom: gop_insert(rom, DONOR, force=True),
    "gop update": lambda rom: gop_update(rom, DONOR, force=True),
    "gop remove": gop_remove,
    "gop donor": lambda rom: gop_insert(BOARD, rom, force=True),
}


def blocked(rom: Rom) -> int:
    return sum(f.verdict is Verdict.FAIL and f.severity is Severity.BLOCKER for f in verify(rom))


def sources() -> list[bytes]:
    recipes = [build_rom(load_recipe(p.read_text())) for p in sorted(RECIPES.glob("*.toml"))]
    boards = [
        desktop(gop=nvidia_gop()),
        mobile(gop=nvidia_gop(last=0x80), padding=700),
        gop_between(nvidia_gop()),
        nvgi(2, mobile()),
        nvgi(3, desktop(gop=nvidia_gop())),
        amd(tail=b"\xff" * 700 + b"data" * 80),
        amd(gop=False) + amd_gop(),
        vfct(amd(), amd()),
    ]
    return recipes + boards


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    return sources()


@pytest.mark.parametrize("name", EDITS)
def test_whole_roms(name: str, originals: list[bytes]) -> None:
    done = 0
    for data in originals:
        rom = parse_rom(data)
        try:
            edit = EDITS[name](rom)
        except RomError:
            continue
        done += 1
        assert same(replay(edit), edit.data)
        if not name.startswith(("join", "split", "gop donor")):
            assert same(edit.before, data)
            assert blocked(edit.rom) <= blocked(rom)
    assert done >= 3


@pytest.mark.parametrize("name", EDITS)
def test_damaged_roms(name: str, originals: list[bytes]) -> None:
    rng = random.Random(name)
    for number in range(80):
        data = mutate(originals[number % len(originals)], rng)
        try:
            edit = EDITS[name](parse_rom(data))
        except RomError:
            continue
        assert same(replay(edit), edit.data)
        if name == "split and join":
            assert same(edit.data, data)
