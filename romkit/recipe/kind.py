"""The kinds of value that a recipe's key can have: each reads one from TOML and writes it back."""

from __future__ import annotations

import base64
import re
import textwrap
from dataclasses import dataclass
from typing import Any, NoReturn

from romkit.errors import RecipeError

#: No recipe builds more than this, in bytes.
MOST_BYTES = 64 << 20

#: Shown of a wrong value in a message, in characters.
_MOST_SHOWN = 60

#: Lengths of a line in a recipe, in characters.
_LINE = 80
_BASE64_LINE = 96


def refuse(path: str, what: str, value: object) -> NoReturn:
    """Say what was expected and what was found.

    Raises:
        RecipeError: always.
    """
    # Nothing of unlimited length is turned into text only to be cut.
    if isinstance(value, dict | list):
        found = "a table" if isinstance(value, dict) else "an array"
    elif isinstance(value, bool):
        found = str(value).lower()
    elif isinstance(value, int) and value.bit_length() > 128:
        found = "a much larger number"
    elif isinstance(value, str):
        found = repr(value[:_MOST_SHOWN]) + ("…" if len(value) > _MOST_SHOWN else "")
    else:
        found = str(value)[:_MOST_SHOWN]
    raise RecipeError(f"{path}: expected {what}, found {found}")


