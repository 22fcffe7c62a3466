"""What lies in front of the first image, and where it says that the image starts.

Formats, each with its own rule: NVGI (versions 1 to 3) and NVFW on NVIDIA flashes, ACPI's VFCT
table, or nothing that is known ("unknown"). A structure that says where the ROM is, is believed
if a readable image is there; raw signatures are searched only where no structure speaks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from romkit.errors import MalformedRom, RomError, TruncatedRom
from romkit.header import CodeType, ImageHeader, read_header
from romkit.layout.acpi import DESCRIPTION_HEADER, VFCT, VFCT_IMAGE_HEADER
from romkit.layout.lens import read
from romkit.layout.nvidia import NVGI_HEADER, RFRD_HEADER

#: NVFW flashes keep a 4 KiB block in front of their header.
NVFW_OFFSETS = (0x0, 0x1000)

#: From the flash status block to the ROM directory (open-gpu-kernel-modules).
RFRD_FROM_FLASH_STATUS = 4096

#: The version byte of a header that can be read.
NVGI_VERSIONS = (b"\x01", b"\x02", b"\x03")

#: Candidates that are looked at before the search for a ROM gives up.
MAX_CANDIDATES = 65536

#: More images than any VFCT has.
MAX_VFCT_IMAGES = 32


class ContainerKind(Enum):
    """What surrounds the images."""

    NVGI = "NVGI"
    NVFW = "NVFW"
    VFCT = "VFCT"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class VfctImage:
    """One entry of a VFCT: the device it is for, and where its ROM lies.

    Attributes:
        offset: of the entry's header, bytes from the start of the file.
        rom_offset: of the ROM itself.
        image_length: bytes of ROM, as the entry states.
    """

    offset: int
    rom_offset: int
    pci_bus: int
    pci_device: int
    pci_function: int
    vendor_id: int
    device_id: int
    subsystem_vendor_id: int
    subsystem_id: int
    revision: int
    image_length: int

    def __repr__(self) -> str:
        return (
            f"<VfctImage {self.pci_bus:02x}:{self.pci_device:02x}.{self.pci_function:x}"
            f" {self.vendor_id:04x}:{self.device_id:04x}"
            f" @{self.rom_offset:#x}+{self.image_length:#x}>"
        )


@dataclass(frozen=True, slots=True)
class Container:
    """What precedes the first image.

    Attributes:
        kind: the format.
        offset: where it starts, bytes from the start of the file (0 for the file's own).
        rom_offset: where the first image starts, bytes from the start of the file.
        rom_length: bytes of ROM that the format states (RFRD), or None.
        version: NVGI's version, else None.
        subsystem: (vendor, device) that NVGI states, else None.
        directory_offset: where the RFRD directory is, else None.
        vfct_images: all entries of a VFCT, in file order.
        problem: why the format's own pointer was not followed, empty if it was.
    """

    kind: ContainerKind
    offset: int
    rom_offset: int
    rom_length: int | None = None
    version: int | None = None
    subsystem: tuple[int, int] | None = None
    directory_offset: int | None = None
    vfct_images: tuple[VfctImage, ...] = ()
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes in front of the first image."""
        return self.rom_offset - self.offset

    @property
    def title(self) -> str:
        """The name to print: kind and version."""
        return self.kind.value + (f" version {self.version}" if self.version is not None else "")

    def __repr__(self) -> str:
        return f"<Container {self.title} @{self.offset:#x}, ROM at {self.rom_offset:#x}>"


def find_container(data: bytes) -> Container | None:
    """What lies in front of the first image.

    Returns:
        None where the file starts with an image, or where nothing in it looks like a ROM.
    """
    if starts_image(data, 0):
        return None
    stated: Container | None = None
    try:
        if data[:4] == b"NVGI":
            stated = read_nvgi(data, 0)
        elif data[:4] == b"VFCT":
            stated = read_vfct(data)
        else:
            stated = _find_nvfw(data)
    except RomError as err:
        return _search(data, _KIND_OF.get(data[:4], ContainerKind.UNKNOWN), str(err))
    return stated or _search(data, ContainerKind.UNKNOWN, "")


def starts_image(data: bytes, offset: int) -> bool:
    """Whether `offset` has a legacy signature, or one of NVIDIA's with a structure behind it."""
    if data[offset : offset + 2] == b"\x55\xaa":
        return True
    return _header(data, offset) is not None


def read_nvgi(data: bytes, offset: int) -> Container:
    """Read the NVGI header at `offset` and find its ROM.

    Source: open-gpu-kernel-modules, kernel_gsp_vbios_tu102.c.

    Raises:
        TruncatedRom: a pointer leaves the file.
        MalformedRom: an unknown version, no RFRD where version 3 needs one, or no image where
            the header says that the ROM starts.
    """
    f = read(NVGI_HEADER, data, offset, "NVGI header")
    version = f.fixed_data >> 8 & 0xFF
    fixed_size = f.fixed_data >> 16 & 0x7FFF
    subsystem = (f.subsystem_vendor_id, f.subsystem_id)
    directory_offset = rom_length = None
    if version in (1, 2):
        rom_offset = offset + _u32(data, offset + fixed_size + 4)
    elif version == 3:
        flash_status = _u32(data, offset + (f.total_data_size & 0xFFFFF))
        directory_offset = offset + flash_status + RFRD_FROM_FLASH_STATUS
        directory = read(RFRD_HEADER, data, directory_offset, "RFRD directory")
        rom_offset = offset + directory.pci_rom_offset
        if directory.pci_rom_length != 0xFFFFFFFF:
            rom_length = directory.pci_rom_length
    else:
        raise MalformedRom(f"NVGI version {version} is unknown", offset + 5)
    if _header(data, rom_offset) is None:
        raise MalformedRom(
            f"NVGI says that the ROM starts at {rom_offset:#x}: no image there", offset
        )
    return Container(
        ContainerKind.NVGI, offset, rom_offset, rom_length, version, subsystem, directory_offset
    )


def read_vfct(data: bytes) -> Container:
    """Read an ACPI VFCT table at the start of `data`.

    Raises:
        TruncatedRom, MalformedRom: no entry of it leads to an image.
    """
    length = min(read(DESCRIPTION_HEADER, data, 0, "ACPI table header").length, len(data))
    table = read(VFCT, data, DESCRIPTION_HEADER.sizeof(), "VFCT")
    images: list[VfctImage] = []
    at = table.vbios_image_offset
    while at + VFCT_IMAGE_HEADER.sizeof() <= length and len(images) < MAX_VFCT_IMAGES:
        f = read(VFCT_IMAGE_HEADER, data, at, "VFCT image header")
        rom_offset = at + VFCT_IMAGE_HEADER.sizeof()
        ids = (f.vendor_id, f.device_id, f.subsystem_vendor_id, f.subsystem_id)
        place = (f.pci_bus, f.pci_device, f.pci_function)
        images.append(VfctImage(at, rom_offset, *place, *ids, f.revision, f.image_length))
        at = rom_offset + f.image_length
    for image in images:
        if _header(data, image.rom_offset) is not None:
            return Container(ContainerKind.VFCT, 0, image.rom_offset, vfct_images=tuple(images))
    raise MalformedRom("no image of this VFCT is an option ROM", table.vbios_image_offset)


def _find_nvfw(data: bytes) -> Container | None:
    """A Blackwell flash: the directory lies behind the NVFW header, at no fixed place.

    The one specimen has no pointer to its directory, so directories are tried in order; one
    counts only if the image that it names is really there.
    """
    for base in NVFW_OFFSETS:
        if data[base : base + 4] != b"NVFW":
            continue
        for _, hit in zip(range(MAX_CANDIDATES), re.finditer(b"RFRD", data), strict=False):
            at = hit.start()
            # A few bytes first: the signature also occurs as code, and hostile files hold many.
            rom_offset = base + int.from_bytes(data[at + 8 : at + 12], "little")
            if at % 16 or not runnable(data, rom_offset):
                continue
            directory = read(RFRD_HEADER, data, at, "RFRD directory")
            stated = directory.pci_rom_length
            return Container(
                ContainerKind.NVFW,
                0,
                rom_offset,
                rom_length=None if stated == 0xFFFFFFFF else stated,
                directory_offset=at,
            )
        raise MalformedRom("no ROM directory behind this NVFW header leads to an image", base)
    return None


def _search(data: bytes, kind: ContainerKind, problem: str) -> Container | None:
    """The first 55 AA that has a readable PCIR and is meant to be run by a host.

    Blackwell flashes have small images for the GPU's own use in front of the ROM, hence the
    code type.
    """
    for _, hit in zip(range(MAX_CANDIDATES), re.finditer(b"\x55\xaa", data), strict=False):
        if runnable(data, hit.start()):
            return Container(kind, 0, hit.start(), problem=problem)
    return None


def runnable(data: bytes, offset: int) -> bool:
    """Whether an image that a host would run starts at `offset`.

    A few bytes are compared before the structures are read: a search asks this of every 55 AA.
    """
    pcir = offset + int.from_bytes(data[offset + 0x18 : offset + 0x1A], "little")
    if data[pcir : pcir + 4] != b"PCIR" or data[pcir + 0x14 : pcir + 0x15] not in _RUN_BY_HOSTS:
        return False
    header = _header(data, offset)
    return header is not None and header.signature == b"\x55\xaa"


def _header(data: bytes, offset: int) -> ImageHeader | None:
    try:
        return read_header(data, offset)
    except RomError:
        return None


def _u32(data: bytes, offset: int) -> int:
    if offset + 4 > len(data):
        raise TruncatedRom("a pointer of the NVGI header leads past the end", offset)
    return int.from_bytes(data[offset : offset + 4], "little")


_RUN_BY_HOSTS = (bytes([CodeType.PCAT]), bytes([CodeType.EFI]))

_KIND_OF = {b"NVGI": ContainerKind.NVGI, b"VFCT": ContainerKind.VFCT}
