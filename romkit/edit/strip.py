"""The ROM alone: without what flashes, tables and dumps have around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from romkit.checks.structure import appended_drivers
from romkit.container import ContainerKind
from romkit.edit.chains import for_hosts, mend_sums, placed, relink
from romkit.edit.edit import Edit
from romkit.edit.entry import find_entry, take_out
from romkit.edit.notes import signature_notes
from romkit.edit.proof import nothing_to_do, prove
from romkit.edit.work import Cut, Work
from romkit.entries import further_entries
from romkit.errors import EditRefused
from romkit.header import CodeType
from romkit.rom import Rom
from romkit.tail import TailKind, TailPart

#: Which images to keep: all of them, those of one code type, or what firmware reads (the PCIR
#: chain: the same as a dump through sysfs).
ImageChoice: TypeAlias = Literal["all", "legacy", "efi", "firmware"]

_CODE_TYPES = {"legacy": CodeType.PCAT, "efi": CodeType.EFI}

_NVIDIA_FLASH = (
    "the flash's own data, which the card reads at fixed places of the flash and no guest through "
    "the ROM BAR"
)
_COPY = "another copy of the ROM behind the first"
_OTHER_ENTRY = "behind this device's entry in the VFCT"
_UNREACHED = "an EFI image that no chain reaches (`romkit fix` puts it where both do)"


def strip(
    rom: Rom,
    *,
    keep_tail: bool = False,
    images: ImageChoice = "all",
    entry: int | None = None,
) -> Edit:
    """Cut off what surrounds the images: a romfile must start with 55 AA and needs nothing else.

    What stands in front always goes. What follows goes if it is padding, another copy, another
    entry of a VFCT, or the private data of an NVIDIA flash. Any other data may be part of the
    firmware (AMD boards keep such there, and find it by its distance from the start), so a tail
    with data in it is kept up to the last of them, padding and all.

    Args:
        rom: the ROM.
        keep_tail: cut only in front.
        images: keep only some images. "legacy" and "efi" keep those code types as firmware reads
            them, "firmware" everything that firmware reads: on mobile NVIDIA ROMs the range of
            the legacy image holds NVIDIA's own images, on desktop ROMs they go. Last bits and
            checksums are mended, and no tail is kept.
        entry: of a VFCT with several entries, the one whose ROM is wanted, counted from 0 as
            `romkit.entries` does. None takes the first that can be read, and a note names the
            others.

    Returns:
        An edit without changes where there is nothing to strip.

    Raises:
        EditRefused: there is no such image or entry, an image cannot be reached, or `keep_tail`
            is asked for a subset.
    """
    if entry is not None:
        chosen = find_entry(rom, entry)
        return take_out(rom, chosen, lambda own: strip(own, keep_tail=keep_tail, images=images))
    if not rom.images:
        return nothing_to_do(
            rom, "no PCI data structure: nothing says where this ROM ends, so it stays as it is"
        )
    cuts: list[Cut] = []
    if rom.container is not None:
        title = rom.container.title
        around = f"{title} container" if title != "unknown" else "bytes of unknown meaning"
        cuts.append(Cut(0, rom.rom_offset, b"", f"{around} in front of the ROM"))
    if images != "all":
        return _subset(rom, cuts, images, keep_tail)
    if not keep_tail:
        cuts += _tail_cuts(rom)
    if not cuts:
        return nothing_to_do(rom, *_nothing(rom, keep_tail))
    notes = () if keep_tail else (*_notes(rom, cuts), *_other_entries(rom))
    return prove(rom, Work(rom.data, cuts), notes=notes)


def extent(rom: Rom) -> int:
    """First byte of the file behind everything that an image or a length of the chains covers."""
    ends = [rom.rom_end]
    ends += [i.offset + i.pcir.image_length for i in rom.pcir_chain]
    return min(max(ends), len(rom.data))


def is_nvidia(rom: Rom) -> bool:
    """Whether this is a ROM in NVIDIA's own format."""
    kinds = (ContainerKind.NVGI, ContainerKind.NVFW)
    boxed = rom.container is not None and rom.container.kind in kinds
    return boxed or any(i.npde is not None for i in rom.images)


def _tail_cuts(rom: Rom) -> Iterator[Cut]:
    parts = list(_tail_parts(rom))
    # An NVIDIA chain that ends properly says where the ROM ends; a broken one does not.
    flash = is_nvidia(rom) and rom.npde_chain.complete
    entry_end = _entry_end(rom)
    keep_to = 0
    if not flash:
        for number, (start, _, part) in enumerate(parts):
            if part.kind is TailKind.DATA and start < entry_end:
                keep_to = parts[number][1]
                # Padding behind the last data stays: a flash has its size for a reason.
                if number + 1 < len(parts) and parts[number + 1][2].kind is TailKind.PADDING:
                    keep_to = parts[number + 1][1]
    keep_to = min(keep_to, entry_end)
    for start, end, part in parts:
        if end > keep_to:
            why = _why(rom, part, behind_entry=start >= entry_end, flash=flash)
            yield Cut(max(start, keep_to), end, b"", why)


def _tail_parts(rom: Rom) -> Iterator[tuple[int, int, TailPart]]:
    """The parts of the tail that lie behind the ROM, with start and end, cut at the entry's end."""
    begin, entry_end = extent(rom), _entry_end(rom)
    for part in rom.tail or ():
        start = max(part.offset, begin)
        for low, high in ((start, min(part.end, entry_end)), (max(start, entry_end), part.end)):
            if low < high:
                yield low, high, part


