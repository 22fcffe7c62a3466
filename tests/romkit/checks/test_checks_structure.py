from __future__ import annotations

import pytest
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir

from romkit import Severity, Verdict, parse_rom, verify
from romkit.finding import Finding

DRIVER = build_pe(GOP_GUID)


def findings(data: bytes, check: str) -> list[Finding]:
    return [f for f in verify(data) if f.check == check]


def verdicts(data: bytes, check: str) -> list[Verdict]:
    return [f.verdict for f in findings(data, check)]


def test_a_good_rom_passes_every_check() -> None:
    # Four blocks would be too small a ROM BAR for OVMF.
    driver = efi_image(DRIVER, vendor=0x1002, blocks=6)
    data = image(pcir(vendor=0x1002, indicator=0)) + driver
    failed = {f.check for f in verify(data) if f.verdict is Verdict.FAIL}
    assert failed == {"efi.signed"}
    assert not any(f.blocks for f in verify(data))


def test_every_failure_says_what_was_read_and_what_to_do() -> None:
    samples = (
        nvgi(2, nvidia_desktop()), nvidia_mobile(), image(pcir(blocks=9), blocks=2),
        b"\x55\xaa" + bytes(600), image(pcir(indicator=0)), image(pcir(), fix_sum=False),
    )  # fmt: skip
    for data in samples:
        for finding in verify(data):
            assert finding.title
            assert finding.subject
            if finding.verdict is Verdict.FAIL:
                assert finding.remedy, finding.check
                assert finding.source, finding.check
                if finding.severity is not Severity.NOTE:
                    assert finding.evidence, finding.check


def test_a_container_blocks_a_romfile() -> None:
    (found,) = findings(nvgi(1, nvidia_desktop()), "rom.container")
    assert found.blocks
    assert "romkit strip" in found.remedy
    assert verdicts(nvidia_desktop(), "rom.container") == [Verdict.PASS]


def test_a_container_that_leads_nowhere_is_told() -> None:
    data = nvgi(2, nvidia_desktop()).replace(b"\x00\x04\x00\x00", b"\x00\x06\x00\x00", 1)
    assert verdicts(data, "rom.container-pointer") == [Verdict.FAIL]


def test_a_directory_that_states_more_than_there_is() -> None:
    data = nvgi(3, nvidia_desktop(), rom_length=0x100000)
    (found,) = findings(data, "rom.stated-length")
    assert found.blocks


def test_a_truncated_dump() -> None:
    whole = image(pcir(blocks=4), blocks=4)
    assert verdicts(whole, "rom.truncated") == [Verdict.PASS]
    (found,) = findings(whole[:1500], "rom.truncated")
    assert found.blocks
    assert "548 bytes are missing" in found.title
    assert verdicts(whole[:1500], "rom.checksum") == [Verdict.UNKNOWN]


def test_a_boot_gpus_shadow_copy_is_told_from_a_truncated_dump() -> None:
    data = image(pcir(blocks=2, indicator=0), extension=npde(blocks=3))
    (found,) = findings(data, "rom.shadow")
    assert found.blocks
    assert findings(data, "rom.truncated") == []


def test_no_last_image_warns_and_blocks_where_images_are_lost() -> None:
    only_open = image(pcir(indicator=0))
    (found,) = findings(only_open, "rom.last-image")
    assert found.severity is Severity.WARNING
    # NPDE leads to a second image, PCIR into nothing.
    lost = image(pcir(blocks=7, indicator=0), extension=npde(blocks=2), blocks=2) + image(
        pcir(), extension=npde(blocks=2, last=0x80)
    ).ljust(4096, b"\xff")
    (found,) = findings(lost, "rom.last-image")
    assert found.severity is Severity.BLOCKER


def test_an_efi_image_that_firmware_cannot_reach_blocks() -> None:
    """What a GOP inserter does that goes by the wrong length."""
    legacy = image(pcir(blocks=6, indicator=0), blocks=2, extension=npde(blocks=2), fix_sum=False)
    data = legacy + efi_image(DRIVER, extension=npde(blocks=2, length=16)) + bytes(4096)
    rom = parse_rom(data)
    assert [i.offset for i in rom.efi_images] == [1024]
    (found,) = findings(data, "rom.efi-unreachable")
    assert found.blocks
    (guest,) = findings(data, "guest.ovmf")
    assert guest.verdict is Verdict.FAIL


def test_images_that_only_nvidias_driver_sees_are_a_note() -> None:
    (found,) = findings(nvidia_desktop(), "rom.chains")
    assert found.severity is Severity.NOTE
    assert "1 of 3" in found.title


def test_an_image_that_nvidias_driver_does_not_see_is_a_warning() -> None:
    data = image(pcir(indicator=0), extension=npde(blocks=2, last=0x80)) + image(pcir())
    (found,) = findings(data, "rom.chains")
    assert found.severity is Severity.WARNING


def test_a_sysfs_dump_lacks_nvidias_own_images() -> None:
    dump = image(pcir(indicator=0x80), extension=npde(blocks=2))
    (found,) = findings(dump, "rom.npde-open")
    assert found.severity is Severity.NOTE


def test_an_unaligned_pcir_warns() -> None:
    assert verdicts(image(pcir(), pointer=0x5B), "rom.pcir-unaligned") == [Verdict.FAIL]
    assert verdicts(image(pcir(), pointer=0x5C), "rom.pcir-unaligned") == []


def test_a_second_copy_is_a_note() -> None:
    data = nvidia_desktop() + b"\xff" * 512 + nvidia_desktop()
    (found,) = findings(data, "rom.second-copy")
    assert found.severity is Severity.NOTE
    assert "identical" in found.title


def test_an_isa_rom_has_no_pcir() -> None:
    (found,) = findings(b"\x55\xaa\x02" + bytes(1021), "rom.no-pcir")
    assert found.blocks


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\0" * 100, b"MZ" + bytes(99)])
def test_what_is_no_rom_is_one_finding(data: bytes) -> None:
    (found,) = verify(data)
    assert found.check == "rom.not-a-rom"
    assert found.blocks
