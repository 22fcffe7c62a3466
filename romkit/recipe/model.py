"""What a recipe says, and nothing else: one class a table, one field a key.

A field is None where the recipe is silent; the builders know what that means. `load` and `write`
go by the fields' kinds, so a key is defined here and only here.

Offsets and lengths are in bytes. Offsets in an image count from the image's start, offsets in a
container and a patch from the start of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from romkit.header import BLOCK
from romkit.recipe.kind import (
    Address,
    Base64,
    Checksum,
    Choice,
    Flag,
    Form,
    HexBytes,
    Ids,
    Kind,
    Length,
    Number,
    Several,
    Text,
)

MOST_IMAGES = 64
MOST_TAIL_PARTS = 4096
MOST_PATCHES = 1024

#: Bytes that one patch may hold.
LONGEST_PATCH = 64

#: Length of a synthetic driver: more than any real one.
LARGEST_DRIVER = 4 << 20

_BLOCKS_16 = Length(BLOCK, 0xFFFF * BLOCK)
_SIZE = Length(least=1)
_OFFSET_16 = Number(16)
_OFFSET_32 = Number(32)
_ID = Number(16, digits=4)
_BYTE = Number(8, digits=2)
_DATE = Form("[0-9]{2}/[0-9]{2}/[0-9]{2}", "02/24/16")
_LINE = Text(255)


@dataclass(frozen=True, slots=True)
class One:
    """A sub-table of one class."""

    table: type


@dataclass(frozen=True, slots=True)
class OneOf:
    """A sub-table, or an array of them, whose key `kind` names the class."""

    tables: tuple[type, ...]
    several: int = 0


@dataclass(frozen=True, slots=True)
class Many:
    """An array of tables of one class, at most `several`."""

    table: type
    several: int


def key(kind: Kind, name: str = "") -> Any:
    """A key that may be left out."""
    return field(default=None, metadata={"kind": kind, "name": name})


def needed(kind: Kind, name: str = "") -> Any:
    """A key that must be there."""
    return field(metadata={"kind": kind, "name": name})


def table(form: One | OneOf | Many, name: str = "") -> dict[str, Any]:
    """The metadata of a field that holds a sub-table, or an array of them."""
    return {"table": form, "name": name}


# Section: around the images


@dataclass(frozen=True, slots=True, kw_only=True)
class NvgiRecipe:
    """An NVGI header, and the RFRD directory that version 3 has.

    Attributes:
        version: 1 and 2 point at the ROM themselves, 3 by way of the directory.
        rom_offset: where the first image is.
        pointer: where the header (or directory) says that it is.
        fixed_size: where the fixed part of the header ends, behind which the pointer stands.
        total_size: where version 3 keeps the offset of its flash status block.
        directory_offset: of the RFRD directory; version 3.
        rom_length: that the directory states; version 3. 0xffffffff is none.
        fill: byte value of all that has no meaning; made-up data without it.
    """

    kind: ClassVar[str] = "NVGI"
    version: int | None = key(Number(8, decimal=True))
    subsystem: tuple[int, int] | None = key(Ids())
    rom_offset: int | None = key(_OFFSET_32)
    pointer: int | None = key(_OFFSET_32)
    fixed_size: int | None = key(Number(15))
    total_size: int | None = key(Number(20))
    directory_offset: int | None = key(_OFFSET_32)
    rom_length: int | None = key(_OFFSET_32)
    fill: int | None = key(_BYTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NvfwRecipe:
    """An NVFW flash.

    Attributes:
        header_offset: of the signature; real ones are at 0x1000.
        rom_offset: where the first image is.
        pointer: where the directory says that it is, from the header.
        directory_offset: of the RFRD directory.
        rom_length: that the directory states. 0xffffffff is none.
        decoys: offsets of small E0 images in front of the ROM, which no walk may begin at.
        fill: byte value of all that has no meaning; made-up data without it.
    """

    kind: ClassVar[str] = "NVFW"
    header_offset: int | None = key(_OFFSET_32)
    rom_offset: int | None = key(_OFFSET_32)
    pointer: int | None = key(_OFFSET_32)
    directory_offset: int | None = key(_OFFSET_32)
    rom_length: int | None = key(_OFFSET_32)
    decoys: tuple[int, ...] | None = key(Several(_OFFSET_32, 16))
    fill: int | None = key(_BYTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class VfctRecipe:
    """An ACPI VFCT table; further entries are tail parts.

    Attributes:
        address: of the device.
        device_id: vendor and device of the entry.
        subsystem: of the entry.
        revision: of the entry.
        image_length: that the entry states.
        entry_offset: of the entry.
        pointer: where the table says that its first entry is.
        table_length: that the table states.
    """

    kind: ClassVar[str] = "VFCT"
    address: tuple[int, int, int] | None = key(Address())
    device_id: tuple[int, int] | None = key(Ids(), "id")
    subsystem: tuple[int, int] | None = key(Ids())
    revision: int | None = key(Number(32))
    image_length: int | None = key(_OFFSET_32)
    entry_offset: int | None = key(_OFFSET_32)
    pointer: int | None = key(_OFFSET_32)
    table_length: int | None = key(_OFFSET_32)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownRecipe:
    """Bytes without a meaning in front of the first image.

    Attributes:
        rom_offset: how many.
        decoys: offsets of small E0 images among them.
        fill: their value; made-up data without it.
    """

    kind: ClassVar[str] = "unknown"
    rom_offset: int = needed(_SIZE)
    decoys: tuple[int, ...] | None = key(Several(_OFFSET_32, 16))
    fill: int | None = key(_BYTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesRecipe:
    """A container of any format, byte for byte.

    Attributes:
        data: all that precedes the first image.
    """

    kind: ClassVar[str] = "bytes"
    data: bytes = needed(Base64(), "bytes")


ContainerRecipe = NvgiRecipe | NvfwRecipe | VfctRecipe | UnknownRecipe | BytesRecipe
CONTAINERS: tuple[type, ...] = (NvgiRecipe, NvfwRecipe, VfctRecipe, UnknownRecipe, BytesRecipe)


# Section: in an image


@dataclass(frozen=True, slots=True, kw_only=True)
class NpdeRecipe:
    """NVIDIA's PCI data extension; the names are those of `romkit.header.Npde`."""

    revision: int | None = key(Number(16, digits=4))
    length: int | None = key(Number(16, decimal=True))
    subimage_length: int | None = key(_BLOCKS_16)
    last: bool | None = key(Flag())
    flags: int | None = key(_BYTE)
    gop_version: int | None = key(Number(32, digits=8))
    subsystem: tuple[int, int] | None = key(Ids())


