"""The interpreter that runs the tests, as files for the first file system of a lab."""

from __future__ import annotations

import functools
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.packages import LabUnavailable

#: This interpreter. Its name may lead through folders (``tests/../.venv``) that a lab has not yet.
PYTHON = os.path.abspath(sys.executable)  # noqa: PTH100  a Path would follow .venv's link

if TYPE_CHECKING:
    from lab.initramfs import Cpio

HERE = Path(__file__).parent
#: Bytes from which on it is worth while to strip a file.
_LARGE = 8 << 20

#: Prints what an interpreter that has imported the agent's modules has opened.
_SOURCE = """
import json, sys
sys.path[0] = {here!r}
import server, warm
warm.import_shared({ours!r})
files = []
for module in list(sys.modules.values()):
    place = getattr(module, '__file__', None)
    if place and not place.startswith({here!r}):
        files.append([place, getattr(module, '__cached__', None)])
print(json.dumps(files))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What is needed to start it, without this machine's file system.

    Attributes:
        modules: Python source and where its compiled code is looked for.
        files: all else; path, size and time of change, in nanoseconds.
    """

    modules: tuple[tuple[str, str, int, int], ...]
    files: tuple[tuple[str, int, int], ...]


def _stamp(path: str) -> tuple[int, int]:
    stat = Path(path).stat()
    return stat.st_size, stat.st_mtime_ns


def _libraries(paths: list[str]) -> set[str]:
    """The shared libraries that programs and extension modules are linked with."""
    # It fails for what is not dynamic, and goes on.
    said = subprocess.run(["ldd", *paths], check=False, capture_output=True, text=True, timeout=60)
    words = [word for line in said.stdout.splitlines() if ":" not in line for word in line.split()]
    return {word for word in words if word.startswith("/")}


def our_modules() -> list[str]:
    """The modules of the commands that labs run, by name."""
    checkout = HERE.parent.parent
    found = []
    for package in ("romkit", "diag", "passthrough"):
        for path in sorted((checkout / package).rglob("*.py")):
            parts = path.relative_to(checkout).with_suffix("").parts
            if parts[-1] != "__main__":
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@functools.cache
def interpreter() -> Interpreter:
    """This one, with the modules that the agent imports.

    Raises:
        LabUnavailable: it cannot be looked into.
    """
    command = [PYTHON, "-c", _SOURCE.format(here=str(HERE), ours=our_modules())]
    try:
        env = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        said = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=120, env=env
        )
        files = json.loads(said.stdout)
        modules = [(source, cached) for source, cached in files if cached is not None]
        plain = [path for path, cached in files if cached is None]
        plain += _libraries([PYTHON, *(path for path in plain if ".so" in Path(path).name)])
    except (subprocess.SubprocessError, FileNotFoundError, ValueError) as error:
        raise LabUnavailable(f"the lab cannot copy {PYTHON}: {error}") from error
    prefix = Path(sys.prefix)
    plain += [PYTHON, *map(str, prefix.glob("pyvenv.cfg"))]
    plain += map(str, prefix.glob("lib/python*/site-packages/*.pth"))
    # The locale that the agent runs in; without it the interpreter takes ASCII for text.
    plain += [str(path) for path in Path("/usr/lib/locale").glob("C.[uU]*/**/*") if path.is_file()]
    return Interpreter(
        tuple(sorted((source, cached, *_stamp(source)) for source, cached in modules)),
        tuple(sorted((path, *_stamp(path)) for path in set(plain))),
    )


def add_interpreter(archive: Cpio, found: Interpreter) -> None:
    """Put `found` into `archive`, all of it where it is on this machine.

    Code is compiled so that nobody looks at its source, which is left out.
    """
    links: set[str] = set()
    for path, _, _ in found.files:
        _add(archive, Path(path), links)
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "code")
        for source, cached, _, _ in found.modules:
            py_compile.compile(
                source, str(code), source, doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )  # fmt: skip
            for path, data in ((source, b""), (cached, code.read_bytes())):
                place = _follow(archive, Path(path).parent, links) / Path(path).name
                archive.file(str(place).lstrip("/"), data)
    # It looks whether these are there before it believes that they are.
    for path in sys.path:
        if Path(path).is_dir():
            archive.folder(str(_follow(archive, Path(path), links)).lstrip("/"))
    major, minor = sys.version_info[:2]
    archive.folder(f"{sys.base_exec_prefix}/lib/python{major}.{minor}/lib-dynload".lstrip("/"))


def _add(archive: Cpio, path: Path, links: set[str]) -> None:
    place = _follow(archive, path, links)
    if str(place) not in links:
        links.add(str(place))
        archive.file(str(place).lstrip("/"), _stripped(place), place.stat().st_mode & 0o777)


def _stripped(path: Path) -> bytes:
    """A file without its debugging symbols, where binutils are installed: they are most of a
    libpython that was built here, and each snapshot would have them twice.
    """
    strip = shutil.which("strip")
    if strip is None or path.stat().st_size < _LARGE:
        return path.read_bytes()
    with tempfile.NamedTemporaryFile() as file:
        command = [strip, "--strip-debug", "-o", file.name, str(path)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
        return Path(file.name if done.returncode == 0 else path).read_bytes()


def _follow(archive: Cpio, path: Path, links: set[str]) -> Path:
    """`path` without symbolic links; those on the way to it are put into `archive`."""
    place = Path("/")
    for part in path.parts[1:]:
        if part == "..":
            place = place.parent
            continue
        step = place / part
        if step.is_symlink():
            target = step.readlink()
            if str(step) not in links:
                links.add(str(step))
                archive.link(str(step).lstrip("/"), str(target))
            place = _follow(archive, place / target, links)
        else:
            place = step
    return place
