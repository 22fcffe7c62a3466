"""One image: what the recipe leaves open is decided here, and its structures are put in place."""

from __future__ import annotations

from dataclasses import dataclass

from romkit.efi.driver import EFI_SIGNATURE
from romkit.errors import RecipeError
from romkit.header import BLOCK, LAST_IMAGE, STRUCTURE_OF, CodeType
from romkit.layout.efi import EFI_PCI_EXPANSION_ROM_HEADER
from romkit.layout.nvidia import (
    NPDE,
    NPDE_FLAGS,
    NPDE_GOP_VERSION,
    NPDE_LAST,
    NPDE_SUBIMAGE,
    NPDE_SUBSYSTEM,
)
from romkit.layout.pci import PCI_DATA_STRUCTURE, PCI_DATA_STRUCTURE_REV3
from romkit.recipe.atom import put_atom
from romkit.recipe.bit import put_bit
from romkit.recipe.efi import BROKEN, driver_stream
from romkit.recipe.model import EfiRecipe, ImageRecipe, NpdeRecipe
from romkit.recipe.pe import Driver
from romkit.recipe.pieces import Pieces
from romkit.recipe.vbt import put_vbt

#: 55 AA, size, entry, pointer: all that comes before the fields of the code types.
HEADER_SIZE = 0x1A

_NVIDIA_TYPES = (CodeType.FWSEC, CodeType.NBSI)
_DISPLAY = 0x03
_MOST_BLOCKS = 0xFFFF

#: Where the structure is, by code type: where NVIDIA's and EFI images have it.
_STRUCTURE_OFFSETS: dict[int, int] = {CodeType.PCAT: 0x1A0, CodeType.EFI: 0x1C}

#: What stands in every x86 video BIOS (measured, 92 of 92 NVIDIA images): tools look for it.
_VIDEO = (0x0E, b"VIDEO ")
_IBM = (0x1E, b"IBM")

