"""osslsigncode as a second opinion on Authenticode digests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from builders.authenticode import sign
from builders.pe import build_pe

from romkit import parse_rom
from romkit.efi.signature import read_signatures

OSSLSIGNCODE = shutil.which("osslsigncode")

pytestmark = pytest.mark.skipif(
    OSSLSIGNCODE is None,
    reason="osslsigncode is not installed (Debian, Ubuntu: apt-get install osslsigncode)",
)

#: Where Debian's shim-signed and grub-efi-amd64-signed put programs that are signed for real.
SIGNED_PROGRAMS = sorted(
    path
    for folder in ("/usr/lib/shim", "/usr/lib/grub")
    for path in Path(folder).rglob("*.efi.signed")
)


def their_digests(pe: bytes, path: Path) -> tuple[list[str], list[str]]:
    """(signed, calculated) digests that osslsigncode prints of an image; empty if unsigned."""
    path.write_bytes(pe)
    run = subprocess.run(
        [str(OSSLSIGNCODE), "verify", "-in", str(path)], capture_output=True, text=True, check=False
    )

    def printed(label: str) -> list[str]:
        return re.findall(rf"{label} message digest *: ([0-9A-F]+)", run.stdout)

    return printed("Current"), printed("Calculated")


def our_digests(pe: bytes) -> tuple[list[str], list[str]]:
    signatures = read_signatures(pe)
    return (
        [s.signed_digest.hex().upper() for s in signatures if s.signed_digest is not None],
        [s.computed_digest.hex().upper() for s in signatures if s.computed_digest is not None],
    )


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_images_made_by_hand(algorithm: str, tmp_path: Path) -> None:
    signed = sign(build_pe(b"\x90" * 99), algorithm)
    assert len(our_digests(signed)[0]) == 1
    assert our_digests(signed) == their_digests(signed, tmp_path / "pe")
    changed = signed[:0x210] + b"!" + signed[0x211:]
    assert our_digests(changed) == their_digests(changed, tmp_path / "pe")
    assert our_digests(changed) != our_digests(signed)


@pytest.mark.parametrize("program", SIGNED_PROGRAMS or [None])
def test_programs_of_the_distribution(program: Path | None, tmp_path: Path) -> None:
    if program is None:
        pytest.skip("no signed programs (Debian: apt-get install grub-efi-amd64-signed)")
    pe = program.read_bytes()
    assert all(s.digest_ok and s.seal_ok for s in read_signatures(pe))
    theirs = their_digests(pe, tmp_path / "pe")
    if len(read_signatures(pe)) > 1 and theirs == ([], []):
        pytest.skip("this osslsigncode does not read two entries in one certificate table")
    assert our_digests(pe) == theirs


@pytest.mark.survey
def test_every_signed_driver_of_the_corpus(corpus: Path, tmp_path: Path) -> None:
    compared = 0
    for name in json.loads((corpus / "expected.json").read_text()):
        data = (corpus / "roms" / name).read_bytes()
        if b"\xf1\x0e\x00\x00" not in data:
            continue
        for image in parse_rom(data).efi_images:
            if image.efi is not None and image.efi.pe is not None:
                pe = image.efi.pe
                assert our_digests(pe) == their_digests(pe, tmp_path / "pe"), (name, image)
                compared += len(read_signatures(pe))
    assert compared >= 28
