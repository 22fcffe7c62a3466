"""Decompression that stays within bounds, and keeps what came out before the data were damaged."""

from __future__ import annotations

from typing import Protocol

from romkit.find.stream import Allowance

#: Bytes handed to a decompressor in one go.
_FEED = 1 << 16

#: Bytes that a decompressor hands back in one go: it joins them, which takes them twice.
_PIECE = 1 << 22

#: Most memory that an LZMA or xz decoder may take for itself. Firmware uses 16 MiB and less,
#: xz -9 takes 65 MiB.
_LZMA_MEMORY = 80 << 20

#: Members of one gzip, bzip2 or xz file.
_MAX_MEMBERS = 64

#: Most bytes of one chunk of LZMA2 that is not compressed.
_LZMA2_CHUNK = 1 << 16


class _Decoder(Protocol):
    """What lzma's and bz2's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Inflate:
    """zlib's decompressor in the manner of lzma's."""

    def __init__(self, wbits: int) -> None:
        import zlib

        self._zlib = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max(max_length, 0))


def zlib_stream(data: memoryview, allowance: Allowance, wbits: int = 15) -> bytearray:
    """What a zlib stream holds (`wbits` as in zlib: -15 for deflate, 31 for gzip).

    Empty where `data` is none, cut where it is damaged or too large; more may follow it.
    """
    out = bytearray()
    _drain(_Inflate(wbits), data, allowance, out)
    return out


def gzip_file(data: memoryview, allowance: Allowance) -> bytearray:
    """What all members of a gzip file hold."""
    return _members(lambda: _Inflate(31), data, allowance)


def bzip2_file(data: memoryview, allowance: Allowance) -> bytearray:
    """What all streams of a bzip2 file hold."""
    import bz2

    return _members(bz2.BZ2Decompressor, data, allowance)


def xz_file(data: memoryview, allowance: Allowance) -> bytearray:
    """What all streams of an xz file hold."""
    import lzma

    def decoder() -> _Decoder:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)

    return _members(decoder, data, allowance)


def lzma_stream(data: memoryview, allowance: Allowance) -> bytearray:
    """What an LZMA stream with the 13 byte header of LZMA SDK's "alone" format holds."""
    import lzma

    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
    except (lzma.LZMAError, MemoryError):
        return bytearray()
    out = bytearray()
    _drain(decoder, data, allowance, out)
    return out


def undo_x86_filter(data: bytearray) -> bytearray:
    """Turn the absolute jump targets of LZMA SDK's x86 filter back into relative ones.

    liblzma knows the filter, but only in front of a decoder: so `data` go in as LZMA2 chunks
    that are not compressed (control byte 1 or 2, size - 1 in big endian; 0 ends).

    Works in place: a byte comes out after it went in, so it is never written over before.
    """
    import lzma

    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": _LZMA2_CHUNK}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    done = 0
    for start in range(0, len(data), _LZMA2_CHUNK):
        chunk = bytes(data[start : start + _LZMA2_CHUNK])
        control = b"\x01" if start == 0 else b"\x02"
        out = decoder.decompress(control + (len(chunk) - 1).to_bytes(2, "big") + chunk)
        data[done : done + len(out)] = out
        done += len(out)
    out = decoder.decompress(b"\0")
    data[done : done + len(out)] = out
    return data


def efi_stream(data: memoryview, allowance: Allowance, *, tiano: bool) -> bytes:
    """What a stream of the UEFI algorithm holds, in the dialect that is asked for."""
    from romkit.efi.compression import HEADER_SIZE, Scheme, decompress_by, read_sizes
    from romkit.errors import RomError

    sizes = read_sizes(bytes(data[:HEADER_SIZE]))
    if sizes is None or sizes.original_size == 0:
        return b""
    if sizes.original_size > allowance.efi_room:
        allowance.note(f"{sizes.original_size} compressed bytes are more than may be unpacked")
        return b""
    stream = bytes(data[: HEADER_SIZE + sizes.compressed_size])
    allowance.spend_efi(sizes.original_size)
    try:
        scheme = Scheme.TIANO if tiano else Scheme.EFI
        return decompress_by(stream, sizes.original_size, (scheme,))[0]
    except RomError:
        return b""


class _Make(Protocol):
    def __call__(self) -> _Decoder: ...


def _members(make: _Make, data: memoryview, allowance: Allowance) -> bytearray:
    out = bytearray()
    for _ in range(_MAX_MEMBERS):
        before, full = len(out), allowance.room
        used = _drain(make(), data, allowance, out)
        data = data[used:]
        # Behind the last member anything may follow; what does not even begin is none.
        if not used and before < len(out) < full:
            allowance.note(
                "something compressed is damaged or cut off: only what comes before is searched"
            )
        if not used or not data:
            break
    return out


def _drain(decoder: _Decoder, data: memoryview, allowance: Allowance, out: bytearray) -> int:
    """Add what comes out to `out`.

    Returns:
        How many bytes of `data` it took: 0 where the end was not reached.
    """
    import lzma
    import zlib

    # What is in `out` already was paid for, and is held.
    before = len(out)
    room, at = max(allowance.room - before, 0), 0
    full = before + room
    try:
        while not decoder.eof and len(out) < full:
            feed = b""
            if decoder.needs_input:
                if at >= len(data):
                    break
                feed = bytes(data[at : at + _FEED])
                at += len(feed)
            out += decoder.decompress(feed, min(full - len(out), _PIECE))
    except (lzma.LZMAError, zlib.error, OSError, EOFError, ValueError, MemoryError):
        # Damaged: what came out before is still what was packed.
        pass
    if len(out) >= full and not decoder.eof:
        allowance.note(
            f"more than {full} bytes come out of something compressed: the rest is left; unpacked "
            "by hand it can be searched to its end"
        )
    # Input costs time too, also where nothing comes out of it.
    allowance.spend(max(len(out) - before, at))
    return at - len(decoder.unused_data) if decoder.eof else 0
