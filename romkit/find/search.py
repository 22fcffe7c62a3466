"""The search itself: every stream is scanned as it is, then opened, and so on inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from traceback import clear_frames

from romkit.errors import NotARom
from romkit.find.archive import foreign_archive, open_archive, program_size
from romkit.find.containers import mark_containers
from romkit.find.flash import mark_flash
from romkit.find.found import Found, Place
from romkit.find.guard import open_updates
from romkit.find.hive import open_hive
from romkit.find.scan import MAX_ROMS, scan
from romkit.find.stream import Allowance, Inner, Stream
from romkit.find.text import open_acpidump, open_registry_text
from romkit.find.volume import open_volumes
from romkit.rom import parse_rom

#: Things in things that are opened. Laptop firmware needs five.
MAX_DEPTH = 12

#: Different ROMs in one search, and places of each that are listed.
MAX_PLACES = 64

#: What one more stream costs, in steps.
_STREAM_COST = 20

_Opener = Callable[[Stream, Allowance], Iterator[Inner] | None]

#: Formats that take all of a stream: nothing is scanned in it as it is, but for the program in
#: front of an archive that unpacks itself.
_WHOLE: tuple[_Opener, ...] = (open_hive, open_archive)

#: Formats that lie anywhere in a stream.
_PARTS: tuple[_Opener, ...] = (open_updates, open_volumes, open_registry_text, open_acpidump)


def find_roms(
    data: bytes | bytearray | memoryview,
    *,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
    archives: int = 1,
    depth: int = MAX_DEPTH,
) -> Iterator[Found]:
    """Every option ROM in `data`, each once, with all the places where it lies.

    Looks for ROMs as they are (in dumps, memory images, other files) and in: UEFI firmware
    volumes with their LZMA, Tiano, EFI and zlib sections, capsules, AMI PFAT and Dell PFS
    updates, Windows registry hives and exported keys (the ``vbios`` values), ACPI VFCT tables
    and acpidump texts, ZIP, gzip, bzip2 and xz files. Legacy ROMs from before PCI are not found:
    nothing but two bytes would tell them from any other data.

    All of `data` is searched before the first ROM is handed out, because it may lie in several
    places. Time and memory are bounded; what was left out for that is told to `note`.

    Args:
        data: any contiguous buffer, also a memory-mapped file.
        progress: called with (bytes done, bytes known so far); the second number grows while
            things are unpacked.
        note: called with one sentence for each thing that could not be opened.
        archives: how many archives in one another are opened.
        depth: how many packed things in one another are opened.

    Raises:
        NotARom: `data` are an archive that romkit cannot unpack, and no ROM was seen in it.
    """
    view = memoryview(data).cast("B")
    try:
        search = _Search(Allowance(note), progress, min(depth, MAX_DEPTH), total=len(view))
        outermost = Stream(view, archives=archives)
        search.stream(outermost)
        foreign = foreign_archive(outermost)
    except BaseException as err:
        # Ctrl-C: what still looks at a mapped file would keep the caller from closing it.
        clear_frames(err.__traceback__)
        raise
    finally:
        view.release()
    if foreign and not search.found:
        raise NotARom(f"{foreign}: unpack it first", 0, hint="unpack it first", guess=foreign)
    for rom, places in search.found.items():
        # What can be seen without unpacking is the nearest place.
        yield Found(parse_rom(rom), tuple(sorted(places, key=lambda place: place.packed)))


@dataclass(slots=True)
class _Search:
    allowance: Allowance
    progress: Callable[[int, int], None] | None
    depth: int
    total: int
    done: int = 0
    found: dict[bytes, list[Place]] = field(default_factory=dict)

    def stream(self, stream: Stream) -> None:
        """Search one stream and everything in it."""
        size = len(stream)
        for opener in _WHOLE:
            inside = opener(stream, self.allowance)
            if inside is not None:
                self.enter(stream, inside)
                front = program_size(stream, self.allowance)
                if not front:
                    self.tick(size)
                    return
                stream = replace(stream, view=stream.view[:front], regions=[])
                break
        foreign = foreign_archive(stream)
        if foreign:
            where = stream.path[-1] if stream.path else "this"
            self.allowance.note(f"{where} is {foreign}: unpack it first")
        roms = list(scan(stream, self.allowance, self.report))
        for _, rom in roms:
            # Reserves its place in the order: the outermost ROMs come first.
            if len(self.found) < MAX_ROMS:
                self.found.setdefault(rom, [])
        mark_flash(stream)
        mark_containers(stream, self.allowance)
        for opener in _PARTS:
            inside = opener(stream, self.allowance)
            if inside is not None:
                self.enter(stream, inside)
        for start, rom in roms:
            self.place(stream, start, rom)
        self.tick(size)

    def enter(self, stream: Stream, inside: Iterator[Inner]) -> None:
        """Search what comes out of a stream, one thing after the other."""
        for inner in inside:
            if stream.level >= self.depth:
                self.allowance.note(f"{inner.title} lies too deep: left")
                return
            # The search for the path takes time too.
            if not self.allowance.step(_STREAM_COST + len(stream.regions) // 100):
                return
            size = len(inner.data)
            self.total += size
            self.allowance.held += size
            self.stream(stream.enter(inner))
            self.allowance.held -= size
            del inner  # or it would be held while the next one is unpacked

    def place(self, stream: Stream, start: int, rom: bytes) -> None:
        """Note where a ROM lies, unless it only seems to be whole there."""
        places = self.found.get(rom)
        if places is None:
            return
        around = stream.around(start)
        if any(region.broken for region in around):
            if not places:
                del self.found[rom]
            return
        if len(places) < MAX_PLACES:
            path = (*stream.path, *(region.title for region in around))
            places.append(Place(path, start, packed=stream.level > 0))

    def report(self, here: int) -> None:
        if self.progress is not None:
            self.progress(self.done + here, self.total)

    def tick(self, size: int) -> None:
        self.done += size
        self.report(0)
