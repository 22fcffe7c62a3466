"""Findings about how a ROM is put together: container, chains, lengths, copies."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.chain import ChainEnd
from romkit.container import ContainerKind
from romkit.entries import vfct_entries
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.guest import ovmf_view
from romkit.header import BLOCK, CodeType
from romkit.image import OptionRom
from romkit.rom import Rom
from romkit.tail import TailKind, TailPart

PCI_SPEC = "PCI Firmware Specification 3.3, section 5.1"
EDK2 = "edk2 MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c"
LINUX = "linux drivers/pci/rom.c"
OPENRM = "open-gpu-kernel-modules, kernel_gsp_vbios_tu102.c"

#: Where image length and indicator stand in a PCIR.
IMAGE_LENGTH_AT = 0x10
INDICATOR_AT = 0x15


def passed(check: str, subject: str, title: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check, Verdict.PASS, Severity.NOTE, subject, title)


def name_of(rom: Rom, image: OptionRom) -> str:
    """How findings and reports call an image."""
    number = next(n for n, own in enumerate(rom.images) if own is image)
    return f"image {number} ({image.code_type:02x} {image.code_type_name} at {image.offset:#x})"


def container(rom: Rom) -> Iterator[Finding]:
    """Whatever precedes the ROM hides it from firmware."""
    around = rom.container
    if around is None:
        if rom.images and not rom.pcir_chain.images:
            return  # "The ROM starts here" would be true of its back part only.
        yield passed("rom.container", "file", "the ROM starts at the first byte")
        return
    yield Finding(
        check="rom.container",
        verdict=Verdict.FAIL,
        severity=Severity.BLOCKER,
        subject="file",
        title=f"{around.rom_offset:#x} bytes stand before the ROM ({around.title}): as a romfile, "
        "no firmware would find it",
        evidence=(Evidence("0x0", rom.data[:4].hex(" ")), Evidence("ROM", f"{rom.rom_offset:#x}")),
        remedy=_cut_off(rom),
        source=EDK2,
    )
    if around.problem:
        yield Finding(
            check="rom.container-pointer",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING,
            subject="file",
            title="the container does not lead to a ROM; the first image was searched instead",
            evidence=(Evidence("0x0", around.problem),),
            remedy="dump again: the front of the file is damaged or from another ROM",
            source=OPENRM,
        )
    stated = around.rom_length
    if stated is not None and around.kind is not ContainerKind.VFCT:
        have = len(rom.data) - rom.rom_offset
        if stated > have:
            yield Finding(
                check="rom.stated-length",
                verdict=Verdict.FAIL,
                severity=Severity.BLOCKER,
                subject="file",
                title=f"the ROM directory states {stated:#x} bytes of ROM, the file has {have:#x}",
                evidence=(Evidence(f"{around.directory_offset or 0:#x}", f"{stated:#x}"),),
                remedy="the dump is cut off: dump the whole flash again",
                source=OPENRM,
            )


def _cut_off(rom: Rom) -> str:
    entries = vfct_entries(rom)
    if len(entries) < 2:
        return "cut it off: `romkit strip`"
    kept = next((e.title for e in entries if e.rom is rom), "the first ROM")
    return f"cut it off: `romkit strip` keeps {kept}, `romkit find` takes out each entry's ROM"


def no_host_image(rom: Rom) -> Iterator[Finding]:
    """A file that starts with an image of NVIDIA's own: the front of the ROM is missing."""
    if not rom.images or rom.pcir_chain.images:
        return
    first = rom.images[0]
    yield Finding(
        check="rom.no-host-image",
        verdict=Verdict.FAIL,
        severity=Severity.BLOCKER,
        subject="file",
        title="no image that firmware starts with: this is the back part of an NVIDIA ROM, whose "
        "x86 and EFI images are missing",
        evidence=(
            Evidence(
                f"{first.offset:#x}",
                f"{first.signature.hex(' ')}, type {first.code_type:02x} {first.code_type_name}",
            ),
        ),
        remedy="take the whole ROM: dump it again, or cut it out of its file anew",
        source=PCI_SPEC,
    )


def structure(rom: Rom) -> Iterator[Finding]:
    """A 55 AA without a PCIR is an ISA option ROM, or damaged."""
    if rom.images:
        return
    pointer = int.from_bytes(rom.data[0x18:0x1A], "little")
    yield Finding(
        check="rom.no-pcir",
        verdict=Verdict.FAIL,
        severity=Severity.BLOCKER,
        subject="file",
        title="55 AA, but no PCI data structure: an ISA option ROM, or a damaged one; no firmware "
        "runs it from a ROM BAR",
        evidence=(
            Evidence("0x18", f"{pointer:#x}"),
            Evidence(f"{pointer:#x}", rom.data[pointer : pointer + 4].hex(" ") or "nothing"),
        ),
        remedy="a GPU's VBIOS always has one: dump it again",
        source=PCI_SPEC,
    )


