import struct

import pytest
from builders.authenticode import (
    CA_NOT_AFTER,
    attach,
    der,
    identity,
    integer,
    oid,
    sign,
    signed_data,
    spc_indirect_data,
    spec_digest,
    win_certificate,
)
from builders.pe import build_pe, directories, optional_header
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit.efi.pe import read_signed_ranges
from romkit.efi.pkcs7 import read_signed_data
from romkit.efi.signature import MAX_SIGNATURES, Signature, authenticode_digest, read_signatures

BODY = b"\x90" * 100


def only(pe: bytes) -> Signature:
    (signature,) = read_signatures(pe)
    return signature


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("plus", [True, False])
def test_a_signed_image(algorithm: str, plus: bool) -> None:
    pe = build_pe(BODY, plus=plus)
    signature = only(sign(pe, algorithm))
    assert signature.offset == len(pe)
    assert (signature.revision, signature.certificate_type) == (0x0200, 2)
    assert signature.digest_algorithm == algorithm
    assert signature.signed_digest == spec_digest(pe, algorithm)
    assert signature.computed_digest == spec_digest(pe, algorithm)
    assert signature.digest_ok is True
    assert signature.seal_ok is True


def test_who_signed() -> None:
    signature = only(sign(build_pe(BODY), who=identity("A Signer", "A CA")))
    assert [c.subject for c in signature.certificates] == ["A CA", "A Signer"]
    assert signature.signer == "A Signer"
    assert signature.issuing_ca == "A CA"
    assert signature.ca_not_after == CA_NOT_AFTER
    assert signature.ca_certificate is not None
    assert signature.ca_certificate.serial == 1


def test_without_the_ca_certificate_only_its_name_is_known() -> None:
    signature = only(sign(build_pe(BODY), with_ca=False))
    assert signature.issuing_ca == "Test CA"
    assert signature.ca_certificate is None
    assert signature.ca_not_after is None
    assert signature.seal_ok is True


def test_without_signed_attributes() -> None:
    signature = only(sign(build_pe(BODY), with_attributes=False))
    assert signature.digest_ok is True
    assert signature.seal_ok is True


def test_every_byte_that_is_signed_counts_and_the_others_do_not() -> None:
    signed = sign(build_pe(BODY))
    check_sum = optional_header(signed) + 64
    entry = directories(signed) + 32
    table = struct.unpack_from("<I", signed, entry)[0]
    left_out = {*range(check_sum, check_sum + 4), *range(entry, entry + 8)}
    for at in range(0, table, 3):
        tampered = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        if at in left_out or read_signed_ranges(tampered) != read_signed_ranges(signed):
            continue
        assert only(tampered).digest_ok is False, hex(at)
        # The blob itself is what it was.
        assert only(tampered).seal_ok is True, hex(at)
    tampered = signed[:check_sum] + b"\xaa\xbb\xcc\xdd" + signed[check_sum + 4 :]
    assert only(tampered).digest_ok is True


def test_a_digest_that_was_exchanged_breaks_the_seal() -> None:
    """Who changes the image and writes its new digest into the blob has not signed it."""
    pe = build_pe(BODY)
    forged = sign(pe).replace(spec_digest(pe, "sha256"), spec_digest(pe[:-1] + b"!", "sha256"))
    forged = forged[: len(pe) - 1] + b"!" + forged[len(pe) :]
    assert only(forged).digest_ok is True
    assert only(forged).seal_ok is False


def test_a_signature_by_another_key_breaks_the_seal() -> None:
    mine, theirs = identity(), identity("Other Signer", "Test CA")
    signed = sign(build_pe(BODY), who=mine)
    key = mine.certificate.public_key().public_numbers().n.to_bytes(256, "big")
    other = theirs.certificate.public_key().public_numbers().n.to_bytes(256, "big")
    assert only(signed.replace(key, other)).seal_ok is False


def test_two_signatures() -> None:
    pe = build_pe(BODY)
    entries = []
    for algorithm, who in (("sha1", identity()), ("sha256", identity("New Signer", "New CA"))):
        content = spc_indirect_data(spec_digest(pe, algorithm), algorithm)
        entries.append(win_certificate(signed_data(content, algorithm, who)))
    first, second = read_signatures(attach(pe, *entries))
    assert (first.digest_algorithm, first.issuing_ca, first.digest_ok) == ("sha1", "Test CA", True)
    assert second.offset == first.offset + len(entries[0])
    assert (second.signer, second.digest_ok, second.seal_ok) == ("New Signer", True, True)
    assert repr(second).startswith("<Signature type 2 revision 0x200 ")


def test_the_padding_behind_the_der_is_no_part_of_it() -> None:
    signature = only(sign(build_pe(BODY)))
    data = signature.signed_data
    assert data is not None
    assert data.length <= len(signature.blob)
    assert set(signature.blob[data.length :]) <= {0}


