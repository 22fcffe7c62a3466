"""What every term is: bytes, ASL text, and the terms inside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from textwrap import indent
from typing import Any


class Term:
    """A piece of AML: ``bytes()`` is the encoding, ``str()`` the same in ASL.

    Terms are frozen dataclasses: they compare by value, can be keys, and may stand in many trees.
    """

    __slots__ = ()

    def __bytes__(self) -> bytes:
        raise NotImplementedError

    def __str__(self) -> str:
        raise NotImplementedError

    def parts(self) -> Iterator[Term]:
        """The terms that this one holds directly, in order."""
        for field in fields(self):  # type: ignore[arg-type]  # every term is a dataclass
            value = getattr(self, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Term):
                    yield part

    def walk(self) -> Iterator[Term]:
        """This term and all inside it, from the outside in."""
        return within((self,))

    def _set(self, **values: Any) -> None:
        """Replace fields of a frozen dataclass while it is being made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def within(terms: Iterable[Term], *closed: type[Term]) -> Iterator[Term]:
    """These terms and all inside them, from the outside in; kinds in `closed` are not opened."""
    waiting = list(terms)[::-1]
    while waiting:
        term = waiting.pop()
        yield term
        if not isinstance(term, closed):
            waiting += reversed(list(term.parts()))


class Expression(Term):
    """A term with a value (TermArg, 20.2.5)."""

    __slots__ = ()


class Statement(Term):
    """A term that does something and has no value (statement opcodes, 20.2.5.3)."""

    __slots__ = ()


class Definition(Term):
    """A term that makes a name, or goes to one (named objects, 20.2.5.1 and 20.2.5.2)."""

    __slots__ = ()


def braces(head: str, body: str) -> str:
    """ASL of a block: braces on lines of their own, what is inside four columns in."""
    inside = indent(body, "    ") + "\n" if body else ""
    return f"{head}\n{{\n{inside}}}"
