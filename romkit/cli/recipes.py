"""Commands between ROMs and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from romkit.cli.files import fail, read_one, read_rom, write_output
from romkit.cli.options import File, Force, Out


def build(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="A recipe (TOML); - is standard input.", show_default=False
        ),
    ],
    output: Out,
    force: Force = False,
) -> None:
    """Build a ROM from a recipe."""
    from romkit.errors import RecipeError, RomError
    from romkit.recipe import build_rom, load_recipe

    name, data = read_one(recipe)
    try:
        rom = build_rom(load_recipe(data.decode("utf-8")))
    except RomError as err:
        fail(name, err)
    except UnicodeDecodeError as err:
        fail(name, RecipeError("a recipe is UTF-8 text", err.start))
    write_output(output, rom, force=force)


def show_recipe(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write to a file instead.", show_default=False),
    ] = None,
    with_bytes: Annotated[
        bool,
        typer.Option(
            "--bytes",
            help="Embed the payload: builds the identical file. Do not share it.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Describe a ROM as a recipe, without its payload."""
    from romkit.recipe import recipe_of

    text = recipe_of(read_rom(file), with_bytes=with_bytes)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_output(output, text.encode(), force=force)
