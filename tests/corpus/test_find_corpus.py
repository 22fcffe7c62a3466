"""Every real ROM, hidden in other bytes, is found whole: by the independent survey's measure."""

from __future__ import annotations

import gzip
import random
from typing import Any

import pytest
from builders import firmware as fw
from builders.hive import hive
from builders.text import exported, registry_text

from romkit.find import Found, find_roms

BEFORE = 100_003


def extent(survey: dict[str, Any]) -> tuple[int, int]:
    """Where the first image starts, and where the last one ends."""
    if not survey["images"]:
        pytest.skip("a ROM from before PCI: nothing tells it from other data")
    ends = [
        image["offset"]
        + max(image["image_length"], (image.get("npde") or {}).get("subimage_length") or 0)
        for image in survey["images"]
    ]
    return survey["rom_offset"], max(ends)


def only(data: bytes) -> Found:
    (found,) = find_roms(data)
    return found


@pytest.fixture
def wanted(expected: dict[str, Any], rom_name: str, rom_data: bytes) -> bytes:
    start, end = extent(expected[rom_name])
    return rom_data[start:end]


@pytest.fixture
def offset(expected: dict[str, Any], rom_name: str) -> int:
    return expected[rom_name]["rom_offset"]


def test_at_an_odd_place_in_junk(
    rom_data: bytes, rom_name: str, wanted: bytes, offset: int, expected: dict[str, Any]
) -> None:
    junk = random.Random(rom_name)
    blob = junk.randbytes(BEFORE) + rom_data + junk.randbytes(70_001)
    found = only(blob)
    start, end = extent(expected[rom_name])
    # A ROM whose lengths reach behind its file takes what follows there.
    assert found.data == blob[BEFORE + start : BEFORE + end]
    assert found.data.startswith(wanted)
    assert found.offset == BEFORE + offset


def test_alone(rom_data: bytes, wanted: bytes) -> None:
    assert only(rom_data).data == wanted


def test_packed_in_firmware(rom_data: bytes, wanted: bytes) -> None:
    section = fw.lzma_guided(fw.section(fw.RAW, rom_data))
    inner = fw.volume(fw.file(fw.FFS2, fw.FILE_FREEFORM, section))
    found = only(fw.capsule(fw.volume(fw.file(fw.FFS2, fw.FILE_FV, fw.section(0x17, inner)))))
    # The name comes from the ROM alone, wherever it lay.
    assert found.data.startswith(wanted)
    assert found.name == only(found.data).name


def test_in_a_hive(rom_data: bytes, wanted: bytes) -> None:
    assert only(hive({"Session": {"vbios": rom_data}})).data == wanted


def test_in_a_gzip_file(rom_data: bytes, wanted: bytes) -> None:
    assert only(gzip.compress(rom_data, 1)).data == wanted


def test_in_an_exported_key(rom_data: bytes, wanted: bytes) -> None:
    if len(rom_data) > 0x40000:
        pytest.skip("larger than what drivers store")
    text = registry_text(("Session", exported(rom_data)))
    assert only(text.encode("utf-16")).data == wanted


def test_names_tell_what_it_is(
    rom_data: bytes, wanted: bytes, expected: Any, rom_name: str
) -> None:
    survey = expected[rom_name]
    first = survey["images"][0]
    found = only(rom_data)
    assert found.data == wanted
    assert found.name.startswith(f"{first['vendor']}-{first['device']}_")
    if survey.get("nvidia_version"):
        assert f"_{survey['nvidia_version']}_" in found.name
    assert found.name.replace("-", "").replace("_", "").replace(".", "").isalnum()