def truncated(rom: Rom) -> Iterator[Finding]:
    """Lengths that run past the end of the file."""
    cut = [i for i in rom.images if _cut(i, len(rom.data))]
    shadow = [i for i in cut if _shadowed(i)]
    for image in cut:
        if image in shadow:
            continue
        needed = image.offset + max(image.pcir.image_length, _chain_length(image))
        yield Finding(
            check="rom.truncated",
            verdict=Verdict.FAIL,
            severity=Severity.BLOCKER,
            subject=name_of(rom, image),
            title=f"the image ends at {needed:#x}, the file at {len(rom.data):#x}: "
            f"{needed - len(rom.data)} bytes are missing",
            evidence=(Evidence(f"{image.pcir.offset + 0x10:#x}", f"{image.pcir.image_length:#x}"),),
            remedy="the dump is cut off: dump it again, from a device that is awake and not in use",
            source=PCI_SPEC,
        )
    if rom.images and not cut:
        yield passed("rom.truncated", "file", "every image is there as a whole")


def shadow(rom: Rom) -> Iterator[Finding]:
    """The copy in memory that a boot VGA's dump shows: initialised, shortened, no longer whole."""
    for image in rom.images:
        npde = image.npde
        if npde is None or not _shorter_than_npde(image):
            continue
        evidence = (
            Evidence(f"{image.pcir.offset + 0x10:#x}", f"PCIR {image.pcir.image_length:#x}"),
            Evidence(f"{npde.offset + 8:#x}", f"NPDE {npde.subimage_length or 0:#x}"),
        )
        if not _shadowed(image):
            yield Finding(
                check="rom.lengths",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=name_of(rom, image),
                title="PCIR and NPDE lengths contradict each other: the PCIR length covers less "
                "than the NPDE length does, although the file has more",
                evidence=evidence,
                remedy="start from an unaltered dump; `romkit fix` mends it where the whole image "
                "is there",
                source="measured: the PCIR length is never the shorter one in a whole ROM",
            )
        else:
            yield Finding(
                check="rom.shadow",
                verdict=Verdict.FAIL,
                severity=Severity.BLOCKER,
                subject=name_of(rom, image),
                title="a shrunken copy: this was read from the boot GPU's shadow in memory, after "
                "the VBIOS had shortened itself, and not from the card",
                evidence=evidence,
                remedy="dump while another GPU is the boot VGA, or take the VBIOS from a BIOS "
                "update or the vendor",
                source=f"{LINUX} (IORESOURCE_ROM_SHADOW)",
            )


def last_image(rom: Rom) -> Iterator[Finding]:
    """The PCIR chain must end with a last image."""
    chain = rom.pcir_chain
    if not chain.images:
        return
    if chain.complete:
        yield passed("rom.last-image", "PCIR chain", "the PCIR chain ends with a last image")
        return
    lost = [i for i in rom.images if i not in chain and i.signature == b"\x55\xaa"]
    broken = _goes_on_with_data(rom)
    if lost:
        remedy = (
            "the lengths lead to the wrong place: `romkit fix`, or start from an unaltered dump"
        )
    elif broken:
        remedy = (
            "an image should start there, and something else does: damaged or wrongly put "
            "together, so dump it again"
        )
    elif chain.end is ChainEnd.ZERO_LENGTH:
        remedy = "the PCIR is damaged or was never filled in: dump it again"
    else:
        remedy = "dump it again first: images may be missing"
        if all(i.code_type == CodeType.EFI for i in rom.images):
            remedy += "; if this is all there is, `romkit fix` marks the last one"
    yield Finding(
        check="rom.last-image",
        verdict=Verdict.FAIL,
        severity=Severity.BLOCKER if lost or broken else Severity.WARNING,
        subject="PCIR chain",
        title=f"the PCIR chain has no end: {chain.end.value} (at {chain.end_offset:#x})",
        evidence=(
            *(Evidence(f"{i.pcir.offset + 0x15:#x}", f"{i.pcir.indicator:#04x}") for i in chain),
            Evidence(
                f"{chain.end_offset:#x}",
                rom.data[chain.end_offset : chain.end_offset + 16].hex(" ") or "nothing",
            ),
        ),
        remedy=remedy,
        source=LINUX,
    )


def _goes_on_with_data(rom: Rom) -> bool:
    """The chain breaks in the middle of the file: no image there, and no padding either."""
    chain = rom.pcir_chain
    if chain.end not in (ChainEnd.NO_SIGNATURE, ChainEnd.NO_STRUCTURE):
        return False
    there = rom.data[chain.end_offset : chain.end_offset + BLOCK]
    return there[:1] not in (b"\0", b"\xff") or there.count(there[:1]) != len(there)


