"""Findings about how a ROM is put together: container, chains, lengths, copies."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.chain import ChainEnd
from romkit.container import ContainerKind
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom

PCI_SPEC = "PCI Firmware Specification 3.3, section 5.1"
EDK2 = "edk2 MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c"
LINUX = "linux drivers/pci/rom.c"
OPENRM = "open-gpu-kernel-modules, kernel_gsp_vbios_tu102.c"


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
        remedy="cut it off: `romkit strip`",
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
    cut = [i for i in rom.images if i.truncated or i.offset + _chain_length(i) > len(rom.data)]
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
        if _shadowed(image):
            npde = image.npde
            assert npde is not None
            yield Finding(
                check="rom.shadow",
                verdict=Verdict.FAIL,
                severity=Severity.BLOCKER,
                subject=name_of(rom, image),
                title="a shrunken copy: this was read from the boot GPU's shadow in memory, after "
                "the VBIOS had shortened itself, and not from the card",
                evidence=(
                    Evidence(f"{image.pcir.offset + 0x10:#x}", f"{image.pcir.image_length:#x}"),
                    Evidence(f"{npde.offset + 8:#x}", f"{npde.subimage_length or 0:#x}"),
                ),
                remedy="dump while another GPU is the boot VGA, or take the VBIOS from a BIOS "
                "update or the vendor",
                source=f"{LINUX} (IORESOURCE_ROM_SHADOW)",
            )


def last_image(rom: Rom) -> Iterator[Finding]:
    """The PCIR chain must end with a last image."""
    chain = rom.pcir_chain
    if not rom.images:
        return
    if chain.complete:
        yield passed("rom.last-image", "PCIR chain", "the PCIR chain ends with a last image")
        return
    lost = [i for i in rom.images if i not in chain and i.signature == b"\x55\xaa"]
    yield Finding(
        check="rom.last-image",
        verdict=Verdict.FAIL,
        severity=Severity.BLOCKER if lost else Severity.WARNING,
        subject="PCIR chain",
        title=f"the PCIR chain has no end: {chain.end.value} (at {chain.end_offset:#x})",
        evidence=tuple(
            Evidence(f"{i.pcir.offset + 0x15:#x}", f"{i.pcir.indicator:#04x}") for i in chain
        ),
        remedy=(
            "the lengths lead to the wrong place: `romkit fix`, or start from an unaltered dump"
            if lost
            else "`romkit fix` sets it; dump again if images are missing"
        ),
        source=LINUX,
    )


def unreachable(rom: Rom) -> Iterator[Finding]:
    """EFI images that no PCIR walker reaches, as some GOP inserters leave them."""
    drivers = [i for i in rom.images if i.code_type == CodeType.EFI]
    lost = [i for i in drivers if i not in rom.pcir_chain]
    for image in lost:
        yield Finding(
            check="rom.efi-unreachable",
            verdict=Verdict.FAIL,
            severity=Severity.BLOCKER,
            subject=name_of(rom, image),
            title="firmware never reaches this EFI image: it lies inside the range that the PCIR "
            "length of the image before it covers",
            evidence=(
                Evidence("PCIR chain", " → ".join(f"{i.offset:#x}" for i in rom.pcir_chain)),
                Evidence("then", f"{rom.pcir_chain.end_offset:#x}: {rom.pcir_chain.end.value}"),
            ),
            remedy="the tool that inserted it put it at the wrong place: `romkit fix` moves it",
            source=EDK2,
        )
    if drivers and not lost:
        yield passed("rom.efi-unreachable", "PCIR chain", "firmware reaches every EFI image")


def chains(rom: Rom) -> Iterator[Finding]:
    """The two chains, where they differ, and what follows from it."""
    if rom.chains_agree:
        return
    hidden = [i for i in rom.images if i not in rom.pcir_chain and i.code_type != CodeType.EFI]
    foreign = [i for i in rom.images if i not in rom.npde_chain]
    if hidden:
        names = ", ".join(f"{i.code_type:02x} at {i.offset:#x}" for i in hidden)
        yield Finding(
            check="rom.chains",
            verdict=Verdict.FAIL,
            severity=Severity.NOTE,
            subject="chains",
            title=f"only NVIDIA's driver sees {len(hidden)} of {len(rom.images)} images ({names}): "
            "firmware and the kernel stop before or step over them, which is how these ROMs are "
            "made",
            evidence=(
                Evidence("PCIR chain", " → ".join(f"{i.offset:#x}" for i in rom.pcir_chain)),
                Evidence("NPDE chain", " → ".join(f"{i.offset:#x}" for i in rom.npde_chain)),
            ),
            remedy="a dump through sysfs does not contain them: keep the original file",
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
                Evidence(
                    "NPDE chain", f"{rom.npde_chain.end.value} at {rom.npde_chain.end_offset:#x}"
                ),
            ),
            remedy="both chains must reach an image that both should use",
            source="linux drivers/gpu/nova-core/vbios.rs",
        )


def npde_open(rom: Rom) -> Iterator[Finding]:
    """A dump through the ROM BAR ends where the PCIR chain does; NVIDIA's images are missing."""
    if rom.pcir_chain.complete and rom.npde_chain.end is ChainEnd.END_OF_DATA:
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


def _shadowed(image: OptionRom) -> bool:
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
    truncated,
    shadow,
    last_image,
    unreachable,
    chains,
    npde_open,
    alignment,
    copies,
)
