"""OVMF itself as a second opinion on what a guest's firmware starts from a ROM.

Each ROM sits on a device of its own, all in one virtual machine. A driver made by hand says which
ROM it stands in, and where; of other people's drivers OVMF's list of loaded images tells.
"""

from __future__ import annotations

import random
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from builders.driver import AA64, EBC, IA32, ebc_driver, x64_code, x64_driver
from builders.pe import build_pe
from builders.rom import efi_image, image, nvgi, pcir
from corpus.conftest import corpus_dir
from oracles.firmware import END, NEEDS_OVMF, OVMF, Machine, start_ovmf

from romkit import RomError, parse_rom
from romkit.efi.compression import compress
from romkit.guest import ovmf_view

pytestmark = NEEDS_OVMF

#: Debian's ipxe-qemu: network drivers in the ROMs that QEMU gives to its own devices.
IPXE = sorted(Path("/usr/lib/ipxe/qemu").glob("*.rom"))

#: (start of the file name, offset) of drivers that OVMF starts but does not keep: this one returns
#: an error where it finds no Intel GPU.
DECLINES = {("b2fc063e78c2", 0)}

#: Makes an image whose driver writes this mark.
Image = Callable[[str], bytes]

#: Parts of a ROM, and how long the file is (cut, or filled up with zeros).
Case = tuple[tuple[bytes | Image, ...], int]

#: Of two blocks, and not the last.
LEGACY = image(pcir(indicator=0))


def tiano(pe: bytes) -> bytes:
    from uefi_firmware import efi_compressor

    return bytes(efi_compressor.TianoCompress(pe, len(pe)))


def efi(
    make: Callable[[str], bytes] = x64_driver,
    *,
    pack: Callable[[bytes], bytes] = bytes,
    change: Callable[[bytes], bytes] = bytes,
    **fields: int,
) -> Image:
    """An EFI image around the driver that `make` makes; it is the last one unless told.

    Args:
        make: the PE image for a mark.
        pack: what compresses it.
        change: a last touch to the whole image.
        **fields: see `efi_image`.
    """
    return lambda mark: change(efi_image(pack(make(mark)), **fields))


def packed(make: Callable[[str], bytes] = x64_driver, **fields: int) -> Image:
    return efi(make, pack=compress, compression=1, **fields)


def with_noise(mark: str) -> bytes:
    """A driver behind whose code stand 3000 bytes that do not compress."""
    noise = random.Random(mark).randbytes(3000)
    return build_pe(x64_code(mark) + noise, names=(b".text",))


def with_unaligned_pcir(raw: bytes) -> bytes:
    """An EFI image whose PCIR stands at 0x1E in place of 0x1C."""
    return raw[:0x18] + b"\x1e\0" + raw[0x1A:0x1C] + b"\0\0" + raw[0x1C:0x38] + raw[0x3A:]


def with_offset(offset: int) -> Callable[[bytes], bytes]:
    """An EFI image that says that its driver stands there."""
    return lambda raw: raw[:0x16] + struct.pack("<H", offset) + raw[0x18:]


def with_length_zero(raw: bytes) -> bytes:
    """An EFI image with a PCIR image length of zero."""
    return raw[:0x2C] + b"\0\0" + raw[0x2E:]


def x64(subsystem: int) -> Callable[[str], bytes]:
    return lambda mark: x64_driver(mark, subsystem=subsystem)


def foreign(mark: str) -> bytes:
    return x64_driver(mark, machine=AA64)


def ia32(mark: str) -> bytes:
    return build_pe(x64_code(mark), machine=IA32, plus=False, names=(b".text",))


def large(mark: str) -> bytes:
    """As large as real GOP drivers get."""
    return x64_driver(mark, size=700_000)


def rom(*parts: bytes | Image, size: int = 4096) -> Case:
    return parts, size


