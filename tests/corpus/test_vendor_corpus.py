"""Vendor readings of real ROMs against an independently made survey of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from romkit.vendor.amd import read_atom
from romkit.vendor.intel import find_vbt, read_vbt
from romkit.vendor.nvidia import read_nvidia
from romkit.vendor.strings import copyright_line, oem_string

Legacy = tuple[dict[str, Any], dict[str, Any], bytes]


@pytest.fixture(scope="module")
def legacy(corpus: Path, expected: dict[str, dict[str, Any]]) -> dict[str, Legacy]:
    """Name → (what is expected of the file, of its first legacy image, that image's bytes)."""
    found = {}
    for name, file in expected.items():
        for image in file["images"]:
            if image["code_type"] == 0:
                length = max(image["image_length"], image.get("npde", {}).get("subimage_length", 0))
                start = image["offset"]
                data = (corpus / "roms" / name).read_bytes()
                found[name] = (file, image, data[start : start + length])
                break
    return found


@pytest.mark.survey
def test_nvidia_version(legacy: dict[str, Legacy]) -> None:
    read = {}
    for name, (_, _, image) in legacy.items():
        vbios = read_nvidia(image)
        read[name] = vbios.version if vbios is not None else None
    assert read == {name: file.get("nvidia_version") for name, (file, _, _) in legacy.items()}
    assert sum(version is not None for version in read.values()) == 27


@pytest.mark.survey
def test_atom(legacy: dict[str, Legacy]) -> None:
    read = {}
    for name, (_, _, image) in legacy.items():
        atom = read_atom(image)
        if atom is not None:
            vendor, device = atom.subsystem
            read[name] = {
                "subsystem": f"{vendor:04x}:{device:04x}",
                "date": atom.date,
                "part_number": atom.part_number,
            }
    assert read == {n: file["atom"] for n, (file, _, _) in legacy.items() if "atom" in file}
    assert len(read) == 11


@pytest.mark.survey
def test_vbt_offset(
    corpus: Path, expected: dict[str, dict[str, Any]], legacy: dict[str, Legacy]
) -> None:
    wanted = {name: file.get("vbt_offset") for name, file in expected.items()}
    in_files = {name: find_vbt((corpus / "roms" / name).read_bytes()) for name in expected}
    assert {n: vbt.offset if vbt else None for n, vbt in in_files.items()} == wanted
    assert sum(offset is not None for offset in wanted.values()) == 2
    for name, (file, image, data) in legacy.items():
        vbt = read_vbt(data, image["offset"])
        assert (vbt.offset if vbt else None) == file.get("vbt_offset"), name
        assert vbt == in_files[name], name


def test_every_nvidia_image_is_fully_described(legacy: dict[str, Legacy]) -> None:
    for name, (file, _, image) in legacy.items():
        if "nvidia_version" not in file:
            continue
        vbios = read_nvidia(image)
        assert vbios is not None
        assert {"B", "S", "i"} <= {token.id for token in vbios.bit.tokens}, name
        for field in ("build_date", "modification_date", "product", "sign_on", "copyright"):
            assert getattr(vbios, field), (name, field)
        assert (vbios.oem_string, vbios.oem_vendor) == ("NVIDIA", "NVIDIA Corporation"), name
        # Only the ROM whose maker typed DE.AD into it has no family; only nForce has no board.
        assert (vbios.family is None) == (vbios.version == "DE.AD.00.BE.EF"), name
        assert (vbios.board is None) == (vbios.version == "62.79.4E.00.01"), name


@pytest.mark.survey
def test_printed_version_is_the_version(legacy: dict[str, Legacy]) -> None:
    differing = []
    for name, (file, _, image) in legacy.items():
        vbios = read_nvidia(image) if "nvidia_version" in file else None
        if vbios is not None and vbios.printed_version != f"Version {vbios.version}":
            differing.append(name[:12])
    assert differing == ["ce9a2703ee57"]


@pytest.mark.survey
def test_board_agrees_with_the_sign_on_message(legacy: dict[str, Legacy]) -> None:
    """ "PG410 SKU 30" is G410-0030, "E2904 SKU 1" is 2904-0001: the letter names the kind."""
    agreeing = 0
    for name, (file, _, image) in legacy.items():
        vbios = read_nvidia(image) if "nvidia_version" in file else None
        words = (vbios.product or "").split() if vbios is not None else []
        if vbios is None or vbios.board is None or "SKU" not in words:
            continue
        at = words.index("SKU")
        assert vbios.board == f"{words[at - 1][1:]}-{int(words[at + 1]):04}", name
        agreeing += 1
    assert agreeing >= 15


@pytest.mark.survey
def test_legacy_subsystem_is_nvgi_s(corpus: Path, legacy: dict[str, Legacy]) -> None:
    """NVGI + 0x0C holds the same four bytes wherever the legacy image has a subsystem too."""
    own = compared = 0
    for name, (file, _, image) in legacy.items():
        vbios = read_nvidia(image) if "nvidia_version" in file else None
        if vbios is None or vbios.subsystem is None:
            continue
        own += 1
        if file["container"] == "NVGI":
            vendor, device = vbios.subsystem
            raw = vendor.to_bytes(2, "little") + device.to_bytes(2, "little")
            assert raw == (corpus / "roms" / name).read_bytes()[0x0C:0x10], name
            compared += 1
    assert (own, compared) == (8, 3)


def test_every_amd_image_is_fully_described(legacy: dict[str, Legacy]) -> None:
    for name, (file, _, image) in legacy.items():
        if "atom" not in file:
            continue
        atom = read_atom(image)
        assert atom is not None
        assert atom.magic_ok, name
        assert len(atom.strings) == 4, name
        assert atom.strings[2] == "PCI_EXPRESS", name
        for field in ("bootup_message", "version", "config_filename", "build", "copyright"):
            assert getattr(atom, field), (name, field)


def test_intel_build_stands_in_the_sign_on_message(legacy: dict[str, Legacy]) -> None:
    for name, (file, image, data) in legacy.items():
        vbt = read_vbt(data, image["offset"]) if "vbt_offset" in file else None
        if vbt is None:
            continue
        assert f"Build Number: {vbt.build_number} " in (vbt.sign_on or ""), name
        assert (vbt.copyright or "").startswith("Copyright (C) 20"), name
        assert vbt.checksum_ok is False, name


def test_strings_of_every_vendor(legacy: dict[str, Legacy]) -> None:
    for name, (file, image, data) in legacy.items():
        claim, line = oem_string(data), copyright_line(data)
        if "nvidia_version" in file:
            assert claim == "IBM VGA Compatible", name
        elif "atom" in file:
            assert claim == "IBM", name
        elif image["vendor"] == "8086" and "vbt_offset" in file:
            assert claim == "IBM VGA Compatible BIOS.", name
        else:
            continue
        assert line is not None, name
        assert "(C) " in line, name


def test_modified_on_or_after_the_build_date(legacy: dict[str, Legacy]) -> None:
    """Both dates are dates, and no image is modified before it is built."""
    for name, (file, _, image) in legacy.items():
        vbios = read_nvidia(image) if "nvidia_version" in file else None
        if vbios is None:
            continue
        built, modified = (
            (date[6:8], date[0:2], date[3:5])
            for date in (vbios.build_date or "", vbios.modification_date or "")
        )
        assert built <= modified, name
        assert 1 <= int(built[1]) <= 12, name
