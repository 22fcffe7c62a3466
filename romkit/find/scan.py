"""ROMs that stand in bytes as they are.

Every 55 AA is looked at, most of them only for the PCIR that it must lead to. What passes must
then say sane things, and show that it is an image and not just its header: programs that make
option ROMs carry empty headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

from romkit.chain import ChainEnd, HeaderReader, walk_npde, walk_pcir
from romkit.errors import RomError
from romkit.find.stream import Allowance, Stream
from romkit.header import BLOCK, CodeType, ImageHeader, read_header

#: Longest image that is believed, in bytes. The largest seen has 0.9 MiB.
MAX_IMAGE = 4 << 20

#: Longest ROM, the largest that a ROM BAR can show.
MAX_ROM = 16 << 20

#: What a header costs that is sane and has no image, in steps: following its chains, and the
#: bytes that are summed up in one.
_CHAINS = 100
_SUMMED = 4096

#: Signatures that lead nowhere which are passed in the time of a step.
_PASSED = 40

#: ROMs in one stream.
MAX_ROMS = 4096

#: Bytes between two reports of progress.
_STEP = 4 << 20

#: The signature, and in the group the pointer at 0x18. A second signature behind the first is a
#: memory test's pattern: it would be a size of 0x55 blocks and no code.
_HEADER = re.compile(rb"\x55\xaa(?!\x55\xaa)(?=[\0-\xff]{22}([\0-\xff]{2}))")
_POINTER = 0x18
_P = ord("P")
_SMALLEST_POINTER = 0x1A

#: Bytes of an image in which its headers lie, if the pointer to PCIR leads there.
_HEADERS = 0x200

#: Bytes of a ROM that are looked at first; more, four times as many each time, if it is longer.
_WINDOW = 1 << 19

#: What a host runs: NVIDIA's own images (0x70, 0xE0) start no ROM.
_CODE_TYPES = (CodeType.PCAT, CodeType.OPEN_FIRMWARE, CodeType.PA_RISC, CodeType.EFI)

#: PCI base classes (PCI Code and ID Assignment 1.15): 0 to 0x13, 0x40 and 0xFF.
_BASE_CLASSES = frozenset((*range(0x14), 0x40, 0xFF))

#: x86 code at the entry point: jump near, jump short, far return.
_ENTRIES = (0xE9, 0xEB, 0xCB)

#: EFI_PCI_EXPANSION_ROM_HEADER's signature, at 4, and the subsystems of EFI images, at 8.
_EFI_SIGNATURE = (0x0EF1).to_bytes(4, "little")
_EFI_SUBSYSTEMS = range(0x0A, 0x0E)

#: A legacy ROM needs so many of the four signs in `_signs`. Undamaged ones have three or four;
#: one that is cut short, shadowed, or patched without mending its sum still has two.
_SIGNS = 2


def scan(
    stream: Stream, allowance: Allowance, tick: Callable[[int], None] | None = None
) -> Iterator[tuple[int, bytes]]:
    """Every ROM that stands in `stream` as it is: where it starts, and its bytes.

    Args:
        tick: called with the number of bytes that are done.
    """
    view = stream.view
    # A file that was handed in is searched to its end; what was unpacked is as large as it likes.
    packed = allowance if stream.level else None
    at = found = 0
    for step in range(0, len(view), _STEP):
        if tick is not None:
            tick(step)
        for start in _candidates(view, step, step + _STEP, packed):
            # Images behind the first one belong to the ROM that was found before.
            if start < at:
                continue
            if not allowance.step():
                return
            header = _header_at(view, start)
            if header is None or not _sane(header):
                continue
            rom = _whole_rom(view, start)
            if rom is None:
                allowance.step(_CHAINS + header.pcir.image_length // _SUMMED)
                continue
            at = start + len(rom)
            yield start, rom
            found += 1
            if found >= MAX_ROMS:
                allowance.note(f"more than {MAX_ROMS} ROMs in one place: the rest is left")
                return


def _candidates(
    view: memoryview, start: int, end: int, allowance: Allowance | None
) -> Iterator[int]:
    """Every signature in ``view[start:end]`` that leads to a PCIR, as far as `allowance` goes.

    The loop runs once a signature, and a hostile file may consist of them.
    """
    hits = _HEADER.finditer(view, start, min(end + _POINTER + 1, len(view)))
    for number, hit in enumerate(hits, start=1):
        if allowance is not None and number % _PASSED == 0 and not allowance.step():
            return
        low, high = hit[1]
        pcir = hit.start() + (low | high << 8)
        if (
            pcir < len(view)
            and view[pcir] == _P
            and low | high << 8 >= _SMALLEST_POINTER
            and bytes(view[pcir : pcir + 4]) == b"PCIR"
        ):
            yield hit.start()


def _header_at(view: memoryview, start: int) -> ImageHeader | None:
    pointer = int.from_bytes(view[start + _POINTER : start + _POINTER + 2], "little")
    try:
        return read_header(bytes(view[start : start + pointer + _HEADERS]), 0)
    except RomError:
        return None


def _sane(header: ImageHeader) -> bool:
    pcir = header.pcir
    return (
        pcir.code_type in _CODE_TYPES
        and BLOCK <= pcir.image_length <= MAX_IMAGE
        and pcir.structure_length <= _HEADERS // 2
        and pcir.structure_revision <= 3
        and pcir.class_code >> 16 in _BASE_CLASSES
    )


def _whole_rom(view: memoryview, start: int) -> bytes | None:
    """The ROM at `start`, to the end of its chains; None where it is only a header."""
    size = _WINDOW
    while True:
        window = bytes(view[start : start + size])
        headers = HeaderReader(window)
        walks = walk_pcir(headers, 0), walk_npde(headers, 0)
        images = [headers(at) for at in sorted({at for walk in walks for at in walk.offsets})]
        end = 0
        for image in images:
            if isinstance(image, ImageHeader):
                length = max(image.pcir.image_length, image.chain_length, BLOCK)
                end = max(end, image.offset + min(length, MAX_IMAGE))
        if end <= size or start + size >= len(view) or size >= MAX_ROM:
            break
        size = min(4 * size, MAX_ROM)
    complete = any(walk.end is ChainEnd.LAST for walk in walks)
    first = images[0]
    if not isinstance(first, ImageHeader) or not _is_image(window, first, complete):
        return None
    return window[:end]


def _is_image(window: bytes, first: ImageHeader, complete: bool) -> bool:
    if first.pcir.code_type == CodeType.EFI:
        subsystem = int.from_bytes(window[8:10], "little")
        return window[4:8] == _EFI_SIGNATURE and subsystem in _EFI_SUBSYSTEMS
    signs = filter(None, _signs(window, first.pcir.image_length, complete))
    return len(list(islice(signs, _SIGNS))) == _SIGNS


def _signs(window: bytes, length: int, complete: bool) -> Iterator[bool]:
    """What a legacy image has and a mere header lacks; the last one takes time."""
    yield complete and length <= len(window)
    yield 0 < window[2] * BLOCK <= length
    yield window[3] in _ENTRIES
    yield length <= len(window) and sum(memoryview(window)[:length]) & 0xFF == 0
