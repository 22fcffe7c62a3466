"""What romkit has edited, started by OVMF and SeaBIOS themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.board import desktop, mobile
from builders.driver import x64_code, x64_driver, x86_image
from builders.pe import GOP_GUID, build_pe
from builders.rom import nvgi, pcir
from oracles.firmware import END, QEMU, find_ovmf, start_ovmf, start_seabios

from romkit import parse_rom
from romkit.edit import EfiIds, fix, gop_insert, join_images, split, strip, wrap_driver

OVMF = find_ovmf()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        QEMU is None or OVMF is None,
        reason="QEMU or OVMF is not installed "
        "(Debian, Ubuntu: apt-get install qemu-system-x86 ovmf)",
    ),
]

#: Debian's ipxe-qemu: an x86 image and an EFI network driver in each.
IPXE = Path("/usr/lib/ipxe/qemu/efi-e1000.rom")

IDS = EfiIds(0x10DE, 0x1C8D)


def pascal_gop(mark: str) -> bytes:
    """An image whose driver says `mark`, and that passes for a GOP driver of NVIDIA's."""
    name = "NVIDIA GPU UEFI Driver".encode("utf-16-le")
    driver = build_pe(x64_code(mark) + GOP_GUID + name + b"\0\0", names=(b".text",))
    return wrap_driver(driver, IDS, npde=True, gop_version=0x30009)


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


def test_ovmf_starts_a_driver_whose_place_was_mended(tmp_path: Path) -> None:
    board, at = mobile(), 7 * 512
    broken = bytearray(board[:at] + pascal_gop("mended") + board[at:])
    broken[0x55] = 0
    assert run(tmp_path / "broken", bytes(broken))[0] == ()
    assert run(tmp_path / "mended", fix(parse_rom(bytes(broken))).data)[0] == ("mended",)


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
