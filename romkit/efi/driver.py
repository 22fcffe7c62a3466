"""The UEFI driver of a code type 3 image.

UEFI specification 2.10, section 14.4.2.1; what the firmware takes of it is edk2's LocalLoadFile2
(MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from romkit.efi.compression import (
    HEADER_SIZE,
    Scheme,
    StreamSizes,
    TooLarge,
    decompress_by,
    read_sizes,
)
from romkit.efi.gop import Gop, GopRole, driver_name, gop_role, read_gop
from romkit.efi.pe import PeFacts, machine_name, read_pe, read_signed_ranges, subsystem_name
from romkit.efi.signature import Signature, read_signatures
from romkit.errors import MalformedRom, RomError
from romkit.layout.efi import EFI_PCI_EXPANSION_ROM_HEADER
from romkit.layout.lens import read
from romkit.lazy import cache_field, lazy

#: What the field `efi_signature` must be.
EFI_SIGNATURE = 0x0EF1

#: Unit of the size field, in bytes.
_BLOCK = 512

_UNCOMPRESSED = 0
_COMPRESSED = 1


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The outcome of getting the PE image out of the ROM image."""

    pe: bytes | None
    why_not: str = ""
    decompresses: bool | None = None
    scheme: Scheme | None = None
    too_large: bool = False
    damaged_at: int | None = None


@dataclass(frozen=True, slots=True)
class EfiDriver:
    """The header of an EFI image, and what lies behind it.

    Attributes:
        image: the whole ROM image, from its 55 AA on, as far as the file goes.
        initialization_size: bytes of the image that belong to the driver (the field, times 512).
        efi_signature: 0x0EF1.
        subsystem: 0x0B boot service driver, 0x0C runtime driver.
        machine: PE machine type.
        compression: 0 none, 1 the UEFI algorithm.
        image_offset: where the PE image or the compressed stream starts, bytes.
        npde_gop_version: NVIDIA's, from the NPDE beside the header; None without one.
        class_code: of the image's PCIR.
        vendor_id: of the image's PCIR.
        budget: the most bytes that may be decompressed.
    """

    image: bytes = field(repr=False)
    initialization_size: int
    efi_signature: int
    subsystem: int
    machine: int
    compression: int
    image_offset: int
    npde_gop_version: int | None
    class_code: int
    vendor_id: int
    budget: int = field(repr=False, compare=False)
    _cache: dict[str, object] = cache_field()

    @property
    def signature_ok(self) -> bool:
        """Whether `efi_signature` is 0x0EF1. Nothing to do with who signed the driver."""
        return self.efi_signature == EFI_SIGNATURE

    @property
    def machine_name(self) -> str:
        """X64, AA64, IA32, EBC … or the number in hex."""
        return machine_name(self.machine)

    @property
    def subsystem_name(self) -> str:
        """In words, or the number in hex."""
        return subsystem_name(self.subsystem)

    @property
    def payload(self) -> bytes:
        """What the firmware takes: from `image_offset` up to `initialization_size`."""
        return self.image[self.image_offset : self.initialization_size]

    @property
    def sizes(self) -> StreamSizes | None:
        """Sizes that the compressed stream states; None where there is no such stream."""
        if self.compression != _COMPRESSED:
            return None
        return read_sizes(self.image[self.image_offset : self.image_offset + HEADER_SIZE])

    @lazy
    def _decoded(self) -> _Decoded:
        if self.compression == _UNCOMPRESSED:
            # A size field that leaves nothing is a lie; the rest of the image is read instead.
            return _checked(_Decoded(self.payload or self.image[self.image_offset :]))
        if self.compression != _COMPRESSED:
            why = f"compression type {self.compression} is unknown"
            return _Decoded(None, why, decompresses=False)
        length = HEADER_SIZE + (self.sizes.compressed_size if self.sizes is not None else 0)
        stream = self.image[self.image_offset : self.image_offset + length]
        try:
            pe, scheme = decompress_by(stream, self.budget)
        except TooLarge as err:
            return _Decoded(None, err.message, too_large=True)
        except RomError as err:
            at = err.offset if isinstance(err, MalformedRom) else None
            where = None if at is None else self.image_offset + at
            return _Decoded(None, _message(err), decompresses=False, damaged_at=where)
        return _checked(_Decoded(pe, decompresses=True, scheme=scheme))

    @property
    def pe(self) -> bytes | None:
        """The PE image, decompressed where need be; None where it cannot be had."""
        return self._decoded.pe

    @property
    def undecodable(self) -> str:
        """Why there is no `pe`; "" where there is."""
        return self._decoded.why_not

    @property
    def too_large(self) -> bool:
        """There is no `pe` because it would be larger than `budget`: nothing is known of it."""
        return self._decoded.too_large

    @property
    def damaged_at(self) -> int | None:
        """Where the compressed data stop making sense, bytes from the start of the image; None
        where they do not, or where no place can be named."""
        return self._decoded.damaged_at

    @property
    def decompresses(self) -> bool | None:
        """Whether the stream decompresses; None where it is not compressed, or too large to try."""
        return self._decoded.decompresses

    @property
    def scheme(self) -> Scheme | None:
        """The dialect of the stream. Firmware decodes only EFI 1.1 in option ROMs."""
        return self._decoded.scheme

    @lazy
    def facts(self) -> PeFacts | None:
        """The headers of the PE image."""
        return read_pe(self.pe) if self.pe is not None else None

    @lazy
    def _identity(self) -> Gop | None:
        return read_gop(self.pe, self.npde_gop_version)

    @lazy
    def gop_role(self) -> GopRole:
        """Whether the driver is a GOP driver, uses one, or has nothing to do with it."""
        return gop_role(self.pe, self._identity, self.class_code, self.vendor_id)

    @lazy
    def gop(self) -> Gop | None:
        """Whose GOP it is and which version; None where it is none or nothing is known of it."""
        if self.gop_role is GopRole.UNKNOWN:
            return self._identity
        if self.gop_role is not GopRole.PRODUCER:
            return None
        return self._identity or Gop(None, "", "", driver_name(self.pe or b""), None, "")

    @lazy
    def signatures(self) -> tuple[Signature, ...]:
        """All signatures, in the order of the certificate table."""
        return read_signatures(self.pe) if self.pe is not None else ()

    @property
    def signature(self) -> Signature | None:
        """The first signature, which is the one that counts where there is only one."""
        return self.signatures[0] if self.signatures else None

    @lazy
    def signed(self) -> bool | None:
        """Whether there is a signature; None where that cannot be read."""
        if self.signatures:
            return True
        ranges = read_signed_ranges(self.pe) if self.pe is not None else None
        # A table that is announced but cannot be read is neither.
        return None if ranges is None or ranges.table else False

    @property
    def digest_ok(self) -> bool | None:
        """Whether the driver is what was signed first; None without a readable signature."""
        return self.signature.digest_ok if self.signature is not None else None

    @lazy
    def pe_sha256(self) -> str | None:
        """SHA-256 of `pe`, hex; None without one."""
        return hashlib.sha256(self.pe).hexdigest() if self.pe is not None else None

    def __repr__(self) -> str:
        packed = "compressed" if self.compression else "plain"
        return (
            f"<EfiDriver {self.machine_name} {self.subsystem_name} {packed}"
            f" {self.initialization_size:#x} bytes>"
        )