CASES: dict[str, Case] = {
    # The driver.
    "plain": rom(efi()),
    "compressed": rom(packed()),
    "Tiano": rom(efi(with_noise, pack=tiano, compression=1)),
    "compression type 2": rom(efi(compression=2)),
    "for AA64": rom(efi(foreign, machine=AA64)),
    "for AA64, header says X64": rom(efi(foreign)),
    # Older than 2019, edk2 skipped it for what its header says.
    "for X64, header says AA64": rom(efi(machine=AA64)),
    "for IA32": rom(efi(ia32, machine=IA32)),
    "byte code": rom(efi(ebc_driver, machine=EBC)),
    "runtime driver": rom(efi(x64(0x0C), subsystem=0x0C)),
    "application in the header": rom(efi(subsystem=0x0A)),
    "application in the PE image": rom(efi(x64(0x0A))),
    "PE image for Windows": rom(efi(x64(0x03))),
    # Its header.
    "EFI signature": rom(efi(efi_signature=0x0EF2)),
    "size field above image length": rom(efi(initialization_blocks=3)),
    "size field zero": rom(efi(initialization_blocks=0)),
    "size field below image length": rom(efi(blocks=4, initialization_blocks=2)),
    "size field cuts headers": rom(efi(initialization_blocks=1)),
    "size field cuts driver": rom(efi(with_noise, initialization_blocks=4)),
    "size field cuts stream": rom(packed(with_noise, initialization_blocks=4)),
    "driver behind size field": rom(efi(change=with_offset(0x400))),
    "sum": rom(efi(change=lambda raw: raw[:-1] + bytes([(1 - sum(raw[:-1])) & 0xFF]))),
    "ids of another device": rom(efi(vendor=0x1002, device=0x73FF)),
    "ids of the device": rom(efi(vendor=0x1B36, device=0x0005)),
    "unaligned PCIR": rom(efi(change=with_unaligned_pcir)),
    "length zero, last": rom(efi(change=with_length_zero)),
    # The chain.
    "behind a legacy image": rom(LEGACY, efi()),
    "behind a bad sum": rom(image(pcir(indicator=0), fix_sum=False), efi()),
    "behind an unaligned PCIR": rom(image(pcir(indicator=0), pointer=0x42), efi()),
    "behind NPDS": rom(image(pcir(signature=b"NPDS", indicator=0)), efi()),
    "behind VN": rom(image(pcir(indicator=0), signature=b"VN"), efi()),
    "behind type 1": rom(image(pcir(code_type=1, indicator=0)), efi()),
    "behind type E0": rom(image(pcir(code_type=0xE0, indicator=0)), efi()),
    "behind AA64": rom(efi(foreign, machine=AA64, indicator=0), efi()),
    "behind the last": rom(image(pcir()), efi()),
    "behind reserved indicator bits": rom(image(pcir(indicator=0x7F)), efi()),
    "behind a block": rom(LEGACY, bytes(512), efi()),
    "behind two blocks": rom(LEGACY, b"\xff" * 1024, efi()),
    "behind half a block": rom(LEGACY, bytes(256), efi()),
    "behind a header without PCIR": rom(LEGACY, b"\x55\xaa".ljust(512, b"\0"), efi()),
    "large, behind a block": rom(LEGACY, bytes(512), packed(large)),
    "two": rom(efi(indicator=0), packed()),
    "two, a block between": rom(efi(indicator=0), bytes(512), efi()),
    "no last image": rom(efi(indicator=0)),
    "no last image, BAR full": rom(efi(indicator=0, blocks=8)),
    "in a container": rom(nvgi(2, b""), efi()),
    # The BAR: the power of two that is not below the size of the file.
    "BAR of 1 KiB": rom(efi(), size=1024),
    "BAR of 2 KiB": rom(LEGACY, efi(), size=2048),
    "BAR of 4 KiB": rom(efi(), size=2049),
    "longer than the BAR": rom(efi(blocks=9)),
    "longer than the file, in the BAR": rom(efi(blocks=8), size=2560),
    "longer than the file, and the BAR": rom(efi(blocks=8), size=2048),
    "stream cut off, in the BAR": rom(packed(with_noise, blocks=8), size=3072),
}  # fmt: skip


def build(name: str) -> bytes:
    parts, size = CASES[name]
    data = b""
    for part in parts:
        data += part if isinstance(part, bytes) else part(f"{name} @{len(data):#x}")
    return data.ljust(size, b"\0")[:size]


def devices(roms: list[bytes], folder: Path) -> Iterator[str]:
    """One device for each ROM, in the order of `slot`."""
    for number, data in enumerate(roms):
        path = folder / f"{number}.rom"
        path.write_bytes(data)
        device, function = slot(number)
        yield f"pci-testdev,addr={device:#x}.{function},multifunction=on,romfile={path}"


