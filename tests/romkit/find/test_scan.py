"""ROMs that stand in other bytes as they are."""

from __future__ import annotations

import mmap
import random
import struct
import sys
import sysconfig
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest
from builders.rom import (
    efi_image,
    image,
    nvfw,
    nvgi,
    nvidia_desktop,
    nvidia_mobile,
    pcir,
    vfct,
)

from romkit import NotARom
from romkit.find import Found, Place, find_roms

AMD = image(pcir(vendor=0x1002, device=0x1636))
GOP = efi_image(b"", blocks=3, vendor=0x8086, device=0x46A6, class_code=0x030000)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def find(data: bytes) -> list[tuple[bytes, list[str]]]:
    return [(found.data, [str(place) for place in found.where]) for found in find_roms(data)]


ROMS = {"legacy": AMD, "EFI": GOP, "desktop": nvidia_desktop(), "mobile": nvidia_mobile()}


@pytest.mark.parametrize("name", ROMS)
@pytest.mark.parametrize("before", [0, 1, 511, 4 << 20, (4 << 20) - 1])
def test_anywhere(name: str, before: int) -> None:
    """Also across the border of two steps of the search."""
    rom = ROMS[name]
    assert find(noise(before) + rom + noise(777, 2)) == [(rom, [f"{before:#x}"])]


def test_an_empty_file_has_no_rom() -> None:
    assert find(b"") == []


def test_each_rom_once_with_all_its_places() -> None:
    blob = AMD + noise(100) + GOP + AMD + noise(9) + AMD
    third = len(blob) - len(AMD)
    places = ["0x0", f"{100 + len(AMD) + len(GOP):#x}", f"{third:#x}"]
    assert find(blob) == [(AMD, places), (GOP, [f"{100 + len(AMD):#x}"])]


def test_the_found_rom_stands_alone() -> None:
    """Its offsets count from its own start, and nothing follows its last image."""
    rom = nvidia_desktop()
    (found,) = find_roms(b"\xff" * 99 + nvgi(3, rom) + noise(5000))
    assert bytes(found) == found.data == bytes(found.rom) == rom
    assert found.rom.container is None
    assert found.rom.tail is None
    assert found.offset == 99 + 0x4600
    assert found.ids == ((0x10DE, 0x1C03), (0x10DE, 0x1C00))
    assert found.name == f"10de-1c03_0x30008_{sha256(rom).hexdigest()[:8]}"
    assert repr(found) == "<Found 10de:1c03 0xe00 bytes @NVGI version 3 container 0x63 > 0x4663>"


@pytest.mark.parametrize(
    ("data", "missing", "complete"),
    [
        (nvidia_desktop(), 0, True),
        (nvidia_mobile(), 0, True),
        # 00 and 03 are two blocks each, E0 behind them three: a cut in its middle.
        (nvidia_desktop()[: 5 * 512], 2 * 512, True),
        (image(pcir(blocks=4), blocks=4)[: 3 * 512 + 7], 512 - 7, True),
        (image(pcir(indicator=0)) + noise(5000), 0, False),
    ],
)
def test_what_is_cut_off_is_known(data: bytes, missing: int, complete: bool) -> None:
    (found,) = find_roms(data)
    assert (found.missing, found.complete) == (missing, complete)


def test_nothing_of_either_chain_is_lost() -> None:
    """Firmware stops behind the EFI image; NVIDIA's driver goes on to E0."""
    rom = nvidia_desktop()
    ((data, _),) = find(rom + b"\xff" * 4096)
    assert len(data) == (2 + 2 + 3) * 512


def test_containers_are_named() -> None:
    desktop, mobile = nvidia_desktop(), nvidia_mobile()
    blob = nvgi(1, desktop) + b"\xff" * 64 + nvfw(mobile)
    second = len(nvgi(1, desktop)) + 64
    assert find(blob) == [
        (desktop, ["NVGI version 1 container 0x0 > 0x400"]),
        (mobile, [f"NVFW container {second + 0x1000:#x} > {second + 0x5400:#x}"]),
    ]