#: Entry point of an x86 image: jump to the next instruction, return far.
_ENTRY = (0x03, b"\xeb\x00\xcb")


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image, ready to be built. Two recipes with equal plans build equal images.

    Attributes:
        size: bytes that belong to it.
        ids: (vendor, device), which the next image has too unless it says otherwise.
        pieces: (offset in the image, bytes) in writing order; all else is made-up data.
        structure: where its PCI data structure is, in the image; None without one.
        covered: bytes from its start that `checksum` is about.
        checksum: what they sum to, or None for whatever it is.
        balance: offset in the image of the byte that sees to it; None where none is free.
        data: given bytes that the pieces are written over, or None.
    """

    size: int
    ids: tuple[int, int] | None
    pieces: tuple[tuple[int, bytes], ...]
    structure: int | None
    covered: int
    checksum: int | None
    balance: int | None
    data: bytes | None


def plan_image(
    image: ImageRecipe, path: str, *, ids: tuple[int, int] | None = None, final: bool = True
) -> ImagePlan:
    """Decide all that `image` leaves open.

    Args:
        image: what the recipe says.
        path: its key path, for messages.
        ids: (vendor, device) of the image before.
        final: whether it is the last image of the recipe.

    Raises:
        RecipeError: something does not fit.
    """
    if image.structure == "none":
        return _plan_isa(image, path)
    return _Planner(image, path, ids, final).plan()


def _plan_isa(image: ImageRecipe, path: str) -> ImagePlan:
    """An ISA option ROM: 55 AA, a size, code."""
    for name in _OF_STRUCTURES:
        if getattr(image, name) is not None:
            raise RecipeError(f"{path}.{name}: expected nothing in an image without a structure")
    pieces = Pieces(path)
    pieces.reserve(0, HEADER_SIZE, "the header")
    size = _size(image, pieces, path)
    covered = image.initialization_size
    if covered is None:
        covered = min(_blocks(size), 0xFF) * BLOCK
    if covered > 0xFF * BLOCK:
        raise RecipeError(f"{path}.initialization_size: expected at most {0xFF * BLOCK:#x} bytes")
    pieces.write(0, b"\x55\xaa" + bytes([covered // BLOCK]))
    if image.data is None:
        pieces.write(*_ENTRY)
    return _finish(image, pieces, size, None, None, covered, path)


#: Keys that mean nothing without a PCI data structure.
_OF_STRUCTURES = (
    "code_type",
    "vendor",
    "device",
    "device_list",
    "device_list_pointer",
    "class_code",
    "image_length",
    "revision",
    "structure_offset",
    "structure_length",
    "vendor_rom_revision",
    "max_runtime_image_length",
    "config_utility_pointer",
    "clp_pointer",
    "last",
    "indicator",
    "npde",
    "efi",
    "nvidia",
    "atom",
    "vbt",
)


class _Planner:
    """Plans one image that has a PCI data structure."""

    def __init__(
        self, image: ImageRecipe, path: str, ids: tuple[int, int] | None, final: bool
    ) -> None:
        self.image, self.path, self.final = image, path, final
        self.pieces = Pieces(path)
        self.code_type = _or(image.code_type, CodeType.PCAT)
        default = "NPDS" if self.code_type in _NVIDIA_TYPES else "PCIR"
        self.structure = (image.structure or default).encode("ascii")
        self.signature = next(k for k, v in STRUCTURE_OF.items() if v == self.structure)
        self.efi = self.code_type == CodeType.EFI and self.structure == b"PCIR"
        self.revision = _or(image.revision, 0)
        default_length = 0x1C if self.revision >= 3 else 0x18
        self.structure_length = _or(image.structure_length, default_length)
        default_offset = _STRUCTURE_OFFSETS.get(self.code_type, 0x20)
        self.structure_offset = _or(image.structure_offset, default_offset)
        default_class = 0 if self.code_type in _NVIDIA_TYPES else 0x030000
        self.class_code = _or(image.class_code, default_class)
        self.ids = self._ids(ids)

    def plan(self) -> ImagePlan:
        """The plan, structures first."""
        pieces, image = self.pieces, self.image
        pieces.reserve(0, HEADER_SIZE, "the header")
        structure_size = max(PCI_DATA_STRUCTURE.sizeof(), min(self.structure_length, 0x1C))
        pieces.reserve(self.structure_offset, structure_size, "the PCI data structure")
        structures_end = self.structure_offset + self.structure_length
        npde_at = structures_end + 15 & ~15
        if image.npde is not None:
            npde_size = self._npde_size(image.npde)
            pieces.reserve(npde_at, npde_size, "npde")
            structures_end = npde_at + npde_size
        pointer = self._device_list(structures_end)
        self._contents()

        size = _size(image, pieces, self.path)
        length = self._length(image.image_length, size, "image_length")
        self._header(size)
        structure = self._pci_data(length, pointer)
        self._check_overlap(structure)
        pieces.write(self.structure_offset, structure)
        if image.npde is not None:
            pieces.write(npde_at, self._npde(image.npde, size))
        return _finish(image, pieces, size, self.ids, self.structure_offset, length, self.path)

    def _check_overlap(self, structure: bytes) -> None:
        """A structure that lies on the header must say what the header says there."""
        header = {0x00: self.signature, 0x18: self.structure_offset.to_bytes(2, "little")}
        for at, field in header.items():
            for n, value in enumerate(field):
                place = at + n - self.structure_offset
                if 0 <= place < len(structure) and structure[place] != value:
                    raise RecipeError(
                        f"{self.path}.structure_offset: expected a place behind the header,"
                        f" found {self.structure_offset:#x}"
                    )

    def _ids(self, before: tuple[int, int] | None) -> tuple[int, int]:
        image = self.image
        for name, own in (("vendor", image.vendor), ("device", image.device)):
            if own is None and before is None:
                raise RecipeError(f"{self.path}.{name}: missing; the first image must state it")
        vendor, device = before or (0, 0)
        return _or(image.vendor, vendor), _or(image.device, device)

    def _length(self, stated: int | None, size: int, key: str) -> int:
        if stated is not None:
            return stated
        if _blocks(size) > _MOST_BLOCKS:
            raise RecipeError(f"{self.path}.{key}: missing; {size:#x} bytes are more than it holds")
        return _blocks(size) * BLOCK

    def _header(self, size: int) -> None:
        """The ROM header, UEFI's variant of it where that is due."""
        most = _MOST_BLOCKS if self.efi else 0xFF
        stated = self.image.initialization_size
        blocks = min(_blocks(size), most) if stated is None else stated // BLOCK
        if blocks > most:
            raise RecipeError(
                f"{self.path}.initialization_size: expected at most {most * BLOCK:#x} bytes,"
                f" found {blocks * BLOCK:#x}"
            )
        if self.efi:
            self._efi_header(blocks)
            return
        write = self.pieces.write
        write(0, self.signature + bytes([blocks]))
        write(0x18, self.structure_offset.to_bytes(2, "little"))
        if self.code_type == CodeType.PCAT and self.image.data is None:
            write(*_ENTRY)
            if self.class_code >> 16 == _DISPLAY:
                write(*_VIDEO)
                self.pieces.try_put(*_IBM, "the legacy signature")

    def _efi_header(self, blocks: int) -> None:
        efi = self.image.efi or EfiRecipe()
        header = EFI_PCI_EXPANSION_ROM_HEADER.build(
            {
                "signature": self.signature,
                "initialization_size": blocks,
                "efi_signature": _or(efi.signature, EFI_SIGNATURE),
                "efi_subsystem": _or(efi.subsystem, 0x0B),
                "efi_machine_type": _or(efi.machine, 0x8664),
                "compression_type": _or(efi.compression, 1),
                "reserved": bytes(8),
                "efi_image_header_offset": _or(efi.image_offset, 0x58),
                "pcir_offset": self.structure_offset,
            }
        )
        # Given bytes keep their reserved ones.
        first, second = (0x0E, 0x16) if self.image.data is not None else (0x16, 0x16)
        self.pieces.write(0, header[:first])
        self.pieces.write(second, header[second:])

    def _pci_data(self, length: int, pointer: int) -> bytes:
        image = self.image
        modern = self.revision >= 3
        whole = modern and self.structure_length >= 0x1C
        for name, there in (
            ("max_runtime_image_length", modern),
            ("config_utility_pointer", whole),
            ("clp_pointer", whole),
        ):
            if getattr(image, name) is not None and not there:
                raise RecipeError(
                    f"{self.path}.{name}: expected nothing in a structure of revision"
                    f" {self.revision} and {self.structure_length} bytes"
                )
        if image.last is not None and image.indicator is not None:
            raise RecipeError(f"{self.path}.indicator: expected only without last, its bit 7")
        last = self.final if image.last is None else image.last
        data = PCI_DATA_STRUCTURE.build(
            {
                "signature": self.structure,
                "vendor_id": self.ids[0],
                "device_id": self.ids[1],
                "device_list_pointer": pointer,
                "structure_length": self.structure_length,
                "structure_revision": self.revision,
                "class_code": self.class_code,
                "image_length": length // BLOCK,
                "vendor_rom_revision": _or(image.vendor_rom_revision, 0),
                "code_type": self.code_type,
                "indicator": _or(image.indicator, LAST_IMAGE if last else 0),
                "max_runtime_image_length": _or(image.max_runtime_image_length, 0) // BLOCK,
            }
        )
        if not modern:
            # Revision 0 reserves the last word: given bytes keep theirs.
            return data if image.data is None else data[:-2]
        if not whole:
            return data
        return data + PCI_DATA_STRUCTURE_REV3.build(
            {
                "config_utility_code_header_pointer": _or(image.config_utility_pointer, 0),
                "dmtf_clp_entry_point_pointer": _or(image.clp_pointer, 0),
            }
        )

    def _device_list(self, structures_end: int) -> int:
        """Put the list in place; the pointer to it."""
        image = self.image
        if image.device_list is None:
            return _or(image.device_list_pointer, 0)
        if self.revision < 3:
            raise RecipeError(
                f"{self.path}.device_list: expected nothing in a structure of revision"
                f" {self.revision}; it came with 3"
            )
        if 0 in image.device_list:
            raise RecipeError(f"{self.path}.device_list: expected ids above 0, which ends the list")
        data = b"".join(i.to_bytes(2, "little") for i in (*image.device_list, 0))
        if image.device_list_pointer is None:
            at: int | None = self.pieces.free(structures_end, len(data), 2)
        else:
            at = self.structure_offset + image.device_list_pointer
        pointer = self.pieces.put(at, data, "device_list") - self.structure_offset
        if pointer > 0xFFFF:
            raise RecipeError(
                f"{self.path}.device_list: {pointer:#x} is too far from its structure"
            )
        return pointer

    def _npde_size(self, npde: NpdeRecipe) -> int:
        """Bytes of it that mean something."""
        length = self._npde_length(npde)
        for name, end in _NPDE_ENDS.items():
            if getattr(npde, name) is not None and length < end:
                raise RecipeError(
                    f"{self.path}.npde.{name}: expected nothing in {length} bytes, it ends at {end}"
                )
        return max(NPDE.sizeof(), min(length, 20))

    def _npde_length(self, npde: NpdeRecipe) -> int:
        return _or(npde.length, 16 if self.code_type == CodeType.EFI else 20)

    def _npde(self, npde: NpdeRecipe, size: int) -> bytes:
        default_revision = 0x100 if self.code_type == CodeType.EFI else 0x101
        last = self.final if npde.last is None else npde.last
        length = self._npde_length(npde)
        stated = npde.subimage_length
        if length >= _NPDE_ENDS["subimage_length"]:
            stated = self._length(stated, size, "npde.subimage_length")
        vendor, device = npde.subsystem or (0, 0)
        default_flags = 1 if self.code_type == CodeType.PCAT else 0
        whole = b"".join(
            (
                NPDE.build(
                    {
                        "signature": b"NPDE",
                        "revision": _or(npde.revision, default_revision),
                        "length": length,
                    }
                ),
                NPDE_SUBIMAGE.build({"subimage_length": (stated or 0) // BLOCK}),
                NPDE_LAST.build({"last_image": LAST_IMAGE if last else 0}),
                NPDE_FLAGS.build({"flags": _or(npde.flags, default_flags)}),
                NPDE_GOP_VERSION.build({"gop_version": _or(npde.gop_version, 0)}),
                NPDE_SUBSYSTEM.build({"subsystem_vendor_id": vendor, "subsystem_id": device}),
            )
        )
        return whole[: max(NPDE.sizeof(), length)]

    def _contents(self) -> None:
        image = self.image
        if image.efi is not None and not self.efi:
            raise RecipeError(
                f"{self.path}.efi: expected only in a PCIR image of code_type {CodeType.EFI:#04x}"
            )
        if self.efi:
            self._driver(image.efi or EfiRecipe())
        for name in ("nvidia", "atom"):
            if getattr(image, name) is not None and self.code_type != CodeType.PCAT:
                raise RecipeError(
                    f"{self.path}.{name}: expected only in images of code_type {CodeType.PCAT:#04x}"
                )
        if image.nvidia is not None:
            put_bit(self.pieces, image.nvidia)
        if image.atom is not None:
            put_atom(self.pieces, image.atom)
        if image.vbt is not None:
            put_vbt(self.pieces, image.vbt, pointed_to=self.code_type == CodeType.PCAT)

    def _driver(self, efi: EfiRecipe) -> None:
        payload = efi.payload or ("pe" if self.image.data is None else "none")
        if payload != "pe":
            for name in ("gop", "strings", "pe_size"):
                if getattr(efi, name) is not None:
                    raise RecipeError(f'{self.path}.efi.{name}: expected only with payload "pe"')
        if payload == "none":
            return
        display = self.class_code >> 16 == _DISPLAY
        driver = Driver(
            machine=_or(efi.machine, 0x8664),
            subsystem=_or(efi.subsystem, 0x0B),
            gop=display if efi.gop is None else efi.gop,
            strings=efi.strings or (),
            size=efi.pe_size,
        )
        path = f"{self.path}.efi"
        stream = BROKEN
        if payload == "pe":
            stream = driver_stream(driver, _or(efi.compression, 1), path)
        self.pieces.put(_or(efi.image_offset, 0x58), stream, "efi.image_offset")


#: Field of NPDE → where it ends.
_NPDE_ENDS = {
    "subimage_length": 0x0A,
    "last": 0x0B,
    "flags": 0x0C,
    "gop_version": 0x10,
    "subsystem": 0x14,
}


def _finish(
    image: ImageRecipe,
    pieces: Pieces,
    size: int,
    ids: tuple[int, int] | None,
    structure: int | None,
    covered: int,
    path: str,
) -> ImagePlan:
    default = 0 if image.data is None else "untouched"
    checksum = default if image.checksum is None else image.checksum
    balance = pieces.last_free(min(size, covered))
    if balance is None and covered and checksum != "untouched":
        raise RecipeError(
            f'{path}.checksum: expected "untouched", nothing can be changed in the'
            f" {min(size, covered):#x} bytes that it covers"
        )
    return ImagePlan(
        size=size,
        ids=ids,
        pieces=pieces.written(),
        structure=structure,
        covered=covered,
        checksum=checksum if isinstance(checksum, int) else None,
        balance=balance,
        data=image.data,
    )


def _size(image: ImageRecipe, pieces: Pieces, path: str) -> int:
    """Bytes that belong to the image: what it states, has, or needs with one byte to spare."""
    if image.data is not None:
        if image.size not in (None, len(image.data)):
            raise RecipeError(
                f"{path}.size: expected {len(image.data):#x}, the length of its bytes"
            )
        return len(image.data)
    if image.size is None:
        return _blocks(pieces.end + 1) * BLOCK
    if image.size < pieces.contents_end:
        raise RecipeError(
            f"{path}.size: expected at least {pieces.contents_end:#x} bytes for what is in it,"
            f" found {image.size:#x}"
        )
    return image.size


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _or(value: int | None, default: int) -> int:
    """`value`, or the default where the recipe is silent; zero is not silence."""
    return default if value is None else value
