"""The romkit command as a user meets it: a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: A recipe, for the commands that need one.
RECIPE = Path(__file__).parent / "fixtures/recipes/nvidia_desktop_pascal_nvgi2.toml"
_UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def main_of(package: str, preamble: str = "") -> list[str]:
    """What starts the command of a package; after some Python that changes what it meets."""
    # What a preamble limits is not to hit the compiler.
    options = ["-B"] if preamble else []
    return [sys.executable, *options, "-c", f"{preamble}\nfrom {package}.cli import main\nmain()"]


ROMKIT = main_of("romkit")


def argv(*args: str | Path, preamble: str = "") -> list[str]:
    """A command line of romkit."""
    return [*main_of("romkit", preamble), *map(str, args)]


def run(
    *args: str | Path, stdin: bytes = b"", preamble: str = "", **env: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv(*args, preamble=preamble),
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "120", **env},
    )


def unprivileged() -> list[str]:
    """What takes root's right to read everything; nothing where we have no such right."""
    if os.geteuid() != 0:
        return []
    try:
        done = subprocess.run([*_UNPRIVILEGED, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("root, without setpriv, reads every file")
    if done.returncode:
        pytest.skip("root may not drop its rights here")
    return _UNPRIVILEGED
