"""A profile's text: TOML. All mistakes are found at once, each with its line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from passthrough.vm.key import Key, keys_of
from passthrough.vm.kinds import Wrong
from passthrough.vm.problem import BadProfile, Problem
from passthrough.vm.profile import NAME_KEY, Profile, dotted
from passthrough.vm.rules import broken_rules
from passthrough.vm.sections import REPEATED, SECTIONS
from passthrough.vm.toml_lines import Path, key_lines

#: Characters of a profile; a full one has 8000.
MAX_TEXT = 1 << 20


def parse_profile(text: str, *, file: str = "profile", folder: str = "/") -> Profile:
    """A profile.

    Args:
        text: its TOML.
        file: its name, for messages.
        folder: where it is, absolute: relative paths in it start there.

    Raises:
        BadProfile: what is wrong, all of it.
    """
    if len(text) > MAX_TEXT:
        raise BadProfile(file, [Problem("", "larger than any profile")])
    try:
        read = tomllib.loads(text)
        lines = key_lines(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise BadProfile(file, [_damaged(str(error), text)]) from None
    except ValueError:  # Python reads no number of more than 4300 digits
        raise BadProfile(file, [Problem("", "a number is too long", line=_widest(text))]) from None
    except RecursionError:
        raise BadProfile(file, [Problem("", "no TOML: nested too deeply")]) from None
    reader = _Reader(lines)
    values: dict[str, Any] = {}
    reader.unknown((), read, ("name", *SECTIONS))
    name = reader.value(("name",), NAME_KEY, read)
    for section, cls in SECTIONS.items():
        if section in read:
            values[section] = reader.section(section, cls, read[section])
    if reader.problems:
        raise BadProfile(file, reader.problems)
    profile = Profile(name, file, folder, lines, **values)
    problems = list(broken_rules(profile))
    if problems:
        raise BadProfile(file, problems)
    return profile


def _damaged(said: str, text: str) -> Problem:
    """tomllib's message; it tells line and column in words only (before Python 3.14)."""
    what, _, place = said.rpartition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    line = int(words[1]) if words[:1] == ["line"] else text.count("\n") + 1
    return Problem("", f"no TOML: {what or said}", line=line)


def _widest(text: str) -> int:
    """The line with the most digits."""
    digits = [sum(map(str.isdecimal, line)) for line in text.split("\n")]
    return digits.index(max(digits)) + 1


class _Reader:
    """Reads tables into sections and collects what is wrong."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self.lines = lines
        self.problems: list[Problem] = []

    def wrong(self, path: Path, why: str, allowed: str = "") -> None:
        line, shorter = None, path
        while shorter and line is None:
            line, shorter = self.lines.get(shorter), shorter[:-1]
        # What is missing altogether is told at the first line.
        self.problems.append(Problem(dotted(path), why, allowed, line or 1))

    def unknown(self, path: Path, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                near = get_close_matches(name, known, 1, 0.5)
                guess = f"; did you mean `{near[0]}`?" if near else ""
                kind = "section or key" if not path else "key"
                self.wrong((*path, name), f"no such {kind}{guess}", ", ".join(known))

    def section(self, name: str, cls: type[Any], value: Any) -> Any:
        if name not in REPEATED:
            return self.table((name,), cls, value)
        if isinstance(value, dict):
            self.wrong((name,), f"one `[{name}]`", f"`[[{name}]]`, once for each")
            return ()
        if not isinstance(value, list):
            self.wrong((name,), "no table", f"`[[{name}]]`, once for each")
            return ()
        return tuple(self.table((name, n), cls, item) for n, item in enumerate(value))

    def table(self, path: Path, cls: type[Any], table: Any) -> Any:
        if not isinstance(table, dict):
            self.wrong(path, "no table", f"`[{path[0]}]`")
            return None
        keys = list(keys_of(cls))
        self.unknown(path, table, tuple(key.name for key in keys))
        return cls(**{key.name: self.value((*path, key.name), key, table) for key in keys})

    def value(self, path: Path, key: Key, table: Mapping[str, Any]) -> Any:
        if key.name not in table:
            if key.required:
                self.wrong(path, "it is missing", key.kind.allowed)
            return key.default
        try:
            return key.kind.read(table[key.name])
        except Wrong as wrong:
            at = path
            value = table[key.name]
            if isinstance(value, list):
                at = (*path, *self._element(key, value))
            self.wrong(at, str(wrong), key.kind.allowed)
            return key.default

    @staticmethod
    def _element(key: Key, value: list[Any]) -> Iterator[int]:
        """The number of the element that is wrong by itself, or the last of two that are equal."""
        for number in range(len(value)):
            try:
                key.kind.read(value[: number + 1])
            except Wrong:
                yield number
                return
