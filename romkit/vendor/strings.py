"""Text in a legacy image, made fit to be shown.

A ROM is somebody else's bytes: text from it is cut to one line without control characters, so
that it can neither move a terminal's cursor nor fake a second line of a report.
"""

from __future__ import annotations

#: Where video BIOSes since the IBM PS/2 carry their claim to be compatible; 92 of 92 NVIDIA
#: images have "IBM" here (measured).
COMPATIBILITY_AT = 0x1E

#: A real-mode image is addressed as one segment: its messages stand within it.
REAL_MODE_SEGMENT = 0x10000

#: Enough for any message that was ever measured (the longest is 155 bytes).
LONGEST = 256

_COPYRIGHT = b"(C) "
_COPYRIGHT_CANDIDATES = 64


def clean(raw: bytes) -> str:
    """`raw` as one line of text.

    Bytes beyond ASCII become U+FFFD, line breaks and tabs (with the blanks around them) one
    blank, other control characters vanish, blanks at the ends are cut.
    """
    text = raw.decode("ascii", "replace")
    for line_break in "\t\n\v\f":
        text = text.replace(line_break, "\r")
    parts = ("".join(c for c in part if c.isprintable()).strip() for part in text.split("\r"))
    return " ".join(part for part in parts if part)


def text_at(image: bytes, offset: int, limit: int = LONGEST) -> str | None:
    """The zero-terminated text at `offset` of `image`, at most `limit` bytes of it.

    Returns:
        None where `offset` lies outside of the image or no printable text stands there.
    """
    raw = raw_text_at(image, offset, limit)
    return (clean(raw) or None) if raw is not None else None


def raw_text_at(image: bytes, offset: int, limit: int = LONGEST) -> bytes | None:
    """The bytes of a zero-terminated text, without the zero; None outside of the image."""
    if not 0 <= offset < len(image):
        return None
    return image[offset : offset + limit].partition(b"\0")[0]


def oem_string(image: bytes) -> str | None:
    """The compatibility claim at 0x1E: "IBM", "IBM VGA Compatible BIOS." and the like, or None.

    Whatever follows "IBM" without a blank is not text (AMD keeps numbers there).
    """
    raw = image[COMPATIBILITY_AT : COMPATIBILITY_AT + 64]
    if not raw.startswith(b"IBM"):
        return None
    if not raw.startswith(b"IBM "):
        return "IBM"
    end = next((i for i, byte in enumerate(raw) if not 0x20 <= byte <= 0x7E), len(raw))
    return clean(raw[:end])


def copyright_line(image: bytes) -> str | None:
    """The first "(C) YEAR…" of the first 64 KiB, with a "Copyright" in front of it, or None."""
    segment = image[:REAL_MODE_SEGMENT]
    at = -1
    for _ in range(_COPYRIGHT_CANDIDATES):
        at = segment.find(_COPYRIGHT, at + 1)
        if at < 0:
            return None
        year = segment[at + len(_COPYRIGHT) : at + len(_COPYRIGHT) + 4]
        if len(year) == 4 and year.isdigit():
            word = b"Copyright "
            start = at - len(word) if segment[max(at - len(word), 0) : at] == word else at
            line = segment[start : start + LONGEST]
            end = next((i for i, byte in enumerate(line) if not 0x20 <= byte <= 0x7E), len(line))
            return clean(line[:end])
    return None
