"""Recipe → TOML text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from romkit.header import CODE_TYPE_NAMES, CodeType
from romkit.recipe.load import key_of
from romkit.recipe.model import ImageRecipe, Recipe


def write_recipe(recipe: Recipe, comments: tuple[str, ...] = ()) -> str:
    """`recipe` as TOML, in the normal form: keys in the model's order, silent ones left out.

    Args:
        recipe: what to write.
        comments: lines to put on top.
    """
    lines = [f"# {comment}" for comment in comments]
    body = list(_table(recipe, ""))
    if lines and body and body[0]:
        lines.append("")
    lines += body
    return "\n".join(lines) + "\n"


def _table(value: Any, path: str) -> Iterator[str]:
    """Keys of `value`, then its sub-tables with their headers."""
    if hasattr(value, "kind"):
        yield f'kind = "{value.kind}"'
    deeper: list[tuple[str, Any]] = []
    for field in fields(value):
        own = getattr(value, field.name)
        if own is None or own == ():
            # An empty array is something else than none at all, but only where it is a key.
            if own == () and "kind" in field.metadata:
                yield f"{key_of(field)} = []"
            continue
        if "kind" in field.metadata:
            shown = field.metadata["kind"].show(own)
            yield f"{key_of(field)} = {shown}{_meaning(value, field.name)}"
        else:
            deeper.append((key_of(field), own))
    for name, own in deeper:
        here = f"{path}.{name}" if path else name
        for one in own if isinstance(own, tuple) else (own,):
            yield ""
            yield f"[[{here}]]" if isinstance(own, tuple) else f"[{here}]"
            yield from _table(one, here)


def _meaning(value: Any, name: str) -> str:
    """A comment behind a number that nobody knows by heart."""
    if not isinstance(value, ImageRecipe) or name != "code_type" or value.code_type is None:
        return ""
    try:
        return f"  # {CODE_TYPE_NAMES[CodeType(value.code_type)]}"
    except ValueError:
        return ""
