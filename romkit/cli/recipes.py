"""Commands between ROMs and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from romkit.cli.files import blaming, fail, input_name, read_one, read_rom, write_output
from romkit.cli.options import File, Force, Out


def build(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe (TOML); - is standard input.",
            show_default=False,
            readable=False,
        ),
    ],
    output: Out,
    force: Force = False,
) -> None:
    """Build a ROM from a recipe.

    - is standard input.
    """
    from romkit.errors import RecipeError
    from romkit.recipe import build_rom, load_recipe

    name, data = read_one(recipe, kind="recipe")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as err:
        fail(name, RecipeError("a recipe is UTF-8 text", err.start))
    with blaming(name):
        rom = build_rom(load_recipe(text))
    write_output(output, rom, force=force)


def show_recipe(
    file: File,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Write to a file instead.", show_default=False, readable=False
        ),
    ] = Path("-"),
    with_bytes: Annotated[
        bool,
        typer.Option(
            "--bytes",
            help="Embed the payload: builds the identical file. Do not share it.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Describe a ROM as a recipe, without its payload.

    - is standard input.
    """
    from romkit.recipe import recipe_of

    rom = read_rom(file)
    with blaming(input_name(file)):
        text = recipe_of(rom, with_bytes=with_bytes)
    write_output(output, text.encode(), force=force)  # UTF-8 on any terminal, as TOML must be
