"""The lines on which the keys of a TOML text stand; tomllib does not tell.

The text has been read by tomllib before, so it is well formed. Only what TOML 1.0 needs to find
keys is looked at: table headers, keys, strings, arrays and inline tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

#: A key in full: names of tables and keys, numbers of elements of arrays.
Path: TypeAlias = tuple[str | int, ...]

_TOKEN = re.compile(
    r'''(?P<string>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')'''
    r"|(?P<comment>#[^\n]*)"
    r"|(?P<newline>\n)"
    r"|(?P<open>[\[{])|(?P<close>[\]}])|(?P<equals>=)|(?P<comma>,)|(?P<dot>\.)"
    r"|(?P<bare>[^\s\[\]{}=,.#\"']+)"
    r"|(?P<space>[ \t\r]+)",
    re.DOTALL,
)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


class _Reader:
    """Tokens of a text, one at a time."""

    def __init__(self, text: str) -> None:
        self.tokens = list(self._split(text))
        self.at = 0

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, str, int]]:
        line, at = 1, 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:  # not well formed after all: the rest has no lines
                return
            kind = found.lastgroup or ""
            if kind not in ("space", "comment"):
                yield kind, found[0], line
            line += found[0].count("\n")
            at = found.end()

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def next(self) -> tuple[str, str, int]:
        """The next token; the end has an empty kind."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "", 0)
        self.at += 1
        return token

    def skip_lines(self) -> None:
        """Past line ends."""
        while self.kind == "newline":
            self.at += 1

    def name(self) -> tuple[list[str], int]:
        """A dotted key and its line."""
        parts, line = [], 0
        while self.kind in ("bare", "string", "dot"):
            kind, text, here = self.next()
            line = line or here
            if kind != "dot":
                parts.append(_plain(text) if kind == "string" else text)
        return parts, line


def _plain(text: str) -> str:
    """A quoted key without its quotes and escapes."""
    if text.startswith("'"):
        return text[1:-1]

    def character(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if code[0] in "uU" else _ESCAPES.get(code, code)

    return re.sub(r'\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[btnfr"\\])', character, text[1:-1])


def key_lines(text: str) -> Mapping[Path, int]:
    """Path of each key and table → its line, from 1."""
    reader = _Reader(text)
    lines: dict[Path, int] = {}
    elements: dict[Path, int] = {}
    table: Path = ()
    while reader.kind:
        if reader.kind == "open":
            table = _header(reader, lines, elements)
        elif reader.kind in ("bare", "string"):
            _pair(reader, table, lines)
        else:
            reader.next()
    return lines


def _header(reader: _Reader, lines: dict[Path, int], elements: dict[Path, int]) -> Path:
    """``[table]`` or ``[[array]]``."""
    reader.next()
    is_array = reader.kind == "open"
    if is_array:
        reader.next()
    parts, line = reader.name()
    path: Path = ()
    for number, part in enumerate(parts):
        path = (*path, part)
        last = number == len(parts) - 1
        if last and is_array:
            elements[path] = elements.get(path, -1) + 1
            lines.setdefault(path, line)
        if path in elements:
            path = (*path, elements[path])
    lines.setdefault(path, line)
    while reader.kind == "close":
        reader.next()
    return path


def _pair(reader: _Reader, table: Path, lines: dict[Path, int]) -> None:
    """``key = value``."""
    parts, line = reader.name()
    for number in range(len(parts)):
        lines.setdefault((*table, *parts[: number + 1]), line)
    if reader.kind == "equals":
        reader.next()
        _value(reader, (*table, *parts), lines)


def _value(reader: _Reader, path: Path, lines: dict[Path, int]) -> None:
    """A value; what is inside it has lines too."""
    kind, text, _ = reader.next()
    if kind == "open" and text == "[":
        element = 0
        while reader.kind and reader.kind != "close":
            if reader.kind in ("newline", "comma"):
                element += reader.next()[0] == "comma"
                continue
            lines[(*path, element)] = reader.tokens[reader.at][2]
            _value(reader, (*path, element), lines)
        reader.next()
    elif kind == "open":
        while reader.kind and reader.kind != "close":
            if reader.kind in ("newline", "comma"):
                reader.next()
                continue
            before = reader.at
            _pair(reader, path, lines)
            if reader.at == before:
                reader.next()
        reader.next()
    else:  # numbers and dates come in pieces: 1.5, 1979-05-27 07:32:00
        while reader.kind in ("bare", "dot"):
            reader.next()
