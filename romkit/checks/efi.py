"""Findings about the UEFI drivers in a ROM, and what a guest's firmware does with them."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.checks.structure import EDK2, appended_drivers, firmware_way_out, name_of, passed
from romkit.efi.driver import EfiDriver
from romkit.efi.gop import GopRole
from romkit.efi.pe import machine_name
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.guest import OVMF_MACHINE, GuestView, Outcome, ovmf_view
from romkit.image import OptionRom
from romkit.rom import Rom

AUTHENTICODE = "Windows Authenticode Portable Executable Signature Format"
UEFI_IMAGE = "UEFI specification 2.10, section 14.4.2"
NOT_ALWAYS_NEEDED = (
    "needed only if this GPU is to show the guest's firmware screen; a muxless GPU, which drives "
    "no display, never needs it"
)


def pe_machine(efi: EfiDriver) -> int:
    """The machine that a driver is for: the PE image's own word, which firmware goes by, or the
    header's where the PE image cannot be read."""
    return efi.facts.machine if efi.facts is not None else efi.machine


def why_no_start(rom: Rom, view: GuestView) -> str:
    """Why firmware starts nothing, without the decoder's own words."""
    refused = next((a for a in view.attempts if a.outcome is Outcome.REFUSES), None)
    if refused is not None:
        image = next((i for i in rom.efi_images if i.offset == refused.offset), None)
        if image is not None and image.truncated:
            return "its EFI image is cut off"
        if image is not None and image.efi is not None and image.efi.undecodable == refused.reason:
            return why_undecodable(image, image.efi)
    return view.why_nothing


def why_undecodable(image: OptionRom, efi: EfiDriver) -> str:
    """Why there is no driver to look at, in words that need no knowledge of the algorithm."""
    if efi.too_large:
        return "the driver is too large for romkit to decompress"
    if efi.damaged_at is not None:
        return f"the compressed data are damaged at {image.offset + efi.damaged_at:#x} of the file"
    return efi.undecodable


def decodable(rom: Rom) -> Iterator[Finding]:
    """A compressed driver must decompress."""
    for image in rom.efi_images:
        efi = image.efi
        if efi is None or efi.pe is not None:
            continue
        start = f"{image.offset + efi.image_offset:#x}"
        evidence = (Evidence(start, efi.payload[:8].hex(" ")), Evidence(start, efi.undecodable))
        if efi.too_large:
            yield Finding(
                check="efi.undecodable",
                verdict=Verdict.UNKNOWN,
                severity=Severity.WARNING,
                subject=name_of(rom, image),
                title="what the driver is cannot be told: it is larger than romkit decompresses",
                evidence=evidence,
                source="a limit of romkit, not of firmware",
            )
        else:
            yield Finding(
                check="efi.undecodable",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=name_of(rom, image),
                title="the driver cannot be read, by no firmware either: "
                f"{why_undecodable(image, efi)}",
                evidence=evidence,
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


def signature(rom: Rom) -> Iterator[Finding]:
    """The digest fits; did the signer's key really sign it?"""
    for image in rom.efi_images:
        efi = image.efi
        if efi is None or not efi.digest_ok:
            continue
        subject = name_of(rom, image)
        if all(own.seal_ok is not False for own in efi.signatures):
            yield passed("efi.signature", subject, "the signature is its signer's")
        else:
            yield Finding(
                check="efi.signature",
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
    if not any(i.pcir.class_code >> 16 in (0, 3) for i in rom.pcir_chain):
        return
    drivers = [(i, i.efi) for i in rom.efi_images if i.efi is not None]
    good = [(i, e) for i, e in drivers if _is_x64_gop(e)]
    seen = [(i, e) for i, e in good if i in rom.pcir_chain]
    if good and not seen:
        # Where the PCIR chain is broken, OVMF may find an image that nobody else does.
        started = {a.offset for a in ovmf_view(rom, rom.rom_offset).started}
        seen = [(i, e) for i, e in good if i.offset in started]
    if seen:
        image, efi = seen[0]
        version = efi.gop.version if efi.gop and efi.gop.version else "of unknown version"
        yield passed("gop.x64", name_of(rom, image), f"an X64 GOP, {version}")
        return
    hidden = [(i.offset, name_of(rom, i)) for i, _ in good] + [
        (offset, f"EFI image at {offset:#x}, behind the ROM")
        for offset, image in appended_drivers(rom)
        if image.efi is not None and _is_x64_gop(image.efi)
    ]
    if hidden:
        yield Finding(
            check="gop.x64",
            verdict=Verdict.FAIL,
            severity=Severity.NOTE,
            subject=hidden[0][1],
            title="the X64 GOP is of no use: firmware never reaches it, "
            f"{firmware_way_out(rom, hidden[0][0])}; a GOP is {NOT_ALWAYS_NEEDED}",
            evidence=(
                Evidence("PCIR chain", " → ".join(f"{i.offset:#x}" for i in rom.pcir_chain)),
            ),
            remedy="see rom.efi-unreachable",
            source=EDK2,
        )
        return
    dark = [
        i for i, e in drivers if e.gop_role is GopRole.UNKNOWN and pe_machine(e) == OVMF_MACHINE
    ]
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
        Evidence(name_of(rom, i), f"{machine_name(pe_machine(e))}, {e.gop_role.value}")
        for i, e in drivers
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
    drivers = [(i, i.efi) for i in rom.efi_images if i.efi is not None]
    wanted = [i for i, e in drivers if pe_machine(e) == OVMF_MACHINE]
    if not wanted:
        return
    view = ovmf_view(rom, rom.rom_offset)
    started = {a.offset for a in view.started}
    cut = [i for i in wanted if i.truncated]
    if cut:
        yield Finding(
            check="guest.ovmf",
            verdict=Verdict.UNKNOWN,
            severity=Severity.WARNING,
            subject=name_of(rom, cut[0]),
            title="what OVMF does with it cannot be told: the image is cut off",
            source=EDK2,
        )
        return
    if all(i.offset in started for i in wanted):
        yield passed("guest.ovmf", "file", f"OVMF starts {len(started)} driver(s) from it")
        return
    evidence = tuple(
        Evidence(f"{a.offset:#x}", f"{a.outcome.value}: {a.reason}") for a in view.attempts
    )
    number = sum(i.offset in started for i in wanted)
    left = [e for i, e in drivers if i in wanted and i.offset not in started]
    if all(efi.too_large for efi in left):
        yield Finding(
            check="guest.ovmf",
            verdict=Verdict.UNKNOWN,
            severity=Severity.WARNING,
            subject="file",
            title=f"whether OVMF starts {len(left)} of {len(wanted)} X64 drivers in it cannot be "
            "told: they are larger than romkit decompresses",
            evidence=evidence,
            source="a limit of romkit, not of firmware",
        )
        return
    yield Finding(
        check="guest.ovmf",
        verdict=Verdict.FAIL,
        severity=Severity.WARNING,
        subject="file",
        title=f"OVMF starts {number} of {len(wanted)} X64 drivers in it: {why_no_start(rom, view)}",
        evidence=evidence,
        remedy="see the other findings for what to mend",
        source=EDK2,
    )


def _is_x64_gop(efi: EfiDriver) -> bool:
    return efi.gop_role is GopRole.PRODUCER and pe_machine(efi) == OVMF_MACHINE


EFI_CHECKS = (decodable, digest, gop, ovmf)

#: Needs public-key arithmetic, whose library takes as long to start as all the rest.
SIGNATURE_CHECKS = (signature,)