@dataclass(frozen=True, slots=True, kw_only=True)
class EfiRecipe:
    """The header of a UEFI driver, and the driver.

    Attributes:
        signature: the EFI signature; 0x00000ef1 is the right one.
        subsystem: 0x0b boot service driver, 0x0c runtime driver.
        machine: PE machine type.
        compression: 0 none, 1 the UEFI algorithm.
        image_offset: where the driver starts.
        payload: "pe" a synthetic driver, "broken" a stream that does not decompress, "none".
        gop: whether the driver names the Graphics Output Protocol.
        strings: UTF-16 texts in the driver.
        pe_size: of the driver before compression.
    """

    signature: int | None = key(Number(32, digits=8))
    subsystem: int | None = key(Number(16, digits=2))
    machine: int | None = key(_ID)
    compression: int | None = key(Number(16, decimal=True))
    image_offset: int | None = key(_OFFSET_16)
    payload: str | None = key(Choice(("pe", "broken", "none")))
    gop: bool | None = key(Flag())
    strings: tuple[str, ...] | None = key(Several(Text(200), 16))
    pe_size: int | None = key(Length(BLOCK, LARGEST_DRIVER))


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaRecipe:
    """A BIT and what it leads to; the names are those of `romkit.vendor.nvidia.NvidiaVbios`.

    Attributes:
        offset: of the BIT; its data follow it.
    """

    version: str = needed(Form("([0-9A-F]{2}[.]){4}[0-9A-F]{2}", "86.06.68.00.26"))
    build_date: str | None = key(_DATE)
    modification_date: str | None = key(_DATE)
    build_number: int | None = key(Number(32, decimal=True))
    board_id: int | None = key(_ID)
    board: str | None = key(Form("[0-9A-Za-z]{1,4}(-[0-9A-Za-z]{1,4})?", "G410-0030"))
    chip_sku: str | None = key(Form("[0-9A-Za-z]{1,3}(-[0-9A-Za-z])?", "400-0"))
    subsystem: tuple[int, int] | None = key(Ids())
    sign_on: str | None = key(_LINE)
    printed_version: str | None = key(_LINE)
    copyright: str | None = key(_LINE)
    oem_string: str | None = key(_LINE)
    oem_vendor: str | None = key(_LINE)
    oem_product: str | None = key(_LINE)
    oem_revision: str | None = key(_LINE)
    offset: int | None = key(_OFFSET_16)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomRecipe:
    """An ATOM ROM header and the texts around it; names as in `romkit.vendor.amd.AtomBios`.

    Attributes:
        revision: of the header's format and content.
        structure_size: of the header.
        part_number: of images from before they had name strings; `strings` begin with it.
        offset: of the ROM header.
    """

    revision: str | None = key(Form("[0-9]{1,2}[.][0-9]{1,2}", "2.3"))
    structure_size: int | None = key(Number(16, decimal=True))
    subsystem: tuple[int, int] | None = key(Ids())
    date: str | None = key(Text(14, least=0))
    part_number: str | None = key(Text(42))
    strings: tuple[str, ...] | None = key(Several(Text(200, least=0), 16))
    bootup_message: str | None = key(Text(200))
    version: str | None = key(Text(31))
    config_filename: str | None = key(Text(200))
    build: str | None = key(Text(200))
    offset: int | None = key(_OFFSET_16)


