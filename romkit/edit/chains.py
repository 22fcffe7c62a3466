"""The fields that tie images together: last bits, lengths, ids, and the byte that balances a sum.

Every edit sets them here and nowhere else. Offsets count from the start of the edited bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from romkit.container import ContainerKind
from romkit.edit.work import Work
from romkit.errors import EditRefused
from romkit.header import BLOCK, LAST_IMAGE, CodeType, ImageHeader
from romkit.image import OptionRom
from romkit.layout.amd import ATOM_ROM_HEADER_POINTER_AT
from romkit.layout.nvidia import NVGI_HEADER
from romkit.layout.pci import ROM_HEADER
from romkit.rom import Rom

#: Where AMD's own tools and those of the community balance an ATOM BIOS.
ATOM_BALANCE_AT = 0x21

#: Byte of an NVGI header that keeps its sum: zero in version 1, constant in each later layout
#: (measured on 9 flashes; the one that differs was modified).
NVGI_BALANCE_AT = 0x04

#: Checksum of an ACPI table (ACPI 6.5, 5.2.6).
ACPI_CHECKSUM_AT = 0x09

#: Equal bytes in front of the last one that show that it follows padding.
PADDING_BEFORE = 16

#: The largest value of a PCIR or NPDE length, in bytes.
LONGEST_IMAGE = 0xFFFF * BLOCK

#: What a host reads: everything else belongs to the GPU's own processors.
HOST_CODE_TYPES = frozenset({CodeType.PCAT, CodeType.OPEN_FIRMWARE, CodeType.PA_RISC, CodeType.EFI})

_IMAGE_SIGNATURE = b"\x55\xaa"


def for_hosts(header: ImageHeader | OptionRom) -> bool:
    """Whether firmware reads this image, and not only NVIDIA's driver or the GPU."""
    return header.signature == _IMAGE_SIGNATURE and header.pcir.code_type in HOST_CODE_TYPES


# Section: last bits


def set_pcir_last(work: Work, at: int, last: bool, reason: str) -> None:
    """Set or clear bit 7 of the PCIR indicator; the other bits stay."""
    pcir = work.header(at).pcir
    indicator = pcir.indicator & ~LAST_IMAGE | (LAST_IMAGE if last else 0)
    work.write(pcir.offset + 0x15, bytes([indicator]), reason)


def set_chain_last(work: Work, at: int, last: bool, reason: str) -> None:
    """Make NVIDIA's driver stop at this image, or go on: by NPDE where that says it, else by PCIR.

    Images of NVIDIA's own carry the flag in both places (measured), so both are set.

    Raises:
        EditRefused: it has an NPDE too short to hold the flag, and no way to say it otherwise.
    """
    header = work.header(at)
    if header.chain_last == last:
        return
    npde = header.npde
    if npde is not None and npde.last is not None:
        byte = work.data[npde.offset + 0x0A]
        byte = byte & ~LAST_IMAGE | (LAST_IMAGE if last else 0)
        work.write(npde.offset + 0x0A, bytes([byte]), reason)
        if not for_hosts(header):
            set_pcir_last(work, at, last, reason)
    else:
        set_pcir_last(work, at, last, reason)
    if work.header(at).chain_last != last:
        raise EditRefused(
            f"its NPDE has {npde.length if npde else 0} bytes and cannot say whether it is the "
            "last image",
            at,
        )


def relink(
    work: Work,
    chain: Sequence[int],
    pcir: Sequence[int],
    *,
    ends: bool,
    firmware: str = "images follow",
    driver: str = "images follow",
) -> None:
    """Set the last bits of both chains.

    Args:
        work: what is edited.
        chain: where the images start that NVIDIA's driver is to reach, in order.
        pcir: where the images start that firmware is to reach, in order.
        ends: whether the last image of `chain` ends it. Dumps through the ROM BAR have an open
            end: their last image says that more follows.
        firmware: reason for clearing a PCIR last bit.
        driver: reason for clearing one of NVIDIA's.

    Raises:
        EditRefused: an image cannot say what it has to.
    """
    for at in pcir[:-1]:
        set_pcir_last(work, at, False, f"not the last image: {firmware}")
    for at in pcir[-1:]:
        set_pcir_last(work, at, True, "the last image that firmware looks for")
    for at in chain[:-1]:
        set_chain_last(work, at, False, f"not the last image: {driver}")
    for at in chain[-1:]:
        if ends or work.header(at).npde is not None:
            set_chain_last(work, at, ends, "the last image of NVIDIA's chain")
    # An image without NPDE has one flag for both chains.
    for at in pcir:
        if work.header(at).pcir.last != (at == pcir[-1]):
            raise EditRefused(
                "this image has no NPDE, so it cannot be the last for firmware while NVIDIA's "
                "driver goes on",
                at,
                hint="it needs an EFI image with an NPDE, as NVIDIA's own ROMs have",
            )


# Section: lengths