def slot(number: int) -> tuple[int, int]:
    """Device and function on the first bus; 00.0 is the host bridge's, 1f QEMU's own."""
    return 1 + number // 8, number % 8


def run(machine: Machine) -> None:
    assert machine.ends(), f"OVMF is stuck behind {machine.marks[-1:]}"
    assert machine.marks[-1] == END


def held(machine: Machine, count: int) -> list[list[int]]:
    """Offsets of the images that OVMF holds, for each of `count` ROMs."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for device, function, offset in sorted(machine.option_rom_images):
        found[device, function].append(offset)
    return [found[slot(number)] for number in range(count)]


def test_ovmf_starts_what_romkit_says(tmp_path: Path) -> None:
    roms = [build(name) for name in CASES]
    # As if the container had been cut off.
    cut = parse_rom(roms[list(CASES).index("in a container")])
    roms.append(bytes(cut)[cut.rom_offset :])

    assert OVMF is not None
    with start_ovmf(tmp_path, OVMF, list(devices(roms, tmp_path))) as machine:
        run(machine)
    said = [mark.rpartition(" @") for mark in machine.marks[:-1]]
    real: dict[str, list[int]] = {name: [] for name in CASES}
    for name, _, offset in said:
        real[name].append(int(offset, 16))

    views = {name: ovmf_view(parse_rom(data)) for name, data in zip(CASES, roms, strict=False)}
    assert views["in a container"].started == ()
    views["in a container"] = ovmf_view(cut, cut.rom_offset)
    predicted = {name: [a.offset for a in view.started] for name, view in views.items()}
    wrong = [f"{n}: {real[n]}, not {views[n]}" for n in CASES if real[n] != predicted[n]]
    assert not wrong, "\n".join(wrong)


def test_ovmf_does_not_come_back_from_a_length_of_zero(tmp_path: Path) -> None:
    """Nothing starts then, not even from other devices."""
    good = efi()("good")
    # Newer edk2 ends where the very first image is that short; behind another it still does not.
    endless = LEGACY + efi(change=with_length_zero, indicator=0)("endless")
    assert "not come back" in ovmf_view(parse_rom(endless.ljust(4096, b"\0"))).stop

    assert OVMF is not None
    with ExitStack() as stack:
        machines = []
        for name, roms in (("stuck", [good, endless]), ("healthy", [good, good])):
            folder = tmp_path / name
            folder.mkdir()
            options = list(devices([data.ljust(4096, b"\0") for data in roms], folder))
            machines.append(stack.enter_context(start_ovmf(folder, OVMF, options)))
        stuck, healthy = machines
        before = time.monotonic()
        run(healthy)
        # Half as long again as a whole boot takes here and now, side by side.
        assert not stuck.ends((time.monotonic() - before) / 2)
    assert healthy.marks == ("good", "good", END)
    assert stuck.marks == ()


def test_ovmf_starts_what_romkit_says_of_real_roms(tmp_path: Path) -> None:
    """Whole files, and what is left of them when the container is cut off."""
    folder = corpus_dir()
    paths = IPXE + (sorted((folder / "roms").iterdir()) if folder else [])
    if not paths:
        pytest.skip(
            "no real ROMs: apt-get install ipxe-qemu (Debian, Ubuntu), or set ROMKIT_CORPUS to "
            "the directory of a corpus of dumps"
        )
    names, roms, predicted = [], [], []
    for path in paths:
        try:
            rom = parse_rom(path.read_bytes())
        except RomError:
            continue
        for start in sorted({0, rom.rom_offset}):
            names.append(path.name)
            roms.append(rom.data[start:])
            started = [a.offset - start for a in ovmf_view(rom, start).started]
            predicted.append([o for o in started if (path.name[:12], o) not in DECLINES])

    assert OVMF is not None
    with start_ovmf(tmp_path, OVMF, list(devices(roms, tmp_path))) as machine:
        run(machine)
    kept = held(machine, len(roms))
    wrong = [
        f"{name}: {real}, not {said}"
        for name, real, said in zip(names, kept, predicted, strict=True)
        if real != said
    ]
    assert not wrong, "\n".join(wrong)
    assert any(kept)
    assert folder is None or sum(map(len, kept)) >= 30
