"""A whole ROM file: container, images, tail, and the two chains through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from romkit.chain import Chain, HeaderReader, Walk, walk_npde, walk_pcir
from romkit.checksum import ByteSums
from romkit.container import Container, find_container, starts_image
from romkit.header import BLOCK, CodeType, ImageHeader
from romkit.image import OptionRom
from romkit.lazy import cache_field, lazy
from romkit.tail import Tail, read_tail

#: Most bytes that all EFI images of one file together may decompress to. Measured: real drivers
#: take up to 0.2 MiB, iPXE's 1 MiB; a hostile stream could claim 4 GiB.
EFI_BUDGET = 4 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of the file in the map of a ROM; all regions tile the file.

    Attributes:
        kind: what it is.
        offset: bytes from the start of the file.
        size: bytes.
        title: a few words for people.
    """

    kind: Literal["container", "image", "padding", "copy", "vfct image", "data"]
    offset: int
    size: int
    title: str

    @property
    def end(self) -> int:
        """First byte behind the region."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Rom:
    """A ROM file. `data` is the truth; ``bytes(rom)`` gives it back unchanged.

    Attributes:
        data: the file's bytes.
        container: what precedes the first image, or None.
        images: every image that either chain reaches, in file order. Empty for option ROMs from
            before PCI (55 AA without a PCIR).
        tail: what follows the last image, or None.
        pcir_chain: what Linux, firmware and QEMU guests see.
        npde_chain: what NVIDIA's driver sees.
    """

    data: bytes = field(repr=False)
    container: Container | None
    images: tuple[OptionRom, ...]
    tail: Tail | None
    pcir_chain: Chain
    npde_chain: Chain
    _cache: dict[str, object] = cache_field()

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    @property
    def rom_offset(self) -> int:
        """Where the first image starts, bytes from the start of the file."""
        return self.container.rom_offset if self.container else 0

    @property
    def rom_end(self) -> int:
        """First byte behind the last image."""
        return self.images[-1].end if self.images else self.rom_offset

    @property
    def legacy(self) -> OptionRom | None:
        """The first x86 image: the VBIOS proper."""
        return next((i for i in self.images if i.code_type == CodeType.PCAT), None)

    @property
    def efi_images(self) -> tuple[OptionRom, ...]:
        """The images that hold a UEFI driver."""
        return tuple(i for i in self.images if i.efi is not None)

    @property
    def chains_agree(self) -> bool:
        """Both chains reach the same images."""
        return [i.offset for i in self.pcir_chain] == [i.offset for i in self.npde_chain]

    @property
    def regions(self) -> tuple[Region, ...]:
        """Container, images and tail as one list that tiles the file."""
        regions: list[Region] = []
        if self.container is not None:
            title = f"{self.container.title} container"
            regions.append(Region("container", 0, self.container.rom_offset, title))
        for number, image in enumerate(self.images):
            title = f"image {number}: {image.code_type:02x} {image.code_type_name}"
            regions.append(Region("image", image.offset, image.size, title))
        for part in self.tail or ():
            title = part.kind.value
            if part.fill is not None:
                title += f" of {part.fill:02x}"
            if part.identical is not None:
                title += ", identical" if part.identical else ", different"
            regions.append(Region(part.kind.value, part.offset, part.size, title))
        return tuple(regions)

    @lazy
    def sha256(self) -> str:
        """SHA-256 of the file, hex digits."""
        import hashlib

        return hashlib.sha256(self.data).hexdigest()

    def __repr__(self) -> str:
        kinds = "+".join(f"{i.code_type:02x}" for i in self.images) or "no images"
        around = f" in {self.container.title}" if self.container else ""
        return f"<Rom {len(self.data):#x} bytes{around}: {kinds}>"

    def _repr_html_(self) -> str:
        from romkit.render.html import rom_html

        return rom_html(self)


def parse_rom(data: bytes | bytearray | memoryview) -> Rom:
    """Read a ROM file of any kind. Headers only: nothing is decompressed or summed up yet.

    Args:
        data: the file's bytes.

    Raises:
        NotARom: nothing in `data` is an option ROM; its `guess` says what it may be instead.
    """
    data = bytes(memoryview(data))  # an int or a str is a TypeError here, not a file of zeros
    container = find_container(data)
    if container is None and not starts_image(data, 0):
        from romkit.guess import not_a_rom

        raise not_a_rom(data)
    start = container.rom_offset if container else 0
    headers = HeaderReader(data)
    pcir, npde = walk_pcir(headers, start), walk_npde(headers, start)
    images = _images(data, headers, sorted({*pcir.offsets, *npde.offsets}))
    by_offset = {image.offset: image for image in images}

    def chain(name: str, walk: Walk) -> Chain:
        reached = tuple(by_offset[offset] for offset in walk.offsets)
        return Chain(name, reached, walk.end, walk.end_offset)

    end = images[-1].end if images else start
    return Rom(
        data=data,
        container=container,
        images=images,
        tail=read_tail(data, end, container, data[start:end], parse_rom),
        pcir_chain=chain("PCIR", pcir),
        npde_chain=chain("NPDE", npde),
    )


def _images(data: bytes, headers: HeaderReader, offsets: list[int]) -> tuple[OptionRom, ...]:
    found = [h for h in map(headers, offsets) if isinstance(h, ImageHeader)]
    edges = {edge for h in found for edge in (h.offset, h.offset + h.pcir.image_length)}
    sums = ByteSums(data, edges)
    drivers = sum(h.pcir.code_type == CodeType.EFI for h in found)
    budget = EFI_BUDGET // max(drivers, 1)
    ends = [h.offset for h in found[1:]]
    if found:
        # An image holds at least its own header, whatever its length field says.
        ends.append(min(found[-1].offset + max(found[-1].chain_length, BLOCK), len(data)))
    return tuple(
        OptionRom.of(data, header, end, sums, budget)
        for header, end in zip(found, ends, strict=True)
    )
