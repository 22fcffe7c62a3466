"""Parts to a ROM: the ones that `split` made, or loose images and drivers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from romkit.edit.chains import (
    Placed,
    for_hosts,
    mend_sums,
    relink,
    set_npde_length,
    set_pcir_length,
)
from romkit.edit.edit import Edit
from romkit.edit.proof import prove_made
from romkit.edit.split import FORMAT, MANIFEST, TILES, Part
from romkit.edit.work import Cut, Work
from romkit.edit.wrap import EfiIds, wrap_driver
from romkit.errors import EditRefused, NotARom
from romkit.header import BLOCK, CodeType
from romkit.rom import Rom, parse_rom

_LONGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    """One part as the manifest has it."""

    file: str
    kind: str
    sha256: str


def join(parts: Iterable[Part] | Mapping[str, bytes], *, changed: bool = False) -> Edit:
    """Put the parts of a split ROM together again: nothing is set or mended.

    Args:
        parts: what `split` gave, or its files by name; the manifest must be among them. Files that
            it does not name are ignored.
        changed: take images, container and tail as they are where they are not what the manifest
            says, and note it.

    Returns:
        The ROM.

    Raises:
        EditRefused: the manifest or a file of it is missing, a file is not what the manifest says,
            or the result is no ROM. Drivers and certificates can never be changed: they are copies
            of what is in the images.
    """
    files = dict(parts) if isinstance(parts, Mapping) else {p.name: p.data for p in parts}
    entries = _read_manifest(files)
    missing = [e.file for e in entries if e.kind in TILES and e.file not in files]
    if missing:
        raise EditRefused(
            f"{missing[0]} is missing, which {MANIFEST} names",
            hint="all files of the split ROM must be there; `join` of loose images needs no "
            "manifest",
            reasons=tuple(f"{name} is missing" for name in missing),
        )
    notes: list[str] = []
    for entry in entries:
        data = files.get(entry.file)
        if data is None or _sha256(data) == entry.sha256:
            continue
        if entry.kind not in TILES:
            raise EditRefused(
                f"{entry.file} was changed, but it is only a copy of what the image holds",
                hint="make an image of the driver with `romkit join`, giving the files in their "
                "order instead of the manifest",
            )
        notes.append(f"{entry.file} is not what {MANIFEST} says: it was changed since the split")
    if notes and not changed:
        raise EditRefused(
            notes[0],
            hint="split the ROM again; or, if the change is meant, `--changed`",
            reasons=tuple(notes),
            may_force=True,
        )
    source = b"".join(files[e.file] for e in entries if e.kind in TILES)
    edit = Edit(source, source, (), tuple(notes))
    try:
        found = len(edit.rom.images)
    except NotARom as err:
        raise EditRefused(f"the parts make no ROM: {err}", err.offset) from err
    wanted = sum(e.kind == "image" for e in entries)
    if notes and found != wanted:
        raise EditRefused(
            f"{notes[0]}, and now {found} images are found instead of {wanted}",
            hint="`join` of loose images sets lengths and last bits: give the files in their order "
            "instead of the manifest",
        )
    return edit


def part_names(manifest: bytes) -> tuple[str, ...]:
    """The files that a manifest names, as it has them: they may be anything.

    Raises:
        EditRefused: it is none.
    """
    return tuple(entry.file for entry in _read_manifest({MANIFEST: manifest}))


def _read_manifest(files: Mapping[str, bytes]) -> list[_Entry]:
    raw = files.get(MANIFEST)
    if raw is None:
        raise EditRefused(
            f"{MANIFEST} is missing",
            hint="without it, give the images one by one in their order",
        )
    if len(raw) > _LONGEST_MANIFEST:
        raise EditRefused(f"{MANIFEST} is too long for one")
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    # UnicodeDecodeError and tomllib's own error are ValueErrors.
    except (ValueError, RecursionError) as err:
        raise EditRefused(f"{MANIFEST} is not TOML: {err}") from err
    if table.get("format") != FORMAT:
        raise EditRefused(f"{MANIFEST} has format {table.get('format')!r:.20}, not {FORMAT}")
    listed = table.get("part")
    if not isinstance(listed, list) or not listed:
        raise EditRefused(f"{MANIFEST} names no parts")
    return [_entry(item) for item in listed]


def _entry(item: Any) -> _Entry:
    keys = ("file", "kind", "sha256")
    if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in keys):
        raise EditRefused(f"{MANIFEST}: every part needs file, kind and sha256")
    return _Entry(*(item[k] for k in keys))


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


# Section: loose images


@dataclass(frozen=True, slots=True)
class _Loose:
    """One input of `join_images`: where it stands in the source, and what is used of it."""

    offset: int
    data: bytes = field(repr=False)
    content: bytes = field(repr=False)
    reason: str
    rom: Rom


class PieceRefused(EditRefused):
    """One piece is at fault.

    Attributes:
        number: its place among the pieces, from 0.
        error: what is wrong with it, without that number.
    """

    def __init__(self, number: int, error: EditRefused) -> None:
        super().__init__(f"piece {number}: {error.message}", error.offset, hint=error.hint)
        self.number = number
        self.error = error


@contextmanager
def _fault_of(number: int) -> Iterator[None]:
    try:
        yield
    except EditRefused as err:
        raise PieceRefused(number, err) from err


def join_images(
    pieces: Sequence[bytes], *, ids: EfiIds | None = None, compressed: bool = True
) -> Edit:
    """One ROM from loose images and EFI drivers, in the order in which they are given.

    Each piece is an image, a ROM of several images (what surrounds it must be stripped), or a
    driver file (``.efi``), which becomes an EFI option ROM image. Lengths, last bits and NPDEs
    are set for both chains, images padded to whole blocks, and x86 images balanced.

    NVIDIA's own images (types E0, 70) behind the last image that firmware knows stay hidden from
    it, as on desktop boards; in front of it they are covered by the length of the image before,
    as on mobile boards.

    Args:
        pieces: files.
        ids: of the device, for drivers; None takes them from the first x86 image.
        compressed: compress drivers.

    Returns:
        An edit whose input is the pieces as they are, one behind the other.

    Raises:
        PieceRefused: a piece is neither, or is cut off.
        EditRefused: the images do not go together.
    """
    if not pieces:
        raise EditRefused("nothing to join")
    source = b"".join(pieces)
    loose = _read_pieces(pieces, ids, compressed)
    cuts = []
    for piece in loose:
        end = piece.offset + len(piece.data)
        if piece.content == piece.data:
            continue
        if piece.data.startswith(piece.content):
            start = piece.offset + len(piece.content)
            cuts.append(Cut(start, end, b"", piece.reason))
        elif piece.content.startswith(piece.data):
            cuts.append(Cut(end, end, piece.content[len(piece.data) :], piece.reason))
        else:
            cuts.append(Cut(piece.offset, end, piece.content, piece.reason))
    work = Work(source, cuts)
    images: list[Placed] = []
    at = 0
    for piece in loose:
        images += [Placed(image, at + image.offset) for image in piece.rom.images]
        at += len(piece.content)
    _set_lengths(work, images)
    firmware = [p.at for p in images if for_hosts(p.image)]
    relink(work, [p.at for p in images], firmware, ends=True)
    problems = mend_sums(work, images, to_zero=True)
    edit = prove_made(work, [p.rom for p in loose], notes=problems)
    reached = {i.offset for i in edit.rom.pcir_chain}
    seen = {i.offset for i in edit.rom.npde_chain}
    lost = [p for p in images if p.at not in seen or (for_hosts(p.image) and p.at not in reached)]
    if lost:
        raise EditRefused(
            f"the {lost[0].image.code_type_name} image would not be reached: these images do not "
            "go together in this order",
            lost[0].at,
            hint="x86 first, then either EFI and NVIDIA's own images (desktop) or NVIDIA's own "
            "and EFI (mobile)",
        )
    return edit


def _read_pieces(pieces: Sequence[bytes], ids: EfiIds | None, compressed: bool) -> list[_Loose]:
    roms: list[Rom | None] = []
    for number, piece in enumerate(pieces):
        with _fault_of(number):
            roms.append(None if piece[:2] == b"MZ" else _rom_of(piece))
    known = [image for rom in roms if rom is not None for image in rom.images]
    npde = any(image.npde is not None for image in known)
    if ids is None:
        legacy = next((i for i in known if i.code_type == CodeType.PCAT), None)
        if legacy is not None:
            pcir = legacy.pcir
            ids = EfiIds(pcir.vendor_id, pcir.device_id, pcir.class_code)
    loose: list[_Loose] = []
    at = 0
    for number, (piece, rom) in enumerate(zip(pieces, roms, strict=True)):
        with _fault_of(number):
            if rom is not None:
                loose.append(_whole(piece, rom, at))
            else:
                loose.append(_wrapped(piece, ids, at, compressed=compressed, npde=npde))
        at += len(piece)
    return loose


def _wrapped(piece: bytes, ids: EfiIds | None, at: int, *, compressed: bool, npde: bool) -> _Loose:
    if ids is None:
        raise EditRefused(
            "a driver, and nothing says for which device",
            hint="give its ids, like `--device 10de:1c8d`",
        )
    content = wrap_driver(piece, ids, compressed=compressed, npde=npde)
    device = f"{ids.vendor_id:04x}:{ids.device_id:04x}"
    reason = f"the driver as an EFI option ROM image for {device}, class {ids.class_code:06x}"
    return _Loose(at, piece, content, reason, parse_rom(content))


def _rom_of(piece: bytes) -> Rom:
    try:
        rom = parse_rom(piece)
    except NotARom as err:
        raise EditRefused(f"neither an image nor an EFI driver: {err}", hint=err.hint) from err
    if not rom.images:
        raise EditRefused(
            "no PCI data structure: an ISA option ROM cannot be part of a PCI option ROM"
        )
    if rom.rom_offset:
        raise EditRefused(
            f"starts with {rom.rom_offset:#x} bytes that are no image",
            hint="strip it first: `romkit strip`",
        )
    return rom


def _whole(piece: bytes, rom: Rom, at: int) -> _Loose:
    """A piece's images, padded to whole blocks, without what follows them."""
    image = rom.images[-1]
    own = image.npde.subimage_length if image.npde is not None else None
    needed = own if own is not None else image.pcir.image_length
    missing = image.offset + needed - len(piece)
    if missing >= BLOCK:
        raise EditRefused(f"its last image is cut off: {missing} bytes are missing", image.offset)
    if missing > 0:
        content = piece + bytes(missing)
        return _Loose(at, piece, content, "padding up to the image's length", parse_rom(content))
    content = piece[: max(image.offset + needed, BLOCK)]
    return _Loose(at, piece, content, "behind the images of this piece", parse_rom(content))


def _set_lengths(work: Work, images: Sequence[Placed]) -> None:
    """Every image as long as it is; one that covers NVIDIA's own up to the next for firmware."""
    hosts = [n for n, p in enumerate(images) if for_hosts(p.image)]
    if not hosts or hosts[0] != 0:
        raise EditRefused("the first image must be one that firmware knows: x86 or EFI", 0)
    ends = [p.at for p in images[1:]] + [len(work.data)]
    for number, (own, end) in enumerate(zip(images, ends, strict=True)):
        length = end - own.at
        header = work.header(own.at)
        if header.npde is not None and header.npde.subimage_length is not None:
            set_npde_length(work, own.at, length, "as long as it is")
        if not for_hosts(own.image):
            set_pcir_length(work, own.at, length, "as long as it is")
            continue
        after = next((h for h in hosts if h > number), None)
        covers = own.at + header.pcir.image_length
        if after is not None:
            length = images[after].at - own.at
        elif covers in ends:
            length = covers - own.at  # it covers NVIDIA's own images behind it, as it did before
        set_pcir_length(work, own.at, length, "as far as the next image for firmware")
