import hashlib
import struct

import pytest
from builders.authenticode import attach, identity, sign
from builders.pe import GOP_GUID, build_pe, build_rom_image, directories, utf16
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit.efi.compression import Scheme, compress
from romkit.efi.driver import EfiDriver, read_efi
from romkit.efi.gop import GopRole

MIB = 1 << 20
AMD = "AMD GOP X64 Rel Driver Rev.3.8.3.Aug  3 2023.02:40:26"
PE = build_pe(b"\x90" * 9 + GOP_GUID + utf16(AMD))


def driver(
    image: bytes,
    *,
    gop: int | None = None,
    class_code: int = 0x030000,
    vendor: int = 0x1002,
    budget: int = MIB,
) -> EfiDriver:
    found = read_efi(
        image, npde_gop_version=gop, class_code=class_code, vendor_id=vendor, budget=budget
    )
    assert found is not None
    return found


def test_header() -> None:
    efi = driver(build_rom_image(PE, machine=0xAA64, subsystem=0x0C, image_offset=0x58))
    assert (efi.efi_signature, efi.signature_ok) == (0x0EF1, True)
    assert (efi.machine, efi.machine_name) == (0xAA64, "AA64")
    assert (efi.subsystem, efi.subsystem_name) == (0x0C, "EFI runtime driver")
    assert (efi.compression, efi.image_offset) == (0, 0x58)
    assert efi.initialization_size == len(efi.image)
    assert efi.decompresses is None
    assert efi.sizes is None
    assert repr(efi) == f"<EfiDriver AA64 EFI runtime driver plain {len(efi.image):#x} bytes>"


def test_a_wrong_signature_is_a_fact() -> None:
    assert driver(build_rom_image(PE, efi_signature=0x0EF2)).signature_ok is False


def test_a_plain_driver_is_read_as_the_firmware_takes_it() -> None:
    image = build_rom_image(PE)
    efi = driver(image)
    assert efi.payload == image[0x38:]
    assert efi.pe == efi.payload
    assert efi.undecodable == ""
    assert efi.pe_sha256 == hashlib.sha256(image[0x38:]).hexdigest()
    assert efi.facts is not None
    assert efi.facts.machine_name == "X64"


def test_a_compressed_driver() -> None:
    stream = compress(PE)
    efi = driver(build_rom_image(stream, compression=1))
    assert efi.pe == PE
    assert efi.decompresses is True
    assert efi.scheme is Scheme.EFI
    assert efi.sizes is not None
    assert efi.sizes.compressed_size == len(stream) - 8
    assert efi.sizes.original_size == len(PE)
    assert efi.pe_sha256 == hashlib.sha256(PE).hexdigest()


def test_a_size_field_that_is_too_small_does_not_hinder_reading() -> None:
    efi = driver(build_rom_image(compress(PE), compression=1, initialization_size=1))
    assert len(efi.payload) == 512 - 0x38
    assert efi.pe == PE
    plain = driver(build_rom_image(PE, initialization_size=0))
    assert plain.payload == b""
    assert plain.pe == plain.image[0x38:]


def test_the_gop() -> None:
    efi = driver(build_rom_image(compress(PE), compression=1))
    assert efi.gop_role is GopRole.PRODUCER
    assert efi.gop is not None
    assert (efi.gop.vendor, efi.gop.version, efi.gop.description) == ("AMD", "3.8.3", AMD)


def test_npdes_version_makes_it_nvidias() -> None:
    pe = build_pe(GOP_GUID)
    efi = driver(build_rom_image(pe), gop=0x0005001D, class_code=0, vendor=0)
    assert efi.gop_role is GopRole.PRODUCER
    assert efi.gop is not None
    assert (efi.gop.vendor, efi.gop.version, efi.gop.family) == ("NVIDIA", "0x5001D", "Turing")


def test_a_consumer_has_no_gop() -> None:
    efi = driver(build_rom_image(build_pe(GOP_GUID)), class_code=0x020000, vendor=0x8086)
    assert (efi.gop_role, efi.gop) == (GopRole.CONSUMER, None)


def test_a_driver_without_gop() -> None:
    efi = driver(build_rom_image(build_pe(b"x")))
    assert (efi.gop_role, efi.gop) == (GopRole.ABSENT, None)


def test_a_gop_of_unknown_make() -> None:
    efi = driver(build_rom_image(build_pe(GOP_GUID + utf16("Some Driver"))), vendor=0x1234)
    assert efi.gop_role is GopRole.PRODUCER
    assert efi.gop is not None
    assert (efi.gop.vendor, efi.gop.version, efi.gop.description) == (None, "", "Some Driver")


def test_signed_and_unsigned() -> None:
    unsigned = driver(build_rom_image(compress(PE), compression=1))
    assert (unsigned.signed, unsigned.signature, unsigned.digest_ok) == (False, None, None)
    efi = driver(build_rom_image(compress(sign(PE, who=identity())), compression=1))
    assert efi.signed is True
    assert efi.signature is efi.signatures[0]
    assert efi.signature.signer == "Test Signer"
    assert efi.digest_ok is True


