"""Where the lab keeps what it has downloaded and built, outside the tree."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """``DGPUKIT_LAB_CACHE``, or a folder of its own in the user's cache."""
    chosen = os.environ.get("DGPUKIT_LAB_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen or Path(home) / "dgpukit-lab").absolute()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache; `make` fills it the first time, whole or not at all.

    Runs at the same time wait for each other, so that each thing is made once.

    Raises:
        whatever `make` raises; nothing is kept then.
    """
    folder = cache_folder() / name
    with _locked(cache_folder() / f".{name}.lock"):
        if folder.is_dir():
            return folder
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_folder()))
        try:
            make(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return folder
