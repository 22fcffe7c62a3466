"""What an image says of itself: ROM header, PCI data structure, NVIDIA's extension.

PCI Firmware Specification 3.3, section 5.1. NVIDIA's sub-images carry other signatures for the
same two structures: ``VN``/``NPDS`` and ``77 BB``/``RGIS`` (open-gpu-kernel-modules, nova-core).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from romkit.errors import MalformedRom
from romkit.layout.lens import read
from romkit.layout.nvidia import (
    NPDE,
    NPDE_FLAGS,
    NPDE_GOP_VERSION,
    NPDE_LAST,
    NPDE_SUBIMAGE,
    NPDE_SUBSYSTEM,
)
from romkit.layout.pci import PCI_DATA_STRUCTURE, PCI_DATA_STRUCTURE_REV3, ROM_HEADER

#: The unit of every length field in an option ROM, in bytes.
BLOCK = 512

#: Image signature → the signature that its PCI data structure must have.
STRUCTURE_OF = {
    b"\x55\xaa": b"PCIR",
    b"VN": b"NPDS",
    b"\x77\xbb": b"RGIS",
}

LAST_IMAGE = 0x80


class CodeType(IntEnum):
    """PCIR + 0x14. 0 to 3 are the specification's, the others NVIDIA's (nova-core, vbios.rs)."""

    #: x86 PC-AT: what a BIOS (or its emulation) runs.
    PCAT = 0x00
    OPEN_FIRMWARE = 0x01
    PA_RISC = 0x02
    #: A UEFI driver.
    EFI = 0x03
    #: NVIDIA notebook data (NBSI).
    NBSI = 0x70
    #: NVIDIA firmware for the GPU's own processors (FWSEC).
    FWSEC = 0xE0


CODE_TYPE_NAMES = {
    CodeType.PCAT: "x86",
    CodeType.OPEN_FIRMWARE: "Open Firmware",
    CodeType.PA_RISC: "PA-RISC",
    CodeType.EFI: "EFI",
    CodeType.NBSI: "NBSI",
    CodeType.FWSEC: "FWSEC",
}


@dataclass(frozen=True, slots=True)
class PciData:
    """A PCI data structure (PCIR, NPDS or RGIS), section 5.1.2.

    Attributes:
        offset: where it starts, bytes from the start of the file.
        signature: b"PCIR", b"NPDS" or b"RGIS".
        device_list_pointer: bytes from `offset`; in revision 0 it points to vital product data.
        structure_length: bytes.
        image_length: bytes (the specification's field, times 512).
        class_code: 24 bits, base class first.
        indicator: bit 7 is "last image"; the other bits are reserved.
        max_runtime_image_length: bytes; revision 3 only, else None.
        config_utility_code_header_pointer: revision 3 only, else None.
        dmtf_clp_entry_point_pointer: revision 3 only, else None.
    """

    offset: int
    signature: bytes
    vendor_id: int
    device_id: int
    device_list_pointer: int
    structure_length: int
    structure_revision: int
    class_code: int
    image_length: int
    vendor_rom_revision: int
    code_type: int
    indicator: int
    max_runtime_image_length: int | None
    config_utility_code_header_pointer: int | None
    dmtf_clp_entry_point_pointer: int | None

    @property
    def last(self) -> bool:
        """Indicator bit 7, and nothing but bit 7."""
        return bool(self.indicator & LAST_IMAGE)

    @property
    def end(self) -> int:
        """First byte after the structure."""
        return self.offset + self.structure_length

    def __repr__(self) -> str:
        return (
            f"<{self.signature.decode('ascii')} {self.vendor_id:04x}:{self.device_id:04x}"
            f" class {self.class_code:06x} type {self.code_type:02x} {self.image_length:#x} bytes"
            f"{' last' if self.last else ''} @{self.offset:#x}>"
        )


@dataclass(frozen=True, slots=True)
class Npde:
    """NVIDIA PCI data extension. Fields behind `length` are None.

    Attributes:
        offset: where it starts, bytes from the start of the file.
        revision: 0x100 or 0x101.
        length: bytes.
        subimage_length: bytes (the field, times 512): how far NVIDIA's driver goes on from here.
        last: bit 7 of +0x0A.
        flags: +0x0B; 1 on most, more bits on mobile boards.
        gop_version: u32 at +0x0C, meaningful in EFI images.
        subsystem: (vendor, device) at +0x10, in native order.
    """

    offset: int
    revision: int
    length: int
    subimage_length: int | None
    last: bool | None
    flags: int | None
    gop_version: int | None
    subsystem: tuple[int, int] | None

    def __repr__(self) -> str:
        size = "?" if self.subimage_length is None else f"{self.subimage_length:#x}"
        return f"<NPDE {size} bytes{' last' if self.last else ''} @{self.offset:#x}>"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image says of itself, before anything is concluded from it."""

    offset: int
    signature: bytes
    pcir: PciData
    npde: Npde | None

    @property
    def chain_length(self) -> int:
        """Bytes from this image to the next, as NVIDIA's driver counts them."""
        if self.npde is not None and self.npde.subimage_length is not None:
            return self.npde.subimage_length
        return self.pcir.image_length

    @property
    def chain_last(self) -> bool:
        """Whether NVIDIA's driver stops here.

        NPDE decides where it is long enough to hold the flag. A shorter one that covers less than
        the PCIR length means that more follows (open-gpu-kernel-modules).
        """
        if self.npde is not None:
            if self.npde.last is not None:
                return self.npde.last
            if self.chain_length < self.pcir.image_length:
                return False
        return self.pcir.last


def read_pci_data(data: bytes, offset: int) -> PciData:
    """Read the PCI data structure at `offset`.

    Raises:
        TruncatedRom: it does not fit.
        MalformedRom: no known signature.
    """
    f = read(PCI_DATA_STRUCTURE, data, offset, "PCI data structure")
    if f.signature not in STRUCTURE_OF.values():
        raise MalformedRom(f"no PCI data structure: found {f.signature.hex(' ')}", offset)
    # Revision 0 structures are 24 bytes long: what follows them is not theirs, whatever a
    # reader of the newer specification makes of it.
    modern = f.structure_revision >= 3
    extra = None
    if modern and f.structure_length >= PCI_DATA_STRUCTURE.sizeof() + 4:
        at = offset + PCI_DATA_STRUCTURE.sizeof()
        if at + PCI_DATA_STRUCTURE_REV3.sizeof() <= len(data):
            extra = read(PCI_DATA_STRUCTURE_REV3, data, at, "PCI data structure")
    return PciData(
        offset=offset,
        signature=f.signature,
        vendor_id=f.vendor_id,
        device_id=f.device_id,
        device_list_pointer=f.device_list_pointer,
        structure_length=f.structure_length,
        structure_revision=f.structure_revision,
        class_code=f.class_code,
        image_length=f.image_length * BLOCK,
        vendor_rom_revision=f.vendor_rom_revision,
        code_type=f.code_type,
        indicator=f.indicator,
        max_runtime_image_length=f.max_runtime_image_length * BLOCK if modern else None,
        config_utility_code_header_pointer=(
            extra.config_utility_code_header_pointer if extra else None
        ),
        dmtf_clp_entry_point_pointer=extra.dmtf_clp_entry_point_pointer if extra else None,
    )


def read_npde(data: bytes, image_offset: int, pcir: PciData) -> Npde | None:
    """The NPDE behind `pcir`, at the next multiple of 16 counted from the image's start."""
    relative = pcir.end - image_offset
    offset = image_offset + (relative + 15 & ~15)
    if data[offset : offset + 4] != b"NPDE" or offset + NPDE.sizeof() > len(data):
        return None
    head = read(NPDE, data, offset, "NPDE")
    end = min(offset + head.length, len(data))

    sub = last = flags = gop = subsystem = None
    if offset + 0x0A <= end:
        sub = read(NPDE_SUBIMAGE, data, offset + 8, "NPDE").subimage_length * BLOCK
    if offset + 0x0B <= end:
        last = bool(read(NPDE_LAST, data, offset + 0x0A, "NPDE").last_image & LAST_IMAGE)
    if offset + 0x0C <= end:
        flags = read(NPDE_FLAGS, data, offset + 0x0B, "NPDE").flags
    if offset + 0x10 <= end:
        gop = read(NPDE_GOP_VERSION, data, offset + 0x0C, "NPDE").gop_version
    if offset + 0x14 <= end:
        ids = read(NPDE_SUBSYSTEM, data, offset + 0x10, "NPDE")
        subsystem = (ids.subsystem_vendor_id, ids.subsystem_id)
    return Npde(offset, head.revision, head.length, sub, last, flags, gop, subsystem)


def read_header(data: bytes, offset: int) -> ImageHeader:
    """Read the headers of the image at `offset`.

    Raises:
        TruncatedRom: a header or the structure it points to does not fit.
        MalformedRom: no image signature, or no matching PCI data structure.
    """
    f = read(ROM_HEADER, data, offset, "option ROM header")
    wanted = STRUCTURE_OF.get(f.signature)
    if wanted is None:
        raise MalformedRom(f"no image signature: found {f.signature.hex(' ')}", offset)
    pcir = read_pci_data(data, offset + f.pci_data_structure_pointer)
    if pcir.signature != wanted:
        raise MalformedRom(
            f"expected {wanted.decode()}, found {pcir.signature.decode()}", pcir.offset
        )
    return ImageHeader(offset, f.signature, pcir, read_npde(data, offset, pcir))
