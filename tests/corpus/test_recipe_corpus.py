"""Recipes of real ROMs: look-alikes that hold nothing of them, and complete ones that hold all."""

from __future__ import annotations

import re
from typing import Any

from romkit.recipe import build_rom, load_recipe, recipe_of
from romkit.record import record
from romkit.rom import parse_rom

#: More equal bytes in a row than this would be a copy.
LONGEST_RUN = 64

#: A stretch of one value as long as this is fill, and nobody's.
FILL = 8

#: Any run of LONGEST_RUN + 1 bytes has a whole chunk of this size at a multiple of it.
CHUNK = 32

IMAGE_KEYS = (
    "offset",
    "image_length",
    "signature",
    "structure",
    "vendor",
    "device",
    "class_code",
    "revision",
    "code_type",
    "last",
    "truncated",
    "sum8",
)
NPDE_KEYS = ("revision", "length", "subimage_length", "last", "gop_version")
EFI_KEYS = ("signature_ok", "subsystem", "machine", "compression", "decompresses")
ATOM_KEYS = ("subsystem", "date", "part_number")


def part(found: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    return None if found is None else {key: found.get(key) for key in keys}


def structure(found: dict[str, Any]) -> dict[str, Any]:
    """What a look-alike has in common with its original, by the keys of the survey."""
    keys = ("size", "container", "rom_offset", "rom_length", "nvidia_version", "vbt_offset")
    return {
        **{key: found.get(key) for key in keys},
        "atom": part(found.get("atom"), ATOM_KEYS),
        "images": [
            {
                **{key: image[key] for key in IMAGE_KEYS},
                "npde": part(image.get("npde"), NPDE_KEYS),
                "efi": part(image.get("efi"), EFI_KEYS),
            }
            for image in found["images"]
        ],
    }


def surroundings(found: dict[str, Any]) -> list[Any]:
    """What is beyond the survey: chains and tail."""
    return [found["pcir_chain"], found["npde_chain"], found["tail"]]


def test_a_look_alike_has_the_structure_of_the_survey(
    rom_data: bytes, rom_name: str, expected: dict[str, Any]
) -> None:
    rom = parse_rom(rom_data)
    built = build_rom(load_recipe(recipe_of(rom)))
    look_alike = record(parse_rom(built))
    assert structure(look_alike) == structure(expected[rom_name])
    assert surroundings(look_alike) == surroundings(record(rom))


def test_a_recipe_of_a_look_alike_builds_the_look_alike(rom_data: bytes) -> None:
    built = build_rom(load_recipe(recipe_of(parse_rom(rom_data))))
    again = recipe_of(parse_rom(built))
    assert "omitted" not in again
    assert build_rom(load_recipe(again)) == built


def test_with_bytes_the_file_is_identical(rom_data: bytes) -> None:
    text = recipe_of(parse_rom(rom_data), with_bytes=True)
    assert build_rom(load_recipe(text)) == rom_data
    # Not as one block: what is known of it is said.
    assert "[[image]]" in text


def common_runs(data: bytes, other: bytes) -> list[bytes]:
    """Runs of `data` that stand in `other` too, all that are longer than LONGEST_RUN."""
    places: dict[bytes, int] = {}
    for at in range(0, len(other) - CHUNK + 1, CHUNK):
        chunk = other[at : at + CHUNK]
        if chunk.count(chunk[0]) != CHUNK:
            places.setdefault(chunk, at)
    runs = []
    at = 0
    while at <= len(data) - CHUNK:
        place = places.get(data[at : at + CHUNK])
        if place is None:
            at += 1
            continue
        back = 0
        while back < min(at, place) and data[at - back - 1] == other[place - back - 1]:
            back += 1
        end = at + CHUNK
        while end < len(data) and place + end - at < len(other):
            if data[end] != other[place + end - at]:
                break
            end += 1
        runs.append(data[at - back : end])
        at = end
    return runs


def test_a_look_alike_holds_no_run_of_its_original(rom_data: bytes) -> None:
    built = build_rom(load_recipe(recipe_of(parse_rom(rom_data))))
    fill = re.compile(rb"(.)\1{%d,}" % (FILL - 1), re.DOTALL)
    copied = [fill.sub(b"", run) for run in common_runs(built, rom_data)]
    assert [run.hex() for run in copied if len(run) > LONGEST_RUN] == []


def test_the_measure_of_copies_finds_one() -> None:
    """Sixty-five bytes at an odd place are found, whatever stands around them."""
    other = bytes(range(256)) * 4
    assert max(map(len, common_runs(b"\xfe" * 77 + other[101:166] + b"\xfe" * 50, other))) >= 65
