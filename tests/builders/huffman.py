"""Streams of the UEFI compression algorithm, written bit by bit: also those no encoder makes."""

from __future__ import annotations

import struct


def canonical(lengths: list[int]) -> dict[int, str]:
    """Symbol → code of the canonical prefix code with these lengths."""
    codes, code = {}, 0
    for length in range(1, 17):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = f"{code:0{length}b}"
                code += 1
        code <<= 1
    return codes


class StreamWriter:
    """Bits, most significant first.

    Attributes:
        bits: what was written so far, as text of 0 and 1.
        width: of the count of position codes: 4 in EFI 1.1, 5 in Tiano.
    """

    def __init__(self, width: int = 4) -> None:
        self.bits = ""
        self.width = width

    def put(self, value: int, count: int) -> None:
        """`value` in `count` bits."""
        if count:
            self.bits += f"{value:0{count}b}"

    def lengths(self, lengths: list[int], width: int, special: int = -1) -> None:
        """Code lengths of the extra or the position set. No symbols are left out."""
        self.put(len(lengths), width)
        for index, length in enumerate(lengths):
            if length < 7:
                self.put(length, 3)
            else:
                self.bits += "111" + "1" * (length - 7) + "0"
            if index + 1 == special:
                self.put(0, 2)

    def single(self, symbol: int, width: int) -> None:
        """A set of one symbol, whose code takes no bits."""
        self.put(0, width)
        self.put(symbol, width)

    def head(self, count: int, characters: dict[int, int], positions: list[int] | int = 0) -> None:
        """The head of a block of `count` characters.

        Args:
            count: characters in the block; 65536 is written as 0.
            characters: character → length of its code, at most 14.
            positions: lengths of the position codes, or the one symbol there is.
        """
        self.put(count & 0xFFFF, 16)
        extra = [4] * 13 + [5] * 6
        self.lengths(extra, 5, special=3)
        codes = canonical(extra)
        last = max(characters)
        self.put(last + 1, 9)
        for symbol in range(last + 1):
            length = characters.get(symbol, 0)
            self.bits += codes[length + 2 if length else 0]
        if isinstance(positions, int):
            self.single(positions, self.width)
        else:
            self.lengths(positions, self.width)

    def head_single(self, count: int, character: int, position: int = 0) -> None:
        """The head of a block whose characters take no bits."""
        self.put(count & 0xFFFF, 16)
        self.single(0, 5)
        self.single(character, 9)
        self.single(position, self.width)

    def stream(self, original_size: int) -> bytes:
        """The stream with its header."""
        text = self.bits + "0" * (-len(self.bits) % 8)
        data = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
        return struct.pack("<II", len(data), original_size) + data
