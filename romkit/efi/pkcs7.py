"""PKCS #7 SignedData (RFC 2315) with Microsoft's SpcIndirectDataContent: the digest of a PE image
and who signed it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from romkit.efi.certificate import Certificate, common_name, read_certificate
from romkit.efi.der import (
    CONTEXT_0,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Element,
    children,
    descend,
    integer,
    object_identifier,
    read_element,
)

SIGNED_DATA = "1.2.840.113549.1.7.2"
SPC_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"

#: Object identifier → hashlib's name.
DIGEST_ALGORITHMS = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}

#: rsaEncryption and the identifiers that name the digest as well.
RSA_PKCS1 = frozenset(f"1.2.840.113549.1.1.{n}" for n in (1, 5, 11, 12, 13))


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """One signer of a SignedData.

    Attributes:
        issuer: common name of who issued the signer's certificate.
        issuer_name: that name, DER.
        serial: number of the signer's certificate.
        digest_algorithm: hashlib's name, or the object identifier where it is no known one.
        signature_algorithm: object identifier.
        attributes: the signed attributes as they are hashed (a SET), or b"".
        message_digest: the digest of the content that they state, or None.
        value: the signature.
    """

    issuer: str
    issuer_name: bytes = field(repr=False)
    serial: int
    digest_algorithm: str
    signature_algorithm: str
    attributes: bytes = field(repr=False)
    message_digest: bytes | None = field(repr=False)
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedData:
    """What a PKCS #7 blob of an Authenticode signature says.

    Attributes:
        length: bytes of the blob that are the SignedData; what follows is padding.
        content_type: object identifier of what is signed; `SPC_INDIRECT_DATA` for PE images.
        content: the signed content, without its tag and length.
        digest_algorithm: hashlib's name; the object identifier where it is no known one; "" where
            the content states none.
        digest: the PE image's digest, as signed; None where the content states none.
        certificates: in the order of the blob; unreadable ones are left out.
        signer_info: the first signer, or None.
    """

    length: int
    content_type: str
    content: bytes = field(repr=False)
    digest_algorithm: str
    digest: bytes | None
    certificates: tuple[Certificate, ...]
    signer_info: SignerInfo | None


def read_signed_data(blob: bytes) -> SignedData | None:
    """The SignedData in `blob`, or None where it holds none. Nothing is verified."""
    outer = read_element(blob)
    if outer is None or outer.tag != SEQUENCE:
        return None
    if object_identifier(next(children(outer), None)) != SIGNED_DATA:
        return None
    fields = list(children(descend(outer, CONTEXT_0, SEQUENCE)))
    if [f.tag for f in fields[:3]] != [INTEGER, SET, SEQUENCE]:
        return None
    content_info = fields[2]
    content = next(children(descend(content_info, CONTEXT_0)), None)
    content_type = object_identifier(next(children(content_info), None))
    # A signature over anything else says nothing about the image.
    is_spc = content_type == SPC_INDIRECT_DATA
    algorithm, digest = _spc_digest(content) if is_spc else ("", None)
    certificates = next((f for f in fields[3:] if f.tag == CONTEXT_0), None)
    signers = next((f for f in fields[3:] if f.tag == SET), None)
    signer = next(children(signers), None)
    return SignedData(
        length=outer.end,
        content_type=content_type,
        content=content.contents if content is not None else b"",
        digest_algorithm=algorithm,
        digest=digest,
        certificates=tuple(c for e in children(certificates) if (c := read_certificate(e))),
        signer_info=_signer_info(signer) if signer is not None else None,
    )


def _spc_digest(content: Element | None) -> tuple[str, bytes | None]:
    """Algorithm and digest of a SpcIndirectDataContent: data, then a DigestInfo."""
    if content is None or content.tag != SEQUENCE:
        return "", None
    info = list(children(content))[1:2]
    parts = list(children(info[0])) if info else []
    if [p.tag for p in parts[:2]] != [SEQUENCE, OCTET_STRING]:
        return "", None
    return _algorithm(parts[0]), parts[1].contents


def _algorithm(identifier: Element) -> str:
    oid = object_identifier(next(children(identifier), None))
    return DIGEST_ALGORITHMS.get(oid, oid)


def _signer_info(element: Element) -> SignerInfo | None:
    fields = list(children(element))
    if [f.tag for f in fields[:3]] != [INTEGER, SEQUENCE, SEQUENCE]:
        return None
    issuer, number = ([*children(fields[1]), None, None])[:2]
    serial = integer(number)
    if issuer is None or serial is None:
        return None
    rest = fields[3:]
    signed = rest.pop(0) if rest and rest[0].tag == CONTEXT_0 else None
    if [f.tag for f in rest[:2]] != [SEQUENCE, OCTET_STRING]:
        return None
    return SignerInfo(
        issuer=common_name(issuer),
        issuer_name=bytes(issuer),
        serial=serial,
        digest_algorithm=_algorithm(fields[2]),
        signature_algorithm=object_identifier(next(children(rest[0]), None)),
        # RFC 2315, 9.3: hashed with the tag of a SET instead of its own.
        attributes=bytes((SET,)) + bytes(signed)[1:] if signed is not None else b"",
        message_digest=_message_digest(signed),
        value=rest[1].contents,
    )


def _message_digest(attributes: Element | None) -> bytes | None:
    for attribute in children(attributes):
        kind, values = ([*children(attribute), None, None])[:2]
        if object_identifier(kind) == MESSAGE_DIGEST:
            value = next(children(values), None)
            return value.contents if value is not None and value.tag == OCTET_STRING else None
    return None