def firmware_way_out(rom: Rom, offset: int | None = None) -> str:
    """Why the PCIR chain does not reach what lies behind it, or an image at `offset`."""
    chain = rom.pcir_chain
    if not chain.images:
        return "since no image for it stands at the start"
    for image in chain:
        end = image.offset + image.pcir.image_length
        if offset is not None and image.offset < offset < end:
            return (
                f"since the PCIR length of the image at {image.offset:#x} covers it, up to {end:#x}"
            )
    last = chain.images[-1]
    if chain.end is ChainEnd.LAST:
        where = last.pcir.offset + INDICATOR_AT
        return (
            f"since the image at {last.offset:#x} is marked as the last (indicator at {where:#x})"
        )
    if chain.end is ChainEnd.ZERO_LENGTH:
        where = last.pcir.offset + IMAGE_LENGTH_AT
        return f"since the image at {last.offset:#x} states a length of zero (at {where:#x})"
    return f"since the PCIR chain breaks at {chain.end_offset:#x}: {chain.end.value}"


def appended_drivers(rom: Rom) -> tuple[tuple[int, OptionRom], ...]:
    """EFI images in the tail that belong to no second x86 ROM: (offset in the file, the image).

    A GOP that somebody appended behind an image that is marked as the last.
    """
    found: list[tuple[int, OptionRom]] = []
    for part in rom.tail or ():
        inside = part.rom if _is_appended(part) else None
        for image in inside.efi_images if inside is not None else ():
            found.append((part.offset + image.offset, image))
    return tuple(found)


def _is_appended(part: TailPart) -> bool:
    # With a container in front, or equal to all of the file's own images, it is a second copy.
    if part.kind is not TailKind.COPY or part.rom_offset != part.offset or part.identical:
        return False
    inside = part.rom
    return inside is not None and bool(inside.efi_images) and inside.legacy is None


def unreachable(rom: Rom) -> Iterator[Finding]:
    """EFI images that no PCIR walker reaches, as some GOP inserters leave them."""
    if not rom.pcir_chain.images:
        return
    lost = [(i.offset, i) for i in rom.images if i.code_type == CodeType.EFI]
    drivers = len(lost)
    lost = [(at, i) for at, i in lost if i not in rom.pcir_chain]
    appended = appended_drivers(rom)
    if drivers and not lost and not appended:
        yield passed("rom.efi-unreachable", "PCIR chain", "firmware reaches every EFI image")
    started = set()
    if lost or appended:
        started = {a.offset for a in ovmf_view(rom, rom.rom_offset).started}
    for at, image in (*lost, *appended):
        why = firmware_way_out(rom, at)
        found = at in started
        title = f"firmware never reaches this EFI image, {why}"
        if found:
            title = (
                f"Linux and SeaBIOS never reach this EFI image, {why}; OVMF starts it all the "
                "same, since it looks for the next image in each block that follows"
            )
        yield Finding(
            check="rom.efi-unreachable",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING if found else Severity.BLOCKER,
            subject=(
                name_of(rom, image)
                if image in rom.images
                else f"EFI image at {at:#x}, behind the ROM"
            ),
            title=title,
            evidence=(
                Evidence("PCIR chain", " → ".join(f"{i.offset:#x}" for i in rom.pcir_chain)),
                Evidence("then", f"{rom.pcir_chain.end_offset:#x}: {rom.pcir_chain.end.value}"),
                *(
                    Evidence(f"{i.pcir.offset + INDICATOR_AT:#x}", f"{i.pcir.indicator:#04x}")
                    for i in rom.pcir_chain.images[-1:]
                ),
            ),
            remedy="`romkit fix` puts it where both chains reach it, as far as the ROM says where "
            "that is; else `romkit gop insert` into the ROM without it",
            source=EDK2,
        )


