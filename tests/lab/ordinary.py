"""Runs inside the lab: dry runs as root and as nobody, and a write as nobody.

    python tests/lab/ordinary.py USER

One program for all: an ordinary user need not be able to start this checkout's Python. Prints JSON.
"""

from __future__ import annotations

import json
import os
import sys

from typer.testing import CliRunner

import passthrough.engine  # noqa: F401  (what is imported later may be out of reach)
from passthrough.cli import app
from passthrough.render import plan as _plan  # noqa: F401  (the same)

DRY_RUNS = (
    ("detach", "gpu"), ("reset", "--full"), ("reset",), ("reattach", "gpu"), ("refresh",),
    ("rom", "dump", "01:00.0", "-o", "x.rom"),
)  # fmt: skip


def ask(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


def main() -> None:
    as_root = [ask(*words, "--dry-run", "--json") for words in DRY_RUNS]
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
    as_nobody = [ask(*words, "--dry-run", "--json") for words in DRY_RUNS]
    writes = [ask(*words) for words in (("detach", "gpu"), ("reset", "--full"))]
    print(json.dumps({"root": as_root, "nobody": as_nobody, "writes": writes}))


if __name__ == "__main__":
    main()