def _blocks(length: int, at: int) -> bytes:
    if length > LONGEST_IMAGE:
        raise EditRefused(
            f"an image of {length:#x} bytes is too long: a ROM can say {LONGEST_IMAGE:#x}", at
        )
    if length % BLOCK or length <= 0:
        raise EditRefused(f"{length:#x} bytes are no length of an image", at)
    return (length // BLOCK).to_bytes(2, "little")


def set_pcir_length(work: Work, at: int, length: int, reason: str) -> None:
    """Set the PCIR image length, in bytes.

    Raises:
        EditRefused: not a multiple of 512, or too long.
    """
    work.write(work.header(at).pcir.offset + 0x10, _blocks(length, at), reason)


def set_npde_length(work: Work, at: int, length: int, reason: str) -> None:
    """Set the NPDE sub-image length, in bytes, where there is an NPDE that holds one.

    Raises:
        EditRefused: not a multiple of 512, or too long.
    """
    npde = work.header(at).npde
    if npde is not None and npde.subimage_length is not None:
        work.write(npde.offset + 8, _blocks(length, at), reason)


def set_size_field(work: Work, at: int, length: int, reason: str) -> None:
    """Set the size at +2, in bytes: one byte of blocks in legacy images, two in EFI images.

    Raises:
        EditRefused: too long for it; a legacy image cannot say more than 127.5 KiB.
    """
    blocks = _blocks(length, at)
    if work.header(at).pcir.code_type == CodeType.EFI:
        work.write(at + 2, blocks, reason)
        return
    if blocks[1]:
        raise EditRefused("a legacy image cannot be longer than 0x1fe00 bytes", at)
    work.write(at + 2, blocks[:1], reason)


# Section: ids


def set_ids(
    work: Work, at: int, reason: str, *, vendor: int | None = None, device: int | None = None
) -> None:
    """Set vendor and device of the PCI data structure."""
    pcir = work.header(at).pcir
    if vendor is not None:
        work.write(pcir.offset + 4, vendor.to_bytes(2, "little"), reason)
    if device is not None:
        work.write(pcir.offset + 6, device.to_bytes(2, "little"), reason)


def set_private_images(work: Work, at: int, value: bool, reason: str) -> None:
    """Set or clear bit 0 of the NPDE flags of a mobile board's legacy image.

    "Private images enabled" (open-gpu-kernel-modules, pciexptbl.h). Measured on mobile ROMs: set
    where an EFI image with an NPDE follows, clear where none does. Desktop ROMs always have it.
    """
    header = work.header(at)
    npde = header.npde
    if npde is None or npde.flags is None or not is_mobile(header):
        return
    flags = npde.flags & ~1 | int(value)
    work.write(npde.offset + 0x0B, bytes([flags]), reason)


def is_mobile(header: ImageHeader | OptionRom) -> bool:
    """Whether this legacy image's PCIR length covers NVIDIA's own images behind it, too."""
    npde = header.npde
    return (
        header.pcir.code_type == CodeType.PCAT
        and npde is not None
        and npde.subimage_length is not None
        and npde.subimage_length < header.pcir.image_length
    )


# Section: sums


@dataclass(frozen=True, slots=True)
class SafeByte:
    """A byte that may be changed to balance a sum.

    Attributes:
        at: bytes from the start of the image.
        why: what makes it safe, a few words.
    """

    at: int
    why: str


def safe_byte(image: OptionRom) -> SafeByte | None:
    """The byte of an image that may be changed to balance its sum.

    - An ATOM BIOS: 0x21, by convention.
    - An NVIDIA image that is not EFI: its last byte, where NVIDIA itself balances it. Measured:
      in all of them it stands alone behind padding (FF, or the code 8B C0 that does nothing).
      Firmware (type E0) that does not sum to zero anyway is left alone without such padding.
    - Any other legacy image: its last byte, which is padding nearly always, and by convention
      where it is not.
    - None in EFI images: they may be signed, and nobody needs their sum. None inside a structure
      that is known.
    """
    if image.code_type not in (CodeType.PCAT, CodeType.NBSI, CodeType.FWSEC):
        return None
    # On mobile ROMs the PCIR length covers NVIDIA's firmware too: only its own part counts. SeaBIOS
    # sums up as much as the size byte says: what balances one range must balance the other.
    own = min(image.size, image.pcir.image_length)
    if image.code_type == CodeType.PCAT and image.initialization_size >= BLOCK:
        own = min(own, image.initialization_size)
    data, end = image.data, image.offset + own
    cut = end > len(data) or (image.truncated and not is_mobile(image))
    if own < BLOCK or cut:
        return None
    if image.code_type == CodeType.PCAT and _has_atom_header(image):
        if _in_structure(image, ATOM_BALANCE_AT):
            return None
        return SafeByte(ATOM_BALANCE_AT, "byte 0x21, AMD's convention")
    if _in_structure(image, own - 1):
        return None
    before = data[end - 1 - PADDING_BEFORE : end - 1]
    if before == before[:1] * PADDING_BEFORE:
        return SafeByte(own - 1, "its last byte, behind padding")
    if image.code_type == CodeType.PCAT:
        known = image.npde is not None
        why = "its last byte, " + ("where NVIDIA balances it" if known else "by convention")
        return SafeByte(own - 1, why)
    if sum(memoryview(data)[image.offset : end]) & 0xFF:
        return None
    return SafeByte(own - 1, "its last byte, where NVIDIA balances it")


def _has_atom_header(image: OptionRom) -> bool:
    at = image.offset + ATOM_ROM_HEADER_POINTER_AT
    offset = int.from_bytes(image.data[at : at + 2], "little")
    return image.data[image.offset + offset + 4 : image.offset + offset + 8] == b"ATOM"


def _in_structure(image: OptionRom, at: int) -> bool:
    """Whether a byte, counted from the image's start, belongs to something that is known."""
    spans = [(0, 4), (0x18, ROM_HEADER.sizeof())]
    pcir = image.pcir.offset - image.offset
    spans.append((pcir, pcir + max(image.pcir.structure_length, 0x18)))
    if image.npde is not None:
        npde = image.npde.offset - image.offset
        spans.append((npde, npde + max(image.npde.length, 8)))
    if image.device_list:
        start = pcir + image.pcir.device_list_pointer
        spans.append((start, start + 2 * len(image.device_list) + 2))
    if image.vbt is not None:
        vbt = image.vbt.offset - image.offset
        spans.append((vbt, vbt + image.vbt.vbt_size))
    return any(start <= at < end for start, end in spans)


def sum8(work: Work, at: int, length: int) -> int:
    """Sum of `length` bytes from `at` on, as far as they go, modulo 256."""
    return sum(memoryview(work.data)[at : at + length]) & 0xFF


@dataclass(frozen=True, slots=True)
class Placed:
    """An image of a source, and where it stands in the edited bytes.

    Attributes:
        image: as it was read.
        at: where it starts now.
    """

    image: OptionRom
    at: int

    @property
    def own_sum(self) -> int:
        """What its own bytes summed to, before the edit."""
        return sum(bytes(self.image)) & 0xFF


def placed(work: Work, images: Iterable[OptionRom]) -> tuple[Placed, ...]:
    """Where the images of the source stand now; dropped ones are left out."""
    found = ((image, work.place_of(image.offset)) for image in images)
    return tuple(Placed(image, at) for image, at in found if at is not None)


def mend_sums(work: Work, images: Iterable[Placed], *, to_zero: bool) -> tuple[str, ...]:
    """Balance what an edit has put out of balance.

    NVIDIA's own images whose header was changed keep the sum that they had, so that every range
    which covers them (PCIR length, size byte) does too. Then each legacy image is balanced, those
    that another one covers before that one.

    Args:
        work: what is edited, all fields set.
        images: the images to balance.
        to_zero: make legacy images sum to zero over their PCIR length. Else their own bytes keep
            the sum that they had, whatever it was, so that the way back is the same.

    Returns:
        One sentence for each sum that is wrong and that no safe byte can mend.
    """
    problems: list[str] = []
    images = tuple(images)
    for own in images:
        if own.image.code_type in (CodeType.NBSI, CodeType.FWSEC):
            _balance(work, own, own.image.size, own.own_sum)
    wanted: list[tuple[Placed, int, int]] = []
    for own in sorted(images, key=lambda own: -own.at):
        if own.image.code_type != CodeType.PCAT:
            continue
        length = work.header(own.at).pcir.image_length
        if own.at + length > len(work.data):
            continue  # cut off: there is no whole sum
        wanted.append((own, length, 0) if to_zero else (own, own.image.size, own.own_sum))
    for own, length, total in wanted:
        _balance(work, own, length, total)
    for own, length, total in wanted:
        now = sum8(work, own.at, length)
        if now != total:
            problems.append(
                f"the legacy image at {own.at:#x} now sums to {now:#04x}, and no byte in it is "
                "known to be safe to change"
            )
    return tuple(problems)


def _balance(work: Work, own: Placed, length: int, wanted: int) -> None:
    """Bring the sum of `length` bytes to `wanted`, where there is a safe byte for it."""
    delta = (wanted - sum8(work, own.at, length)) & 0xFF
    byte = safe_byte(own.image)
    if delta == 0 or byte is None or byte.at >= length:
        return
    at = own.at + byte.at
    value = (work.data[at] + delta) & 0xFF
    work.write(at, bytes([value]), f"balances the sum of the image at {own.at:#x}: {byte.why}")


def keep_container_sum(work: Work, rom: Rom) -> None:
    """Keep the sum of an NVGI header, or of an ACPI table with the ROM in it, what it was.

    The container must still be where it was: at the start.
    """
    kind = rom.container.kind if rom.container is not None else None
    if kind is ContainerKind.NVGI:
        at, end, what = NVGI_BALANCE_AT, NVGI_HEADER.sizeof(), "NVGI header"
    elif kind is ContainerKind.VFCT:
        stated = int.from_bytes(rom.data[4:8], "little")
        at, end, what = ACPI_CHECKSUM_AT, min(stated, len(rom.data)), "ACPI table"
    else:
        return
    delta = sum(memoryview(rom.data)[:end]) - sum8(work, 0, end) & 0xFF
    work.write(at, bytes([work.data[at] + delta & 0xFF]), f"keeps the {what} balanced")
