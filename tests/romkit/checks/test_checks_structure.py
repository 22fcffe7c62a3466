from __future__ import annotations

import pytest
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct

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


def test_images_that_only_nvidias_driver_sees_are_no_fault() -> None:
    (found,) = findings(nvidia_desktop(), "rom.chains")
    assert found.verdict is Verdict.PASS
    assert "1 of 3" in found.title


def test_an_image_that_nvidias_driver_does_not_see_is_a_warning() -> None:
    data = image(pcir(indicator=0), extension=npde(blocks=2, last=0x80)) + image(pcir())
    (found,) = findings(data, "rom.chains")
    assert found.severity is Severity.WARNING


def test_a_sysfs_dump_lacks_nvidias_own_images() -> None:
    dump = image(pcir(indicator=0x80), extension=npde(blocks=2))
    (found,) = findings(dump, "rom.npde-open")
    assert found.severity is Severity.NOTE


def test_only_a_whole_dump_without_nvidias_images_comes_from_the_rom_bar() -> None:
    bare = efi_image(DRIVER, blocks=4, extension=npde(blocks=4, length=16, gop=0x30008))
    assert findings(bare, "rom.npde-open") == []
    whole = nvidia_desktop(last=0)
    assert findings(whole, "rom.npde-open") == []
    assert findings(whole[:-100], "rom.npde-open") == []
    dump = image(pcir(indicator=0x80), extension=npde(blocks=2))
    assert findings(nvgi(2, dump), "rom.npde-open") == []
    cut = image(pcir(indicator=0), extension=npde(blocks=2)) + bare[:1500]
    assert findings(cut, "rom.npde-open") == []


def test_a_file_that_starts_with_an_image_of_nvidias_own() -> None:
    back = nvidia_desktop()[2048:]
    assert back[:2] == b"VN"
    (found,) = findings(back, "rom.no-host-image")
    assert found.blocks
    for check in ("rom.last-image", "rom.chains", "rom.container", "gop.x64"):
        assert findings(back, check) == []
    assert findings(nvidia_desktop(), "rom.no-host-image") == []


def test_a_driver_behind_a_last_image_is_out_of_reach() -> None:
    legacy = image(pcir(indicator=0x80), blocks=2)
    data = legacy + efi_image(DRIVER, blocks=6)
    (found,) = findings(data, "rom.efi-unreachable")
    assert found.blocks
    assert "marked as the last (indicator at 0x55)" in found.title
    assert ("0x55", "0x80") in {(e.where, e.value) for e in found.evidence}
    assert findings(data, "rom.second-copy") == []
    (missing,) = findings(data, "gop.x64")
    assert missing.verdict is Verdict.FAIL
    assert "never reaches it" in missing.title


def test_two_equal_drivers_are_a_copy() -> None:
    driver = efi_image(DRIVER, blocks=6)
    assert verdicts(driver + driver, "rom.second-copy") == [Verdict.FAIL]
    assert verdicts(driver + driver, "rom.efi-unreachable") == [Verdict.PASS]


def test_why_a_driver_is_out_of_reach() -> None:
    driver = efi_image(DRIVER, blocks=6, extension=npde(blocks=6, length=16, last=0x80))
    legacy = {"extension": npde(blocks=2), "blocks": 2, "fix_sum": False}
    zero = image(pcir(blocks=0, indicator=0), **legacy) + driver
    (found,) = findings(zero, "rom.efi-unreachable")
    assert "length of zero (at 0x50)" in found.title
    marked = image(pcir(indicator=0x80), **legacy) + driver
    (found,) = findings(marked, "rom.efi-unreachable")
    assert "marked as the last" in found.title
    covered = image(pcir(blocks=6, indicator=0), **legacy) + driver + bytes(4096)
    (found,) = findings(covered, "rom.efi-unreachable")
    assert "length of the image at 0x0 covers it, up to 0xc00" in found.title


def test_a_driver_that_only_ovmf_finds_is_a_warning() -> None:
    """The PCIR length ends before the driver: OVMF goes on block by block, Linux does not."""
    legacy = image(pcir(blocks=1, indicator=0), extension=npde(blocks=2), blocks=2)
    data = legacy + efi_image(DRIVER, blocks=6, extension=npde(blocks=6, length=16, last=0x80))
    (found,) = findings(data, "rom.efi-unreachable")
    assert found.severity is Severity.WARNING
    assert "OVMF starts it all the same" in found.title
    assert "breaks at 0x200" in found.title
    assert verdicts(data, "gop.x64") == [Verdict.PASS]


def test_a_chain_that_breaks_before_data_blocks() -> None:
    front = image(pcir(indicator=0))
    (found,) = findings(front + b"\x12\x34" * 4096, "rom.last-image")
    assert found.blocks
    (padded,) = findings(front + b"\xff" * 4096, "rom.last-image")
    assert not padded.blocks


def test_marking_the_last_image_is_advised_for_drivers_alone() -> None:
    (legacy,) = findings(image(pcir(indicator=0)), "rom.last-image")
    assert legacy.remedy.startswith("dump it again")
    assert "romkit fix" not in legacy.remedy
    (driver,) = findings(efi_image(DRIVER, indicator=0), "rom.last-image")
    assert "romkit fix" in driver.remedy


def test_lengths_that_contradict_each_other_inside_the_file() -> None:
    data = image(pcir(blocks=2, indicator=0), extension=npde(blocks=3)) + b"\x11" * 4096
    assert findings(data, "rom.shadow") == []
    (found,) = findings(data, "rom.lengths")
    assert found.severity is Severity.WARNING


def test_a_vfcts_further_entries_are_no_second_copy_and_are_checked() -> None:
    good, bad = image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002), fix_sum=False)
    data = vfct(good, bad)
    assert findings(data, "rom.second-copy") == []
    first, second = findings(data, "rom.checksum")
    assert (first.verdict, second.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert second.subject.startswith("VFCT entry 1 (04:01.0 1002:1637)")
    (around,) = findings(data, "rom.container")
    assert "keeps VFCT entry 0 (04:00.0 1002:1636)" in around.remedy
    assert verdicts(vfct(good, b"\x11" * 600), "rom.vfct-entry") == [Verdict.FAIL]
    assert findings(vfct(good, b""), "rom.vfct-entry") == []


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
