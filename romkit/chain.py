"""The two ways through a ROM.

The PCIR chain is what Linux (drivers/pci/rom.c), UEFI firmware (edk2, PciOptionRomSupport.c),
SeaBIOS and QEMU guests follow: 55 AA headers, PCIR image lengths, PCIR last flag. The NPDE chain
is what NVIDIA's driver follows: its own signatures too, and NPDE's length and last flag where an
image has one. On a ROM without NPDE both are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from romkit.errors import RomError
from romkit.header import ImageHeader, read_header
from romkit.image import OptionRom

#: More images than any real ROM has (measured: at most seven).
MAX_IMAGES = 32


class ChainEnd(Enum):
    """Why a chain ends."""

    LAST = "last image"
    END_OF_DATA = "the file ends although no image is the last"
    NO_SIGNATURE = "the next image has no signature"
    NO_STRUCTURE = "the next image has no readable PCI data structure"
    ZERO_LENGTH = "an image length of zero"
    TOO_MANY = f"more than {MAX_IMAGES} images"


@dataclass(frozen=True, slots=True)
class Walk:
    """Offsets of the images that a chain reaches, why it ends, and where."""

    offsets: tuple[int, ...]
    end: ChainEnd
    end_offset: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of images, iterable.

    Attributes:
        name: "PCIR" or "NPDE".
        images: in the order in which the chain reaches them.
        end: why it ends.
        end_offset: where: the end of the last image, or where the next one should have been.
    """

    name: str
    images: tuple[OptionRom, ...]
    end: ChainEnd
    end_offset: int

    @property
    def complete(self) -> bool:
        """The chain ends with an image that says that it is the last."""
        return self.end is ChainEnd.LAST

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[OptionRom]:
        return iter(self.images)

    def __getitem__(self, number: int) -> OptionRom:
        return self.images[number]

    def __contains__(self, image: object) -> bool:
        return any(image is own for own in self.images)

    def __repr__(self) -> str:
        path = " → ".join(f"{i.code_type:02x}@{i.offset:#x}" for i in self.images) or "nothing"
        return f"<{self.name} chain {path}, {self.end.value} at {self.end_offset:#x}>"


class HeaderReader:
    """Reads image headers of one file, each offset once."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._known: dict[int, ImageHeader | RomError] = {}

    def __call__(self, offset: int) -> ImageHeader | RomError:
        """The headers at `offset`, or the error that says why there are none."""
        if offset not in self._known:
            try:
                self._known[offset] = read_header(self.data, offset)
            except RomError as err:
                self._known[offset] = err
        return self._known[offset]


def walk_pcir(headers: HeaderReader, start: int) -> Walk:
    """Follow PCIR image lengths from `start`."""
    return _walk(headers, start, npde=False)


def walk_npde(headers: HeaderReader, start: int) -> Walk:
    """Follow NPDE lengths from `start`, PCIR lengths where an image has no NPDE."""
    return _walk(headers, start, npde=True)


def _walk(headers: HeaderReader, start: int, *, npde: bool) -> Walk:
    offsets: list[int] = []
    at = start
    while True:
        header = headers(at)
        foreign = isinstance(header, ImageHeader) and header.signature != b"\x55\xaa"
        if isinstance(header, RomError) or (foreign and not npde):
            return Walk(tuple(offsets), _why(headers.data, at, npde), at)
        offsets.append(at)
        length = header.chain_length if npde else header.pcir.image_length
        if header.chain_last if npde else header.pcir.last:
            return Walk(tuple(offsets), ChainEnd.LAST, min(at + length, len(headers.data)))
        if length == 0:
            return Walk(tuple(offsets), ChainEnd.ZERO_LENGTH, at)
        if len(offsets) == MAX_IMAGES:
            return Walk(tuple(offsets), ChainEnd.TOO_MANY, at)
        at += length


def _why(data: bytes, at: int, npde: bool) -> ChainEnd:
    if at >= len(data):
        return ChainEnd.END_OF_DATA
    known = (b"\x55\xaa", b"VN", b"\x77\xbb") if npde else (b"\x55\xaa",)
    return ChainEnd.NO_STRUCTURE if data[at : at + 2] in known else ChainEnd.NO_SIGNATURE