def quoted(text: str) -> str:
    """`text` as a TOML basic string."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif character < " " or character == "\x7f":
            out.append(f"\\u{ord(character):04x}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


class Kind:
    """A kind of value. Each class below says how one is taken from TOML and shown as TOML."""

    __slots__ = ()

    @property
    def what(self) -> str:
        """What is expected, for messages: "a number from 0 to 0xff"."""
        return self._what()

    def read(self, value: object, path: str) -> Any:
        """The value that a TOML value stands for.

        Raises:
            RecipeError: it is none of this kind; the message starts with `path`.
        """
        try:
            return self._take(value)
        except (ValueError, TypeError):
            refuse(path, self.what, value)

    def show(self, value: Any) -> str:
        """The value as TOML."""
        return self._show(value)

    def _what(self) -> str:
        raise NotImplementedError

    def _take(self, value: Any) -> Any:
        """As `read`, but raises ValueError or TypeError."""
        raise NotImplementedError

    def _show(self, value: Any) -> str:
        return quoted(value)


def _number(value: Any, least: int, most: int) -> int:
    # In Python, true is a number.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError
    return value


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError
    return value


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """An id, version, offset or register value; written in hex with all its digits.

    Attributes:
        bits: its width.
        digits: hex digits to write; 0 writes as many as the value needs.
        decimal: write it in decimal instead.
    """

    bits: int
    digits: int = 0
    decimal: bool = False

    @property
    def most(self) -> int:
        """The largest one."""
        return (1 << self.bits) - 1

    def _what(self) -> str:
        return f"a number from 0 to {self.most if self.decimal else hex(self.most)}"

    def _take(self, value: Any) -> int:
        return _number(value, 0, self.most)

    def _show(self, value: int) -> str:
        return str(value) if self.decimal else f"{value:#0{self.digits + 2}x}"


@dataclass(frozen=True, slots=True)
class Length(Kind):
    """Bytes: decimal up to 255, hex above.

    Attributes:
        unit: the value is a multiple of this.
        most: the largest one.
        least: the smallest one.
    """

    unit: int = 1
    most: int = MOST_BYTES
    least: int = 0

    def _what(self) -> str:
        multiple = f", a multiple of {self.unit}" if self.unit > 1 else ""
        return f"{self.least} to {self.most:#x} bytes{multiple}"

    def _take(self, value: Any) -> int:
        if _number(value, self.least, self.most) % self.unit:
            raise ValueError
        return int(value)

    def _show(self, value: int) -> str:
        return str(value) if value < 0x100 else hex(value)


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """true or false."""

    def _what(self) -> str:
        return "true or false"

    def _take(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    def _show(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def _what(self) -> str:
        return " or ".join(quoted(word) for word in self.words)

    def _take(self, value: Any) -> str:
        return self.words[self.words.index(value)]


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """One line of printable ASCII without blanks at its ends, as ROMs hold it.

    Attributes:
        most: the longest, in characters.
        least: the shortest.
    """

    most: int
    least: int = 1

    def _what(self) -> str:
        length = f"{self.least} to {self.most}"
        return f"a line of {length} ASCII characters without blanks at its ends"

    def _take(self, value: Any) -> str:
        text = _text(value, self.most)
        fine = text.isascii() and text.isprintable() and text == text.strip()
        if not fine or len(text) < self.least:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class Form(Kind):
    """A text of a fixed form.

    Attributes:
        pattern: regular expression that all of it matches.
        example: of such a text.
    """

    pattern: str
    example: str

    def _what(self) -> str:
        return f"a text like {quoted(self.example)}"

    def _take(self, value: Any) -> str:
        if re.fullmatch(self.pattern, value, re.ASCII) is None:
            raise ValueError
        return str(value)


@dataclass(frozen=True, slots=True)
class Ids(Kind):
    """Two ids as lspci prints them."""

    def _what(self) -> str:
        return 'two ids like "10de:1c03"'

    def _take(self, value: Any) -> tuple[int, int]:
        match = re.fullmatch("([0-9a-fA-F]{4}):([0-9a-fA-F]{4})", value)
        if match is None:
            raise ValueError
        return int(match[1], 16), int(match[2], 16)

    def _show(self, value: tuple[int, int]) -> str:
        return f'"{value[0]:04x}:{value[1]:04x}"'


@dataclass(frozen=True, slots=True)
class Address(Kind):
    """Bus, device and function as lspci prints them, each as wide as a VFCT holds it."""

    def _what(self) -> str:
        return 'a PCI address like "04:00.0"'

    def _take(self, value: Any) -> tuple[int, int, int]:
        form = "([0-9a-fA-F]{2,8}):([0-9a-fA-F]{2,8})[.]([0-9a-fA-F]{1,8})"
        match = re.fullmatch(form, value)
        if match is None:
            raise ValueError
        return int(match[1], 16), int(match[2], 16), int(match[3], 16)

    def _show(self, value: tuple[int, int, int]) -> str:
        return f'"{value[0]:02x}:{value[1]:02x}.{value[2]:x}"'


@dataclass(frozen=True, slots=True)
class Checksum(Kind):
    """What an image sums to: a number ("zero" is 0), or "untouched", whatever its bytes make."""

    def _what(self) -> str:
        return '"zero", "untouched" or a number from 0 to 0xff'

    def _take(self, value: Any) -> int | str:
        if value == "untouched":
            return "untouched"
        return 0 if value == "zero" else _number(value, 0, 0xFF)

    def _show(self, value: int | str) -> str:
        if isinstance(value, str):
            return quoted(value)
        return f"{value:#04x}" if value else '"zero"'


@dataclass(frozen=True, slots=True)
class HexBytes(Kind):
    """A few bytes in hex."""

    most: int

    def _what(self) -> str:
        return f'1 to {self.most} bytes in hex, like "55 aa"'

    def _take(self, value: Any) -> bytes:
        found = bytes.fromhex(_text(value, 4 * self.most))
        if not 1 <= len(found) <= self.most:
            raise ValueError
        return found

    def _show(self, value: bytes) -> str:
        return f'"{value.hex(" ")}"'


@dataclass(frozen=True, slots=True)
class Base64(Kind):
    """Bytes of any number, in Base64; blanks and line breaks do not count."""

    def _what(self) -> str:
        return f"1 to {MOST_BYTES:#x} bytes in Base64"

    def _take(self, value: Any) -> bytes:
        text = "".join(_text(value, 2 * MOST_BYTES).split())
        found = base64.b64decode(text, validate=True)
        if not 1 <= len(found) <= MOST_BYTES:
            raise ValueError
        return found

    def _show(self, value: bytes) -> str:
        text = base64.b64encode(value).decode("ascii")
        lines = [text[at : at + _BASE64_LINE] for at in range(0, len(text), _BASE64_LINE)]
        # Three single quotes: a TOML reader searches for their end instead of reading each byte.
        return "\n".join(["'''", *lines, "'''"])


@dataclass(frozen=True, slots=True)
class Several(Kind):
    """An array of values of one kind."""

    kind: Kind
    most: int

    def read(self, value: object, path: str) -> tuple[Any, ...]:
        """The values; a wrong one is named by its place in the array."""
        if not isinstance(value, list) or len(value) > self.most:
            refuse(path, self.what, value)
        return tuple(self.kind.read(v, f"{path}[{n}]") for n, v in enumerate(value))

    def _what(self) -> str:
        return f"an array of at most {self.most}, each {self.kind.what}"

    def _show(self, value: tuple[Any, ...]) -> str:
        shown = [self.kind.show(v) for v in value]
        line = f"[{', '.join(shown)}]"
        if len(line) <= _LINE:
            return line
        rows = [f"{text}," for text in shown]
        if isinstance(self.kind, Number):
            rows = textwrap.wrap(", ".join(shown), _LINE)
        return "\n".join(["[", *(f"    {row}" for row in rows), "]"])
