from __future__ import annotations

import struct

import pytest
from builders.authenticode import sign, spec_digest
from builders.pe import GOP_GUID, build_pe
from builders.rom import efi_image, image, npde, pcir, vfct

from romkit import DeviceId, Severity, Verdict, verify
from romkit.efi.compression import compress
from romkit.finding import Finding

DRIVER = build_pe(GOP_GUID)
LEGACY = image(pcir(indicator=0))


def one(data: bytes, check: str, device: DeviceId | None = None) -> Finding:
    (found,) = [f for f in verify(data, device) if f.check == check]
    return found


def test_an_x86_image_must_sum_to_zero() -> None:
    assert one(image(pcir()), "rom.checksum").verdict is Verdict.PASS
    assert one(image(pcir(), fix_sum=False), "rom.checksum").blocks


def test_other_images_need_not_sum_to_zero() -> None:
    checked = [f for f in verify(LEGACY + efi_image(DRIVER)) if f.check == "rom.checksum"]
    assert len(checked) == 1


def test_a_firmware_image_with_a_sum_is_a_note() -> None:
    own = image(
        pcir(signature=b"NPDS", code_type=0xE0),
        signature=b"VN",
        extension=npde(blocks=2, last=0x80),
        fix_sum=False,
    )
    data = image(pcir(), extension=npde(blocks=2)) + own
    assert one(data, "rom.firmware-sum").severity is Severity.NOTE


def test_vendor_03ea_is_1002_typed_as_a_decimal_number() -> None:
    found = one(efi_image(DRIVER, vendor=0x03EA, device=0x0693), "rom.vendor-03ea")
    assert found.severity is Severity.WARNING
    assert "1683" in found.title


def test_a_vendor_with_its_bytes_swapped() -> None:
    found = one(efi_image(DRIVER, vendor=0x0210, device=0x1F73), "rom.vendor-swapped")
    assert found.severity is Severity.WARNING
    assert "1002 (AMD)" in found.title
    assert "731f" in found.title


def test_a_driver_larger_than_romkit_decompresses_is_unknown_and_no_fault() -> None:
    """A stream that states 5 MiB; its data do not matter, they are not looked at."""
    stream = struct.pack("<II", 400, 5 << 20) + bytes(400)
    data = LEGACY + efi_image(stream, compression=1, blocks=8)
    for check in ("efi.undecodable", "guest.ovmf", "gop.x64"):
        assert one(data, check).verdict is Verdict.UNKNOWN
    assert not any(f.blocks for f in verify(data))


def test_damaged_data_are_named_by_their_place_in_the_file() -> None:
    stream = bytearray(compress(DRIVER))
    stream[8:] = b"\xff" * (len(stream) - 8)
    found = one(LEGACY + efi_image(bytes(stream), compression=1), "efi.undecodable")
    # 0x400 the image, 0x58 the stream in it, 8 its header: nothing before can be wrong.
    place = int(found.title.rpartition("damaged at ")[2].split()[0], 16)
    assert place >= 0x400 + 0x58 + 8
    assert "code" not in found.title
    assert any("code" in e.value or "data" in e.value for e in found.evidence)


def test_the_machine_is_the_pe_images_word() -> None:
    lies = LEGACY + efi_image(build_pe(GOP_GUID, machine=0xAA64), machine=0x8664, blocks=6)
    assert one(lies, "gop.x64").verdict is Verdict.FAIL
    true = LEGACY + efi_image(DRIVER, machine=0xAA64, blocks=6)
    assert one(true, "gop.x64").verdict is Verdict.PASS
    assert one(true, "guest.ovmf").verdict is Verdict.PASS


def test_what_ovmf_does_with_a_cut_driver_is_unknown() -> None:
    data = (LEGACY + efi_image(DRIVER, blocks=8))[:-1024]
    assert one(data, "guest.ovmf").verdict is Verdict.UNKNOWN


def test_a_device_is_compared_with_each_entry_of_a_vfct() -> None:
    roms = (image(pcir(vendor=0x1002, device=d)) for d in (0x1636, 0x1637))
    data = vfct(*roms)
    for device in (0x1636, 0x1637):
        wanted = DeviceId(0x1002, device, (0x1025, 0x1300 + device - 0x1636))
        assert one(data, "device.id", wanted).verdict is Verdict.PASS
        assert one(data, "device.subsystem", wanted).verdict is Verdict.PASS
    # The subsystem of one entry does not count for the other's device.
    crossed = DeviceId(0x1002, 0x1637, (0x1025, 0x1300))
    assert one(data, "device.subsystem", crossed).verdict is Verdict.FAIL
    assert one(data, "device.id", DeviceId(0x1002, 0x1638)).blocks


def test_a_signed_driver_whose_bytes_changed_is_told() -> None:
    """Compressed, as on every card: padding behind an uncompressed driver counts as its bytes."""
    signed = sign(DRIVER)
    good = efi_image(compress(signed), compression=1)
    assert one(LEGACY + good, "efi.digest").verdict is Verdict.PASS
    altered = bytearray(signed)
    altered[0x210] ^= 1
    bad = efi_image(compress(bytes(altered)), compression=1)
    found = one(LEGACY + bad, "efi.digest")
    assert found.verdict is Verdict.FAIL
    assert {e.where for e in found.evidence} == {"signed", "computed"}


