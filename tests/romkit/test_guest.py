from __future__ import annotations

import hashlib

from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, nvgi, nvidia_desktop, pcir

from romkit import Rom, parse_rom
from romkit.efi.compression import compress
from romkit.guest import Outcome, ovmf_view, seabios_view

DRIVER = build_pe(GOP_GUID)
LEGACY = image(pcir(indicator=0))

#: 1.5 KiB that do not compress.
NOISE = b"".join(hashlib.sha512(bytes([n])).digest() for n in range(24))


def padded(data: bytes) -> Rom:
    """A ROM of a size that OVMF does not overlook."""
    return parse_rom(data.ljust(4096, b"\0"))


def started(data: bytes) -> list[int]:
    return [a.offset for a in ovmf_view(padded(data)).started]


def test_ovmf_starts_an_x64_driver_behind_a_legacy_image() -> None:
    view = ovmf_view(padded(LEGACY + efi_image(DRIVER)))
    assert [(a.offset, a.outcome) for a in view.attempts] == [
        (0, Outcome.SKIPS),
        (1024, Outcome.STARTS),
    ]


def test_ovmf_looks_at_the_first_byte_of_the_bar() -> None:
    rom = parse_rom(nvgi(2, LEGACY + efi_image(DRIVER).ljust(4096, b"\0")))
    assert ovmf_view(rom).started == ()
    assert "55 AA" in ovmf_view(rom).why_nothing
    assert [a.offset for a in ovmf_view(rom, rom.rom_offset).started] == [0x400 + 1024]


def test_ovmf_steps_over_a_gap_behind_the_first_image() -> None:
    """edk2 goes on in steps of a block; Linux would stop."""
    assert started(LEGACY + bytes(1024) + efi_image(DRIVER)) == [2048]


def test_ovmf_stops_at_an_unaligned_pcir() -> None:
    data = image(pcir(indicator=0), pointer=0x42) + efi_image(DRIVER)
    assert started(data) == []
    assert "multiple of 4" in ovmf_view(padded(data)).why_nothing


def test_ovmf_refuses_what_its_loader_refuses() -> None:
    for wrong in (
        efi_image(DRIVER, efi_signature=0x0EF2),
        efi_image(DRIVER, subsystem=0x0A),
        efi_image(DRIVER, compression=2),
        efi_image(DRIVER, initialization_blocks=200),
        efi_image(b"\xff" * 64, compression=1),
        efi_image(build_pe(GOP_GUID, subsystem=3)),
        efi_image(build_pe(bytes(1024)), initialization_blocks=1),
        efi_image(build_pe(bytes(1024)), initialization_blocks=2),
        efi_image(compress(build_pe(NOISE)), compression=1, initialization_blocks=3),
    ):
        view = ovmf_view(padded(LEGACY + wrong))
        assert [a.outcome for a in view.attempts] == [Outcome.SKIPS, Outcome.REFUSES]


def test_ovmf_skips_drivers_for_other_machines() -> None:
    data = LEGACY + efi_image(build_pe(GOP_GUID, machine=0xAA64), machine=0xAA64)
    view = ovmf_view(padded(data))
    assert view.attempts[1].outcome is Outcome.SKIPS
    assert "AA64" in view.attempts[1].reason


def test_ovmf_does_not_look_behind_the_last_image() -> None:
    assert started(image(pcir(indicator=0x80)) + efi_image(DRIVER)) == []


def test_ovmf_would_hang_at_length_zero_and_we_do_not() -> None:
    view = ovmf_view(padded(image(pcir(blocks=0, indicator=0))))
    assert "length zero" in view.stop


def test_ovmf_goes_by_the_machine_of_the_pe_image() -> None:
    """Not by that in the header of the ROM image; byte code it interprets."""
    assert started(efi_image(DRIVER, machine=0xAA64)) == [0]
    assert started(efi_image(build_pe(GOP_GUID, machine=0xAA64))) == []
    assert started(efi_image(build_pe(GOP_GUID, machine=0x0EBC), machine=0x0EBC)) == [0]


def test_ovmf_refuses_an_image_longer_than_the_bar() -> None:
    """2.5 KiB of file are a BAR of 4 KiB: eight blocks fit, nine do not."""
    assert "longer" in ovmf_view(parse_rom(image(pcir(blocks=9), blocks=5))).stop
    assert ovmf_view(parse_rom(image(pcir(blocks=8), blocks=5))).stop == "last image"


def test_ovmf_overlooks_a_bar_below_4_kib() -> None:
    assert "4096" in ovmf_view(parse_rom(efi_image(DRIVER).ljust(2048, b"\0"))).why_nothing
    assert len(ovmf_view(parse_rom(efi_image(DRIVER).ljust(2049, b"\0"))).started) == 1


def test_ovmf_reads_zeros_where_the_file_ends_and_the_bar_goes_on() -> None:
    """It takes a stream that is cut off for a whole one."""
    whole = efi_image(compress(build_pe(NOISE * 2)), compression=1, blocks=8)
    assert [a.offset for a in ovmf_view(parse_rom(whole[:2560])).started] == [0]
    assert ovmf_view(parse_rom(whole[:2048])).started == ()


def test_ovmf_starts_a_large_driver_that_no_chain_leads_to() -> None:
    driver = efi_image(compress(build_pe(bytes(700_000))), compression=1)
    assert started(LEGACY + bytes(512) + driver) == [1536]


def test_seabios_runs_an_x86_image_that_sums_to_zero() -> None:
    view = seabios_view(parse_rom(nvidia_desktop()))
    assert [a.offset for a in view.started] == [0]


def test_seabios_sums_over_the_size_byte_not_over_the_pcir_length() -> None:
    good = image(pcir())
    assert seabios_view(parse_rom(good)).started
    shorter = bytearray(good)
    shorter[2] = 1
    view = seabios_view(parse_rom(bytes(shorter)))
    assert view.attempts[0].outcome is Outcome.REFUSES
    assert "size byte" in view.why_nothing


def test_seabios_compares_ids_and_goes_on() -> None:
    data = image(pcir(device=0x1111, indicator=0)) + image(pcir(device=0x2222))
    view = seabios_view(parse_rom(data), (0x10DE, 0x2222))
    assert [(a.offset, a.outcome) for a in view.attempts] == [
        (0, Outcome.SKIPS),
        (1024, Outcome.STARTS),
    ]
    assert seabios_view(parse_rom(data), (0x10DE, 0x3333)).started == ()


def test_seabios_would_hang_at_length_zero_and_we_do_not() -> None:
    data = image(pcir(blocks=0, indicator=0))
    assert "length zero" in seabios_view(parse_rom(data), (0x10DE, 0x3333)).stop
    assert len(seabios_view(parse_rom(data)).started) == 1
