"""pefile as a second opinion on PE headers, cryptography on certificates."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from builders.authenticode import sign
from builders.pe import GOP_GUID, build_pe

from romkit import parse_rom
from romkit.efi.pe import read_pe, read_signed_ranges
from romkit.efi.signature import read_signatures


def compare_headers(data: bytes) -> None:
    pefile = pytest.importorskip("pefile")
    ours, theirs = read_pe(data), pefile.PE(data=data, fast_load=True)
    assert ours is not None
    optional = theirs.OPTIONAL_HEADER
    assert (ours.machine, ours.time_date_stamp) == (
        theirs.FILE_HEADER.Machine,
        theirs.FILE_HEADER.TimeDateStamp,
    )
    assert ours.pe32_plus == (optional.Magic == 0x20B)
    assert ours.subsystem == optional.Subsystem
    assert ours.entry_point == optional.AddressOfEntryPoint
    assert ours.size_of_image == optional.SizeOfImage
    assert ours.check_sum == optional.CheckSum
    assert [(s.virtual_address, s.virtual_size, s.offset, s.size) for s in ours.sections] == [
        (s.VirtualAddress, s.Misc_VirtualSize, s.PointerToRawData, s.SizeOfRawData)
        for s in theirs.sections
    ]
    security = optional.DATA_DIRECTORY[4]
    assert (ours.security or (0, 0)) == (security.VirtualAddress, security.Size)
    ranges = read_signed_ranges(data)
    assert ranges is not None
    assert ranges.directory == security.get_file_offset()
    assert ranges.check_sum == optional.get_file_offset() + optional.get_field_relative_offset(
        "CheckSum"
    )
    theirs.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_DEBUG"]])
    paths = [
        entry.entry.PdbFileName.rstrip(b"\0").decode()
        for entry in getattr(theirs, "DIRECTORY_ENTRY_DEBUG", ())
        if getattr(entry.entry, "PdbFileName", b"").rstrip(b"\0")
    ]
    # pefile rounds iPXE's section addresses and misses its entry: where it sees a path, it decides.
    assert paths[:1] in ([], [ours.pdb])


def compare_certificates(data: bytes) -> int:
    from cryptography.hazmat.primitives.serialization import pkcs7
    from cryptography.x509.oid import NameOID

    count = 0
    for signature in read_signatures(data):
        assert signature.signed_data is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pkcs7.load_der_pkcs7_certificates(
                signature.blob[: signature.signed_data.length]
            )
        read = [
            (c.subject, c.issuer, c.serial, c.not_before, c.not_after)
            for c in signature.certificates
        ]
        assert sorted(read) == sorted(
            (
                c.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value,
                c.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value,
                c.serial_number,
                c.not_valid_before_utc,
                c.not_valid_after_utc,
            )
            for c in theirs
        )
        count += len(read)
    return count


@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize("pdb", [None, b"/home/x/Gop.dll"])
def test_images_made_by_hand(plus: bool, pdb: bytes | None) -> None:
    data = sign(build_pe(GOP_GUID, plus=plus, pdb=pdb))
    compare_headers(data)
    assert compare_certificates(data) == 2


@pytest.mark.survey
def test_every_driver_of_the_corpus(corpus: Path) -> None:
    drivers = certificates = 0
    for path in sorted((corpus / "roms").iterdir()):
        data = path.read_bytes()
        if b"\xf1\x0e\x00\x00" not in data:
            continue
        for image in parse_rom(data).efi_images:
            if image.efi is not None and image.efi.pe is not None:
                compare_headers(image.efi.pe)
                certificates += compare_certificates(image.efi.pe)
                drivers += 1
    assert drivers >= 36
    assert certificates >= 36
