"""Text from a ROM is one harmless line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romkit.vendor.strings import (
    LONGEST,
    clean,
    copyright_line,
    oem_string,
    raw_text_at,
    text_at,
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"  plain  ", "plain"),
        (b"one \r\n two\r\n", "one two"),
        (b"\r\n \r\n", ""),
        (b"tab\tstop", "tab stop"),
        (b"keeps  inner   blanks", "keeps  inner   blanks"),
        (b"\x1b[2Jboo\x07", "[2Jboo"),
        (b"\x00\x01\x7f", ""),
        (b"caf\xe9 \x9b", "caf\ufffd \ufffd"),
    ],
)
def test_clean(raw: bytes, text: str) -> None:
    assert clean(raw) == text


@given(st.binary(max_size=400))
def test_clean_text_is_printable_ascii_or_the_replacement(raw: bytes) -> None:
    text = clean(raw)
    assert all(" " <= c <= "~" or c == "\ufffd" for c in text)
    assert len(text) <= len(raw)


def test_text_ends_at_zero_limit_and_end() -> None:
    assert text_at(b"..abc\0def", 2) == "abc"
    assert text_at(b"..abcdef", 2, 4) == "abcd"
    assert text_at(b"..abc", 2) == "abc"
    assert text_at(b"A" * 1000, 0) == "A" * LONGEST


def test_text_that_is_not_there() -> None:
    assert text_at(b"\0abc", 0) is None
    assert text_at(b"abc", 3) is None
    assert text_at(b"abc", -1) is None
    assert text_at(b"abc", 0, 0) is None
    assert raw_text_at(b"\0", 0) == b""
    assert raw_text_at(b"", 0) is None


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"IBM VGA Compatible BIOS. \x03h", "IBM VGA Compatible BIOS."),
        (b"IBM VGA Compatible\x01", "IBM VGA Compatible"),
        (b"IBM\x03@", "IBM"),
        (b"IBMsT\x93", "IBM"),
        (b"IBM", "IBM"),
        (b"IB", None),
        (b"NOT IBM", None),
    ],
)
def test_oem_string(raw: bytes, text: str | None) -> None:
    assert oem_string(bytes(0x1E) + raw) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"..Copyright (C) 2016 Somebody.\r\nmore", "Copyright (C) 2016 Somebody."),
        (b"..(C) 1988-2010, Somebody, Inc.\0", "(C) 1988-2010, Somebody, Inc."),
        (b"(C) 2011", "(C) 2011"),
        (b"(C) for\x01(C) 1999 B", "(C) 1999 B"),
        (b"(C) 19", None),
        (b"", None),
        (b"(C) " * 1000, None),
        (bytes(0x10000) + b"(C) 2011 too far away", None),
    ],
)
def test_copyright_line(raw: bytes, text: str | None) -> None:
    assert copyright_line(raw) == text


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for text in (oem_string(data), copyright_line(data)):
        assert text is None or text.isprintable()
