"""TOML text → Recipe."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, Field, fields
from typing import Any

from romkit.errors import RecipeError
from romkit.recipe.kind import MOST_BYTES, Choice, refuse
from romkit.recipe.model import TAIL_PARTS, Many, One, OneOf, Recipe
from romkit.recipe.plan import plan_rom

#: ROMs in the tails of ROMs in the tails of ROMs.
DEEPEST = 8

_LONGEST_TEXT = 2 * MOST_BYTES

_HINT = "docs/recipe.md explains recipes; `romkit recipe FILE` writes one for a ROM"


def load_recipe(text: str) -> Recipe:
    """Read a recipe.

    Args:
        text: TOML; docs/recipe.md explains every key.

    Returns:
        A recipe that `build_rom` can build.

    Raises:
        RecipeError: it is not TOML, has an unknown key, lacks one, a value is impossible, or what
            it asks for does not fit. The message begins with the key: "image[1].npde.flags: …".
    """
    if len(text) > _LONGEST_TEXT:
        raise RecipeError(f"a recipe of {len(text)} characters, more than {_LONGEST_TEXT}")
    try:
        raw = tomllib.loads(text)
    # Besides its own error tomllib lets out ValueError (a number of 5000 digits) and
    # RecursionError (5000 brackets).
    except (ValueError, RecursionError) as err:
        raise RecipeError(f"not TOML: {err}", hint=_HINT) from err
    recipe: Recipe = _table(Recipe, raw, "", 0)
    plan_rom(recipe)
    return recipe


def key_of(field: Field[Any]) -> str:
    """The key that a field of the model has in the text."""
    return field.metadata["name"] or field.name


def _table(cls: type, raw: object, path: str, depth: int) -> Any:
    """One table as a value of the model."""
    if not isinstance(raw, dict):
        refuse(path, "a table", raw)
    if depth > DEEPEST:
        raise RecipeError(f"{path}: a ROM in a ROM, more than {DEEPEST} deep")
    left = dict(raw)
    if hasattr(cls, "kind"):
        left.pop("kind", None)
    values: dict[str, Any] = {}
    for field in fields(cls):
        name = key_of(field)
        here = f"{path}.{name}" if path else name
        if name in left:
            values[field.name] = _value(field, left.pop(name), here, depth)
        elif field.default is MISSING:
            raise RecipeError(f"{here}: missing; expected {field.metadata['kind'].what}")
    if left:
        wrong = next(iter(left))
        known = ", ".join(key_of(f) for f in fields(cls))
        what = f"{path}.{wrong}" if path else wrong
        raise RecipeError(f"{what[:200]}: no such key; expected one of {known}")
    return cls(**values)


def _value(field: Field[Any], raw: object, path: str, depth: int) -> Any:
    if "kind" in field.metadata:
        return field.metadata["kind"].read(raw, path)
    form = field.metadata["table"]
    if isinstance(form, One):
        return _table(form.table, raw, path, depth)
    if not form.several:
        return _one_of(form, raw, path, depth)
    if not isinstance(raw, list):
        refuse(path, "an array of tables", raw)
    if len(raw) > form.several:
        raise RecipeError(f"{path}: expected at most {form.several} of them, found {len(raw)}")
    return tuple(_element(form, item, f"{path}[{n}]", depth) for n, item in enumerate(raw))


def _element(form: Many | OneOf, raw: object, path: str, depth: int) -> Any:
    if isinstance(form, Many):
        return _table(form.table, raw, path, depth)
    return _one_of(form, raw, path, depth + 1)


def _one_of(form: OneOf, raw: object, path: str, depth: int) -> Any:
    """A table whose key `kind` says what it is."""
    if not isinstance(raw, dict):
        refuse(path, "a table", raw)
    by_kind: dict[str, type] = {vars(cls)["kind"]: cls for cls in form.tables or TAIL_PARTS}
    choice = Choice(tuple(by_kind))
    if "kind" not in raw:
        raise RecipeError(f"{path}.kind: missing; expected {choice.what}")
    return _table(by_kind[choice.read(raw["kind"], f"{path}.kind")], raw, path, depth)