def test_vfct_with_two_entries() -> None:
    other = image(pcir(vendor=0x1002, device=0x73FF, blocks=3), blocks=3)
    table = vfct(AMD, other)
    at = 40 + 0x4C + 28
    assert find(noise(40) + table + noise(40)) == [
        (AMD, [f"VFCT table 0x28 > entry 04:00.0 1002:1636 > {at:#x}"]),
        (other, [f"VFCT table 0x28 > entry 04:01.0 1002:1637 > {at + len(AMD) + 28:#x}"]),
    ]


def test_a_truncated_rom_is_found_as_far_as_it_goes() -> None:
    assert find(noise(10) + AMD[:700]) == [(AMD[:700], ["0xa"])]


def test_a_chain_that_does_not_end() -> None:
    rom = image(pcir(indicator=0))
    assert find(noise(10) + rom + noise(10)) == [(rom, ["0xa"])]


def test_shadowed_and_patched_roms_are_found() -> None:
    """The sum is wrong, nothing follows although the image says so: still a jump and a size."""
    rom = bytearray(image(pcir(indicator=0)))
    rom[3], rom[600] = 0xEB, rom[600] ^ 1
    assert find(noise(10) + bytes(rom) + noise(10)) == [(bytes(rom), ["0xa"])]


REFUSED = {
    "no PCIR": image(b""),
    "no length": image(pcir(blocks=0), size_byte=2),
    "a length of 16 MiB": image(pcir(blocks=0x8000)),
    "NVIDIA's own": image(pcir(code_type=0xE0)),
    "a code type from nowhere": image(pcir(code_type=0x44)),
    "a class from nowhere": image(pcir(class_code=0x770000)),
    "a revision from nowhere": image(pcir(revision=9)),
    "a structure of 4 KiB": image(pcir(length=0x18)[:10] + b"\0\x10" + pcir()[12:]),
    "EFI without its signature": efi_image(b"", blocks=2, efi_signature=0xEF2),
    "EFI of no subsystem": efi_image(b"", blocks=2, subsystem=3),
    "the header of a ROM, not its image": image(pcir(blocks=7, indicator=0), blocks=1, size_byte=0)[
        :256
    ]
    + bytes(9999),
    "a header with neither size nor code": image(
        pcir(indicator=0), size_byte=0, fix_sum=False, body={3: b"\0"}
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_not_a_rom(name: str) -> None:
    assert find(noise(10) + REFUSED[name] + noise(10)) == []


def test_a_rom_behind_something_like_one() -> None:
    for decoy in REFUSED.values():
        assert [data for data, _ in find(decoy + AMD)] == [AMD]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    assert [found.data for found in find_roms(kind(noise(9) + AMD))] == [AMD]


def test_a_mapped_file_can_be_closed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "flash.bin"
    path.write_bytes(noise(9) + AMD)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert [found.data for found in find_roms(data)] == [AMD]


@pytest.mark.parametrize("blob", [b"\x55\xaa" * 99 + noise(9 << 20) + AMD, nvgi(3, AMD) * 9])
def test_a_mapped_file_can_be_closed_after_an_interrupt(tmp_path: Path, blob: bytes) -> None:
    path = tmp_path / "flash.bin"
    path.write_bytes(blob)

    for last in range(4):
        calls = []

        def interrupt(done: int, total: int, last: int = last, calls: list[int] = calls) -> None:
            calls.append(done)
            if len(calls) > last:
                raise KeyboardInterrupt

        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            try:
                list(find_roms(data, progress=interrupt))
            except KeyboardInterrupt:
                data.close()
            assert calls


def test_a_buffer_of_words() -> None:
    words = struct.unpack(f"<{len(AMD) // 4}I", AMD)
    from array import array

    if array("I").itemsize == 4 and sys.byteorder == "little":
        assert [f.data for f in find_roms(memoryview(array("I", words)))] == [AMD]


def test_progress_ends_where_it_should() -> None:
    seen: list[tuple[int, int]] = []
    data = noise(9 << 20)
    list(find_roms(data, progress=lambda done, total: seen.append((done, total))))
    assert seen == sorted(seen)
    assert seen[0] == (0, len(data))
    assert seen[-1] == (len(data), len(data))
    assert len(seen) == 4


def test_the_search_starts_with_the_first_rom_that_is_asked_for() -> None:
    seen: list[int] = []
    found = find_roms(AMD, progress=lambda done, total: seen.append(done))
    assert seen == []
    assert next(found).data == AMD
    assert seen


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"MSCF\0\0\0\0", "a Microsoft cabinet"),
        (b"MZ" + bytes(99) + b"7z\xbc\xaf\x27\x1c", "a program with a 7z archive in it"),
    ],
)
def test_an_archive_that_is_not_opened_is_named(head: bytes, what: str) -> None:
    notes: list[str] = []
    with pytest.raises(NotARom) as caught:
        list(find_roms(head + noise(99), note=notes.append))
    assert str(caught.value) == f"{what}: unpack it first (at 0x0)"
    assert caught.value.guess == what
    assert notes == [f"this is {what}: unpack it first"]
    assert [f.data for f in find_roms(head + AMD)] == [AMD]


