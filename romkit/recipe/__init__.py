"""Recipes: a ROM as a readable text from which its bytes are built.

::

    text ──load──► Recipe ──build──► bytes
      ▲              ▲                 │
      └───write──────┴────describe─────┘  (by way of parse_rom)

Test images are kept as recipes: they show what matters in a ROM and hold nobody's firmware.
docs/recipe.md explains every key.
"""

from __future__ import annotations

from romkit.recipe.build import build_rom
from romkit.recipe.describe import recipe_of
from romkit.recipe.load import load_recipe
from romkit.recipe.model import Recipe

__all__ = ["Recipe", "build_rom", "load_recipe", "recipe_of"]
