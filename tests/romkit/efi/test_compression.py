import struct
import time
import tracemalloc

import pytest
from builders.huffman import StreamWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit.efi.compression import (
    Scheme,
    compress,
    decompress,
    decompress_by,
    read_sizes,
)
from romkit.errors import MalformedRom, RomError, TruncatedRom

KIB = 1 << 10
MIB = 1 << 20


def literals(text: bytes, width: int = 4) -> StreamWriter:
    """One block of the characters a and b (one bit each), nothing else."""
    writer = StreamWriter(width)
    writer.head(len(text), {ord("a"): 1, ord("b"): 1})
    for byte in text:
        writer.put(byte - ord("a"), 1)
    return writer


def test_literals() -> None:
    assert decompress(literals(b"abba").stream(4), 4) == b"abba"


def test_a_match_copies_what_was_written_and_may_overlap_itself() -> None:
    # Characters: a, b, and length 5 (256 stands for 3). Positions: 0 and 1, a bit each.
    writer = StreamWriter()
    writer.head(4, {ord("a"): 2, ord("b"): 2, 258: 1}, positions=[1, 1])
    # Canonical codes: 258 is 0, a is 10, b is 11; position 0 is 0, position 1 is 1.
    writer.bits += "10" + "11" + "01" + "00"
    # Two back for five bytes: ababa; one back for five bytes: aaaaa.
    assert decompress(writer.stream(12), 12) == b"ab" + b"ababa" + b"aaaaa"


def test_a_far_match_reads_extra_bits() -> None:
    # Position code 3 with two more bits, 01, is position 4 + 1, which is six bytes back.
    writer = StreamWriter()
    writer.head(7, {ord("a"): 2, ord("b"): 2, 256: 1}, positions=[0, 0, 1, 1])
    writer.bits += "10" + "11" * 5 + "0" + "1" + "01"
    assert decompress(writer.stream(9), 9) == b"abbbbb" + b"abb"


def test_several_blocks_and_a_set_of_one_symbol() -> None:
    writer = literals(b"ab")
    writer.head_single(3, ord("z"))
    # A literal, then a length of 256 one back.
    writer.head(1, {ord("c"): 1, 509: 1})
    writer.bits += "1"
    assert decompress(writer.stream(261), 261) == b"abzzz" + b"z" * 256


def test_a_match_is_cut_where_the_original_ends() -> None:
    writer = StreamWriter()
    writer.head(2, {ord("a"): 1, 509: 1})
    writer.bits += "01"
    assert decompress(writer.stream(10), 10) == b"a" * 10


def test_a_block_of_65536_characters_is_written_as_zero() -> None:
    writer = StreamWriter()
    writer.head_single(65536, ord("q"))
    assert decompress(writer.stream(65536), 65536) == b"q" * 65536


def test_tiano_is_the_second_try() -> None:
    # Five bits for the count of position codes: read as EFI 1.1, the codes are displaced.
    writer = StreamWriter(5)
    writer.head(4, {ord("a"): 2, ord("b"): 2, 258: 1}, positions=[1, 1])
    writer.bits += "10" + "11" + "01" + "00"
    assert decompress_by(writer.stream(12), 12) == (b"abababaaaaaa", Scheme.TIANO)
    assert decompress_by(literals(b"ab").stream(2), 2)[1] is Scheme.EFI


def test_what_follows_the_stream_is_left_alone() -> None:
    assert decompress(literals(b"abba").stream(4) + b"\xff" * 100, 4) == b"abba"


def test_nothing_becomes_nothing() -> None:
    assert decompress(bytes(8), 0) == b""
    assert compress(b"") == bytes(8)


def test_sizes() -> None:
    sizes = read_sizes(struct.pack("<II", 0x1234, 0x5678) + b"x")
    assert sizes is not None
    assert (sizes.compressed_size, sizes.original_size) == (0x1234, 0x5678)
    assert repr(sizes) == "<StreamSizes 0x1234 → 0x5678 bytes>"
    assert read_sizes(b"1234567") is None


@pytest.mark.parametrize("stream", [b"", bytes(7), struct.pack("<II", 10, 4) + bytes(9)])
def test_a_stream_that_does_not_fit_is_truncated(stream: bytes) -> None:
    with pytest.raises(TruncatedRom):
        decompress(stream, KIB)


def test_the_budget_is_kept_and_both_numbers_are_named() -> None:
    with pytest.raises(MalformedRom, match=r"4294967295 bytes, more than the 1024"):
        decompress(struct.pack("<II", 4, 0xFFFFFFFF) + bytes(4), KIB)
    assert decompress(literals(b"abba").stream(4), 4) == b"abba"
    with pytest.raises(MalformedRom, match=r"4 bytes, more than the 3"):
        decompress(literals(b"abba").stream(4), 3)


def test_data_that_end_too_early() -> None:
    whole = literals(b"ab" * 50)
    whole.bits = whole.bits[:-60]
    with pytest.raises(MalformedRom, match="end"):
        decompress(whole.stream(100), 100)
    with pytest.raises(MalformedRom, match="end"):
        decompress(literals(b"abba").stream(5), 5)
    with pytest.raises(MalformedRom, match="end"):
        decompress(struct.pack("<II", 0, 1), 1)


def test_a_match_before_the_first_byte() -> None:
    writer = StreamWriter()
    writer.head(2, {ord("a"): 1, 256: 1}, positions=[0, 1, 1])
    writer.bits += "0" + "1" + "0"
    with pytest.raises(MalformedRom, match="before the first byte"):
        decompress(writer.stream(4), 4)


