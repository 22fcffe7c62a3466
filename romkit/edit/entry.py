"""The ROM of one entry of a VFCT, edited by itself: taken out of the table, or left in it.

In the table its length stands twice, in the entry and in the table's header, and the whole table
sums to zero. All three are set again; the entries behind it follow one another without gap, so
they move with it. (ACPI 6.5, 5.2.6; linux drivers/gpu/drm/amd/amdgpu/amdgpu_bios.c)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from romkit.container import VfctImage
from romkit.edit.edit import Edit
from romkit.edit.proof import nothing_to_do, read_again
from romkit.edit.work import Cut, Work
from romkit.entries import Entry, vfct_entries
from romkit.errors import EditRefused
from romkit.layout.acpi import DESCRIPTION_HEADER, VFCT
from romkit.layout.lens import read
from romkit.rom import Rom, parse_rom

#: What to do about a container that cannot follow an edit.
STRIP_FIRST = (
    "a romfile needs no container: run `romkit strip FILE -o STRIPPED.rom` first, then this on "
    "STRIPPED.rom"
)

#: Table length and checksum of an ACPI table; image length of an entry of a VFCT.
_TABLE_LENGTH_AT = 0x04
_CHECKSUM_AT = 0x09
_IMAGE_LENGTH_AT = 0x18

_LONGEST_TABLE = 0xFFFFFFFF


def find_entry(rom: Rom, number: int) -> Entry:
    """The entry with this number.

    Raises:
        EditRefused: there is none, or no ROM can be read in it.
    """
    entries = vfct_entries(rom)
    if not entries:
        raise EditRefused("this is no VFCT, so it has no entries", 0)
    if not 0 <= number < len(entries):
        titles = "; ".join(entry.title for entry in entries)
        raise EditRefused(f"the VFCT has no entry {number}", 0, hint=f"it has {titles}")
    entry = entries[number]
    if entry.rom is None:
        raise EditRefused(f"no option ROM can be read in {entry.title}", entry.header.offset)
    return entry


def take_out(rom: Rom, entry: Entry, edit: Callable[[Rom], Edit]) -> Edit:
    """The ROM of an entry, edited; everything else of the file is dropped."""
    start, end = entry.header.rom_offset, _end(rom, entry.header)
    with _from(start):
        inner = edit(parse_rom(rom.data[start:end]))
    cuts = [Cut(0, start, b"", f"in front of the ROM of {entry.title}")]
    cuts += _moved(inner, start)
    cuts.append(Cut(end, len(rom.data), b"", f"behind {entry.title}"))
    return read_again(Work(rom.data, cuts), inner.notes if inner.changed else ())


def edit_in_table(rom: Rom, edit: Callable[[Rom], Edit]) -> Edit:
    """Edit the ROM that `rom` was read from, in its place in the table.

    Raises:
        EditRefused: `edit` refuses, or the table is cut off or would not hold the result.
    """
    entry = next((e for e in vfct_entries(rom) if e.rom is rom), None)
    stated = int.from_bytes(rom.data[_TABLE_LENGTH_AT:][:4], "little")
    if entry is None or entry.header.rom_offset + entry.header.image_length > stated:
        raise EditRefused("the entry does not lie in its table", rom.rom_offset)
    if stated > len(rom.data):
        raise EditRefused(
            f"the VFCT table is cut off: it has {stated} bytes", 0, hint="start from a whole table"
        )
    start, end = entry.header.rom_offset, _end(rom, entry.header)
    with _from(start):
        inner = edit(parse_rom(rom.data[start:end]))
    if not inner.changed:
        return nothing_to_do(rom, *inner.notes)
    growth = len(inner.data) - (end - start)
    if stated + growth > _LONGEST_TABLE:
        raise EditRefused("the VFCT table would become too long", 0)
    library = read(VFCT, rom.data, DESCRIPTION_HEADER.sizeof(), "VFCT").lib1_image_offset
    if growth and library >= end:
        raise EditRefused(
            "the VFCT table has a library behind its entries, which would move",
            library,
            hint=STRIP_FIRST,
        )
    work = Work(rom.data, _moved(inner, start))
    _set_lengths(work, entry.header, stated, growth)
    texts = (*inner.notes, *(change.reason for change in inner.changes))
    counted = f"offsets in these sentences count from the start of the ROM, {start:#x}"
    apart = any(" at 0x" in text for text in texts)
    done = read_again(work, (*inner.notes, counted) if apart else inner.notes)
    _see_that_it_holds(done, entry.number, inner.data, rom)
    return done


def _end(rom: Rom, header: VfctImage) -> int:
    return min(header.rom_offset + header.image_length, len(rom.data))


def _moved(inner: Edit, start: int) -> list[Cut]:
    """The changes of an edit of ``data[start:]``, as cuts of the whole."""

    return [
        Cut(start + c.offset, start + c.end, inner.new_bytes(c), c.reason) for c in inner.changes
    ]


@contextmanager
def _from(start: int) -> Iterator[None]:
    """Offsets of errors inside count from `start` on."""
    try:
        yield
    except EditRefused as err:
        offset = None if err.offset is None else err.offset + start
        raise EditRefused(
            err.message, offset, hint=err.hint, reasons=err.reasons, may_force=err.may_force
        ) from err


def _set_lengths(work: Work, header: VfctImage, stated: int, growth: int) -> None:
    """Set both lengths, then the byte that keeps the table's sum what it was."""
    before = sum(memoryview(work.source)[:stated])
    length = header.image_length + growth
    reason = "length of the entry's ROM"
    work.write(header.offset + _IMAGE_LENGTH_AT, length.to_bytes(4, "little"), reason)
    table = stated + growth
    work.write(_TABLE_LENGTH_AT, table.to_bytes(4, "little"), "length of the VFCT table")
    delta = before - sum(memoryview(work.data)[:table]) & 0xFF
    value = work.data[_CHECKSUM_AT] + delta & 0xFF
    work.write(_CHECKSUM_AT, bytes([value]), "keeps the ACPI table balanced")


def _see_that_it_holds(done: Edit, number: int, data: bytes, before: Rom) -> None:
    """The entry holds the edited ROM, and every other entry what it held.

    Raises:
        EditRefused: not so.
    """
    old, new = vfct_entries(before), vfct_entries(done.rom)
    held = [_held(done.rom, entry.header) for entry in new]
    wanted = [_held(before, entry.header) for entry in old]
    wanted[number] = data
    same_devices = [_device(e.header) for e in old] == [_device(e.header) for e in new]
    if held != wanted or not same_devices:
        raise EditRefused("the table would not hold its entries any more", 0)


def _held(rom: Rom, header: VfctImage) -> bytes:
    return rom.data[header.rom_offset : _end(rom, header)]


def _device(header: VfctImage) -> VfctImage:
    return replace(header, offset=0, rom_offset=0, image_length=0)
