"""Findings about what stands in the images: checksums and ids."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.checks.structure import PCI_SPEC, name_of, passed
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.header import CodeType
from romkit.rom import Rom

#: 1002 (AMD) typed as a decimal number into a tool that took it as such.
DECIMAL_AMD = 0x03EA

#: A GPU maker's id with its bytes swapped → the id meant, and whose it is.
SWAPPED_VENDORS = {
    0x0210: (0x1002, "AMD"),
    0xDE10: (0x10DE, "NVIDIA"),
    0x8680: (0x8086, "Intel"),
}


def checksum(rom: Rom) -> Iterator[Finding]:
    """x86 images sum to zero over the PCIR image length; no other image has to."""
    for image in rom.images:
        if image.checksum_ok is None:
            continue
        if image.truncated:
            yield Finding(
                check="rom.checksum",
                verdict=Verdict.UNKNOWN,
                severity=Severity.BLOCKER,
                subject=name_of(rom, image),
                title="the checksum cannot be measured: the image is cut off",
                source=PCI_SPEC,
            )
        elif image.checksum_ok:
            yield passed("rom.checksum", name_of(rom, image), "the image sums to zero")
        else:
            yield Finding(
                check="rom.checksum",
                verdict=Verdict.FAIL,
                severity=Severity.BLOCKER,
                subject=name_of(rom, image),
                title=f"the image sums to {image.sum8:#04x}, not to zero: it is damaged, or was "
                "edited without mending the checksum",
                evidence=(
                    Evidence(
                        f"{image.offset:#x}-{image.offset + image.pcir.image_length:#x}",
                        f"sum {image.sum8:#04x}",
                    ),
                ),
                remedy="compare with another dump of the same card; `romkit fix` mends the sum, "
                "not damage",
                source=f"{PCI_SPEC}; measured: 90 of 92 NVIDIA and all AMD x86 images sum to zero",
            )


def firmware_sums(rom: Rom) -> Iterator[Finding]:
    """NVIDIA's firmware images nearly always sum to zero; one that does not may be damaged."""
    for image in rom.images:
        if image.code_type == CodeType.FWSEC and not image.truncated and image.sum8:
            yield Finding(
                check="rom.firmware-sum",
                verdict=Verdict.FAIL,
                severity=Severity.NOTE,
                subject=name_of(rom, image),
                title=f"this E0 image sums to {image.sum8:#04x}: nearly all sum to zero, so it may "
                "be damaged; no guest firmware cares",
                evidence=(Evidence(f"{image.offset:#x}", f"sum {image.sum8:#04x}"),),
                remedy="compare with another dump of the same card",
                source="measured: 132 of 139 E0 images sum to zero",
            )


def decimal_vendor(rom: Rom) -> Iterator[Finding]:
    """Vendor 03EA is 1002 read as a decimal number."""
    for image in rom.images:
        if image.pcir.vendor_id == DECIMAL_AMD:
            meant = f"{image.pcir.device_id:d}"
            device = (
                f"; device {image.pcir.device_id:04x} is then {meant}" if len(meant) == 4 else ""
            )
            yield Finding(
                check="rom.vendor-03ea",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=name_of(rom, image),
                title="vendor 03ea does not exist: it is 1002 (AMD) typed as a decimal number when "
                f"the ROM was built{device}",
                evidence=(Evidence(f"{image.pcir.offset + 4:#x}", "03ea"),),
                remedy="`romkit fix`, then check the device id; OVMF does not compare the ids, "
                "other firmware may",
                source="measured on 7 ROMs; EfiRom -f takes decimal numbers without 0x",
            )


def swapped_vendor(rom: Rom) -> Iterator[Finding]:
    """A GPU maker's id with its two bytes swapped."""
    for image in rom.images:
        meant = SWAPPED_VENDORS.get(image.pcir.vendor_id)
        if meant is None:
            continue
        vendor, name = meant
        stated, device = image.pcir.vendor_id, image.pcir.device_id
        swapped = int.from_bytes(device.to_bytes(2, "little"), "big")
        yield Finding(
            check="rom.vendor-swapped",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING,
            subject=name_of(rom, image),
            title=f"vendor {stated:04x} is {vendor:04x} ({name}) with its bytes swapped; device "
            f"{device:04x} is then {swapped:04x}",
            evidence=(Evidence(f"{image.pcir.offset + 4:#x}", f"{stated:04x}:{device:04x}"),),
            remedy=f"`romkit patch --device {vendor:04x}:{swapped:04x}`; OVMF does not compare the "
            "ids, other firmware may",
            source="measured on one ROM, whose device id is swapped too",
        )


CONTENT_CHECKS = (checksum, firmware_sums, decimal_vendor, swapped_vendor)
