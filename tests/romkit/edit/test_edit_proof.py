"""Nothing is handed out that is worse than its input."""

from __future__ import annotations

import pytest
from builders.board import amd, desktop, mobile, nvidia_gop
from builders.rom import nvgi

from romkit import parse_rom
from romkit.edit.chains import set_chain_last, set_pcir_last
from romkit.edit.proof import prove, prove_made
from romkit.edit.work import Cut, Work
from romkit.errors import EditRefused

DESKTOP = parse_rom(desktop(gop=nvidia_gop()))


def reasons(work: Work) -> str:
    with pytest.raises(EditRefused) as caught:
        prove(parse_rom(work.source), work)
    assert caught.value.reasons
    assert caught.value.reasons[0] in str(caught.value)
    assert not caught.value.may_force
    return " | ".join(caught.value.reasons)


def test_a_wrong_sum() -> None:
    work = Work(DESKTOP.data)
    work.write(0x300, b"\0", "x")
    assert "rom.checksum" in reasons(work)


def test_a_new_warning() -> None:
    work = Work(amd())
    work.write(2048 + 0x1C + 4, b"\xea\x03", "x")
    assert "rom.vendor-03ea" in reasons(work)
    edit = prove(parse_rom(amd()), work, asked_for=["rom.vendor-03ea"])
    assert edit.changed


def test_a_lost_image() -> None:
    work = Work(DESKTOP.data)
    set_chain_last(work, 0, True, "x")
    work.write(0x7FF, bytes([(work.data[0x7FF] - 0x80) & 0xFF]), "balance")
    assert "the NPDE chain would no longer reach the EFI image at 0x800" in reasons(work)


def test_an_image_that_was_asked_to_go() -> None:
    rom = parse_rom(amd())
    work = Work(rom.data, [Cut(2048, len(rom.data), b"", "asked for")])
    set_pcir_last(work, 0, True, "x")
    work.write(0x21, bytes([(work.data[0x21] - 0x80) & 0xFF]), "balance")
    assert "GOP" in reasons(work)
    assert prove(rom, work, removed=rom.images[1:]).changed


def test_a_driver_that_no_longer_starts() -> None:
    work = Work(amd())
    work.write(2048 + 0x08, b"\x0a", "an application")
    assert "guest.ovmf" in reasons(work)


def test_a_legacy_image_that_no_longer_boots() -> None:
    work = Work(mobile())
    # Both sums may change, as long as the one over the PCIR length stays zero.
    work.write(0x300, b"\0", "x")
    work.write(11 * 512 - 1, bytes([(work.data[11 * 512 - 1] + 0xFF) & 0xFF]), "balance")
    assert "SeaBIOS would no longer start it" in reasons(work)


def test_no_rom_at_all() -> None:
    rom = parse_rom(amd())
    with pytest.raises(EditRefused, match="no ROM"):
        prove(rom, Work(rom.data, [Cut(0, len(rom.data), b"nothing", "x")]))


def test_what_differs_unreported() -> None:
    class Liar(Work):
        def changes(self) -> tuple[()]:
            return ()

    work = Liar(amd())
    work.write(0x21, b"\0", "x")
    with pytest.raises(EditRefused, match="does not say so"):
        prove(parse_rom(amd()), work)


def test_what_was_wrong_before_may_stay_wrong() -> None:
    raw = bytearray(nvgi(2, amd()))
    raw[0x400 + 0x21] ^= 1
    rom = parse_rom(bytes(raw))
    work = Work(rom.data)
    work.write(0x400 + 0x30, b"\0", "x")
    assert prove(rom, work).changed


def test_what_is_made_may_be_no_worse_than_its_parts() -> None:
    rom = parse_rom(amd())
    work = Work(rom.data)
    assert prove_made(work, [rom]).data == rom.data
    work.write(0x300, b"\0", "x")
    with pytest.raises(EditRefused, match="no sound ROM"):
        prove_made(work, [rom])
