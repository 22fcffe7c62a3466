"""Programs in Python that start in a fork of the lab's agent, which has imported what they share.

An interpreter takes half a second to start without KVM, what our commands import two to four more.
The agent has that behind it when a snapshot is taken; a change of any of these files means another
snapshot. Then the script that pip has installed runs, in a process of its own.

What differs from a program that was executed: /proc/PID/cmdline is the agent's, strings have the
same hashes each time, and modules are imported before the command knows its arguments, all of them.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import io
import os
import shutil
import signal
import sys
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Console scripts that start like this. All others are executed.
PROGRAMS = ("diag", "passthrough", "romkit")

#: What they import of the standard library and of other projects. What searches for libraries as it
#: is imported (pyudev) would search before the lab has this machine's files.
MODULES = (
    "asyncio", "base64", "copy", "ctypes.util", "dataclasses", "datetime", "difflib", "glob", "grp",
    "hashlib", "html", "inspect", "ipaddress", "json", "locale", "logging", "mmap", "pathlib",
    "platform", "pwd", "queue", "random", "resource", "select", "shlex", "shutil", "socket",
    "struct", "tarfile", "tempfile", "textwrap", "tomllib", "typing", "urllib.parse", "uuid",
    "typer", "typer.completion", "typer.core", "typer.main",
)  # fmt: skip

_PR_SET_NAME = 15


def import_shared(ours: Sequence[str]) -> None:
    """Import `MODULES` and `ours`, as far as they are to be had."""
    for name in (*MODULES, *ours):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def script_path(argv: Sequence[str], env: Mapping[str, str]) -> str | None:
    """The script that `argv` runs, if a fork of this interpreter would do the same as a new one."""
    if Path(argv[0]).name not in PROGRAMS:
        return None
    if any(name.startswith(("PYTHON", "LC_", "LANG", "LD_")) for name in env):
        return None
    path = shutil.which(argv[0], path=env.get("PATH", os.environ.get("PATH")))
    if path is None:
        return None
    with Path(path).open("rb") as file:
        first = file.readline()
    return path if first.rstrip() == b"#!" + os.fsencode(sys.executable) else None


def open_streams() -> None:
    """Standard input, output and error, as an interpreter makes them for LANG=C.UTF-8."""
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8", "surrogateescape"
    )
    for name, fd, errors in (("stdout", 1, "surrogateescape"), ("stderr", 2, "backslashreplace")):
        raw = io.FileIO(fd, "w", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw), "utf-8", errors, line_buffering=fd == 2 or raw.isatty()
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run_script(path: str, argv: Sequence[str]) -> None:
    """Be the script at `path`. Never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, os.fsencode(Path(path).name[:15]), 0, 0, 0)
    importlib.invalidate_caches()
    sys.argv = [path, *argv[1:]]
    sys.path[0] = str(Path(path).parent)
    source = Path(path).read_bytes()
    end(lambda: _run(source, path))


def _run(source: bytes, path: str) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    exec(compile(source, path, "exec"), main.__dict__)


def end(run: Callable[[], object]) -> None:
    """Call `run` as an interpreter runs its program, and end as that ends. Never returns."""
    status = 0
    try:
        try:
            run()
        finally:
            threading._shutdown()
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            status = left.code or 0
        else:
            print(left.code, file=sys.stderr)
            status = 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any longer
        status = 120
    os._exit(status & 0xFF)
