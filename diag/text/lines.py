"""Lines of a pasted text, with what mail, forums and terminals did to them undone."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, NamedTuple

from diag.errors import NotHostText, TextTooLarge
from diag.pci import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Larger than any log that people paste; a bound for memory, not for meaning.
MAX_BYTES = 64 << 20
MAX_LINES = 1_000_000
#: What is behind this column is left out: the kernel takes no longer command line on any machine.
MAX_COLUMNS = 4096


class Line(NamedTuple):
    """One line that is not empty.

    Attributes:
        number: in the text as it came, from 1.
        text: without quote marks, markdown and control characters; its indent is kept.
        commented: whether it stood behind a ``#``.
        command: whether it is what somebody typed at a prompt, and not an answer.
    """

    number: int
    text: str
    commented: bool = False
    command: bool = False


_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}\x07?|[@-Z\\-_])")
_TAGS = re.compile(
    r"</?(?:p|br|pre|code|b|i|em|strong|span|div|li|blockquote)(?:\s[^<>]{0,100})?/?>"
)
_QUOTES = re.compile(r"[ \t]{0,8}(?:>[ \t]?){1,8}")
_BULLET = re.compile(rf"\s{{0,16}}[-*•+]\s{{1,3}}(?=(?:{ADDRESS})\s|IOMMU |Group )", re.IGNORECASE)
_OPENING = re.compile(rf"\s{{0,16}}['\"`(]{{1,3}}(?={ADDRESS})")
_COMMENT = re.compile(r"\s{0,16}#+[ \t]?")
_HEADING = re.compile(r"\s{0,16}#+\s*(?:IOMMU\s+)?Group\b", re.IGNORECASE)
_ODD = str.maketrans({
    "\u00a0": " ", "\u2002": " ", "\u2003": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ",
    "\u3000": " ", "\u200b": None, "\u200c": None, "\u200d": None, "\u2060": None, "\ufeff": None,
    "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\r": None, "\0": None,
})  # fmt: skip

_WORDS = (
    "lspci|dmesg|journalctl|cat|find|grep|egrep|for|while|pvesh|uname|virsh|modprobe|lsmod|lsusb|"
    "ls|ip|shopt|done|readlink|nvidia-smi|\\./[\\w.-]+"
)
_PROMPT = re.compile(
    r"\s*(?:"
    # user@host:~$ and [root@host dir]# and user@host >
    r"\[?[\w.-]{1,64}@[\w.-]{1,64}[^$#>%❯]{0,80}[$#>%❯]"
    r"|[$%❯➜]"
    r"|(?:ba|z)?sh-[\d.]+[$#]"
    r")\s+\S"
)
_COMMAND = re.compile(rf"\s*(?:sudo\s+)?(?:{_WORDS})(?:\s|$)")
_ROOT_COMMAND = re.compile(rf"\s*#\s*(?:sudo\s+)?(?:{_WORDS})(?:\s|$)")


def decode(data: bytes) -> str:
    """The text of a file, whatever its encoding.

    Raises:
        NotHostText: it is no text.
        TextTooLarge: it has more than `MAX_BYTES` bytes.
    """
    if len(data) > MAX_BYTES:
        raise TextTooLarge(
            f"larger than {MAX_BYTES >> 20} MiB", hint="the part of the log that matters"
        )
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    # A null byte or two come from a crash that tore a log; a program is full of them.
    if data[:65536].count(0) > 64:
        raise NotHostText("no text", hint="`romkit parse` or `romkit find`, if it is a ROM")
    return data.decode("utf-8", errors="replace")


def parse_lines(text: str) -> list[Line]:
    """The lines that are not empty, cleaned.

    Raises:
        TextTooLarge: they are more than `MAX_LINES`.
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines: list[Line] = []
    continued = False
    for number, raw in enumerate(_pieces(text), 1):
        line = _cleaned(number, raw)
        if line is None:
            continued = False
            continue
        if continued and not line.command:
            line = line._replace(command=True)
        continued = line.command and line.text.rstrip().endswith("\\")
        lines.append(line)
        if len(lines) > MAX_LINES:
            raise TextTooLarge(
                f"more than {MAX_LINES} lines", hint="the part of the log that matters"
            )
    return lines


def _pieces(text: str) -> Iterator[str]:
    """The text between line feeds, one at a time: a list of all would double a large text."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start : min(end, start + MAX_COLUMNS)]
        start = end + 1
    yield text[start : start + MAX_COLUMNS]


def _cleaned(number: int, raw: str) -> Line | None:
    text = raw.translate(_ODD)
    if not text or text.isspace():
        return None
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if "<" in text:
        text = _TAGS.sub("", text)
    if "&" in text:
        text = unescape(text)
    quoted = _QUOTES.match(text)
    if quoted:
        text = text[quoted.end() :]
    if "**" in text:
        text = text.replace("**", "")
    if "`" in text:
        text = text.strip("`")
    if not text or text.isspace():
        return None
    if _PROMPT.match(text) or _COMMAND.match(text) or _ROOT_COMMAND.match(text):
        return Line(number, text, command=True)
    commented = False
    comment = _COMMENT.match(text)
    if comment and not _HEADING.match(text):
        text, commented = text[comment.end() :], True
    opening = _BULLET.match(text) or _OPENING.match(text)
    if opening:
        text = text[opening.end() :]
    if not text or text.isspace():
        return None
    return Line(number, text, commented)
