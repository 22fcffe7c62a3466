"""Debian packages, downloaded and unpacked, never installed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path


class LabUnavailable(RuntimeError):
    """This machine cannot run the lab. The message is one sentence: what is missing, what to do."""


def _apt(*argv: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
    except FileNotFoundError:
        raise LabUnavailable(f"the lab needs Debian packages, and there is no {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise LabUnavailable(f"{' '.join(argv)} did not end within ten minutes") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise LabUnavailable(
            f"{' '.join(argv)} failed ({said}); `apt-get update` as root, or a connection to the "
            "package mirror, may be missing"
        )
    return done.stdout


def dependency(package: str, pattern: str) -> str:
    """The first dependency of `package` whose name matches, e.g. the kernel that a metapackage is.

    Raises:
        LabUnavailable: apt does not know the package.
    """
    said = _apt("apt-cache", "depends", "--no-recommends", "--no-suggests", package)
    found = re.search(rf"Depends: ({pattern})\s", said + "\n")
    if found is None:
        raise LabUnavailable(
            f"the lab needs Debian's package {package}, and apt knows none here "
            "(not Debian, or `apt-get update` was never run)"
        )
    return found[1]


def unpack(packages: Sequence[str], folder: Path) -> None:
    """Download `packages` and unpack them below `folder`.

    Raises:
        LabUnavailable: they cannot be had.
    """
    debs = folder / "debs"
    debs.mkdir()
    # apt downloads as a user of its own where it can; a folder of root's is closed to it.
    option = "APT::Sandbox::User=root"
    _apt("apt-get", "download", "-q", "-o", option, *packages, folder=debs)
    for deb in sorted(debs.iterdir()):
        _apt("dpkg-deb", "-x", str(deb), str(folder))
        deb.unlink()
    debs.rmdir()
