"""SeaBIOS itself as a second opinion on what a guest's BIOS starts from a VGA device's ROM.

One virtual machine for each ROM: it takes a tenth of a second. An image made by hand says that it
runs and where it stood; of other people's images SeaBIOS's log tells. SeaBIOS turns to ROMs of
devices that are no VGA afterwards: such a one ends the machine.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.driver import x86_image
from builders.rom import efi_image, nvgi, pcir
from oracles.firmware import END, QEMU, start_seabios

from romkit import RomError, parse_rom
from romkit.guest import seabios_view
from romkit.header import CodeType

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        QEMU is None or not list(Path("/usr/share").glob("*/bios-256k.bin")),
        reason="QEMU or SeaBIOS is not installed "
        "(Debian, Ubuntu: apt-get install qemu-system-x86 seabios)",
    ),
]

#: Of QEMU's standard VGA device, and of its pci-testdev.
VENDOR, DEVICE = IDS = (0x1234, 0x1111)
TESTDEV = (0x1B36, 0x0005)

Image = Callable[[str], bytes]


def x86(structure: bytes | None = None, **fields: int) -> Image:
    """An x86 image of two blocks; its PCIR names the VGA device and is the last unless told."""
    return lambda mark: x86_image(mark, structure, **fields)


def vga(**fields: int) -> bytes:
    return pcir(vendor=VENDOR, device=DEVICE, **fields)


def other(**fields: int) -> bytes:
    return pcir(vendor=0x10DE, device=0x1C03, **fields)


def balanced(raw: bytearray, length: int, at: int) -> bytes:
    """`raw` with the byte at `at` such that the first `length` sum to zero."""
    raw[at] = (raw[at] - sum(raw[:length])) & 0xFF
    return bytes(raw)


def good_over_the_size_byte_only(mark: str) -> bytes:
    raw = bytearray(x86_image(mark, size_byte=1))
    raw[-1] ^= 0xFF
    return balanced(raw, 512, 511)


def with_unaligned_pcir(mark: str) -> bytes:
    """The PCIR stands at 0x42 in place of 0x40."""
    raw = bytearray(x86_image(mark))
    raw[0x18] = 0x42
    raw[0x42:0x5A] = raw[0x40:0x58]
    return balanced(raw, len(raw), len(raw) - 1)


def with_device_list(mark: str) -> bytes:
    """For another device, with the VGA device in its list."""
    structure = pcir(vendor=VENDOR, device=0x2222, device_list=0x1C, length=0x1C, revision=3)
    raw = bytearray(x86_image(mark, structure))
    raw[0x5C:0x60] = struct.pack("<HH", DEVICE, 0)
    return balanced(raw, len(raw), len(raw) - 1)


CASES: dict[str, tuple[bytes | Image, ...]] = {
    # The sum, over what the size byte says.
    "good": (x86(),),
    "bad sum": (x86(fix_sum=0),),
    "bad sum over the size byte": (x86(size_byte=1),),
    "bad sum over the PCIR length": (good_over_the_size_byte_only,),
    "size byte zero": (x86(size_byte=0),),
    "size byte behind the file": (x86(vga(blocks=3), blocks=3, size_byte=4),),
    "size byte behind the BAR": (x86(size_byte=4),),
    # The ids.
    "ids of another device": (x86(other()),),
    "device of another vendor": (x86(pcir(vendor=0x10DE, device=DEVICE)),),
    "in the device list": (with_device_list,),
    "class of a network card": (x86(vga(class_code=0x020000)),),
    "code type 1": (x86(vga(code_type=1)),),
    # The chain.
    "second image": (x86(other(indicator=0)), x86()),
    "first of two": (x86(vga(indicator=0)), x86()),
    "first of two is bad": (x86(vga(indicator=0), size_byte=1), x86()),
    "behind an EFI image": (efi_image(b"", blocks=2, indicator=0), x86()),
    "behind the last": (x86(other()), x86()),
    "behind reserved indicator bits": (x86(other(indicator=0x7F)), x86()),
    "behind a block": (x86(other(indicator=0)), bytes(512), x86()),
    "no last image": (x86(other(indicator=0)),),
    "length zero": (x86(vga(blocks=0, indicator=0)),),
    "longer than the BAR": (x86(vga(blocks=200)),),
    "unaligned PCIR": (with_unaligned_pcir,),
    "NPDS": (x86(vga(signature=b"NPDS")),),
    "in a container": (nvgi(2, b""), x86()),
}


def build(parts: tuple[bytes | Image, ...]) -> bytes:
    data = b""
    for part in parts:
        data += part if isinstance(part, bytes) else part(f"{len(data):#x}")
    return data


def devices(rom: bytes, folder: Path) -> list[str]:
    """The VGA device with `rom`, and the one that ends the machine."""
    folder.mkdir(exist_ok=True)
    (folder / "rom").write_bytes(rom)
    end = pcir(vendor=TESTDEV[0], device=TESTDEV[1], class_code=0x00FF00)
    (folder / "end").write_bytes(x86_image(END, end, pnp=True, leave=True))
    return [f"VGA,romfile={folder / 'rom'}", f"pci-testdev,romfile={folder / 'end'}"]


def boot(rom: bytes, folder: Path) -> list[int]:
    """Offsets of the images that say that they run."""
    with start_seabios(folder, devices(rom, folder)) as machine:
        assert machine.ends(), "SeaBIOS is stuck"
    assert machine.marks[-1] == END
    return [int(mark, 16) for mark in machine.marks[:-1]]


def test_seabios_starts_what_romkit_says(tmp_path: Path) -> None:
    wrong = []
    for number, (name, parts) in enumerate(CASES.items()):
        rom = build(parts)
        real = boot(rom, tmp_path / str(number))
        view = seabios_view(parse_rom(rom), IDS)
        if real != [a.offset for a in view.started]:
            wrong.append(f"{name}: {real}, not {view}")
    assert not wrong, "\n".join(wrong)


def test_seabios_starts_what_is_left_without_the_container(tmp_path: Path) -> None:
    rom = parse_rom(build(CASES["in a container"]))
    view = seabios_view(rom, IDS, rom.rom_offset)
    assert [a.offset for a in view.started] == boot(bytes(rom)[rom.rom_offset :], tmp_path)
    assert len(view.started) == 1


def test_seabios_does_not_come_back_from_a_length_of_zero(tmp_path: Path) -> None:
    endless = build((x86(other(blocks=0, indicator=0)), x86()))
    assert "not come back" in seabios_view(parse_rom(endless), IDS).stop
    before = time.monotonic()
    boot(build(CASES["good"]), tmp_path / "healthy")
    # Ten times as long as a whole boot takes here and now.
    limit = 10 * (time.monotonic() - before)
    with start_seabios(tmp_path, devices(endless, tmp_path)) as machine:
        assert not machine.ends(limit)
    assert machine.marks == ()


def test_seabios_starts_what_romkit_says_of_real_dumps(corpus: Path, tmp_path: Path) -> None:
    """Real images, without their container, made out to be for QEMU's VGA device.

    What they do when they find that they are not on their own card is of no interest: all is known
    when SeaBIOS says that it starts them, or that it looks for other ROMs.
    """
    wrong, started = [], 0
    for path in sorted((corpus / "roms").iterdir()):
        try:
            rom = parse_rom(path.read_bytes())
        except RomError:
            continue
        data = bytearray(rom.data[rom.rom_offset :])
        for image in rom.pcir_chain:
            if image.code_type == CodeType.PCAT:
                at = image.pcir.offset - rom.rom_offset
                before = sum(data[at : at + 8])
                data[at + 4 : at + 8] = struct.pack("<HH", *IDS)
                # The vendor's revision takes up the difference: sums stay as they were.
                data[at + 0x12] = (data[at + 0x12] + before - sum(data[at : at + 8])) & 0xFF
        options = devices(bytes(data), tmp_path / path.name)
        with start_seabios(tmp_path / path.name, options) as machine:
            assert machine.says("Scan for VGA option rom")
            said = machine.says("Running option rom at c000:0003", "Scan for option roms")
        view = seabios_view(parse_rom(bytes(data)), IDS)
        if said is None or said.startswith("Running") != bool(view.started):
            wrong.append((path.name, said, view))
        started += len(view.started)
    assert wrong == []
    assert started >= 30
