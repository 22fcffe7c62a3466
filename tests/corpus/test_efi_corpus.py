"""The UEFI drivers in real ROMs against an independently made survey of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from romkit.efi.driver import EfiDriver, read_efi
from romkit.efi.gop import GopRole

MIB = 1 << 20
EFI = 3


def drivers(data: bytes, survey: dict[str, Any]) -> list[tuple[dict[str, Any], EfiDriver]]:
    """The EFI images where the survey found them, with what it says of each."""
    found = []
    for image in survey["images"]:
        if image["code_type"] != EFI:
            continue
        version = image.get("npde", {}).get("gop_version")
        efi = read_efi(
            data[image["offset"] : image["offset"] + image["image_length"]],
            npde_gop_version=int(version, 16) if version else None,
            class_code=int(image["class_code"], 16),
            vendor_id=int(image["vendor"], 16),
            budget=MIB,
        )
        assert efi is not None
        found.append((image["efi"], efi))
    return found


def test_every_fact_of_the_survey(rom_data: bytes, rom_name: str, expected: dict[str, Any]) -> None:
    for survey, efi in drivers(rom_data, expected[rom_name]):
        read: dict[str, Any] = {
            "signature_ok": efi.signature_ok,
            "subsystem": efi.subsystem,
            "machine": f"{efi.machine:04x}",
            "compression": efi.compression,
        }
        if efi.decompresses is not None:
            read["decompresses"] = efi.decompresses
        if efi.signed is not None:
            read["signed"] = efi.signed
            read |= {"digest_ok": efi.digest_ok} if efi.signed else {"pe_sha256": efi.pe_sha256}
        if efi.gop is not None and efi.gop.vendor == "AMD":
            read["amd_gop"] = efi.gop.description
        assert read == survey


def test_header_and_pe_agree(rom_data: bytes, rom_name: str, expected: dict[str, Any]) -> None:
    for _, efi in drivers(rom_data, expected[rom_name]):
        assert (efi.facts is None) == (efi.pe is None)
        if efi.facts is not None:
            assert (efi.facts.machine, efi.facts.subsystem) == (efi.machine, efi.subsystem)


def test_every_signature_is_sealed_by_a_certificate_of_microsofts(
    rom_data: bytes, rom_name: str, expected: dict[str, Any]
) -> None:
    """Also where the digest does not match: there the image was changed, not the signature."""
    for _, efi in drivers(rom_data, expected[rom_name]):
        for signature in efi.signatures:
            assert signature.issuing_ca == "Microsoft Corporation UEFI CA 2011"
            assert signature.signer == "Microsoft Windows UEFI Driver Publisher"
            assert signature.seal_ok is True
            assert signature.ca_not_after is None or signature.ca_not_after.year == 2026


ABSENT = {("b2fc063e78c2", 0)}
CONSUMERS = {("f034ae9a3fef", 0)}
UNKNOWN = {("6994a5118f7a", 0)}


def test_the_role_of_every_driver(rom_data: bytes, rom_name: str, expected: dict[str, Any]) -> None:
    for index, (_, efi) in enumerate(drivers(rom_data, expected[rom_name])):
        key = (rom_name.partition("_")[0], index)
        role = GopRole.PRODUCER
        for others, other in (
            (ABSENT, GopRole.ABSENT),
            (CONSUMERS, GopRole.CONSUMER),
            (UNKNOWN, GopRole.UNKNOWN),
        ):
            role = other if key in others else role
        assert efi.gop_role is role, key
        assert (efi.gop is not None) == (role is GopRole.PRODUCER)


VERSIONS = {
    "7b01b9165457": ("Intel", "1048", ""),
    "b2fc063e78c2": ("Intel", "1077", ""),
    "113e0dfc5d7d": (None, "", ""),
    "17dcc623c5eb": ("NVIDIA", "", ""),
    "f2f5c9604098": ("NVIDIA", "0x5001D", "Turing"),
    "72de8417b2b6": ("NVIDIA", "0x8000F", "Blackwell"),
    "d6034ef368b8": ("NVIDIA", "0x10033", "Tesla to Maxwell 1"),
    "003a230836f9": ("AMD", "1.60.0.15.50", ""),
    "89030fa7f693": ("AMD", "3.1.0", ""),
    "dbff765e1cc4": ("AMD", "3.8.3", ""),
}


@pytest.mark.survey
def test_whose_gop_and_which_version(corpus: Path, expected: dict[str, Any]) -> None:
    seen = {}
    for name, survey in expected.items():
        key = name.partition("_")[0]
        if key in VERSIONS:
            data = (corpus / "roms" / name).read_bytes()
            gops = [efi.gop for _, efi in drivers(data, survey) if efi.gop is not None]
            seen[key] = (gops[0].vendor, gops[0].version, gops[0].family)
    assert seen == VERSIONS


def test_the_reference_decoder_gives_the_same(
    rom_data: bytes, rom_name: str, expected: dict[str, Any]
) -> None:
    from uefi_firmware import efi_compressor

    for _, efi in drivers(rom_data, expected[rom_name]):
        if efi.decompresses:
            stream = efi.image[efi.image_offset :]
            assert efi_compressor.EfiDecompress(stream, len(stream)) == efi.pe


@pytest.mark.survey
def test_every_byte_before_the_certificates_counts(corpus: Path, expected: dict[str, Any]) -> None:
    """One changed byte of a real driver flips the answer."""
    from romkit.efi.signature import read_signatures

    name = next(n for n in expected if n.startswith("f2f5c9604098"))
    data = (corpus / "roms" / name).read_bytes()
    ((_, efi),) = drivers(data, expected[name])
    pe = efi.pe
    assert pe is not None
    assert efi.signature is not None
    header = struct.unpack_from("<I", pe, 0x3C)[0]
    for at in (0x20, header + 8, 0x1000, len(pe) // 2, efi.signature.offset - 1):
        changed = pe[:at] + bytes([pe[at] ^ 1]) + pe[at + 1 :]
        assert read_signatures(changed)[0].digest_ok is False, hex(at)