@dataclass(frozen=True, slots=True, kw_only=True)
class VbtRecipe:
    """Intel's video BIOS table; the names are those of `romkit.vendor.intel.Vbt`.

    Attributes:
        offset: of the table. The image's header points to it.
        size: of the table with all that belongs to it.
    """

    platform: str | None = key(Text(15, least=0))
    version: int | None = key(Number(16, decimal=True))
    bdb_version: int | None = key(Number(16, decimal=True))
    build_number: str | None = key(Text(4))
    sign_on: str | None = key(Text(154))
    copyright: str | None = key(Text(60))
    offset: int | None = key(_OFFSET_32)
    size: int | None = key(Length(most=0xFFFF))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """One image; the names are those of ``romkit parse --json`` where it has them.

    Attributes:
        structure: which pair of signatures: PCIR (55 AA), NPDS (VN), RGIS (77 BB), or none: an
            ISA option ROM.
        size: bytes that belong to the image and no other.
        image_length: what its structure states.
        initialization_size: the size field at +2.
        structure_offset: where the structure is.
        last: bit 7 of the indicator.
        indicator: all of it, where it has other bits than that.
        device_list: further devices; revision 3.
        device_list_pointer: from the structure.
        checksum: what the bytes that `image_length` covers sum to.
        data: the image byte for byte; the other keys are written over it.
    """

    code_type: int | None = key(_BYTE)
    structure: str | None = key(Choice(("PCIR", "NPDS", "RGIS", "none")))
    vendor: int | None = key(_ID)
    device: int | None = key(_ID)
    device_list: tuple[int, ...] | None = key(Several(_ID, 256))
    device_list_pointer: int | None = key(_OFFSET_16)
    class_code: int | None = key(Number(24, digits=6))
    size: int | None = key(_SIZE)
    image_length: int | None = key(_BLOCKS_16)
    initialization_size: int | None = key(_BLOCKS_16)
    revision: int | None = key(Number(8, decimal=True))
    structure_offset: int | None = key(_OFFSET_16)
    structure_length: int | None = key(_OFFSET_16)
    vendor_rom_revision: int | None = key(_ID)
    max_runtime_image_length: int | None = key(_BLOCKS_16)
    config_utility_pointer: int | None = key(_OFFSET_16)
    clp_pointer: int | None = key(_OFFSET_16)
    last: bool | None = key(Flag())
    indicator: int | None = key(_BYTE)
    checksum: int | str | None = key(Checksum())
    data: bytes | None = key(Base64(), "bytes")
    npde: NpdeRecipe | None = field(default=None, metadata=table(One(NpdeRecipe)))
    efi: EfiRecipe | None = field(default=None, metadata=table(One(EfiRecipe)))
    nvidia: NvidiaRecipe | None = field(default=None, metadata=table(One(NvidiaRecipe)))
    atom: AtomRecipe | None = field(default=None, metadata=table(One(AtomRecipe)))
    vbt: VbtRecipe | None = field(default=None, metadata=table(One(VbtRecipe)))