def _entry_end(rom: Rom) -> int:
    """Where a VFCT says that this ROM ends; else the end of the file."""
    around = rom.container
    if around is not None:
        for entry in around.vfct_images:
            if entry.rom_offset == rom.rom_offset:
                return max(entry.rom_offset + entry.image_length, extent(rom))
    return len(rom.data)


def _why(rom: Rom, part: TailPart, *, behind_entry: bool = False, flash: bool = False) -> str:
    if part.kind is TailKind.PADDING:
        return f"padding of {part.fill or 0:02x}"
    if behind_entry or part.kind is TailKind.VFCT_IMAGE:
        return _other_entry(rom, part)
    if any(part.offset <= offset < part.end for offset, _ in appended_drivers(rom)):
        return _UNREACHED
    if part.kind is TailKind.COPY:
        return f"{_COPY}, {'identical' if part.identical else 'different'}"
    return _NVIDIA_FLASH if flash else "data behind the ROM"


def _other_entry(rom: Rom, part: TailPart) -> str:
    for entry in further_entries(rom):
        if entry.header.rom_offset == part.rom_offset:
            return f"{_OTHER_ENTRY}: {entry.title}"
    return _OTHER_ENTRY


def _other_entries(rom: Rom) -> Iterator[str]:
    """What the table has besides the ROM that is kept."""
    for entry in further_entries(rom):
        if entry.rom is None:
            yield f"no option ROM can be read in {entry.title}: it is left out"
        else:
            yield f"{entry.title} is another ROM: `romkit strip --entry {entry.number}` keeps that"


def _nothing(rom: Rom, keep_tail: bool) -> Iterator[str]:
    if extent(rom) == len(rom.data):
        yield "nothing to strip: the file is the ROM and nothing else"
        return
    yield "nothing to strip: the file starts with the ROM"
    if not keep_tail:
        yield from _notes(rom, [])


def _notes(rom: Rom, cuts: list[Cut]) -> Iterator[str]:
    dropped = sum(c.end - c.start for c in cuts if c.start)
    kept = len(rom.data) - extent(rom) - dropped
    if kept > 0:
        yield (
            f"{kept:#x} bytes behind the images are kept: there are data among them that the "
            "board may need, at their distance from the start"
        )


# Section: a subset of the images


def _subset(rom: Rom, head: list[Cut], choice: ImageChoice, keep_tail: bool) -> Edit:
    if keep_tail:
        raise EditRefused(
            "a tail has its place in the whole ROM, so none can be kept behind a part of it",
            hint="leave out either the choice of images or the wish to keep the tail",
        )
    hidden = [i for i in rom.efi_images if i not in rom.pcir_chain]
    if hidden:
        raise EditRefused(
            "firmware does not reach this EFI image, so the images cannot be told apart",
            hidden[0].offset,
            hint="mend the chain first: `romkit fix`",
        )
    wanted = [
        i
        for i in rom.pcir_chain
        if for_hosts(i) and (choice == "firmware" or i.code_type == _CODE_TYPES[choice])
    ]
    if not wanted:
        raise EditRefused(f"the ROM has no {choice} image that firmware reaches")
    keep = [(i.offset, min(i.offset + i.pcir.image_length, len(rom.data))) for i in wanted]
    gone = tuple(i for i in rom.images if not any(a <= i.offset < b for a, b in keep))
    cuts = [*head]
    at = rom.rom_offset
    for start, end in [*keep, (len(rom.data), len(rom.data))]:
        cuts += _between(rom, at, start, choice)
        at = max(at, end)
    work = Work(rom.data, cuts)
    notes: list[str] = []
    if gone:
        left = placed(work, rom.images)
        firmware = {i.offset for i in wanted}
        relink(
            work,
            [p.at for p in left],
            [p.at for p in left if p.image.offset in firmware],
            ends=True,
        )
        notes += mend_sums(work, left, to_zero=True)
    inside = [p for p in placed(work, rom.images) if not for_hosts(p.image)]
    if inside:
        notes.append(
            f"{len(inside)} images of NVIDIA's own stay: they lie inside the legacy image's length"
        )
    notes += _other_entries(rom)
    notes += signature_notes(rom, work.changes(), gone)
    if not work.changes():
        return nothing_to_do(rom, "nothing to strip: the file holds these images and nothing else")
    return prove(rom, work, removed=gone, notes=notes)


def _between(rom: Rom, start: int, end: int, choice: str) -> Iterator[Cut]:
    """What of ``start..end`` goes, by image and tail part, so that each has its reason."""
    spans: list[tuple[int, int, str]] = []
    for number, image in enumerate(rom.images):
        name = f"image {number} ({image.code_type:02x} {image.code_type_name})"
        spans.append((image.offset, image.end, f"{name}: not among the {choice} images"))
    for part in rom.tail or ():
        spans.append((part.offset, part.end, _why_not_kept(rom, part)))
    for first, behind, reason in spans:
        low, high = max(first, start), min(behind, end)
        if low < high:
            yield Cut(low, high, b"", reason)


def _why_not_kept(rom: Rom, part: TailPart) -> str:
    if part.kind is TailKind.DATA:
        return "data behind the ROM: they have their place behind the whole of it only"
    return _why(rom, part)