def test_a_forged_digest_is_told_from_a_good_one() -> None:
    """Driver and digest altered together: only the signer's key can tell."""
    altered = bytearray(DRIVER)
    altered[0x210] ^= 1
    old, new = spec_digest(DRIVER, "sha256"), spec_digest(bytes(altered), "sha256")
    signed = bytearray(sign(DRIVER))
    signed[0x210] ^= 1
    forged = bytes(signed).replace(old, new)
    assert new in forged
    data = LEGACY + efi_image(compress(forged), compression=1)
    assert one(data, "efi.digest").verdict is Verdict.PASS
    assert one(data, "efi.signature").verdict is Verdict.FAIL
    good = LEGACY + efi_image(compress(sign(DRIVER)), compression=1)
    assert one(good, "efi.signature").verdict is Verdict.PASS


def test_an_unsigned_driver_is_a_note() -> None:
    assert one(LEGACY + efi_image(DRIVER), "efi.signed").severity is Severity.NOTE


def test_a_stream_that_does_not_decompress_is_unknown_not_absent() -> None:
    data = LEGACY + efi_image(b"\xff" * 300, compression=1)
    assert one(data, "efi.undecodable").verdict is Verdict.FAIL
    assert one(data, "gop.x64").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (LEGACY + efi_image(DRIVER), Verdict.PASS),
        (LEGACY + efi_image(build_pe(b"no GUID")), Verdict.FAIL),
        (LEGACY + efi_image(build_pe(GOP_GUID, machine=0xAA64), machine=0xAA64), Verdict.FAIL),
        (image(pcir()), Verdict.FAIL),
    ],
)
def test_an_x64_gop(data: bytes, verdict: Verdict) -> None:
    found = one(data, "gop.x64")
    assert found.verdict is verdict
    if verdict is Verdict.FAIL:
        # Muxless GPUs never need one: it must not block.
        assert found.severity is Severity.NOTE
        assert "muxless" in found.title


def test_a_network_card_is_not_asked_for_a_gop() -> None:
    data = image(pcir(class_code=0x020000))
    assert [f for f in verify(data) if f.check == "gop.x64"] == []


def test_the_wrong_cards_rom_blocks() -> None:
    found = one(image(pcir(device=0x1E89)), "device.id", DeviceId(0x10DE, 0x1F08))
    assert found.blocks
    assert "10de:1e89" in found.title


def test_the_right_cards_rom_passes() -> None:
    assert one(image(pcir()), "device.id", DeviceId(0x10DE, 0x1C03)).verdict is Verdict.PASS


def test_the_device_list_counts() -> None:
    data = image(
        pcir(revision=3, length=0x1C, device_list=0x30), body={0x70: b"\x20\x1c\x60\x1c\0\0"}
    )
    assert one(data, "device.id", DeviceId(0x10DE, 0x1C60)).verdict is Verdict.PASS
    assert one(data, "device.id", DeviceId(0x10DE, 0x1C61)).verdict is Verdict.FAIL


def test_a_driver_for_another_device_beside_the_right_vbios_only_warns() -> None:
    data = LEGACY + efi_image(DRIVER, device=0x1111)
    found = one(data, "device.id", DeviceId(0x10DE, 0x1C03))
    assert (found.verdict, found.severity) == (Verdict.FAIL, Severity.WARNING)


def test_a_driver_without_ids_fits_any_device() -> None:
    data = LEGACY + efi_image(DRIVER, vendor=0, device=0, class_code=0)
    assert one(data, "device.id", DeviceId(0x10DE, 0x1C03)).verdict is Verdict.PASS
    alone = efi_image(DRIVER, vendor=0, device=0, class_code=0)
    assert one(alone, "device.id", DeviceId(0x10DE, 0x1C03)).verdict is Verdict.UNKNOWN


def test_subsystem_and_class_are_compared_where_the_rom_states_them() -> None:
    data = image(pcir(class_code=0x030000), extension=npde(blocks=2, subsystem=(0x1025, 0x118B)))
    good = DeviceId.parse("10de:1c03", "1025:118b", "0300")
    other = DeviceId.parse("10de:1c03", "1025:ffff", "030200")
    assert one(data, "device.subsystem", good).verdict is Verdict.PASS
    assert one(data, "device.class", good).verdict is Verdict.PASS
    assert one(data, "device.subsystem", other).severity is Severity.WARNING
    assert one(data, "device.class", other).severity is Severity.WARNING
    plain = image(pcir())
    assert one(plain, "device.subsystem", good).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "text", ["", "10de", "10de:", ":1c03", "10de:1c03x", "0x:1c03", "0x0x1:2", "12345:1"]
)
def test_ids_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="hex numbers"):
        DeviceId.parse(text)


def test_ids_as_sysfs_writes_them() -> None:
    device = DeviceId.parse("0x10de:0x1C8D", "0x1025:0x118b", "0x0300")
    assert device == DeviceId(0x10DE, 0x1C8D, (0x1025, 0x118B), 0x030000)
