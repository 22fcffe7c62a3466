from datetime import UTC, datetime

import pytest
from builders.authenticode import CA_NOT_AFTER, NOT_AFTER, NOT_BEFORE, der, identity, integer, oid
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from romkit.efi.certificate import Certificate, common_name, read_certificate, read_time
from romkit.efi.der import Element, read_element


def element(data: bytes) -> Element:
    found = read_element(data)
    assert found is not None
    return found


def certificate(data: bytes) -> Certificate:
    found = read_certificate(element(data))
    assert found is not None
    return found


def test_a_certificate_made_by_cryptography_reads_the_same() -> None:
    who = identity("A Signer", "A CA")
    read = certificate(who.certificate.public_bytes(Encoding.DER))
    assert (read.subject, read.issuer) == ("A Signer", "A CA")
    assert read.serial == 0x1234567890ABCDEF12
    assert (read.not_before, read.not_after) == (NOT_BEFORE, NOT_AFTER)
    assert read.subject_name == who.certificate.subject.public_bytes()
    assert read.issuer_name == who.certificate.issuer.public_bytes()
    assert read.public_key == who.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert repr(read) == "<Certificate 'A Signer' by 'A CA' until 2014-06-27>"
    # From 2050 on, times are GeneralizedTime.
    ca = certificate(who.ca_certificate.public_bytes(Encoding.DER))
    assert (ca.subject, ca.issuer, ca.not_after) == ("A CA", "A CA", CA_NOT_AFTER)


def name(*attributes: tuple[str, int, bytes]) -> Element:
    return element(
        der(0x30, *[der(0x31, der(0x30, oid(kind), der(tag, v))) for kind, tag, v in attributes])
    )


COMMON, ORGANISATION = "2.5.4.3", "2.5.4.10"


def test_common_names_in_every_kind_of_string() -> None:
    assert common_name(name((COMMON, 0x13, b"Plain"))) == "Plain"
    assert common_name(name((COMMON, 0x0C, "Zoë".encode()))) == "Zoë"
    assert common_name(name((COMMON, 0x14, "Zoë".encode("latin-1")))) == "Zoë"
    assert common_name(name((COMMON, 0x1E, "Zoë".encode("utf-16-be")))) == "Zoë"
    assert common_name(name((COMMON, 0x1C, "Zoë".encode("utf-32-be")))) == "Zoë"


def test_without_a_common_name_the_last_attribute_counts() -> None:
    assert common_name(name((COMMON, 0x13, b"CN"), (ORGANISATION, 0x13, b"O"))) == "CN"
    assert common_name(name(("2.5.4.6", 0x13, b"XX"), (ORGANISATION, 0x13, b"O"))) == "O"
    assert common_name(name()) == ""
    assert common_name(element(der(0x30, der(0x31, der(0x30, oid(COMMON)))))) == ""


def test_a_hostile_name_cannot_act_on_a_terminal() -> None:
    assert common_name(name((COMMON, 0x0C, "\x1b[31mred\u202e\n".encode()))) == "?[31mred??"
    assert common_name(name((COMMON, 0x0C, b"\xff\xfe"))) == "??"


@pytest.mark.parametrize(
    ("tag", "text", "year"),
    [
        (0x17, b"110627212245Z", 2011),
        (0x17, b"500627212245Z", 1950),
        (0x17, b"490627212245Z", 2049),
        (0x18, b"20510627212245Z", 2051),
    ],
)
def test_times(tag: int, text: bytes, year: int) -> None:
    assert read_time(element(der(tag, text))) == datetime(year, 6, 27, 21, 22, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (0x17, b"1106272122Z"),
        (0x17, b"110627212245+0100"),
        (0x17, b"111327212245Z"),
        (0x17, b"20510627212245Z"),
        (0x18, b"110627212245Z"),
        (0x18, b"20510627212245.5Z"),
        (0x18, b"00000627212245Z"),
        (0x13, b"110627212245Z"),
        (0x17, b""),
        (0x17, "11062721224\u0665Z".encode()),
    ],
)
def test_what_is_no_time(tag: int, text: bytes) -> None:
    assert read_time(element(der(tag, text))) is None


def test_unreadable_times_cost_only_themselves() -> None:
    empty = der(0x30)
    body = der(0x30, integer(5), empty, empty, der(0x30, der(0x17, b"never")), empty, empty)
    read = certificate(der(0x30, body))
    assert (read.serial, read.not_before, read.not_after) == (5, None, None)
    assert repr(read) == "<Certificate '' by '' until ?>"


@pytest.mark.parametrize("raw", ["31 00", "30 00", "30 02 30 00", "30 05 30 03 02 01 01"])
def test_what_is_no_certificate(raw: str) -> None:
    assert read_certificate(element(bytes.fromhex(raw))) is None
