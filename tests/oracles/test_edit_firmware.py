"""What romkit has edited, started by OVMF and SeaBIOS themselves."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from builders.board import desktop, mobile
from builders.driver import x64_code, x64_driver, x86_image
from builders.pe import GOP_GUID, build_pe
from builders.rom import nvgi, pcir
from oracles.firmware import (
    END,
    NEEDS_OVMF,
    OVMF,
    start_ovmf,
    start_ovmf_from_network,
    start_seabios,
)

from romkit import parse_rom
from romkit.edit import EfiIds, fix, gop_insert, join_images, split, strip, wrap_driver

pytestmark = NEEDS_OVMF

#: Debian's ipxe-qemu: an x86 image and an EFI network driver in each.
IPXE = Path("/usr/lib/ipxe/qemu/efi-e1000.rom")

IDS = EfiIds(0x10DE, 0x1C8D)


#: What iPXE prints on the console when it is booted, and what OVMF's own shell prints.
IPXE_BANNER = "Open Source Network Boot Firmware"
SHELL_BANNER = "UEFI Interactive Shell"


def gop_image(code: bytes) -> bytes:
    """An image whose driver is this code, and that passes for a GOP driver of NVIDIA's."""
    name = "NVIDIA GPU UEFI Driver".encode("utf-16-le")
    driver = build_pe(code + GOP_GUID + name + b"\0\0", names=(b".text",))
    return wrap_driver(driver, IDS, npde=True, gop_version=0x30009)


def pascal_gop(mark: str) -> bytes:
    """The same, whose driver says `mark`."""
    return gop_image(x64_code(mark))


def serial_code(banner: str) -> bytes:
    """64-bit code that writes `banner` and a newline to COM1, and returns EFI_SUCCESS."""
    text = banner.encode("ascii") + b"\n"
    rest = b"\xb9" + struct.pack("<I", len(text))  # mov ecx, length
    rest += bytes.fromhex(
        "fc"  #              cld
        "66 ba fd 03"  # next: mov dx, 0x3fd   line status
        "ec a8 20 74 fb"  #   wait: in al, dx; test al, 0x20; jz wait
        "66 ba f8 03"  #      mov dx, 0x3f8   COM1
        "ac ee e2 ef"  #      lodsb; out dx, al; loop next
        "5e 31 c0 c3"  #      pop rsi; xor eax, eax; ret
    )
    # push rsi; lea rsi, [rip + text]
    return b"\x56\x48\x8d\x35" + struct.pack("<I", len(rest)) + rest + text


def run(folder: Path, *roms: bytes, model: str = "VGA") -> tuple[tuple[str, ...], set[int]]:
    """What the drivers say, and the slots of the devices whose drivers OVMF keeps."""
    folder.mkdir(exist_ok=True)
    devices = []
    for number, rom in enumerate(roms):
        path = folder / f"{number}.rom"
        path.write_bytes(rom)
        devices.append(f"{model},addr={number + 4:#x},romfile={path}")
    assert OVMF is not None
    with start_ovmf(folder, OVMF, devices) as machine:
        assert machine.ends(), "OVMF is stuck"
    assert machine.marks[-1] == END
    return machine.marks[:-1], {device for device, _, _ in machine.option_rom_images}


def test_ovmf_starts_drivers_that_were_joined(tmp_path: Path) -> None:
    legacy = x86_image("never in OVMF", blocks=8, structure=pcir(blocks=8))
    more = EfiIds(0x10DE, 0x1C03, 0x030000, (1, 2, 3))
    said, _ = run(
        tmp_path,
        join_images([legacy, x64_driver("compressed", size=0x3000)]).data,
        join_images([legacy, x64_driver("plain")], compressed=False).data,
        join_images([legacy, x64_driver("first"), x64_driver("second")]).data,
        join_images([x64_driver("listed", size=0x3000)], ids=more, compressed=False).data,
    )
    assert sorted(said) == ["compressed", "first", "listed", "plain", "second"]


def test_ovmf_starts_drivers_that_were_inserted(tmp_path: Path) -> None:
    said, _ = run(
        tmp_path,
        gop_insert(parse_rom(mobile()), parse_rom(pascal_gop("mobile"))).data,
        gop_insert(parse_rom(desktop()), parse_rom(pascal_gop("desktop"))).data,
    )
    assert sorted(said) == ["desktop", "mobile"]