@pytest.mark.parametrize(
    "characters",
    [
        {1: 1},  # half of the codes are missing
        {1: 1, 2: 2},  # a quarter is missing
        {1: 1, 2: 1, 3: 1},  # three halves
        {1: 1, 2: 1, 3: 1, 4: 1},  # twice too many, which is 0 in sixteen bits
    ],
)
def test_only_complete_prefix_codes_are_accepted(characters: dict[int, int]) -> None:
    writer = StreamWriter()
    writer.head(1, characters)
    writer.bits += "0" * 16
    with pytest.raises(MalformedRom, match="complete prefix code"):
        decompress(writer.stream(1), 1)


def test_symbols_outside_of_their_set() -> None:
    writer = StreamWriter()
    writer.head_single(1, 510)
    with pytest.raises(MalformedRom, match="character symbol 510"):
        decompress(writer.stream(1), 1)
    writer = StreamWriter()
    writer.put(1, 16)
    writer.single(19, 5)
    with pytest.raises(MalformedRom, match="extra symbol 19"):
        decompress(writer.stream(1), 1)


def test_trees_that_loop_are_refused() -> None:
    """Two oversubscribed character codes whose tree nodes point at each other, then a code that
    is looked up there: decoders that build trees in place never come back from this."""

    def crossed(lower: int, upper: int, deepest: list[int]) -> dict[int, int]:
        lengths = {lower: 1, upper: 1} | dict.fromkeys(deepest, 14)
        return lengths | {
            50 + i: n for i, n in enumerate([2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
        }

    writer = StreamWriter()
    writer.head(1, crossed(20, 31, [40, 41, 42, 43]))
    writer.bits += "00"
    writer.head(1, crossed(20, 30, [31, 32, 33, 34]))
    writer.bits += "00"
    writer.put(1, 16)
    writer.single(31, 5)
    writer.put(4, 9)
    writer.put(0, 32)
    with pytest.raises(MalformedRom, match="complete prefix code"):
        decompress(writer.stream(100), 100)


def bomb_of_literals(size: int) -> bytes:
    """One bit a byte, the most work for the least file."""
    writer = StreamWriter()
    parts = []
    for _ in range(size // 65536):
        writer.head(65536, {ord("a"): 1, ord("b"): 1})
        parts.append(writer.bits + "01" * 32768)
        writer.bits = ""
    writer.bits = "".join(parts)
    return writer.stream(size)


def bomb_of_tables(size: int) -> bytes:
    """Blocks of one byte, each with tables as large as they get."""
    writer = StreamWriter()
    lengths = [*range(1, 14), 14, 14]
    writer.head(1, {65 + i: n for i, n in enumerate(lengths)}, positions=lengths)
    writer.bits = (writer.bits + "0") * (size // 256)
    return writer.stream(size)


def bomb_of_matches(size: int) -> bytes:
    """A few bytes that stand for very many."""
    writer = StreamWriter()
    writer.head_single(1, ord("a"))
    for _ in range(size // (256 * 65536) + 1):
        writer.head_single(65536, 509)
    return writer.stream(size)


@pytest.mark.parametrize("bomb", [bomb_of_literals, bomb_of_tables, bomb_of_matches])
def test_bombs_cost_no_more_than_the_budget(bomb) -> None:
    stream = bomb(MIB)
    start = time.process_time()
    if bomb is bomb_of_tables:
        with pytest.raises(MalformedRom, match="too many blocks"):
            decompress(stream, MIB)
    else:
        assert len(decompress(stream, MIB)) == MIB
    assert time.process_time() - start < 2
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRom, match="more than the"):
            decompress(stream, MIB - 1)
        assert tracemalloc.get_traced_memory()[1] < 64 * KIB
    finally:
        tracemalloc.stop()


def test_a_compressed_size_that_lies_is_not_paid_for() -> None:
    stream = struct.pack("<II", 8 * MIB, 4) + literals(b"abba").stream(4)[8:]
    tracemalloc.start()
    try:
        assert decompress(stream.ljust(8 + 8 * MIB, b"\0"), 4) == b"abba"
        assert tracemalloc.get_traced_memory()[1] < 9 * MIB
    finally:
        tracemalloc.stop()


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=2000),
        st.lists(
            st.sampled_from([b"\0" * 50, b"GOP", b"\x90", b"abcabc", bytes(range(256))]),
            max_size=60,
        ).map(b"".join),
    )
)
def test_compress_and_decompress_round_trip(data: bytes) -> None:
    assert decompress(compress(data), len(data)) == data


def test_other_encoders_streams_decode_the_same() -> None:
    """The reference encoders, both dialects, on data of more than one block."""
    from uefi_firmware import efi_compressor

    words = (i * i * 2654435761 & 0xFFFFFFFF for i in range(9999))
    data = b"".join(struct.pack("<I", word) + b"GOP" for word in words)
    assert decompress_by(efi_compressor.EfiCompress(data, len(data)), MIB) == (data, Scheme.EFI)
    # Matches further back than EFI 1.1 can say make the position codes need the fifth bit.
    tiano = efi_compressor.TianoCompress(data, len(data))
    assert decompress_by(tiano, MIB) == (data, Scheme.TIANO)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_streams_raise_nothing_but_romerror(data: st.DataObject) -> None:
    stream = bytearray(compress(bytes(range(200)) * 3 + b"abcabcabc" * 40))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))
    try:
        out = decompress(bytes(stream[:cut]), 64 * KIB)
    except RomError:
        return
    assert len(out) == struct.unpack_from("<I", stream, 4)[0]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 5000))
def test_noise_raises_nothing_but_romerror(noise: bytes, size: int) -> None:
    try:
        out = decompress(struct.pack("<II", len(noise), size) + noise, 4 * KIB)
    except RomError:
        return
    assert len(out) == size
