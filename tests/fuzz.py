"""Read mutated ROMs by the thousand, and say what was worst. A program, so that its memory counts.

    python tests/fuzz.py SEED COUNT FILE...

Prints one line of JSON: inputs, how many parsed, errors other than RomError, the most processor
time that one input took (seconds), and by how much the peak memory grew (bytes).
"""

from __future__ import annotations

import json
import random
import re
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from romkit.checks import DeviceId, verify
from romkit.diff import diff
from romkit.edit import fix, split, strip
from romkit.errors import RomError
from romkit.recipe import recipe_of
from romkit.record import record
from romkit.render.html import rom_html
from romkit.render.map import map_text
from romkit.render.report import important, report_text
from romkit.render.rom_parser import rom_parser_text
from romkit.render.style import Style
from romkit.render.svg import map_svg
from romkit.rom import parse_rom

SIGNATURES = (
    b"PCIR",
    b"NPDE",
    b"NPDS",
    b"\x55\xaa",
    b"VN",
    b"NVGI",
    b"RFRD",
    b"BIT\0",
    b"ATOM",
    b"$VBT",
    b"MZ",
)
#: For so many inputs that are read, one is drawn, described and edited.
RESTED = 50

LIES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One hostile version of `data`: most mutations hit structures, where they hurt."""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not raw:
            break
        kind = rng.randrange(8)
        if kind == 0:
            del raw[rng.randrange(len(raw)) :]
        elif kind == 1:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        elif kind in (2, 3, 4):
            # A lie in the bytes behind a signature.
            hits = [at for s in SIGNATURES if (at := raw.find(s, rng.randrange(len(raw)))) >= 0]
            at = (rng.choice(hits) if hits else 0) + rng.randrange(48)
            if at + 2 <= len(raw):
                struct.pack_into("<H", raw, at, rng.choice(LIES))
        elif kind == 5:
            # A pointer to a random place, in a header.
            at = min(rng.randrange(0, 0x100), len(raw) - 1)
            raw[at : at + 2] = struct.pack("<H", rng.randrange(0x10000))
        elif kind == 6:
            # A copy of one stretch over another: loops, nested images, repeated structures.
            size = rng.randrange(1, min(4096, len(raw)) + 1)
            source, target = (rng.randrange(len(raw) - size + 1) for _ in range(2))
            raw[target : target + size] = raw[source : source + size]
        else:
            # The sizes in front of a compressed EFI stream: bombs.
            at = raw.find(b"\xf1\x0e\x00\x00")
            if at >= 4:
                stream = at - 4 + int.from_bytes(raw[at + 18 : at + 20], "little")
                if stream + 8 <= len(raw):
                    struct.pack_into("<I", raw, stream + rng.choice((0, 4)), rng.getrandbits(32))
    return bytes(raw)


def read_everything(data: bytes) -> bool:
    """Everything that the commands do with a file; True where it is a ROM."""
    try:
        rom = parse_rom(data)
    except RomError:
        verify(data)
        return False
    if bytes(rom) != data:
        raise AssertionError("bytes changed")
    record(rom)
    findings = verify(rom, DeviceId(0x10DE, 0x1C8D, (0x1025, 0x118B), 0x030000))
    text = report_text("file", rom, important(findings), Style())
    if any(ord(c) < 0x20 and c != "\n" for c in text):
        raise AssertionError("control characters in the report")
    rom_parser_text(rom)
    return True


def do_the_rest(data: bytes) -> None:
    """Pictures, a comparison, a recipe, and the edits, each of which verifies its output."""
    try:
        rom = parse_rom(data)
    except RomError:
        return
    map_text(rom)
    map_svg(rom)
    rom_html(rom)
    if not diff(rom, rom).equal:
        raise AssertionError("a ROM differs from itself")
    for step in (recipe_of, strip, fix, split):
        try:
            step(rom)
        except RomError:
            continue


def peak_memory() -> int:
    """Bytes. Not ru_maxrss, which a child inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def main() -> None:
    seed, count, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    originals = [Path(path).read_bytes() for path in paths]
    for data in originals:
        read_everything(data)  # imports and caches are no part of what an input costs
    before = peak_memory()
    errors: list[str] = []
    parsed, worst = run(read_everything, seed, count, originals, errors)
    grown = peak_memory() - before
    # What changes ROMs may take more memory than what reads them, but must be as sound.
    _, slowest = run(do_the_rest, seed + 1, -(-count // RESTED), originals, errors)
    summary = {
        "inputs": count,
        "parsed": parsed,
        "errors": errors[:5],
        "worst": worst,
        "grown": grown,
        "slowest_edit": slowest,
    }
    print(json.dumps(summary))


def run(
    do: Callable[[bytes], bool | None],
    seed: int,
    count: int,
    originals: list[bytes],
    errors: list[str],
) -> tuple[int, float]:
    """How many inputs were ROMs, and the most processor time that one took."""
    rng = random.Random(seed)
    worst, parsed = 0.0, 0
    for number in range(count):
        data = mutate(originals[number % len(originals)], rng)
        start = time.process_time()
        try:
            parsed += bool(do(data))
        except Exception:
            errors.append(f"seed {seed} input {number}: {traceback.format_exc(limit=-3)}")
        worst = max(worst, time.process_time() - start)
    return parsed, worst


if __name__ == "__main__":
    main()