def read_efi(
    image: bytes,
    *,
    npde_gop_version: int | None,
    class_code: int,
    vendor_id: int,
    budget: int,
) -> EfiDriver | None:
    """Read the header of a code type 3 image; all else is read when it is asked for.

    Args:
        image: from its 55 AA on, PCIR image length, as far as the file goes.
        npde_gop_version: u32 at +0x0C of the image's NPDE, None without one.
        class_code: of the image's PCIR.
        vendor_id: of the image's PCIR.
        budget: the most bytes that may be decompressed, later.

    Returns:
        None where the 26 bytes of the header do not fit. Never raises.
    """
    if len(image) < EFI_PCI_EXPANSION_ROM_HEADER.sizeof():
        return None
    f = read(EFI_PCI_EXPANSION_ROM_HEADER, image, 0, "EFI option ROM header")
    return EfiDriver(
        image=image,
        initialization_size=f.initialization_size * _BLOCK,
        efi_signature=f.efi_signature,
        subsystem=f.efi_subsystem,
        machine=f.efi_machine_type,
        compression=f.compression_type,
        image_offset=f.efi_image_header_offset,
        npde_gop_version=npde_gop_version,
        class_code=class_code,
        vendor_id=vendor_id,
        budget=budget,
    )


def _checked(decoded: _Decoded) -> _Decoded:
    """`decoded`, without a PE image that is none."""
    pe = decoded.pe or b""
    if pe[:2] == b"MZ":
        return decoded
    why = f"no PE image: found {pe[:4].hex(' ')}" if pe else "no PE image: nothing is there"
    return _Decoded(None, why, decoded.decompresses, decoded.scheme)


def _message(err: RomError) -> str:
    """The error, with its offset told from file offsets."""
    return err.message if not err.offset else f"{err.message} (byte {err.offset:#x} of it)"
