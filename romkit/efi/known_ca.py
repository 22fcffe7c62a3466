"""When the certificates of well-known signing authorities end.

Signatures by NVIDIA's signer hold the signer's certificate alone, so the file itself does not say
until when its issuer's runs. Firmware does not look at these dates: they are facts, no verdicts.
"""

from __future__ import annotations

from datetime import UTC, datetime

#: Common name → end of validity. Measured: the certificates stand in signatures of AMD's drivers.
KNOWN_CAS = {
    "Microsoft Corporation UEFI CA 2011": datetime(2026, 6, 27, 21, 32, 45, tzinfo=UTC),
}


def known_ca_not_after(name: str | None) -> datetime | None:
    """When the certificate of the authority of that name ends, UTC; None where not known."""
    return None if name is None else KNOWN_CAS.get(name)
