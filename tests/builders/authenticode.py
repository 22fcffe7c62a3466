"""Authenticode signatures, written element by element: DER by hand, keys by cryptography."""

from __future__ import annotations

import datetime
import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache

from builders.pe import directories, optional_header, padded
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

DIGESTS = {
    "sha1": ("1.3.14.3.2.26", hashes.SHA1()),
    "sha256": ("2.16.840.1.101.3.4.2.1", hashes.SHA256()),
    "sha384": ("2.16.840.1.101.3.4.2.2", hashes.SHA384()),
    "sha512": ("2.16.840.1.101.3.4.2.3", hashes.SHA512()),
}

NOT_BEFORE = datetime.datetime(2011, 6, 27, 21, 22, 45, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2014, 6, 27, 21, 32, 45, tzinfo=datetime.UTC)
CA_NOT_AFTER = datetime.datetime(2051, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element around `parts`."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def oid(dotted: str) -> bytes:
    """An object identifier."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    body = b""
    for arc in (40 * first + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.insert(0, arc & 0x7F | 0x80)
        body += bytes(septets)
    return der(0x06, body)


def integer(value: int) -> bytes:
    """A non-negative integer."""
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@dataclass(frozen=True)
class Identity:
    """A signer and the CA that issued its certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    ca_certificate: x509.Certificate


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


@lru_cache
def identity(signer: str = "Test Signer", ca: str = "Test CA") -> Identity:
    """A fresh signer and CA."""
    ca_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def issue(
        subject: str, public: rsa.RSAPublicKey, serial: int, until: datetime.datetime
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(ca))
        builder = builder.public_key(public).serial_number(serial)
        builder = builder.not_valid_before(NOT_BEFORE).not_valid_after(until)
        return builder.sign(ca_key, hashes.SHA256())

    return Identity(
        key,
        issue(signer, key.public_key(), 0x1234567890ABCDEF12, NOT_AFTER),
        issue(ca, ca_key.public_key(), 1, CA_NOT_AFTER),
    )


def spec_digest(pe: bytes, algorithm: str, table_size: int = 0) -> bytes:
    """The digest as the Authenticode document describes it: headers, sections by offset, rest."""
    start = optional_header(pe)
    check_sum, entry = start + 64, directories(pe) + 32
    (size_of_headers,) = struct.unpack_from("<I", pe, start + 60)
    digest = hashlib.new(algorithm)
    digest.update(pe[:check_sum])
    digest.update(pe[check_sum + 4 : entry])
    digest.update(pe[entry + 8 : size_of_headers])
    (count,) = struct.unpack_from("<H", pe, start - 18)
    (optional_size,) = struct.unpack_from("<H", pe, start - 4)
    table = [
        struct.unpack_from("<II", pe, start + optional_size + 40 * i + 16) for i in range(count)
    ]
    hashed = size_of_headers
    for size, offset in sorted(table, key=lambda s: s[1]):
        if size:
            digest.update(pe[offset : offset + size])
            hashed += size
    digest.update(pe[hashed : len(pe) - table_size])
    return digest.digest()


def spc_indirect_data(digest: bytes, algorithm: str) -> bytes:
    """SpcIndirectDataContent for a PE image, without its outer tag and length."""
    pe_image_data = der(
        0x30,
        oid("1.3.6.1.4.1.311.2.1.15"),
        der(0x30, der(0x03, b"\0"), der(0xA0, der(0xA2, der(0x80)))),
    )
    algorithm_id = der(0x30, oid(DIGESTS[algorithm][0]), der(0x05))
    return pe_image_data + der(0x30, algorithm_id, der(0x04, digest))


def signed_data(
    content: bytes,
    algorithm: str,
    who: Identity,
    *,
    with_ca: bool = True,
    with_attributes: bool = True,
) -> bytes:
    """A PKCS #7 SignedData around `content` (of SpcIndirectDataContent), signed by `who`."""
    algorithm_oid, algorithm_hash = DIGESTS[algorithm]
    algorithm_id = der(0x30, oid(algorithm_oid), der(0x05))
    message_digest = hashlib.new(algorithm, content).digest()
    attributes = b"".join(
        sorted(
            [
                der(0x30, oid("1.2.840.113549.1.9.3"), der(0x31, oid("1.3.6.1.4.1.311.2.1.4"))),
                der(0x30, oid("1.2.840.113549.1.9.4"), der(0x31, der(0x04, message_digest))),
            ]
        )
    )
    message = der(0x31, attributes) if with_attributes else content
    value = who.key.sign(message, padding.PKCS1v15(), algorithm_hash)
    issuer = who.certificate.issuer.public_bytes()
    signer_info = der(
        0x30,
        integer(1),
        der(0x30, issuer, integer(who.certificate.serial_number)),
        algorithm_id,
        der(0xA0, attributes) if with_attributes else b"",
        der(0x30, oid("1.2.840.113549.1.1.1"), der(0x05)),
        der(0x04, value),
    )
    certificates = [who.ca_certificate] if with_ca else []
    certificates.append(who.certificate)
    return der(
        0x30,
        oid("1.2.840.113549.1.7.2"),
        der(
            0xA0,
            der(
                0x30,
                integer(1),
                der(0x31, algorithm_id),
                der(0x30, oid("1.3.6.1.4.1.311.2.1.4"), der(0xA0, der(0x30, content))),
                der(0xA0, *[c.public_bytes(Encoding.DER) for c in certificates]),
                der(0x31, signer_info),
            ),
        ),
    )


def win_certificate(blob: bytes, *, revision: int = 0x0200, kind: int = 2) -> bytes:
    """One entry of a certificate table, padded to a multiple of 8 like the next one expects."""
    blob = padded(blob, 8)
    return struct.pack("<IHH", 8 + len(blob), revision, kind) + blob


def attach(pe: bytes, *entries: bytes) -> bytes:
    """`pe` with a certificate table behind it."""
    pe = padded(pe, 8)
    table = b"".join(entries)
    at = directories(pe) + 32
    return pe[:at] + struct.pack("<II", len(pe), len(table)) + pe[at + 8 :] + table


def sign(
    pe: bytes,
    algorithm: str = "sha256",
    who: Identity | None = None,
    *,
    with_ca: bool = True,
    with_attributes: bool = True,
) -> bytes:
    """`pe` with one Authenticode signature."""
    who = who or identity()
    pe = padded(pe, 8)
    content = spc_indirect_data(spec_digest(pe, algorithm), algorithm)
    blob = signed_data(content, algorithm, who, with_ca=with_ca, with_attributes=with_attributes)
    return attach(pe, win_certificate(blob))
