"""What can be mended without knowing more than the ROM itself says."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias, get_args

from romkit.chain import ChainEnd, HeaderReader, walk_pcir
from romkit.checks.content import DECIMAL_AMD
from romkit.edit.chains import (
    Placed,
    for_hosts,
    keep_container_sum,
    mend_sums,
    placed,
    relink,
    set_chain_last,
    set_ids,
    set_pcir_last,
    set_pcir_length,
    set_private_images,
    set_size_field,
)
from romkit.edit.edit import Edit
from romkit.edit.notes import signature_notes
from romkit.edit.proof import nothing_to_do, prove
from romkit.edit.work import Cut, Work
from romkit.errors import EditRefused, RomError
from romkit.header import BLOCK, CodeType, ImageHeader, read_header
from romkit.image import OptionRom
from romkit.rom import Rom, parse_rom

#: Everything that can be mended: an EFI image at a place that firmware does not reach; the length
#: of a shrunken copy; last bits; a vendor id typed as a decimal number; the sum of x86 images.
Fault: TypeAlias = Literal["gop", "length", "last", "vendor", "checksum"]

FAULTS: tuple[Fault, ...] = get_args(Fault)

_AMD = 0x1002


def fix(rom: Rom, which: Collection[Fault] = FAULTS) -> Edit:
    """Mend what is wrong with a ROM, as far as the ROM itself says what would be right.

    Args:
        rom: the ROM.
        which: the faults to look for; all by default.

    Returns:
        An edit without changes where nothing of that is wrong. What is wrong and cannot be mended
        is in its notes.

    Raises:
        EditRefused: mending one fault would make another.
    """
    unknown = [w for w in which if w not in FAULTS]
    if unknown:
        raise EditRefused(
            f"nothing called {unknown[0]!r} can be mended", hint=f"one of {', '.join(FAULTS)}"
        )
    if not rom.images:
        return nothing_to_do(rom, "no PCI data structure: nothing here that could be mended")
    notes: list[str] = []
    seen = _seen_through(rom) if "gop" in which else rom
    move = _Move.of(seen, notes) if "gop" in which else None
    work = Work(rom.data, move.cuts if move else ())
    if move is not None:
        move.link(work)
    # The other faults are single fields, each looked for in what the ones before have left.
    reshaped = move is not None
    if "length" in which:
        reshaped |= _fix_length(work, _read(work), notes)
    if "last" in which:
        _fix_last(work, _read(work), notes)
    if "vendor" in which:
        _fix_vendor(work, _read(work), notes)
    _fix_sums(work, seen if move else rom, notes, to_zero=reshaped or "checksum" in which)
    keep_container_sum(work, rom)
    if not work.changes():
        return nothing_to_do(rom, *(notes or ["nothing to mend"]))
    notes += signature_notes(rom, work.changes())
    return prove(rom, work, notes=notes)


def _read(work: Work) -> Rom:
    return parse_rom(bytes(work.data))


# Section: an EFI image in the wrong place


def _seen_through(rom: Rom) -> Rom:
    """The ROM as it was before an EFI image that ends NVIDIA's chain was put in the middle of it.

    Drivers taken from a mobile ROM say that they are the last for NVIDIA, too: what follows one
    that does not belong where it is, is hidden.
    """
    ends = rom.npde_chain.images[-1:]
    if not rom.tail or not ends or ends[0].efi is None or ends[0] in rom.pcir_chain:
        return rom
    work = Work(rom.data)
    set_chain_last(work, ends[0].offset, False, "to see what follows")
    further = _read(work)
    return further if further.npde_chain.complete else rom


class _Move:
    """EFI images that only NVIDIA's chain reaches, on their way to where firmware reaches them.

    A tool that inserts a driver behind the size byte of a mobile ROM puts it between NVIDIA's own
    images: the PCIR length of the legacy image then ends inside one of them.
    """

    def __init__(self, rom: Rom, legacy: OptionRom, lost: list[OptionRom], behind: int) -> None:
        """Args: `behind` is where the images in front of the right place end, in the source."""
        self.rom = rom
        self.legacy = legacy
        self.lost = lost
        self.cuts: list[Cut] = []
        ends = [behind, *(i.end for i in lost)]
        if all(i.offset == end for i, end in zip(lost, ends, strict=False)):
            return  # at the right place already: only the last bits hide it
        reason = "firmware never reached it here: it lay inside the range of the x86 image"
        self.cuts += [Cut(i.offset, i.end, b"", reason) for i in lost]
        content = b"".join(bytes(i) for i in lost)
        self.cuts.append(Cut(behind, behind, content, "the EFI image, where both chains reach it"))

    @classmethod
    def of(cls, rom: Rom, notes: list[str]) -> _Move | None:
        """What to move where; None where nothing is, or where it cannot be told (then a note)."""
        lost = [i for i in rom.efi_images if i not in rom.pcir_chain]
        if not lost:
            return None
        legacy = next((i for i in rom.pcir_chain if i.code_type == CodeType.PCAT), None)
        if legacy is None or legacy is not rom.pcir_chain.images[-1]:
            notes.append(
                f"the EFI image at {lost[0].offset:#x} is not reached by firmware, and where it "
                "belongs cannot be told"
            )
            return None
        end = legacy.end
        covered = legacy.size
        if legacy.pcir.image_length == covered:
            return cls(rom, legacy, lost, end)
        for image in rom.images:
            if image.offset <= legacy.offset or any(image is i for i in lost):
                continue
            covered += image.size
            if covered == legacy.pcir.image_length:
                return cls(rom, legacy, lost, image.end)
        notes.append(
            f"the EFI image at {lost[0].offset:#x} is not reached by firmware, and the length of "
            f"the x86 image ({legacy.pcir.image_length:#x}) fits no place for it"
        )
        return None

    def link(self, work: Work) -> None:
        """Set both chains through the images as they stand now."""
        kept = [i for i in self.rom.npde_chain if not any(i is own for own in self.lost)]
        places = [p for i in kept if (p := work.place_of(i.offset)) is not None]
        legacy = work.place_of(self.legacy.offset)
        if legacy is None:
            raise EditRefused("the images of this ROM overlap", self.legacy.offset)
        at = legacy + self.legacy.pcir.image_length
        new = []
        for image in self.lost:
            new.append(at)
            at += image.size
        before = [p for i in self.rom.pcir_chain if (p := work.place_of(i.offset)) is not None]
        relink(
            work,
            sorted(places + new),
            sorted(before + new),
            ends=self.rom.npde_chain.complete,
            firmware="the EFI image follows",
            driver="more images follow",
        )
        if any(work.header(place).npde is not None for place in new):
            set_private_images(work, legacy, True, "an EFI image with an NPDE follows")


# Section: single fields


def _fix_length(work: Work, rom: Rom, notes: list[str]) -> bool:
    """A legacy image that says it is shorter than its NPDE does: a copy that shrank itself.

    Returns:
        Whether one was made whole.
    """
    mended = False
    for image in rom.images:
        npde = image.npde
        if image.code_type != CodeType.PCAT or npde is None or npde.subimage_length is None:
            continue
        short, whole = image.pcir.image_length, npde.subimage_length
        if short >= whole:
            continue
        if not _is_there(rom, image, short, whole):
            notes.append(
                f"the x86 image at {image.offset:#x} is a shrunken copy of {short:#x} bytes, and "
                f"the rest of its {whole:#x} is not in the file: dump it again"
            )
            continue
        reason = f"the whole image of {whole:#x} bytes is there, not only {short:#x}"
        set_pcir_length(work, image.offset, whole, reason)
        if image.initialization_size == short:
            set_size_field(work, image.offset, whole, reason)
        mended = True
    return mended


def _is_there(rom: Rom, image: OptionRom, short: int, whole: int) -> bool:
    """Whether the bytes behind the stated end belong to the image, and not to something else."""
    start, end = image.offset + short, image.offset + whole
    if end > len(rom.data):
        return False
    rest = rom.data[start:end]
    if rest.count(rest[:1]) == len(rest) and rest[:1] in (b"\0", b"\xff"):
        return False
    following = end == len(rom.data) or end == rom.rom_end or _starts_image(rom.data, end)
    return following and not any(_starts_image(rom.data, at) for at in range(start, end, BLOCK))


def _starts_image(data: bytes, at: int) -> bool:
    try:
        read_header(data, at)
    except RomError:
        return False
    return True


def _fix_last(work: Work, rom: Rom, notes: list[str]) -> None:
    """A PCIR chain without an end, or one that ends in front of an EFI image."""
    chain = rom.pcir_chain
    if not chain.images:
        return
    if chain.complete:
        _fix_early_end(work, rom)
        return
    missed = [i for i in rom.images if i not in chain and for_hosts(i)]
    if missed or chain.end not in (ChainEnd.END_OF_DATA, ChainEnd.NO_SIGNATURE):
        notes.append(f"firmware's chain has no end, and where it should is not clear: {chain!r}")
        return
    set_pcir_last(work, chain.images[-1].offset, True, "the last image that firmware looks for")


def _fix_early_end(work: Work, rom: Rom) -> None:
    """An EFI image right behind the last one, which nobody told that it is not the last."""
    at = rom.pcir_chain.end_offset
    if at != rom.rom_end or any(i.truncated for i in rom.images):
        return
    headers = HeaderReader(rom.data)
    behind = walk_pcir(headers, at)
    found = [h for h in map(headers, behind.offsets) if isinstance(h, ImageHeader)]
    vendors = (rom.images[0].pcir.vendor_id, 0, DECIMAL_AMD)
    fits = [h.pcir.code_type == CodeType.EFI and h.pcir.vendor_id in vendors for h in found]
    whole = behind.end in (ChainEnd.LAST, ChainEnd.END_OF_DATA)
    if not found or not all(fits) or not whole:
        return
    if found[-1].offset + found[-1].pcir.image_length > len(rom.data):
        return
    chain = [i.offset for i in rom.npde_chain]
    firmware = [i.offset for i in rom.pcir_chain]
    relink(
        work,
        [*chain, *behind.offsets],
        [*firmware, *behind.offsets],
        ends=rom.npde_chain.complete,
        firmware="an EFI image follows",
        driver="an EFI image follows",
    )


def _fix_vendor(work: Work, rom: Rom, notes: list[str]) -> None:
    for image in rom.images:
        pcir = image.pcir
        if pcir.vendor_id != DECIMAL_AMD:
            continue
        reason = f"vendor {DECIMAL_AMD:04x} → {_AMD:04x}: it was typed as a decimal number"
        set_ids(work, image.offset, reason, vendor=_AMD)
        notes += _device_note(pcir.device_id)


def _fix_sums(work: Work, rom: Rom, notes: list[str], *, to_zero: bool) -> None:
    touched = bool(work.changes())
    now = _read(work)
    wrong = [i for i in now.images if i.checksum_ok is False and not i.truncated]
    if not touched and not (wrong and to_zero):
        return
    # NVIDIA's own images get back the sum that they had; an x86 image that has become longer is
    # balanced where it ends now.
    images = list(placed(work, rom.images))
    if to_zero:
        images = [p for p in images if p.image.code_type != CodeType.PCAT]
        images += [Placed(i, i.offset) for i in now.images if i.code_type == CodeType.PCAT]
    problems = mend_sums(work, images, to_zero=to_zero)
    notes += problems
    if wrong and not touched and not problems:
        notes.append("a wrong sum can also mean damage: compare with another dump of the same card")


def _device_note(device: int) -> Iterator[str]:
    typed = f"{device:d}"
    if len(typed) == 4:
        yield (
            f"the device id {device:04x} is {typed} typed as a decimal number too, it seems; "
            "`romkit patch --device` sets it"
        )
