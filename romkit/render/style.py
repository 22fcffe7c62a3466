"""Colour and weight for terminals: the only place with escape codes."""

from __future__ import annotations


class Style:
    """Wraps text in ANSI codes, or leaves it as it is."""

    __slots__ = ("color",)

    def __init__(self, color: bool = False) -> None:
        self.color = color

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text

    def bold(self, text: str) -> str:
        """Bold."""
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        """Dim."""
        return self._wrap("2", text)

    def red(self, text: str) -> str:
        """Red: it will not work."""
        return self._wrap("31", text)

    def yellow(self, text: str) -> str:
        """Yellow: it may not work."""
        return self._wrap("33", text)

    def green(self, text: str) -> str:
        """Green: fine."""
        return self._wrap("32", text)

    def cyan(self, text: str) -> str:
        """Cyan: a name to find things by."""
        return self._wrap("36", text)
