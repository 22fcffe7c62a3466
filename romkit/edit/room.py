"""Where a new image goes, and what makes room for it."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.edit.entry import STRIP_FIRST
from romkit.edit.strip import extent
from romkit.edit.work import Cut
from romkit.errors import EditRefused
from romkit.rom import Rom
from romkit.tail import TailKind


def insertion_point(rom: Rom) -> int:
    """Where a new image is reached by both chains: where firmware's chain ends.

    On desktop ROMs that is behind the last image that firmware knows and in front of NVIDIA's
    own; on mobile ROMs the length of the legacy image covers NVIDIA's own, so it is behind them.

    Raises:
        EditRefused: an image is cut off, or NVIDIA's chain does not come by there.
    """
    cut = [i for i in rom.images if i.truncated]
    if not rom.images or cut:
        where = cut[0].offset if cut else rom.rom_offset
        raise EditRefused(
            "the ROM is not complete, so nothing can be put behind it",
            where,
            hint="start from a whole dump",
        )
    at = rom.pcir_chain.end_offset
    borders = {i.offset for i in rom.npde_chain} | {rom.npde_chain.end_offset}
    if at not in borders or not rom.pcir_chain.images:
        raise EditRefused(
            f"firmware's chain ends at {at:#x}, where NVIDIA's has no image border: nothing put "
            "there would be reached by both",
            at,
            hint="mend the chains first: `romkit fix`",
        )
    return at


def in_table(rom: Rom) -> bool:
    """Whether the ROM is an entry of a VFCT, whose lengths and checksum can be set again."""
    return rom.container is not None and bool(rom.container.vfct_images)


def check_container(rom: Rom) -> None:
    """A directory that states how long the ROM is must not be made a liar.

    Raises:
        EditRefused: there is such a one (RFRD, in NVGI version 3 and NVFW).
    """
    around = rom.container
    if around is not None and around.rom_length is not None:
        raise EditRefused(
            f"the {around.title} container states the ROM's length, and its own checksums are not "
            "known well enough to change it",
            0,
            hint=STRIP_FIRST,
        )


def room_cuts(rom: Rom, growth: int) -> Iterator[Cut]:
    """What becomes of the tail when the images grow by so many bytes (or shrink).

    Nothing that means something moves: padding behind the images gives way, or is added. A file
    that ends with its images simply becomes longer or shorter.

    Raises:
        EditRefused: data lie behind the images, and there is too little padding before them.
    """
    if rom.tail is None or not growth:
        return
    end = extent(rom)
    first = next((p for p in rom.tail if p.end > end), None)
    if first is None:
        return
    padding = first.end - end if first.kind is TailKind.PADDING and first.offset <= end else 0
    if growth < 0:
        fill = first.fill if padding and first.fill is not None else 0xFF
        yield Cut(end, end, bytes([fill]) * -growth, "padding keeps what follows in its place")
        return
    only_padding = all(p.kind is TailKind.PADDING for p in rom.tail)
    if growth > padding and not only_padding:
        raise EditRefused(
            f"{growth:#x} bytes more are needed, but only {padding:#x} bytes of padding lie "
            f"between the images and what follows them at {end + padding:#x}",
            end,
            hint="strip the ROM first (`romkit strip`), if it is to be a romfile",
        )
    if padding:
        yield Cut(end, end + min(padding, growth), b"", "padding gives way to the new image")
