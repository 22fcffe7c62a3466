"""The firmware table that makes a lab an Optimus laptop."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from lab.cache import cached
from lab.packages import LabUnavailable, unpack

SOURCE = Path(__file__).parent / "sources/optimus.dsl"


def iasl_path() -> Path:
    """ACPICA's compiler: the installed one, or Debian's package, unpacked.

    Raises:
        LabUnavailable: neither can be had.
    """
    installed = shutil.which("iasl")
    if installed is not None:
        return Path(installed)
    folder = cached("acpica-tools", lambda folder: unpack(["acpica-tools"], folder))
    return folder / "usr/bin/iasl"


def optimus_table() -> Path:
    """``sources/optimus.dsl``, compiled.

    Raises:
        LabUnavailable: there is no compiler here, or it refuses the source.
    """

    def make(folder: Path) -> None:
        command = [str(iasl_path()), "-we", "-p", str(folder / "optimus"), str(SOURCE)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise LabUnavailable(f"iasl does not compile {SOURCE.name}: {done.stdout}{done.stderr}")

    recipe = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    return cached(f"ssdt-{recipe}", make) / "optimus.aml"