def test_one_changed_byte_shows_in_the_digest() -> None:
    signed = bytearray(sign(PE))
    signed[0x210] ^= 1
    efi = driver(build_rom_image(compress(bytes(signed)), compression=1))
    assert (efi.signed, efi.digest_ok) == (True, False)


def test_a_certificate_table_that_cannot_be_read_is_neither_signed_nor_unsigned() -> None:
    pe = bytearray(PE)
    struct.pack_into("<II", pe, directories(pe) + 32, 0x100000, 0x100)
    efi = driver(build_rom_image(bytes(pe)))
    assert (efi.signed, efi.signatures, efi.digest_ok) == (None, (), None)
    unreadable = driver(build_rom_image(attach(PE, struct.pack("<IHH", 0x10, 0x200, 2) + bytes(8))))
    assert (unreadable.signed, unreadable.digest_ok) == (True, None)


def test_a_broken_stream_is_unknown() -> None:
    stream = bytearray(compress(PE))
    stream[30:60] = bytes(30)
    efi = driver(build_rom_image(bytes(stream), compression=1), gop=0x00030008)
    assert efi.decompresses is False
    assert efi.pe is None
    assert "(byte 0x" in efi.undecodable
    assert efi.gop_role is GopRole.UNKNOWN
    # What NPDE says needs no decompression.
    assert efi.gop is not None
    assert efi.gop.version == "0x30008"
    assert (efi.signed, efi.signatures, efi.facts, efi.pe_sha256) == (None, (), None, None)


def test_the_budget_is_named() -> None:
    efi = driver(build_rom_image(compress(PE), compression=1), budget=100)
    assert efi.pe is None
    assert f"{len(PE)} bytes, more than the 100" in efi.undecodable


def test_an_unknown_compression() -> None:
    efi = driver(build_rom_image(PE, compression=2))
    assert (efi.pe, efi.decompresses) == (None, False)
    assert efi.undecodable == "compression type 2 is unknown"
    assert efi.sizes is None


@pytest.mark.parametrize("compression", [0, 1])
def test_what_is_no_pe_image(compression: int) -> None:
    payload = compress(b"VZ no PE") if compression else b"VZ no PE"
    efi = driver(build_rom_image(payload, compression=compression))
    assert efi.pe is None
    assert efi.decompresses is (True if compression else None)
    assert efi.undecodable == "no PE image: found 56 5a 20 6e"
    assert efi.gop_role is GopRole.UNKNOWN


def test_an_offset_behind_the_end() -> None:
    image = bytearray(build_rom_image(PE))
    struct.pack_into("<H", image, 0x16, 0xFFFF)
    assert driver(bytes(image)).undecodable == "no PE image: nothing is there"
    struct.pack_into("<H", image, 0x0C, 1)
    efi = driver(bytes(image))
    assert (efi.sizes, efi.decompresses) == (None, False)
    assert "compression header" in efi.undecodable


def test_a_header_that_does_not_fit() -> None:
    for size in (0, 2, 25):
        assert (
            read_efi(
                build_rom_image(PE)[:size],
                npde_gop_version=None,
                class_code=0,
                vendor_id=0,
                budget=MIB,
            )
            is None
        )
    assert driver(build_rom_image(PE)[:26]).pe is None


def test_nothing_is_decompressed_before_it_is_asked_for() -> None:
    efi = driver(build_rom_image(compress(PE), compression=1))
    assert efi.sizes is not None
    assert (efi.machine_name, efi.signature_ok, bool(repr(efi))) == ("X64", True, True)
    assert efi._cache == {}
    assert efi.pe is efi.pe


def touch_everything(efi: EfiDriver) -> str:
    """Read every property; the texts that a ROM can choose, together."""
    texts = [efi.undecodable, repr(efi), efi.machine_name, efi.subsystem_name]
    if efi.gop is not None:
        texts += [efi.gop.version, efi.gop.description, efi.gop.vendor or ""]
    if efi.facts is not None:
        texts += [*(s.name for s in efi.facts.sections), efi.facts.pdb or ""]
    for signature in efi.signatures:
        texts += [signature.signer or "", signature.issuing_ca or "", signature.digest_algorithm]
        assert signature.digest_ok in (True, False, None)
    assert (efi.pe is None) == bool(efi.undecodable)
    assert (efi.pe is None) == (efi.pe_sha256 is None)
    assert isinstance(efi.gop_role, GopRole)
    assert efi.signed in (True, False, None)
    return "".join(texts)


PLAIN_IMAGE = build_rom_image(sign(PE))
COMPRESSED_IMAGE = build_rom_image(compress(sign(PE)), compression=1)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_images_raise_nothing(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([PLAIN_IMAGE, COMPRESSED_IMAGE])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.one_of(st.integers(2, 0x60), st.integers(2, len(raw) - 1)))
        raw[at] = data.draw(st.integers(0, 255))
    image = bytes(raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(26, len(raw))))])
    assert touch_everything(driver(image)).isprintable()


@given(st.binary(min_size=26, max_size=200))
def test_any_bytes_are_a_driver(noise: bytes) -> None:
    assert touch_everything(driver(noise)).isprintable()