def test_bytes_behind_the_certificate_table_are_hashed() -> None:
    pe = build_pe(BODY)
    signed = sign(pe)
    assert only(signed).digest_ok is True
    assert only(signed + b"more").digest_ok is False


@pytest.mark.parametrize(
    "pe",
    [
        b"",
        b"MZ",
        build_pe(BODY),
        build_pe(BODY, number_of_directories=4),
        build_pe(BODY)[:0x90],
        b"ZM" + build_pe(BODY)[2:],
    ],
)
def test_unsigned_or_no_image(pe: bytes) -> None:
    assert read_signatures(pe) == ()


def test_a_table_behind_the_end_of_the_file() -> None:
    pe = bytearray(build_pe(BODY))
    struct.pack_into("<II", pe, directories(pe) + 32, 0xFFFFFFF0, 0xFFFFFFFF)
    assert read_signatures(bytes(pe)) == ()
    ranges = read_signed_ranges(bytes(pe))
    assert ranges is not None
    assert len(authenticode_digest(bytes(pe), ranges, "sha256")) == 32


def test_an_entry_is_read_as_far_as_the_table_goes() -> None:
    signed = sign(build_pe(BODY))
    cut = only(signed[:-100])
    assert len(cut.blob) == cut.length - 8 - 100
    assert cut.signed_data is None
    assert cut.digest_ok is None
    assert cut.seal_ok is None
    assert (cut.signer, cut.issuing_ca, cut.certificates) == (None, None, ())


def test_a_length_that_holds_no_header_ends_the_table() -> None:
    for length in (0, 7):
        assert read_signatures(attach(build_pe(BODY), struct.pack("<IHH", length, 0x200, 2))) == ()


def test_the_number_of_signatures_is_limited() -> None:
    many = attach(build_pe(BODY), *[win_certificate(b"") for _ in range(5000)])
    assert len(read_signatures(many)) == MAX_SIGNATURES


def test_other_kinds_of_certificate_are_kept_but_not_read() -> None:
    blob = signed_data(spc_indirect_data(bytes(32), "sha256"), "sha256", identity())
    signature = only(attach(build_pe(BODY), win_certificate(blob, kind=0xEF0)))
    assert signature.certificate_type == 0xEF0
    assert signature.signed_data is None
    assert signature.digest_algorithm == ""


def test_an_unknown_digest_algorithm_is_named_and_not_computed() -> None:
    blob = signed_data(spc_indirect_data(bytes(32), "sha256"), "sha256", identity())
    unknown = blob.replace(oid("2.16.840.1.101.3.4.2.1"), oid("2.16.840.1.101.3.4.2.9"))
    signature = only(attach(build_pe(BODY), win_certificate(unknown)))
    assert signature.digest_algorithm == "2.16.840.1.101.3.4.2.9"
    assert signature.signed_digest == bytes(32)
    assert signature.computed_digest is None
    assert signature.digest_ok is None
    assert signature.seal_ok is None


def test_a_signer_whose_certificate_is_missing() -> None:
    blob = signed_data(spc_indirect_data(bytes(32), "sha256"), "sha256", identity())
    serial = integer(0x1234567890ABCDEF12)
    at = blob.rindex(serial)
    other = blob[:at] + integer(0x1234567890ABCDEF13) + blob[at + len(serial) :]
    signature = only(attach(build_pe(BODY), win_certificate(other)))
    assert signature.signer_certificate is None
    assert (signature.signer, signature.issuing_ca) == (None, "Test CA")
    assert signature.seal_ok is None


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x30\x80",
        der(0x31),
        der(0x30, oid("1.2.3")),
        der(0x30, oid("1.2.840.113549.1.7.2")),
        der(0x30, oid("1.2.840.113549.1.7.2"), der(0xA0, der(0x30, integer(1)))),
    ],
)
def test_what_is_no_signed_data(blob: bytes) -> None:
    assert read_signed_data(blob) is None


def test_a_signed_data_with_nothing_in_it() -> None:
    inner = der(0x30, integer(1), der(0x31), der(0x30), der(0x31))
    data = read_signed_data(der(0x30, oid("1.2.840.113549.1.7.2"), der(0xA0, inner)))
    assert data is not None
    assert (data.content, data.digest, data.certificates) == (b"", None, ())
    assert data.signer_info is None


SIGNED = sign(build_pe(b"\x90" * 8))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_signatures_raise_nothing(data: st.DataObject) -> None:
    raw = bytearray(SIGNED)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0x80, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for signature in read_signatures(bytes(raw[: data.draw(st.integers(0x100, len(raw)))])):
        assert signature.digest_ok in (True, False, None)
        assert signature.seal_ok in (True, False, None)
        assert all(c.subject.isprintable() for c in signature.certificates)
        assert (signature.issuing_ca or "").isprintable()
        repr(signature)