def test_names_tell_roms_of_one_device_apart() -> None:
    other = image(pcir(vendor=0x1002, device=0x1636), fill=0x33)
    names = [found.name for found in find_roms(AMD + other)]
    assert names == [f"1002-1636_{sha256(rom).hexdigest()[:8]}" for rom in (AMD, other)]


def test_a_place_reads_well() -> None:
    place = Place(("BIOS region 0x500000", "raw section 0x1c"), 0x20, packed=False)
    assert str(place) == "BIOS region 0x500000 > raw section 0x1c > 0x20"


@pytest.mark.slow
def test_no_false_find_in_100_mib_of_random_data() -> None:
    for seed in range(10):
        assert list(find_roms(noise(10 << 20, seed))) == []


def programs() -> list[Path]:
    """Executables and libraries of this machine, the largest first."""
    folders = [Path(sys.executable).parent, Path("/usr/bin"), Path(sysconfig.get_paths()["stdlib"])]
    files = {
        path.resolve()
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.is_file()
    }
    return sorted(files, key=lambda path: -path.stat().st_size)


def whats_in(paths: list[Path]) -> list[tuple[Path, Found]]:
    out = []
    for path in paths:
        try:
            out += [(path, found) for found in find_roms(path.read_bytes())]
        except (NotARom, PermissionError):
            continue
    return out


def test_no_false_find_in_a_few_programs() -> None:
    assert whats_in(programs()[:10]) == []


@pytest.mark.slow
def test_no_false_find_in_100_mib_of_programs() -> None:
    total, chosen = 0, []
    for path in islice(programs(), 2000):
        total += path.stat().st_size
        chosen.append(path)
        if total > 300 << 20:
            break
    assert whats_in(chosen) == []


@pytest.mark.skipif(
    not Path("/usr/share/OVMF").is_dir(), reason="no OVMF here (Debian's package ovmf)"
)
def test_ovmf_holds_no_option_rom() -> None:
    """Debian's OVMF has the PCIR signature in two drivers' code, and not one option ROM."""
    for path in sorted(Path("/usr/share/OVMF").glob("OVMF_CODE*.fd")):
        notes: list[str] = []
        assert list(find_roms(path.read_bytes(), note=notes.append)) == []
        assert notes == []


IPXE = sorted(Path("/usr/lib/ipxe").rglob("*.rom"))


@pytest.mark.skipif(not IPXE, reason="no iPXE ROMs here (Debian's packages ipxe-qemu and ipxe)")
def test_debians_ipxe_roms_are_found_whole() -> None:
    for path in IPXE:
        rom = path.read_bytes()
        assert [data for data, _ in find(noise(13) + rom + noise(13))] == [rom]
