"""What `passthrough launch` refuses before anything is touched, and the status that follows."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.board import mobile
from builders.card import card
from builders.rom import image, pcir
from typer.testing import CliRunner, Result

from passthrough.cli import app

#: A card 10de:1c20, as the tree has it, and one of another kind.
RIGHT, WRONG = 0x1C20, 0x1C8D


def rom(device: int) -> bytes:
    return image(pcir(device=device))


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    """A laptop's files, with QEMU and KVM, a profile and a ROM in /vm."""
    tree = card(driver="nvidia", audio_driver="snd_hda_intel", reset="flr bus")
    tree.file("/dev/kvm").file("/usr/bin/qemu-system-x86_64")
    return tree.write(tmp_path / "laptop")


def launch(laptop: Path, text: str) -> Result:
    profile = laptop.parent / "win10.toml"
    profile.write_text(f'name = "win10"\n{text}', encoding="utf-8")
    words = ["launch", str(profile), "--user", "nobody", "--dry-run", "--root", str(laptop)]
    return CliRunner().invoke(app, words)


def with_rom(laptop: Path, data: bytes) -> str:
    (laptop / "vm").mkdir()
    (laptop / "vm/card.rom").write_bytes(data)
    return '[firmware]\nkind = "bios"\n[gpu]\naddress = "01:00.0"\nrom = "/vm/card.rom"\n'


def test_the_cards_own_rom_is_taken(laptop: Path) -> None:
    told = launch(laptop, with_rom(laptop, rom(RIGHT)))
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize("data", [rom(WRONG), mobile(), b"no ROM at all", b""])
def test_a_rom_that_is_not_the_cards_blocks(laptop: Path, data: bytes) -> None:
    told = launch(laptop, with_rom(laptop, data))
    assert told.exit_code == 1, told.output
    assert "/vm/card.rom" in told.output


def test_firmware_that_is_not_there_is_told_with_what_to_install(laptop: Path) -> None:
    told = launch(laptop, '[firmware]\nkind = "uefi"\n')
    assert told.exit_code == 3
    assert "win10.toml:3: firmware.kind: no UEFI firmware for this guest" in told.output
    assert "try: install OVMF" in told.output


def test_a_machine_without_qemu_is_told_what_to_install(laptop: Path) -> None:
    (laptop / "usr/bin/qemu-system-x86_64").unlink()
    told = launch(laptop, '[firmware]\nkind = "bios"\n')
    assert told.exit_code == 1
    assert "qemu-system-x86_64 is not installed" in told.output
    assert "install qemu-system-x86" in told.output
