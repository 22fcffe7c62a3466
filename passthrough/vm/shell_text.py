"""Variables of a shell script, as far as they are plain text."""

from __future__ import annotations

import re

#: ``NAME=value`` on a line of its own; the value may be quoted, and holds nothing to be run.
_ASSIGNED = re.compile(
    r"""^[ \t]*(?:export[ \t]+|local[ \t]+|readonly[ \t]+)?(?P<name>[A-Za-z_]\w*)=
    (?:"(?P<double>[^"`\n]*)"|'(?P<single>[^'\n]*)'|(?P<bare>[^\s"'`;()&|]*))[ \t]*(?:\#.*|;)?$""",
    re.VERBOSE | re.MULTILINE,
)
_USED = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>[A-Za-z_]\w*))")
#: How often a value is looked into for further variables.
_DEPTH = 4
#: Characters that a text may grow to.
_LIMIT = 1 << 18


def expanded(text: str) -> str:
    """A script with its variables replaced by what is assigned to them; others stay.

    A name that is assigned twice is left alone: which value counts only the shell knows.
    """
    values: dict[str, str] = {}
    twice: set[str] = set()
    for found in _ASSIGNED.finditer(text):
        name = found["name"]
        value = found["double"] or found["single"] or found["bare"] or ""
        if re.search(r"(?:^|\s)-\w", value):
            continue  # it collects options, and is read as such
        if values.setdefault(name, value) != value:
            twice.add(name)
    known = {name: value for name, value in values.items() if name not in twice}

    def value_of(found: re.Match[str]) -> str:
        return known.get(found["braced"] or found["plain"], found[0])

    for _ in range(_DEPTH):
        size = len(text) + sum(len(value_of(found)) for found in _USED.finditer(text))
        if size > _LIMIT:
            break
        text = _USED.sub(value_of, text)
    return text


def unknown_variables(text: str) -> tuple[str, ...]:
    """The variables that are still in a text."""
    return tuple(dict.fromkeys(found[0] for found in _USED.finditer(text)))
