"""ROM files that the tests of the command share."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir


@pytest.fixture
def rom(tmp_path: Path) -> Path:
    path = tmp_path / "good.rom"
    path.write_bytes(image(pcir(vendor=0x1002)))
    return path


@pytest.fixture
def wrapped(tmp_path: Path) -> Path:
    path = tmp_path / "wrapped.rom"
    path.write_bytes(nvgi(2, nvidia_desktop(), rom_offset=0xA00))
    return path


@pytest.fixture
def mobile(tmp_path: Path) -> Path:
    path = tmp_path / "mobile.rom"
    path.write_bytes(nvidia_mobile())
    return path


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    name = "NVIDIA GPU UEFI Driver".encode("utf-16-le")
    path = tmp_path / "donor.efirom"
    extension = npde(blocks=2, length=16, gop=0x30009, last=0x80)
    path.write_bytes(efi_image(build_pe(GOP_GUID + name), extension=extension))
    return path
