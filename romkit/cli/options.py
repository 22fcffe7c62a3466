"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="ROM files; - is standard input.", show_default=False),
]
File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A ROM file; - is standard input.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[
    Path,
    typer.Option(
        "-o", "--output", help="Where to write; - is standard output.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
