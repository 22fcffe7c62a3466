"""X.509 certificates (RFC 5280): who it is for, who issued it, from when until when.

Read here rather than with the cryptography package, which takes 0.1 s to start; nothing is
verified by reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from romkit.efi.der import (
    BMP_STRING,
    CONTEXT_0,
    GENERALIZED_TIME,
    INTEGER,
    SEQUENCE,
    UNIVERSAL_STRING,
    UTC_TIME,
    UTF8_STRING,
    Element,
    children,
    integer,
    object_identifier,
)
from romkit.efi.text import clean

COMMON_NAME = "2.5.4.3"

_CODECS = {UTF8_STRING: "utf-8", BMP_STRING: "utf-16-be", UNIVERSAL_STRING: "utf-32-be"}

#: Where year, month, day, hour, minute and second stand in a GeneralizedTime.
_DATE_FIELDS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))

#: Bytes of a name that are looked at; no attribute of a real name is longer (RFC 5280: 64).
_LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, as far as it says who vouches for whom.

    Attributes:
        der: the certificate's bytes.
        subject: the common name it is for; the last attribute of the name where it has none.
        issuer: the common name of who issued it, likewise.
        subject_name: the whole name, DER, for comparing.
        issuer_name: likewise.
        serial: the issuer's number for it.
        not_before: start of validity, UTC; None where unreadable.
        not_after: end of validity, UTC; None where unreadable.
        public_key: SubjectPublicKeyInfo, DER.
    """

    der: bytes = field(repr=False)
    subject: str
    issuer: str
    subject_name: bytes = field(repr=False)
    issuer_name: bytes = field(repr=False)
    serial: int
    not_before: datetime | None
    not_after: datetime | None
    public_key: bytes = field(repr=False)

    def __repr__(self) -> str:
        until = f"{self.not_after:%Y-%m-%d}" if self.not_after else "?"
        return f"<Certificate {self.subject!r} by {self.issuer!r} until {until}>"


def read_certificate(element: Element) -> Certificate | None:
    """The certificate in `element`, or None where it is none."""
    if element.tag != SEQUENCE:
        return None
    body = next(children(element), None)
    fields = list(children(body))
    if fields and fields[0].tag == CONTEXT_0:  # the version, absent in version 1
        del fields[0]
    if [f.tag for f in fields[:6]] != [INTEGER, *[SEQUENCE] * 5]:
        return None
    number, _algorithm, issuer, validity, subject, key = fields[:6]
    serial = integer(number)
    if serial is None:
        return None
    times = [read_time(t) for t in children(validity)] + [None, None]
    return Certificate(
        der=bytes(element),
        subject=common_name(subject),
        issuer=common_name(issuer),
        subject_name=bytes(subject),
        issuer_name=bytes(issuer),
        serial=serial,
        not_before=times[0],
        not_after=times[1],
        public_key=bytes(key),
    )


def common_name(name: Element) -> str:
    """The common name in an X.501 name; without one its last attribute, without that ""."""
    text = ""
    for attributes in children(name):
        for attribute in children(attributes):
            kind, value = ([*children(attribute), None, None])[:2]
            if value is None:
                continue
            raw = value.contents[:_LONGEST_NAME]
            # PrintableString and IA5String are ASCII; T61String is Latin-1 in practice.
            text = clean(raw.decode(_CODECS.get(value.tag, "latin-1"), "replace"))
            if object_identifier(kind) == COMMON_NAME:
                return text
    return text


def read_time(element: Element) -> datetime | None:
    """UTCTime or GeneralizedTime as RFC 5280 restricts them: seconds, and UTC."""
    text = element.contents[:16].decode("latin-1")
    if element.tag == UTC_TIME and re.fullmatch(r"[0-9]{12}Z", text):
        text = ("19" if text >= "50" else "20") + text
    elif element.tag != GENERALIZED_TIME or not re.fullmatch(r"[0-9]{14}Z", text):
        return None
    try:
        # Not strptime: importing what it needs takes longer than reading all certificates.
        year, month, day, hour, minute, second = (int(text[a:b]) for a, b in _DATE_FIELDS)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
