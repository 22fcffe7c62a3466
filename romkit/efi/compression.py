"""The UEFI compression algorithm (UEFI specification 2.10, section 19): LZ77 and Huffman codes.

The decoder is written here, in Python, on purpose. Measured with uefi-firmware 1.16: its decoder
keeps every result and its work area for ever (120 KB a driver), writes before it looks when the
size is zero, and follows Huffman trees that need not end. This one takes some 20 ms for a real
driver, stops at `budget`, and refuses code tables that are not complete.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from enum import IntEnum

from romkit.errors import MalformedRom, RomError, TruncatedRom
from romkit.layout.efi import EFI_COMPRESSION_HEADER
from romkit.layout.lens import read

#: Bytes in front of the compressed data.
HEADER_SIZE = 8

# The specification's names: C is the set of characters and lengths, P of positions, T ("extra")
# of the code lengths of C.
_NC = 510
_NT = 19
_NP = 31
_CBIT = 9
_TBIT = 5

#: Symbols of C from 256 on are lengths from 3 on.
_LENGTH_BIAS = 256 - 3

#: One step of the bit reader: 32 bits from any byte on, of which a bit offset leaves 25.
_WINDOW = 32
_LONGEST_READ = 25

#: An encoder closes a block when its 16 KiB buffer is full, which is at least some 5,000
#: characters. Streams of many tiny blocks would cost a table each and are refused.
_SMALLEST_BLOCK = 4096
_FREE_BLOCKS = 8

#: Bytes that the code tables of a small stream may take.
_TABLES = 4096


class TooLarge(MalformedRom):
    """More would come out than the caller allows: a limit of the reader, no fault of the data."""


class Scheme(IntEnum):
    """Which of the two dialects; the value is the width of the count of position codes."""

    #: EFI 1.1: what UEFI firmware decodes, and all that was ever met in an option ROM.
    EFI = 4
    #: Tiano, of firmware volumes: no firmware decodes it in an option ROM.
    TIANO = 5


@dataclass(frozen=True, slots=True)
class StreamSizes:
    """What the header of a compressed stream says, in bytes; the header itself not counted."""

    compressed_size: int
    original_size: int

    def __repr__(self) -> str:
        return f"<StreamSizes {self.compressed_size:#x} → {self.original_size:#x} bytes>"


def read_sizes(stream: bytes) -> StreamSizes | None:
    """The header of `stream`, or None where its eight bytes do not fit."""
    if len(stream) < HEADER_SIZE:
        return None
    f = read(EFI_COMPRESSION_HEADER, stream, 0, "compression header")
    return StreamSizes(f.compressed_size, f.original_size)


def decompress(stream: bytes, budget: int) -> bytes:
    """The original of a compressed stream.

    Args:
        stream: the eight byte header and what follows it; more may follow the compressed data.
        budget: the most bytes that may come out.

    Raises:
        TruncatedRom: the header or the compressed data do not fit into `stream`.
        TooLarge: more than `budget` bytes would come out.
        MalformedRom: the data are no such stream in either dialect; offsets count from the start
            of `stream`.
    """
    return decompress_by(stream, budget)[0]


def decompress_by(
    stream: bytes, budget: int, schemes: tuple[Scheme, ...] = (Scheme.EFI, Scheme.TIANO)
) -> tuple[bytes, Scheme]:
    """Like `decompress`, and which dialect it was. The message of a failure is that of the first.

    Args:
        schemes: the dialects to try, in this order. A short stream can be valid in both: where
            the dialect is known, name it alone.
    """
    sizes = read_sizes(stream)
    if sizes is None:
        raise TruncatedRom(f"a compression header needs {HEADER_SIZE} bytes, {len(stream)} left", 0)
    available = len(stream) - HEADER_SIZE
    if sizes.compressed_size > available:
        raise TruncatedRom(
            f"the stream has {sizes.compressed_size} bytes, only {available} are there", 0
        )
    if sizes.original_size > budget:
        raise TooLarge(
            f"the stream would become {sizes.original_size} bytes, more than the {budget} allowed",
            4,
        )
    # No encoder makes data much larger than they were: more than this is never read.
    longest = sizes.original_size + sizes.original_size // 8 + _TABLES
    data = stream[HEADER_SIZE : HEADER_SIZE + min(sizes.compressed_size, longest)]
    errors: list[RomError] = []
    for scheme in schemes:
        try:
            return _decode(data, sizes.original_size, scheme), scheme
        except RomError as err:
            errors.append(err)
    raise errors[0]


def compress(pe: bytes) -> bytes:
    """`pe` as a stream with its header, in EFI 1.1.

    Raises:
        MalformedRom: the encoder refuses it, or what it made does not decode to `pe` again.
    """
    if not pe:
        return bytes(HEADER_SIZE)
    from uefi_firmware import efi_compressor

    try:
        stream = bytes(efi_compressor.EfiCompress(pe, len(pe)))
    except Exception as err:  # the extension raises bare Exception
        raise MalformedRom(f"{len(pe)} bytes cannot be compressed: {err}") from err
    if decompress(stream, len(pe)) != pe:
        raise MalformedRom(f"{len(pe)} bytes do not survive compression")
    return stream


#: Flat decoding table: 2**width entries of symbol << 5 | code length, and width. A set with one
#: symbol has width 0: its code takes no bits.
_Table = tuple[list[int], int]


def _table(lengths: list[int], at: int, what: str) -> _Table:
    """The canonical prefix code of `lengths` (0: symbol not used, 1 to 16 bits)."""
    by_length: list[list[int]] = [[] for _ in range(17)]
    for symbol, length in enumerate(lengths):
        if length > 16:
            raise MalformedRom(f"a {what} code of {length} bits", at)
        by_length[length].append(symbol)
    if sum(len(by_length[n]) << (16 - n) for n in range(1, 17)) != 1 << 16:
        raise MalformedRom(f"the {what} codes do not make a complete prefix code", at)
    width = max(n for n in range(1, 17) if by_length[n])
    entries: list[int] = []
    for length in range(1, width + 1):
        repeat = 1 << (width - length)
        for symbol in by_length[length]:
            entries += [symbol << 5 | length] * repeat
    return entries, width


def _single(symbol: int, count: int, at: int, what: str) -> _Table:
    """A set of one symbol."""
    if symbol >= count:
        raise MalformedRom(f"{what} symbol {symbol} of {count}", at)
    return [symbol << 5], 0


class _Bits:
    """Reads bits from the most significant one on.

    Attributes:
        windows: the 32 bits from each byte on, so that one index and one shift read a code.
        at: position, in bits.
        end: bits there are.
    """

    __slots__ = ("at", "end", "windows")

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self.end = 8 * len(data)
        # Zeros behind the end: a code may be looked up there, but not be taken from there.
        count = len(data) // 4 + 2
        padded = data + bytes(4 * count + 4 - len(data))
        self.windows = array("I", bytes(4 * count * array("I").itemsize))
        for shift in range(4):
            self.windows[shift::4] = array("I", struct.unpack_from(f">{count}I", padded, shift))

    @property
    def byte(self) -> int:
        """Position in bytes from the start of the stream, for messages."""
        return HEADER_SIZE + self.at // 8

    def take(self, count: int) -> int:
        """The next `count` bits, at most `_LONGEST_READ`."""
        at = self.at
        self.at = at + count
        if self.at > self.end:
            raise MalformedRom("the compressed data end too early", HEADER_SIZE + self.end // 8)
        return (self.windows[at >> 3] >> (_WINDOW - count - (at & 7))) & ((1 << count) - 1)

    def symbol(self, table: _Table) -> int:
        """The next symbol of `table`."""
        entries, width = table
        at = self.at
        if at > self.end:
            raise MalformedRom("the compressed data end too early", HEADER_SIZE + self.end // 8)
        window = self.windows[at >> 3] >> (_WINDOW - width - (at & 7))
        entry = entries[window & ((1 << width) - 1)]
        self.at = at + (entry & 31)
        return entry >> 5


def _read_small_set(bits: _Bits, count: int, width: int, special: int, what: str) -> _Table:
    """The codes of T or P: three bits a length, longer ones in unary.

    After `special` lengths two bits say how many symbols are left out.
    """
    start = bits.byte
    number = bits.take(width)
    if number == 0:
        return _single(bits.take(width), count, start, what)
    lengths: list[int] = []
    while len(lengths) < number:
        length = bits.take(3)
        if length == 7:
            while bits.take(1):
                length += 1
        lengths.append(length)
        if len(lengths) == special:
            lengths += [0] * bits.take(2)
    return _table(lengths[:count], start, what)


def _read_characters(bits: _Bits, extra: _Table) -> _Table:
    """The codes of C, whose lengths are themselves coded with T: 0, 1 and 2 are runs of zeros."""
    start = bits.byte
    number = bits.take(_CBIT)
    if number == 0:
        return _single(bits.take(_CBIT), _NC, start, "character")
    lengths: list[int] = []
    while len(lengths) < number:
        symbol = bits.symbol(extra)
        if symbol > 2:
            lengths.append(symbol - 2)
        elif symbol == 2:
            lengths += [0] * (bits.take(_CBIT) + 20)
        elif symbol == 1:
            lengths += [0] * (bits.take(4) + 3)
        else:
            lengths.append(0)
    return _table(lengths[:_NC], start, "character")


def _decode(data: bytes, size: int, scheme: Scheme) -> bytes:
    """Decode `data` to exactly `size` bytes, or raise MalformedRom."""
    bits = _Bits(data)
    out = bytearray()
    for _ in range(size // _SMALLEST_BLOCK + _FREE_BLOCKS):
        if len(out) >= size:
            break
        count = bits.take(16) or 1 << 16
        extra = _read_small_set(bits, _NT, _TBIT, 3, "extra")
        characters = _read_characters(bits, extra)
        positions = _read_small_set(bits, _NP, scheme, -1, "position")
        try:
            _decode_block(bits, out, size, count, characters, positions)
        except IndexError:
            bits.at = bits.end + 1
        if bits.at > bits.end:
            raise MalformedRom(
                f"the compressed data end after {min(len(out), size)} of {size} bytes",
                HEADER_SIZE + len(data),
            )
    if len(out) < size:
        raise MalformedRom(f"too many blocks for {size} bytes", bits.byte)
    del out[size:]
    return bytes(out)


def _decode_block(
    bits: _Bits, out: bytearray, size: int, count: int, characters: _Table, positions: _Table
) -> None:
    """Decode `count` characters, or until `out` holds `size` bytes (or a little more).

    The only loop that runs once a character: bit reading is written out in it for speed.

    Raises:
        MalformedRom: a match starts before the first byte.
        IndexError: the data are over.
    """
    windows, at = bits.windows, bits.at
    codes, width = characters
    shift, mask = _WINDOW - width, (1 << width) - 1
    pcodes, width = positions
    pshift, pmask = _WINDOW - width, (1 << width) - 1
    append = out.append
    # Each character is at least one byte: no more of them than there are bytes to come.
    for _ in range(min(count, size - len(out))):
        entry = codes[(windows[at >> 3] >> (shift - (at & 7))) & mask]
        at += entry & 31
        entry >>= 5
        if entry < 256:
            append(entry)
            continue
        length = entry - _LENGTH_BIAS
        entry = pcodes[(windows[at >> 3] >> (pshift - (at & 7))) & pmask]
        at += entry & 31
        distance = entry >> 5
        if distance > 1:
            more = distance - 1
            distance = 1 << more
            if more > _LONGEST_READ:
                # Only a Tiano stream can say this, and no file is long enough for it to be true.
                raise MalformedRom("a match starts before the first byte", HEADER_SIZE + at // 8)
            distance += (windows[at >> 3] >> (_WINDOW - more - (at & 7))) & (distance - 1)
            at += more
        distance += 1
        start = len(out) - distance
        if start < 0:
            raise MalformedRom("a match starts before the first byte", HEADER_SIZE + at // 8)
        if distance >= length:
            out += out[start : start + length]
        else:
            out += (out[start:] * (length // distance + 1))[:length]
        if len(out) >= size:
            break
    bits.at = at
