"""Findings about the UEFI drivers in a ROM, and what a guest's firmware does with them."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.checks.structure import EDK2, name_of, passed
from romkit.efi.gop import GopRole
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.guest import OVMF_MACHINE, ovmf_view
from romkit.rom import Rom

AUTHENTICODE = "Windows Authenticode Portable Executable Signature Format"
UEFI_IMAGE = "UEFI specification 2.10, section 14.4.2"
NOT_ALWAYS_NEEDED = (
    "needed only if this GPU is to show the guest's firmware screen; a muxless GPU, which drives "
    "no display, never needs it"
)


def decodable(rom: Rom) -> Iterator[Finding]:
    """A compressed driver must decompress."""
    for image in rom.efi_images:
        if image.efi is not None and image.efi.pe is None:
            yield Finding(
                check="efi.undecodable",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=name_of(rom, image),
                title=f"the driver cannot be decompressed, by no firmware either: "
                f"{image.efi.undecodable}",
                evidence=(
                    Evidence(
                        f"{image.offset + image.efi.image_offset:#x}",
                        image.efi.payload[:8].hex(" "),
                    ),
                ),
                remedy="the dump is damaged or the ROM was altered: take another one",
                source=UEFI_IMAGE,
            )


def digest(rom: Rom) -> Iterator[Finding]:
    """The Authenticode digest, recomputed."""
    for image in rom.efi_images:
        efi = image.efi
        if efi is None or efi.signed is None:
            continue
        subject = name_of(rom, image)
        if not efi.signed:
            yield Finding(
                check="efi.signed",
                verdict=Verdict.FAIL,
                severity=Severity.NOTE,
                subject=subject,
                title="the driver is not signed: a guest with Secure Boot refuses it, one without "
                "starts it",
                source=UEFI_IMAGE,
            )
        elif efi.digest_ok is None:
            yield Finding(
                check="efi.digest",
                verdict=Verdict.UNKNOWN,
                severity=Severity.WARNING,
                subject=subject,
                title="whether the driver is what was signed cannot be told: its signature cannot "
                "be read",
                source=AUTHENTICODE,
            )
        elif efi.digest_ok:
            yield passed("efi.digest", subject, "the driver is what was signed")
        else:
            sig = efi.signature
            assert sig is not None
            digests = {"signed": sig.signed_digest, "computed": sig.computed_digest}
            yield Finding(
                check="efi.digest",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=subject,
                title="the driver is not what was signed: a guest with Secure Boot refuses it, one "
                "without starts it",
                evidence=tuple(
                    Evidence(name, value.hex() if value else "unreadable")
                    for name, value in digests.items()
                ),
                remedy="take another dump of the same version, or leave Secure Boot off in the "
                "guest",
                source=AUTHENTICODE,
            )


def seal(rom: Rom) -> Iterator[Finding]:
    """The digest fits; did the signer's key really sign it?"""
    for image in rom.efi_images:
        efi = image.efi
        if efi is None or not efi.digest_ok:
            continue
        subject = name_of(rom, image)
        if all(signature.seal_ok is not False for signature in efi.signatures):
            yield passed("efi.seal", subject, "the signature is its signer's")
        else:
            yield Finding(
                check="efi.seal",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=subject,
                title="the signature was not made by the key that it names: the digest in it was "
                "altered together with the driver; a guest with Secure Boot refuses it",
                evidence=tuple(Evidence("signer", s.signer or "unknown") for s in efi.signatures),
                remedy="take another dump of the same version",
                source=AUTHENTICODE,
            )


def gop(rom: Rom) -> Iterator[Finding]:
    """Is there a GOP for an x86-64 guest?"""
    # Class 0 is what bare GOP files and NVIDIA's newer EFI images carry.
    if not any(i.pcir.class_code >> 16 in (0, 3) for i in rom.images):
        return
    drivers = [(i, i.efi) for i in rom.efi_images if i.efi is not None]
    good = [
        (i, e) for i, e in drivers if e.gop_role is GopRole.PRODUCER and e.machine == OVMF_MACHINE
    ]
    if good:
        image, efi = good[0]
        version = efi.gop.version if efi.gop and efi.gop.version else "of unknown version"
        yield passed("gop.x64", name_of(rom, image), f"an X64 GOP, {version}")
        return
    dark = [i for i, e in drivers if e.gop_role is GopRole.UNKNOWN and e.machine == OVMF_MACHINE]
    if dark:
        yield Finding(
            check="gop.x64",
            verdict=Verdict.UNKNOWN,
            severity=Severity.NOTE,
            subject=name_of(rom, dark[0]),
            title="whether it has a GOP cannot be told: its EFI image cannot be read; "
            f"{NOT_ALWAYS_NEEDED}",
            source=UEFI_IMAGE,
        )
        return
    evidence = tuple(
        Evidence(name_of(rom, i), f"{e.machine_name}, {e.gop_role.value}") for i, e in drivers
    )
    yield Finding(
        check="gop.x64",
        verdict=Verdict.FAIL,
        severity=Severity.NOTE,
        subject="file",
        title=f"no X64 GOP: {NOT_ALWAYS_NEEDED}",
        evidence=evidence,
        remedy="none for a muxless GPU; else use SeaBIOS, or a newer VBIOS of the same card",
        source=UEFI_IMAGE,
    )


def ovmf(rom: Rom) -> Iterator[Finding]:
    """Would OVMF start what the ROM carries?"""
    wanted = [i for i in rom.efi_images if i.efi is not None and i.efi.machine == OVMF_MACHINE]
    if not wanted:
        return
    view = ovmf_view(rom, rom.rom_offset)
    started = {a.offset for a in view.started}
    if all(i.offset in started for i in wanted):
        yield passed("guest.ovmf", "file", f"OVMF starts {len(started)} driver(s) from it")
        return
    yield Finding(
        check="guest.ovmf",
        verdict=Verdict.FAIL,
        severity=Severity.WARNING,
        subject="file",
        title=f"OVMF starts {len(started)} of {len(wanted)} X64 drivers in it: {view.why_nothing}",
        evidence=tuple(
            Evidence(f"{a.offset:#x}", f"{a.outcome.value}: {a.reason}") for a in view.attempts
        ),
        remedy="see the other findings for what to mend",
        source=EDK2,
    )


EFI_CHECKS = (decodable, digest, gop, ovmf)

#: Needs public-key arithmetic, whose library takes as long to start as all the rest.
SEAL_CHECKS = (seal,)
