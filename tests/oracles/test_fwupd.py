"""fwupd's own option ROM parser as a second opinion on offsets, lengths and ids."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from builders.rom import efi_image, image, nvidia_desktop, nvidia_mobile, pcir

from romkit import RomError, parse_rom
from romkit.edit import gop_insert

FWUPDTOOL = shutil.which("fwupdtool")
Seen = tuple[int, int, int, int, int]

pytestmark = pytest.mark.skipif(
    FWUPDTOOL is None, reason="fwupdtool is not installed (Debian, Ubuntu: apt-get install fwupd)"
)


def fwupd_images(path: Path, cache: Path) -> list[Seen] | None:
    """(offset, length, vendor, device, code type) of each image, or None where fwupd refuses."""
    run = subprocess.run(
        [str(FWUPDTOOL), "firmware-parse", str(path), "oprom"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CACHE_DIRECTORY": str(cache), "STATE_DIRECTORY": str(cache)},
    )
    found = re.search(r"^<firmware.*^</firmware>$", run.stdout, re.DOTALL | re.MULTILINE)
    if run.returncode or found is None:
        return None

    def number(element: ElementTree.Element, tag: str) -> int:
        return int(element.findtext(tag) or "0", 0)

    root = ElementTree.fromstring(found.group())
    single = root.get("gtype") == "FuOpromFirmware"
    images = [root] if single else root.findall("firmware[@gtype='FuOpromFirmware']")
    return [
        tuple(number(e, tag) for tag in ("offset", "size", "vendor_id", "device_id", "idx"))
        for e in images
    ]


def romkit_images(data: bytes) -> list[Seen]:
    return [
        (i.offset, i.pcir.image_length, i.pcir.vendor_id, i.pcir.device_id, i.code_type)
        for i in parse_rom(data).pcir_chain
    ]


@pytest.mark.parametrize(
    "data",
    [
        nvidia_desktop(),
        nvidia_mobile(),
        image(pcir(vendor=0x1002, indicator=0)) + efi_image(b"MZ" + bytes(700), vendor=0x1002),
    ],
    ids=["desktop", "mobile", "amd"],
)
def test_fwupd_agrees_on_roms_made_by_hand(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rom"
    path.write_bytes(data)
    assert fwupd_images(path, tmp_path) == romkit_images(data)


@pytest.mark.slow
@pytest.mark.survey
def test_fwupd_agrees_wherever_it_accepts_a_real_dump(corpus: Path, tmp_path: Path) -> None:
    accepted, wrong = 0, []
    for path in sorted((corpus / "roms").iterdir()):
        theirs = fwupd_images(path, tmp_path)
        if theirs is None:
            continue
        accepted += 1
        try:
            ours = romkit_images(path.read_bytes())
        except RomError as err:
            wrong.append((path.name, str(err)))
            continue
        if ours != theirs:
            wrong.append((path.name, f"fwupd {theirs}, romkit {ours}"))
    assert wrong == []
    assert accepted >= 35


@pytest.mark.slow
@pytest.mark.survey
def test_fwupd_sees_a_gop_that_was_inserted_into_a_real_dump(corpus: Path, tmp_path: Path) -> None:
    target, donor = (
        parse_rom(next((corpus / "roms").glob(f"{digits}*")).read_bytes())
        for digits in ("0f002def2d7d", "090ea8422041")
    )
    path = tmp_path / "rom"
    path.write_bytes(gop_insert(target, donor).data)
    seen = fwupd_images(path, tmp_path)
    assert seen is not None
    # A GeForce of id 1cba; its GOP stands behind the images that only NVIDIA's chain reaches.
    assert [(kind, vendor, device) for _, _, vendor, device, kind in seen] == [
        (0, 0x10DE, 0x1CBA), (3, 0x10DE, 0x1CBA),
    ]  # fmt: skip
