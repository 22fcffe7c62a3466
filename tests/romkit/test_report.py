from __future__ import annotations

import re
import struct

from builders.authenticode import sign
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct

from romkit import parse_rom, verify
from romkit.efi.compression import compress
from romkit.finding import Verdict
from romkit.record import record
from romkit.render.report import important, report_text, verdict_text
from romkit.render.rom_parser import rom_parser_text
from romkit.render.style import Style


def report(data: bytes) -> str:
    rom = parse_rom(data)
    return report_text("file.rom", rom, important(verify(rom)), Style())


def test_report_of_a_desktop_rom() -> None:
    text = report(nvgi(2, nvidia_desktop(), rom_offset=0xA00))
    assert text.splitlines()[0] == (
        "file.rom: 6144 bytes, ROM at 0xa00 behind NVGI version 2 data, 3 images"
    )
    assert "NVIDIA 10de:1c03, class 030000, VGA" in text
    assert "PCIR chain 0 → 1, last" in text
    assert "NPDE chain 0 → 1 → 2, last" in text
    assert "✗ rom.container" in text


def test_report_says_who_sees_an_image() -> None:
    lines = report(nvidia_mobile()).splitlines()
    table = [line for line in lines if line.lstrip().startswith(("0 ", "1 ", "2 "))]
    assert ["all" in line for line in table] == [True, False, False]
    assert ["NVIDIA" in line for line in table] == [False, True, True]
    assert "PCIR length 3072" in table[0]


def test_report_of_a_broken_chain_says_where_it_breaks() -> None:
    text = report(image(pcir(blocks=2, indicator=0)) + b"\xff" * 512)
    assert "PCIR chain 0 → 0x400: the next image has no signature" in text


def test_report_and_verify_agree_about_a_driver_that_is_cut_off() -> None:
    rom = parse_rom(efi_image(build_pe(b"\xc3" * 4096, names=(b".text",)), device=0x1111)[:-1024])
    assert "guest.ovmf" in {f.check for f in verify(rom) if f.verdict is Verdict.UNKNOWN}
    text = report_text("x.rom", rom, (), Style(False))
    assert "OVMF: unknown (the EFI image at 0x0 is cut off)" in text
    assert "OVMF starts" not in text


def test_report_and_verify_agree_about_a_driver_that_is_too_large() -> None:
    stream = bytearray(compress(build_pe(GOP_GUID)))
    stream[4:8] = b"\xff\xff\xff\x7f"  # what it says that it becomes
    first = efi_image(build_pe(b"\xc3" * 4096, names=(b".text",)), indicator=0)
    rom = parse_rom(first + efi_image(bytes(stream), compression=1))
    assert "guest.ovmf" in {f.check for f in verify(rom) if f.verdict is Verdict.UNKNOWN}
    text = report_text("x.rom", rom, (), Style(False))
    assert (
        f"OVMF: unknown (too large for romkit to decompress: the driver at {len(first):#x}), "
        "starts an X64 driver at 0x0" in text
    )


def test_report_names_the_signer_and_its_ca() -> None:
    driver = compress(sign(build_pe(GOP_GUID)))
    text = report(image(pcir(indicator=0)) + efi_image(driver, compression=1))
    assert "signed by  Test Signer, by Test CA" in text
    assert "X64; GOP; signed; last" in text


def test_report_of_a_vfct_names_the_device_of_each_entry() -> None:
    text = report(vfct(image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002))))
    assert "VFCT entry for 04:00.0 1002:1636, 1024 bytes at 0x68" in text
    assert "for 04:01.0 1002:1637" in text
    assert "vfct image" in text
    inside = text.partition("VFCT entry 1 (04:01.0 1002:1637)")[2]
    assert "0x484" in inside  # 0x68, 1024 bytes of ROM, 28 of the second header
    assert "sum ok; last" in inside


def test_an_entry_without_bytes_is_not_shown() -> None:
    data = vfct(image(pcir(vendor=0x1002)), b"")
    assert "1002:1637" not in report(data)
    assert len(record(parse_rom(data))["vfct_images"]) == 1


def test_record_of_a_vfct_holds_the_images_of_each_entry() -> None:
    data = vfct(image(pcir(vendor=0x1002)), image(pcir(vendor=0x1002, device=0x15BF)))
    first, second = record(parse_rom(data))["vfct_images"]
    assert [i["offset"] for i in first["images"]] == [0x68]
    (inside,) = second["images"]
    assert (inside["offset"], inside["structure_offset"]) == (0x484, 0x484 + 0x40)
    assert inside["device"] == "15bf"


def test_record_holds_the_pe_headers_and_the_certificates() -> None:
    pe = sign(build_pe(GOP_GUID, pdb=b"a/b.pdb", time_date_stamp=77))
    data = image(pcir(indicator=0)) + efi_image(compress(pe), compression=1)
    out = record(parse_rom(data))["images"][1]["efi"]
    headers = out["pe"]
    assert (headers["machine"], headers["pdb"], headers["time_date_stamp"]) == (
        "8664",
        "a/b.pdb",
        77,
    )
    assert [s["name"] for s in headers["sections"]] == [".text", ".reloc"]
    (signature,) = out["signatures"]
    assert "Test Signer" in [c["subject"] for c in signature["certificates"]]
    assert signature["known_ca_not_after"] is None


