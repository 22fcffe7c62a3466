"""The profile that a command is about, by its name or its file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.cli.outcome import answering
from romkit.cli.status import BAD_INPUT
from romkit.cli.terminal import print_json, say, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthrough.programs import User
    from passthrough.vm.profile import Profile


def offered(incomplete: str) -> list[str]:
    """What the shell completes a name with: the profiles in the user's folder, files beside."""
    from passthrough.errors import PassthroughError
    from passthrough.programs import find_user
    from passthrough.vm.profile_file import profile_names

    try:
        names = profile_names(find_user())
    except PassthroughError:  # sudo's user is gone: nothing to offer
        names = ()
    start, found = Path(incomplete), []
    folder = start if incomplete.endswith("/") else start.parent
    with contextlib.suppress(OSError):
        found = [str(path) for path in sorted(folder.glob("*.toml"))]
    return [text for text in (*names, *found) if text.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PROFILE",
        help="A VM's name, whose profile is in ~/.config/dgpukit, or a profile's file (TOML).",
        show_default=False,
        autocompletion=offered,
    ),
]


@contextlib.contextmanager
def reporting(as_json: bool) -> Iterator[None]:
    """A profile's mistakes end the command (3), a line for each; other errors as ever."""
    from passthrough.vm.problem import BadProfile

    with answering(as_json):
        try:
            yield
        except BadProfile as bad:
            if as_json:
                problems = [problem.as_json() for problem in bad.problems]
                print_json({"error": f"{bad.file} is no profile for here", "hint": bad.hint,
                            "problems": problems, "status": BAD_INPUT})  # fmt: skip
            for problem in bad.problems:
                say(f"passthrough: {shown(problem.text(bad.file))}", err=True)
            if bad.hint:
                say(f"  try: {shown(bad.hint)}", err=True)
            raise typer.Exit(BAD_INPUT) from None


def profile_of(text: str, owner: User | None = None) -> Profile:
    """The profile that is meant; ``-`` is standard input.

    Raises:
        PassthroughError: there is none, or it cannot be read.
        BadProfile: it is wrong.
    """
    from passthrough.programs import find_user
    from passthrough.vm.parse import parse_profile
    from passthrough.vm.profile_file import read_profile
    from romkit.cli.files import input_name, is_standard

    path = Path(text)
    if is_standard(path):
        read = text_of(path, "profile")
        return parse_profile(read, file=input_name(path), folder=str(Path.cwd()))
    return read_profile(text, owner or find_user())


def text_of(path: Path, kind: str, *, hint: str = "") -> str:
    """An input as text.

    Args:
        path: of the file; - is standard input.
        kind: what it is to be.
        hint: where one comes from.

    Raises:
        DiagError: it cannot be read, or is no text.
    """
    from diag.errors import DiagError
    from romkit.cli.files import bounded, input_name, opened

    name = input_name(path)
    try:
        with opened(path) as stream:
            return bounded(stream, kind).decode("utf-8-sig")
    except OSError as err:
        missing = isinstance(err, FileNotFoundError)
        why = (err.strerror or str(err)).lower()
        raise DiagError(f"{name}: {why}", hint=hint if missing else "") from None
    except UnicodeDecodeError as err:
        raise DiagError(f"{name}: no UTF-8 text: byte {err.start:#x}") from None
