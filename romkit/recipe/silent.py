"""The normal form of a recipe: keys that say what would be so without them are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from romkit.errors import RecipeError
from romkit.recipe.image import ImagePlan, plan_image
from romkit.recipe.model import ImageRecipe, Recipe
from romkit.recipe.plan import plan_rom

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

#: Stated even where it is the default: nobody reads an image without it.
_ALWAYS = frozenset({"code_type"})


def silent(recipe: Recipe) -> Recipe:
    """`recipe` without needless keys in its images and its container; the tail has none.

    Raises:
        RecipeError: it cannot be built.
    """
    images: list[ImageRecipe] = []
    ids: tuple[int, int] | None = None
    for number, image in enumerate(recipe.images):
        final = number + 1 == len(recipe.images)
        plan = plan_image(image, "image", ids=ids, final=final)
        images.append(_without_needless(image, _same_image(plan, ids, final)))
        ids = plan.ids
    recipe = replace(recipe, images=tuple(images))
    if recipe.container is None:
        return recipe
    whole = plan_rom(recipe)

    def same(container: Any) -> bool:
        return plan_rom(replace(recipe, container=container)) == whole

    return replace(recipe, container=_without_needless(recipe.container, same))


def _same_image(
    plan: ImagePlan, ids: tuple[int, int] | None, final: bool
) -> Callable[[ImageRecipe], bool]:
    return lambda image: plan_image(image, "image", ids=ids, final=final) == plan


def _without_needless(value: T, same: Callable[[T], bool]) -> T:
    """`value` without the keys and sub-tables that change nothing."""
    for field in fields(value):
        own = getattr(value, field.name)
        if own is None or field.default is MISSING or field.name in _ALWAYS:
            continue
        without = _with(value, field.name, None)
        if _holds(same, without):
            value = without
        elif is_dataclass(own):
            value = _with(value, field.name, _inside(value, field.name, own, same))
    return value


def _inside(value: T, name: str, own: Any, same: Callable[[T], bool]) -> Any:
    return _without_needless(own, lambda inner: same(_with(value, name, inner)))


def _with(value: T, name: str, own: Any) -> T:
    return replace(value, **{name: own})


def _holds(same: Callable[[T], bool], value: T) -> bool:
    try:
        return same(value)
    except RecipeError:
        return False