def test_record_names_the_roms_in_the_tail() -> None:
    out = record(parse_rom(nvidia_desktop() + bytes(512) + nvidia_desktop()))
    copies = [p for p in out["tail"] if p["kind"] == "copy"]
    size = len(nvidia_desktop())
    assert copies[0]["images"][0]["offset"] == size + 512


def test_report_shows_the_sum_of_a_firmware_image_only_where_it_is_not_zero() -> None:
    own = nvidia_desktop()[2048:]
    odd = bytearray(nvidia_desktop())
    odd[-1] = (odd[-1] + 0x5F) & 0xFF
    assert sum(own) & 0xFF == 0
    assert "sum 5f" in report(bytes(odd))
    assert "sum 5f" not in report(nvidia_desktop())


def test_the_end_of_a_known_ca_is_told_as_known() -> None:
    from romkit.efi.known_ca import KNOWN_CAS, known_ca_not_after

    ends = known_ca_not_after("Microsoft Corporation UEFI CA 2011")
    assert ends is not None
    assert ends.date().isoformat() == "2026-06-27"
    assert known_ca_not_after("Test CA") is None
    assert len(KNOWN_CAS) == 1


def test_an_appended_driver_is_named_in_the_tail() -> None:
    text = report(image(pcir()) + efi_image(build_pe(GOP_GUID), blocks=6))
    assert "EFI image out of firmware's reach at 0x400" in text


def test_hostile_strings_reach_no_terminal() -> None:
    """A GOP name with an escape sequence in it."""
    name = "AMD GOP X64 Release Driver Rev.1.\x1b[31m2.3".encode("utf-16-le") + b"\0\0"
    data = image(pcir(vendor=0x1002, indicator=0)) + efi_image(build_pe(GOP_GUID + name))
    assert "\x1b" not in report(data)
    assert "\x1b" not in str(record(parse_rom(data)))


def test_verdict_counts_and_shows_evidence() -> None:
    findings = verify(nvgi(1, nvidia_desktop()))
    text = verdict_text("x", findings, Style())
    # A check that has several findings counts once.
    checks = {f.check for f in findings}
    fine = checks - {f.check for f in findings if f.verdict.value != "pass"}
    assert text.startswith(f"x: 1 blocking, {len(fine)} of {len(checks)} checks passed")
    assert "0x0: 4e 56 47 49" in text
    assert "✓" not in text
    assert "✓" in verdict_text("x", findings, Style(), everything=True)


def test_findings_are_broken_to_a_width_and_say_the_same() -> None:
    rom = parse_rom(nvgi(2, nvidia_desktop(last=0)))
    findings = verify(rom)
    assert any(len(f.title) > 60 and f.remedy for f in findings)
    whole = verdict_text("x.rom", findings, Style())
    broken = verdict_text("x.rom", findings, Style(), width=60)
    assert broken.split() == whole.split()
    assert max(map(len, whole.splitlines())) > 60
    assert max(map(len, broken.splitlines())) <= 60
    painted = verdict_text("x.rom", findings, Style(True), width=60)
    assert re.sub(r"\x1b\[[0-9]+m", "", painted) == broken


def test_colours_are_only_wrapped_around() -> None:
    rom = parse_rom(nvidia_desktop())
    colored = report_text("x", rom, important(verify(rom)), Style(color=True))
    assert "\x1b[1m" in colored
    import re

    assert re.sub(r"\x1b\[\d+m", "", colored) == report_text(
        "x", rom, important(verify(rom)), Style()
    )


def test_rom_parser_format_prints_what_the_unknown_values_are() -> None:
    driver = efi_image(build_pe(), machine=0x5064, subsystem=0x0D, indicator=0x80)
    text, complete = rom_parser_text(parse_rom(driver))
    assert complete
    assert "Subsystem: Unknown (d), Machine: Unknown (5064)" in text
    bad = efi_image(build_pe(), efi_signature=0x1234)
    assert "EFI: Signature NOT Valid\n" in rom_parser_text(parse_rom(bad))[0]


def test_record_holds_only_json_types_and_every_image() -> None:
    import json

    for data in (nvgi(3, nvidia_desktop()), vfct(image(pcir(vendor=0x1002))), nvidia_mobile()):
        rom = parse_rom(data)
        out = json.loads(json.dumps(record(rom)))
        assert out == record(rom)
        assert [i["offset"] for i in out["images"]] == [i.offset for i in rom.images]
        assert out["sha256"] == rom.sha256


def test_record_of_npde_prints_the_gop_version_as_8_hex_digits() -> None:
    data = efi_image(b"", blocks=2, extension=npde(blocks=2, length=16, gop=0x0005001D))
    npde_record = record(parse_rom(data))["images"][0]["npde"]
    assert npde_record["gop_version"] == "0005001d"
    assert npde_record["length"] == 16
    assert struct.pack("<I", 0x0005001D) in data
