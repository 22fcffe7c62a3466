"""Made-up bytes for all that has no meaning: the same on every machine, and never a signature.

Every byte lies between 0x80 and 0x9F. None of the signatures that a reader looks for (55 AA, VN,
77 BB, NVGI, BIT …) can be spelt with these, a pointer made of them leads beyond any small image,
and nobody takes them for text, padding or a vendor's code.
"""

from __future__ import annotations

import hashlib
from functools import cache

_TO_FILL = bytes(0x80 | value & 0x1F for value in range(256))

#: Enough of a stream to tell it from the others.
PROBE = 16


def fill(size: int, seed: int | str = "rom") -> bytes:
    """The first `size` bytes of a stream.

    Args:
        size: bytes.
        seed: which stream. "rom" runs on through images and tail, counted from the first image;
            "container" is what stands before them; numbers are a recipe's own.
    """
    stream = hashlib.shake_256(f"romkit {seed}".encode("ascii")).digest(size)
    return stream.translate(_TO_FILL)


@cache
def seeds() -> dict[bytes, int]:
    """The beginnings of the numbered streams → their numbers."""
    return {fill(PROBE, seed): seed for seed in range(256)}


def is_fill(data: bytes) -> bool:
    """Whether `data` can be a part of a stream."""
    return not data.translate(None, bytes(range(0x80, 0xA0)))
