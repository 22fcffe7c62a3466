"""Text out of a driver, made fit to be shown: names of sections, certificates, drivers."""

from __future__ import annotations

#: Enough for any name or path that was ever met, in characters.
LONGEST = 256


def clean(text: str) -> str:
    """`text` as one line without anything that acts on a terminal.

    Control and format characters (escape sequences, line breaks, text direction) and what has no
    character at all become "?"; blanks at the ends and all beyond `LONGEST` are cut.
    """
    return "".join(c if c.isprintable() and c != "\ufffd" else "?" for c in text[:LONGEST]).strip()


def ascii_text(raw: bytes) -> str:
    """`raw` up to its first zero byte, as one line."""
    return clean(raw.partition(b"\0")[0].decode("ascii", "replace"))


def utf16_run(data: bytes, at: int) -> str:
    """The run of printable ASCII in UTF-16LE that starts at `at`, at most `LONGEST` characters."""
    end = at
    limit = min(len(data) - 1, at + 2 * LONGEST)
    while end < limit and 0x20 <= data[end] <= 0x7E and data[end + 1] == 0:
        end += 2
    return data[at:end:2].decode("ascii")
