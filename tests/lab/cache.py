"""Where the lab keeps what it has downloaded and built, outside the tree."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.packages import LabUnavailable

#: Seconds that a thing is kept after it was last asked for. Whoever uses one has asked for it at
#: the start of a lab, which lives half an hour. An initramfs changes with the lab's own code.
KEPT, KEPT_SHORTLY = 14 * 86400.0, 86400.0


def cache_folder() -> Path:
    """``DGPUKIT_LAB_CACHE``, or a folder of its own in the user's cache."""
    chosen = os.environ.get("DGPUKIT_LAB_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen or Path(home) / "dgpukit-lab").absolute()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache; `make` fills it the first time, whole or not at all.

    Runs at the same time wait for each other, so that each thing is made once.

    Raises:
        LabUnavailable: the cache cannot be written, or is full.
        whatever else `make` raises; nothing is kept then.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        with contextlib.suppress(OSError):  # a full cache may be read-only
            os.utime(folder)
        return folder
    try:
        with _locked(cache_folder() / f".{name}.lock"):
            if not folder.is_dir():
                _fill(folder, make)
                _sweep()
    except OSError as error:
        raise LabUnavailable(
            f"the lab cannot keep {name} in {cache_folder()} ({error}); "
            "DGPUKIT_LAB_CACHE names another folder"
        ) from error
    return folder


def _sweep() -> None:
    """Remove what nobody has asked for lately: kernels before this one, what was built for them."""
    now = time.time()
    for path in cache_folder().iterdir():
        kept = KEPT_SHORTLY if path.name.startswith("initramfs-") else KEPT
        with contextlib.suppress(OSError):
            if path.is_dir() and now - path.stat().st_mtime > kept:
                shutil.rmtree(path)


def _fill(folder: Path, make: Callable[[Path], None]) -> None:
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    # That of a run that was killed; we have the lock.
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        make(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
