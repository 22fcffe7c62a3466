"""One image of an option ROM, and what can be read in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from romkit.checksum import ByteSums
from romkit.header import BLOCK, CODE_TYPE_NAMES, CodeType, ImageHeader, Npde, PciData
from romkit.lazy import cache_field, lazy

if TYPE_CHECKING:
    from romkit.efi.driver import EfiDriver
    from romkit.vendor.amd import AtomBios
    from romkit.vendor.intel import Vbt
    from romkit.vendor.nvidia import NvidiaVbios

#: More ids than any real list has; a longer one is taken for a wrong pointer.
MAX_DEVICE_LIST = 256


@dataclass(frozen=True, slots=True)
class OptionRom:
    """One image. The file's bytes are the truth; everything else is a reading of them.

    Attributes:
        data: the whole file, shared by all images of a ROM.
        offset: where the image starts, bytes from the start of the file.
        size: bytes that belong to this image and no other; container, images and tail tile the
            file. On mobile NVIDIA ROMs the PCIR length of the first image covers the ones behind
            it too: `size` does not, `pcir.image_length` does.
        signature: the first two bytes.
        pcir: its PCI data structure.
        npde: NVIDIA's extension, or None.
    """

    data: bytes = field(repr=False, compare=False)
    offset: int
    size: int
    signature: bytes
    pcir: PciData
    npde: Npde | None
    sums: ByteSums = field(repr=False, compare=False)
    efi_budget: int = field(repr=False, compare=False)
    _cache: dict[str, object] = cache_field()

    @classmethod
    def of(
        cls, data: bytes, header: ImageHeader, end: int, sums: ByteSums, efi_budget: int
    ) -> OptionRom:
        """The image with these headers, which ends before `end`."""
        return cls(
            data=data,
            offset=header.offset,
            size=end - header.offset,
            signature=header.signature,
            pcir=header.pcir,
            npde=header.npde,
            sums=sums,
            efi_budget=efi_budget,
        )

    def __bytes__(self) -> bytes:
        return self.data[self.offset : self.offset + self.size]

    @property
    def raw(self) -> bytes:
        """The bytes that belong to this image alone."""
        return bytes(self)

    @property
    def end(self) -> int:
        """First byte of the file after this image."""
        return self.offset + self.size

    @property
    def code_type(self) -> int:
        """PCIR code type; see `CodeType` for the ones that have a name."""
        return self.pcir.code_type

    @property
    def code_type_name(self) -> str:
        """A short name, or the number in hex."""
        try:
            return CODE_TYPE_NAMES[CodeType(self.code_type)]
        except ValueError:
            return f"type {self.code_type:02x}"

    @property
    def last(self) -> bool:
        """PCIR's last-image flag."""
        return self.pcir.last

    @property
    def initialization_size(self) -> int:
        """Bytes, from the size field at +2: one byte in legacy images, two in EFI images."""
        width = 2 if self.code_type == CodeType.EFI else 1
        return (
            int.from_bytes(self.data[self.offset + 2 : self.offset + 2 + width], "little") * BLOCK
        )

    @property
    def truncated(self) -> bool:
        """The PCIR image length runs past the end of the file."""
        return self.offset + self.pcir.image_length > len(self.data)

    @property
    def declared_bytes(self) -> bytes:
        """What the longer of PCIR and NPDE length covers, as far as the file goes.

        Pointers in a legacy image count from its start and may reach into the sub-images that
        its PCIR length covers.
        """
        length = self.pcir.image_length
        if self.npde is not None and self.npde.subimage_length is not None:
            length = max(length, self.npde.subimage_length)
        return self.data[self.offset : self.offset + length]

    @property
    def sum8(self) -> int:
        """Sum of the bytes over the PCIR image length (as far as the file goes), modulo 256."""
        return self.sums.sum8(self.offset, self.offset + self.pcir.image_length)

    @property
    def checksum_required(self) -> bool:
        """Only x86 images must sum to zero: measured, AMD's EFI images hardly ever do."""
        return self.code_type == CodeType.PCAT

    @property
    def checksum_ok(self) -> bool | None:
        """Whether the sum is zero; None where no rule asks for it."""
        return self.sum8 == 0 if self.checksum_required else None

    @property
    def device_list(self) -> tuple[int, ...]:
        """Further device ids that the image supports (PCIR revision 3), without the first."""
        pcir = self.pcir
        if pcir.structure_revision < 3 or pcir.device_list_pointer == 0:
            return ()
        start = pcir.offset + pcir.device_list_pointer
        ids: list[int] = []
        # The list ends with a zero word; a lying pointer must not turn code into a long list.
        for at in range(start, min(start + 2 * MAX_DEVICE_LIST, len(self.data) - 1), 2):
            device = int.from_bytes(self.data[at : at + 2], "little")
            if device == 0:
                return tuple(ids)
            ids.append(device)
        return ()

    @lazy
    def efi(self) -> EfiDriver | None:
        """The UEFI driver in a code type 3 image, else None."""
        if self.code_type != CodeType.EFI or self.signature != b"\x55\xaa":
            return None
        from romkit.efi.driver import read_efi

        return read_efi(
            self.data[self.offset : self.offset + self.pcir.image_length],
            npde_gop_version=self.npde.gop_version if self.npde else None,
            class_code=self.pcir.class_code,
            vendor_id=self.pcir.vendor_id,
            budget=self.efi_budget,
        )

    @lazy
    def nvidia(self) -> NvidiaVbios | None:
        """NVIDIA's BIT table and what it leads to, in a legacy image that has one."""
        if self.code_type != CodeType.PCAT:
            return None
        from romkit.vendor.nvidia import read_nvidia

        return read_nvidia(self.declared_bytes)

    @lazy
    def atom(self) -> AtomBios | None:
        """AMD's ATOM header and strings, in a legacy image that has them."""
        if self.code_type != CodeType.PCAT:
            return None
        from romkit.vendor.amd import read_atom

        return read_atom(self.declared_bytes)

    @lazy
    def vbt(self) -> Vbt | None:
        """Intel's video BIOS table, in a legacy image that has one."""
        if self.code_type != CodeType.PCAT:
            return None
        from romkit.vendor.intel import read_vbt

        return read_vbt(self.declared_bytes, self.offset)

    @lazy
    def oem_string(self) -> str | None:
        """What a legacy image says that it is, e.g. "IBM VGA Compatible BIOS"."""
        if self.code_type != CodeType.PCAT:
            return None
        from romkit.vendor.strings import copyright_line, oem_string

        found = (oem_string(self.declared_bytes), copyright_line(self.declared_bytes))
        return ", ".join(text for text in found if text) or None

    def __repr__(self) -> str:
        return (
            f"<OptionRom {self.pcir.vendor_id:04x}:{self.pcir.device_id:04x}"
            f" {self.code_type_name} @{self.offset:#x}+{self.size:#x}>"
        )

    def _repr_html_(self) -> str:
        from romkit.render.html import image_html

        return image_html(self)
