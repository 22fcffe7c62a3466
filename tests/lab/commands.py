"""Runs inside the lab: many `passthrough` commands, each without Python's start.

    python tests/lab/commands.py

Reads the words of each from a line of JSON. Prints ``N| line`` for each line that it says, ``N>
PID`` when its guest runs or it has ended, and ``N< STATUS`` at its end; N counts from 0, and what
is awaited is followed by a line with a dot.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
from typing import NoReturn

import passthrough


def load_all() -> None:
    """Import what commands import when they need it."""
    for package in (passthrough, importlib.import_module("romkit")):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    importlib.import_module("qemu.qmp")


def say(text: str) -> None:
    """A line at once, whole: others write beside us."""
    os.write(1, f"{text}\n".encode())


def become(words: list[str], out: int) -> NoReturn:
    """Be the command."""
    from passthrough.cli import main

    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["passthrough", *words]
    status = 1
    try:
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def relay(number: int, words: list[str]) -> NoReturn:
    """Run a command and pass on what it says."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        become(words, out)
    os.close(out)
    begun = f"{number}> {pid}\n{number}> ."
    with os.fdopen(end, encoding="utf-8", errors="replace") as said:
        for line in said:
            say(f"{number}| {line.rstrip()}")
            if " runs;" in line:
                say(begun)
                begun = ""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    say(f"{begun}\n{number}< {status}\n{number}< .")
    os._exit(0)


def main() -> None:
    """Start what is asked for, until there is nothing more."""
    load_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number, line in enumerate(sys.stdin):
        if os.fork() == 0:
            relay(number, json.loads(line))


if __name__ == "__main__":
    main()
