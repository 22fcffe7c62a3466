"""What a check asks and what a message means, for people."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diag.checks.check import Check
    from diag.text.problems import Problem
    from romkit.render.style import Style

#: What a FAIL of each severity means, in words.
SEVERITIES = {
    "blocker": "it will not work like this",
    "warning": "it may work; something is not as it should be",
    "note": "good to know",
}


def check_rule(check: Check) -> str:
    """The rule behind a check: what its function says of itself, in paragraphs on one line each."""
    text = inspect.cleandoc(check.look.__doc__ or "")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def check_text(check: Check, style: Style) -> str:
    """One check."""
    meaning = SEVERITIES[check.severity.value]
    return "\n".join([
        f"{style.bold(check.slug)}: {check.title}",
        *(f"  {line}" if line else "" for line in _wrapped(check_rule(check).replace("``", "`"))),
        f"  {style.dim('if not')}   {check.severity.value}: {meaning}",
        f"  {style.dim('source')}   {check.source}",
    ])  # fmt: skip


def message_text(message: Problem, style: Style) -> str:
    """One message."""
    lines = (f"  {line}" for line in _wrapped(message.meaning))
    return "\n".join([style.bold(message.name), *lines])


def list_text(checks: Iterable[Check], messages: Sequence[Problem], style: Style) -> str:
    """All that can be explained, in one line each."""
    shown = tuple(checks)
    width = max((len(check.slug) for check in shown), default=0)
    lines = [f"{style.cyan(check.slug.ljust(width))}  {check.title}" for check in shown]
    if messages:
        names = ", ".join(message.name for message in messages)
        lines += ["", *_wrapped(f"messages: {names}")]
    return "\n".join(lines)


def check_record(check: Check) -> dict[str, Any]:
    """One check as plain JSON types."""
    return {
        "check": check.slug,
        "title": check.title,
        "severity": check.severity.value,
        "explanation": check_rule(check).replace("``", "`"),
        "source": check.source,
    }


def message_record(message: Problem) -> dict[str, Any]:
    """One message as plain JSON types."""
    return {"message": message.name, "meaning": message.meaning}


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [*([""] if lines else []), *wrap(paragraph, 96, break_long_words=False)]
    return lines