# Section: behind the images


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddingPart:
    """One byte value.

    Attributes:
        fill: the value; 0xff without it.
        size: how often.
    """

    kind: ClassVar[str] = "padding"
    fill: int | None = key(_BYTE)
    size: int = needed(_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPart:
    """Made-up data, or given ones.

    Attributes:
        size: how long.
        seed: which data; without it they go on as in the images.
        data: byte for byte.
    """

    kind: ClassVar[str] = "data"
    size: int | None = key(_SIZE)
    seed: int | None = key(Number(8, decimal=True))
    data: bytes | None = key(Base64(), "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPart:
    """Bytes of the same file once more.

    Attributes:
        of: where they are; the start of the file without it.
        size: how many; without it up to the end of the last image.
    """

    kind: ClassVar[str] = "copy"
    of: int | None = key(_OFFSET_32)
    size: int | None = key(_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Bytes that are written last of all.

    Attributes:
        offset: from the start of the file.
        data: the bytes.
    """

    offset: int = needed(_OFFSET_32)
    data: bytes = needed(HexBytes(LONGEST_PATCH), "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole file.

    Attributes:
        truncate: bytes that are cut off at the end, before the patches.
    """

    truncate: int | None = key(_SIZE)
    container: ContainerRecipe | None = field(default=None, metadata=table(OneOf(CONTAINERS)))
    images: tuple[ImageRecipe, ...] = field(
        default=(), metadata=table(Many(ImageRecipe, MOST_IMAGES), "image")
    )
    tail: tuple[TailRecipe, ...] = field(
        default=(), metadata=table(OneOf((), MOST_TAIL_PARTS), "tail")
    )
    patches: tuple[Patch, ...] = field(
        default=(), metadata=table(Many(Patch, MOST_PATCHES), "patch")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RomPart(Recipe):
    """Another ROM, by a recipe of its own."""

    kind: ClassVar[str] = "rom"


@dataclass(frozen=True, slots=True, kw_only=True)
class VfctPart(Recipe):
    """A further entry of the VFCT table, and its ROM; the keys are those of the first one."""

    kind: ClassVar[str] = "vfct"
    address: tuple[int, int, int] | None = key(Address())
    device_id: tuple[int, int] | None = key(Ids(), "id")
    subsystem: tuple[int, int] | None = key(Ids())
    revision: int | None = key(Number(32))
    image_length: int | None = key(_OFFSET_32)


TailRecipe = PaddingPart | DataPart | CopyPart | RomPart | VfctPart

#: The classes of `Recipe.tail`, which cannot stand in front of `Recipe` itself.
TAIL_PARTS: tuple[type, ...] = (PaddingPart, DataPart, CopyPart, RomPart, VfctPart)