def test_drivers_print_their_banners_on_the_serial_console(tmp_path: Path) -> None:
    legacy = x86_image("never in OVMF", blocks=8, structure=pcir(blocks=8))
    driver = build_pe(serial_code("joined driver 1.0").ljust(0x3000, b"\0"), names=(b".text",))
    roms = {
        "joined": join_images([legacy, driver]),
        "inserted": gop_insert(parse_rom(mobile()), parse_rom(gop_image(serial_code("GOP 2.0")))),
    }
    (joined,) = roms["joined"].rom.efi_images
    assert joined.efi is not None
    assert joined.efi.compression == 1
    devices = []
    for slot, (name, edit) in enumerate(roms.items(), start=4):
        (tmp_path / name).write_bytes(edit.data)
        devices.append(f"VGA,addr={slot:#x},romfile={tmp_path / name}")
    assert OVMF is not None
    with start_ovmf(tmp_path, OVMF, devices) as machine:
        assert machine.says("joined driver 1.0")
        assert machine.says("GOP 2.0")
        assert machine.ends(), "OVMF is stuck"


def test_ovmf_starts_a_driver_whose_place_was_mended(tmp_path: Path) -> None:
    board, at = mobile(), 7 * 512
    broken = bytearray(board[:at] + pascal_gop("mended") + board[at:])
    broken[0x55] = 0
    assert run(tmp_path / "broken", bytes(broken))[0] == ()
    assert run(tmp_path / "mended", fix(parse_rom(bytes(broken))).data)[0] == ("mended",)


def network_boot(folder: Path, rom: bytes) -> str | None:
    """Which of the two banners comes first on the console of a machine with this network ROM."""
    (folder / "network.rom").write_bytes(rom)
    assert OVMF is not None
    with start_ovmf_from_network(folder, OVMF, "e1000", folder / "network.rom") as machine:
        return machine.says(IPXE_BANNER, SHELL_BANNER)


@pytest.mark.skipif(not IPXE.is_file(), reason="iPXE is not there (apt-get install ipxe-qemu)")
def test_ovmf_starts_ipxe_taken_apart_and_put_together(tmp_path: Path) -> None:
    rom = parse_rom(IPXE.read_bytes())
    parts = split(rom)
    legacy = next(p.data for p in parts if p.kind == "image")
    driver = next(p.data for p in parts if p.kind == "driver")
    edit = join_images([legacy, driver])
    (efi,) = edit.rom.efi_images
    assert efi.efi is not None
    assert efi.efi.compression == 1
    assert len(edit.data) < len(rom.data)
    _, kept = run(tmp_path, edit.data, model="e1000")
    assert kept == {4}
    assert network_boot(tmp_path, edit.data) == IPXE_BANNER
    # Without the driver there is nothing to boot from the network with.
    assert network_boot(tmp_path, join_images([legacy]).data) == SHELL_BANNER


def test_seabios_boots_what_was_stripped_and_joined(tmp_path: Path) -> None:
    def vga(mark: str) -> bytes:
        return x86_image(mark, blocks=4, structure=pcir(vendor=0x1234, device=0x1111, blocks=4))

    end = pcir(vendor=0x1B36, device=0x0005, class_code=0x00FF00)
    (tmp_path / "end").write_bytes(x86_image(END, end, pnp=True, leave=True))
    roms = {
        "stripped": strip(parse_rom(nvgi(2, vga("stripped")))).data,
        "joined": join_images([vga("joined"), x64_driver("no")]).data,
        "alone": strip(parse_rom(join_images([vga("alone"), x64_driver("no")]).data),
                       images="legacy").data,
    }  # fmt: skip
    for mark, data in roms.items():
        folder = tmp_path / mark
        folder.mkdir()
        (folder / "rom").write_bytes(data)
        devices = [f"VGA,romfile={folder}/rom", f"pci-testdev,romfile={tmp_path}/end"]
        with start_seabios(folder, devices) as machine:
            assert machine.ends(), "SeaBIOS is stuck"
        assert machine.marks == (mark, END)
