"""The ROMs of the two field reports, as far as the reports describe them.

The Clevo P650HP6 report prints rom-parser's output for three ROMs of a GTX 1060 Mobile. They are
built here by hand after that description, on the layout that mobile NVIDIA ROMs have.
"""

from __future__ import annotations

from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, pcir

from romkit import DeviceId, Verdict, parse_rom, verify
from romkit.finding import Finding
from romkit.render.rom_parser import rom_parser_text

LEGACY_BLOCKS = 0x28200 // 512
FIRST_BLOCKS, OWN_BLOCKS = 0x1A000 // 512 - 88, 88
DRIVER = efi_image(
    build_pe(GOP_GUID), extension=npde(blocks=2, length=16, gop=0x30008), device=0x1C20
)
FIRST = (
    "Valid ROM signature found @0h, PCIR offset 1a0h\n"
    "\tPCIR: type 0 (x86 PC-AT), vendor: 10de, device: 1c20, class: 030000\n"
    "\tPCIR: revision 3, vendor revision: 1\n"
)
EFI = (
    "\tPCIR: type 3 (EFI), vendor: 10de, device: 1c20, class: 030000\n"
    "\tPCIR: revision 3, vendor revision: 0\n"
    "\t\tEFI: Signature Valid, Subsystem: Boot, Machine: X64\n"
    "\tLast image"
)


def legacy(indicator: int, blocks: int = FIRST_BLOCKS) -> bytes:
    structure = pcir(
        device=0x1C20, revision=3, length=0x1C, blocks=LEGACY_BLOCKS, indicator=indicator
    )
    return image(
        structure, pointer=0x1A0, blocks=blocks, extension=npde(blocks=blocks), fix_sum=False
    )


def own(blocks: int, last: int = 0) -> bytes:
    structure = pcir(
        signature=b"NPDS", device=0x1C00, class_code=0, code_type=0xE0, blocks=blocks, indicator=0
    )
    return image(
        structure, signature=b"VN", blocks=blocks, extension=npde(blocks=blocks, last=last)
    )


def summed(data: bytes) -> bytes:
    """The legacy image mended to a sum of zero over its PCIR length."""
    raw = bytearray(data)
    raw[0x200] = raw[0x200] - sum(raw[: LEGACY_BLOCKS * 512]) & 0xFF
    return bytes(raw)


REST = LEGACY_BLOCKS - FIRST_BLOCKS - OWN_BLOCKS
MSHYBRID = summed(legacy(0x80) + own(OWN_BLOCKS) + own(REST, last=0x80))
DISCRETE = summed(legacy(0) + own(OWN_BLOCKS) + own(REST)) + efi_image(
    build_pe(GOP_GUID),
    extension=npde(blocks=2, length=16, gop=0x30008, last=0x80),
    device=0x1C20,
)
#: The driver stands where the first NVIDIA image of its own ends, inside the legacy PCIR length.
UPDGOP = legacy(0) + own(OWN_BLOCKS) + DRIVER + own(REST, last=0x80)


def found(data: bytes, check: str, device: DeviceId | None = None) -> list[Finding]:
    return [f for f in verify(data, device) if f.check == check]


def test_the_mshybrid_rom_reads_as_the_report_prints_it() -> None:
    text, complete = rom_parser_text(parse_rom(MSHYBRID))
    assert text == FIRST + "\tLast image"
    assert complete


def test_the_discrete_rom_reads_as_the_report_prints_it() -> None:
    text, complete = rom_parser_text(parse_rom(DISCRETE))
    assert text == FIRST + "Valid ROM signature found @28200h, PCIR offset 1ch\n" + EFI
    assert complete


def test_the_updgop_rom_reads_as_the_report_prints_it() -> None:
    text, complete = rom_parser_text(parse_rom(UPDGOP))
    assert text == FIRST + "Valid ROM signature found @1a000h, PCIR offset 1ch\n" + EFI
    assert complete


def test_the_updgop_rom_has_the_fault_that_rom_parser_does_not_see() -> None:
    (lost,) = found(UPDGOP, "rom.efi-unreachable")
    assert lost.blocks
    assert [f.verdict for f in found(UPDGOP, "guest.ovmf")] == [Verdict.FAIL]
    assert [f.verdict for f in found(UPDGOP, "rom.checksum")] == [Verdict.FAIL]
    # NVIDIA's driver reaches it: the fault is in the other chain.
    assert any(i.efi for i in parse_rom(UPDGOP).npde_chain)


def test_the_discrete_rom_is_good() -> None:
    assert not any(f.blocks for f in verify(DISCRETE, DeviceId(0x10DE, 0x1C20)))
    assert [f.verdict for f in found(DISCRETE, "gop.x64")] == [Verdict.PASS]


def test_no_gop_is_no_blocker_since_a_muxless_gpu_needs_none() -> None:
    """The reports: a ROM with UEFI support is not required."""
    (missing,) = found(MSHYBRID, "gop.x64")
    assert missing.verdict is Verdict.FAIL
    assert not missing.blocks
    assert "muxless" in missing.title
    assert not any(f.blocks for f in verify(MSHYBRID))


#: The Acer Nitro 5's GTX 1050 Mobile, and a ROM of that GPU made for another board.
NITRO = DeviceId.parse("10de:1c8d", subsystem="1025:118b")
COLLECTED = image(
    pcir(device=0x1C8D, revision=3, length=0x1C, indicator=0),
    extension=npde(blocks=2, subsystem=(0x1043, 0x1A00)),
) + efi_image(
    build_pe(GOP_GUID + "NVIDIA GPU UEFI Driver".encode("utf-16-le")),
    extension=npde(blocks=2, length=16, gop=0x30008, last=0x80),
    device=0x1C8D,
)


def test_a_rom_from_a_collection_is_compared_with_the_card() -> None:
    """Another board's ROM of the same GPU warns and works, another GPU's blocks."""
    assert [f.verdict for f in found(COLLECTED, "device.id", NITRO)] == [Verdict.PASS]
    (board,) = found(COLLECTED, "device.subsystem", NITRO)
    assert (board.verdict, board.blocks) == (Verdict.FAIL, False)
    assert [f.blocks for f in found(DISCRETE, "device.id", NITRO)] == [True]


def test_an_efi_entry_is_shown() -> None:
    (driver,) = parse_rom(COLLECTED).efi_images
    assert driver.efi is not None
    assert driver.efi.gop is not None
    assert (driver.efi.gop.vendor, driver.efi.gop.version) == ("NVIDIA", "0x30008")