def chains(rom: Rom) -> Iterator[Finding]:
    """The two chains, where they differ, and what follows from it."""
    if rom.chains_agree or not rom.pcir_chain.images:
        return
    hidden = [i for i in rom.images if i not in rom.pcir_chain and i.code_type != CodeType.EFI]
    foreign = [i for i in rom.images if i not in rom.npde_chain]
    paths = (
        Evidence("PCIR chain", " → ".join(f"{i.offset:#x}" for i in rom.pcir_chain)),
        Evidence("NPDE chain", " → ".join(f"{i.offset:#x}" for i in rom.npde_chain)),
    )
    # Where the PCIR chain is broken, that is what hides them, and rom.last-image says so.
    if hidden and not foreign and rom.pcir_chain.complete:
        names = ", ".join(f"{i.code_type:02x} at {i.offset:#x}" for i in hidden)
        yield Finding(
            check="rom.chains",
            verdict=Verdict.PASS,
            severity=Severity.NOTE,
            subject="chains",
            title=f"only NVIDIA's driver sees {len(hidden)} of {len(rom.images)} images ({names}): "
            "firmware and the kernel stop before or step over them, which is how these ROMs are "
            "made; a dump through sysfs does not contain them",
            evidence=paths,
            source="linux drivers/gpu/nova-core/vbios.rs",
        )
    for image in foreign:
        yield Finding(
            check="rom.chains",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING,
            subject=name_of(rom, image),
            title="NVIDIA's driver never reaches this image: only the PCIR chain does",
            evidence=(
                *paths,
                Evidence(
                    "NPDE chain", f"{rom.npde_chain.end.value} at {rom.npde_chain.end_offset:#x}"
                ),
            ),
            remedy="both chains must reach an image that both should use",
            source="linux drivers/gpu/nova-core/vbios.rs",
        )


def npde_open(rom: Rom) -> Iterator[Finding]:
    """A dump through the ROM BAR ends where the PCIR chain does; NVIDIA's images are missing."""
    firmware, driver = rom.pcir_chain, rom.npde_chain
    if not firmware.complete or driver.end is not ChainEnd.END_OF_DATA:
        return
    kinds = {i.code_type for i in rom.images}
    own = {CodeType.FWSEC, CodeType.NBSI}
    if (
        rom.container is None
        and CodeType.PCAT in kinds
        and not kinds & own
        and not any(_cut(i, len(rom.data)) for i in rom.images)
        and driver.end_offset == firmware.end_offset
    ):
        yield Finding(
            check="rom.npde-open",
            verdict=Verdict.FAIL,
            severity=Severity.NOTE,
            subject="NPDE chain",
            title="NVIDIA's own images (E0, 70) are missing: this file was dumped through the ROM "
            "BAR, which ends at the last image that firmware knows",
            evidence=(Evidence("NPDE chain", f"goes on at {rom.npde_chain.end_offset:#x}"),),
            remedy="fine as a romfile; not a backup of the flash",
            source=LINUX,
        )


def alignment(rom: Rom) -> Iterator[Finding]:
    """OVMF stops at a PCIR that is not dword aligned."""
    for image in rom.pcir_chain:
        pointer = image.pcir.offset - image.offset
        if pointer % 4:
            yield Finding(
                check="rom.pcir-unaligned",
                verdict=Verdict.FAIL,
                severity=Severity.WARNING,
                subject=name_of(rom, image),
                title=f"the PCIR lies at {pointer:#x}, not at a multiple of 4: OVMF stops here, "
                "SeaBIOS and Linux go on",
                evidence=(Evidence(f"{image.offset + 0x18:#x}", f"{pointer:#x}"),),
                remedy="nothing to do for a guest with SeaBIOS",
                source=EDK2,
            )


def copies(rom: Rom) -> Iterator[Finding]:
    """A second ROM behind the first."""
    for part in rom.tail.copies if rom.tail else ():
        if part.kind is not TailKind.COPY or _is_appended(part):
            continue
        same = "identical" if part.identical else "different"
        yield Finding(
            check="rom.second-copy",
            verdict=Verdict.FAIL,
            severity=Severity.NOTE,
            subject="tail",
            title=f"another ROM ({same}) lies behind the first, at {part.rom_offset or 0:#x}: the "
            "file is a whole flash, and its size says nothing about the ROM's",
            evidence=(Evidence(f"{part.offset:#x}", f"{part.size:#x} bytes"),),
            remedy="a romfile needs only the first: `romkit strip`",
            source="measured on Turing, Ampere and Ada flashes",
        )


def _chain_length(image: OptionRom) -> int:
    if image.npde is not None and image.npde.subimage_length is not None:
        return image.npde.subimage_length
    return image.pcir.image_length


def _cut(image: OptionRom, size: int) -> bool:
    return image.truncated or image.offset + _chain_length(image) > size


def _shadowed(image: OptionRom) -> bool:
    """Shorter than it was, and what it was is not in the file."""
    return _shorter_than_npde(image) and image.offset + _chain_length(image) > len(image.data)


def _shorter_than_npde(image: OptionRom) -> bool:
    npde = image.npde
    return (
        image.code_type == CodeType.PCAT
        and npde is not None
        and npde.subimage_length is not None
        and image.pcir.image_length < npde.subimage_length
    )


STRUCTURE_CHECKS = (
    container,
    structure,
    no_host_image,
    truncated,
    shadow,
    last_image,
    unreachable,
    chains,
    npde_open,
    alignment,
    copies,
)
