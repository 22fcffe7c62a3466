"""Kernel modules for a lab, built when a test asks for them.

They are built against Debian's headers of the lab's kernel, which are unpacked into the cache and
never installed, with this machine's gcc and make. Built modules are not part of the project.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from lab.cache import cached
from lab.kernel import Kernel, fetch_kernel, kmod
from lab.packages import LabUnavailable, dependency, unpack

SOURCES = Path(__file__).parent / "sources"
#: Seconds that a build may take; it takes two to four.
BUILD_LIMIT = 300


class BuildError(Exception):
    """A module does not compile. The message is what make said."""


def compiler() -> tuple[str, str]:
    """The paths of make and gcc.

    Raises:
        LabUnavailable: one of them is not installed.
    """
    make, gcc = shutil.which("make"), shutil.which("gcc")
    if make is None or gcc is None:
        raise LabUnavailable("the lab's kernel modules need gcc and make: install build-essential")
    return make, gcc


def headers(kernel: Kernel) -> Path:
    """The folder to build modules for `kernel` in.

    Raises:
        LabUnavailable: apt cannot get its headers.
    """
    package = f"linux-headers-{kernel.version}"

    def make(folder: Path) -> None:
        needed = [package, dependency(package, r"linux-headers-\S+-common")]
        unpack([*needed, dependency(package, r"linux-kbuild-\S+")], folder)
        # The package names its other half as it is installed; here it lies beside.
        makefile = folder / "usr/src" / package / "Makefile"
        makefile.write_text(
            makefile.read_text().replace(
                "/usr/src/", "$(dir $(abspath $(firstword $(MAKEFILE_LIST))))../"
            )
        )

    return cached(f"headers-{kernel.version}", make) / "usr/src" / package


@functools.cache
def build(source: Path) -> Path:
    """The folder of the modules that the folder `source` makes (its Kbuild or Makefile says which).

    The cache keeps them for as long as neither the source nor the kernel changes.

    Raises:
        LabUnavailable: there are no headers, no gcc or no make.
        BuildError: it does not compile.
    """
    kernel = fetch_kernel()

    def compile_all(folder: Path) -> None:
        make, gcc = compiler()
        tree = headers(kernel)
        room = folder / "build"
        shutil.copytree(source, room)
        # A surrounding make would pass on its own flags and variables.
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        command = [make, "-C", str(tree), f"M={room}", f"CC={gcc}", "modules"]
        done = subprocess.run(
            command, check=False, env=env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=BUILD_LIMIT,
        )  # fmt: skip
        if done.returncode != 0:
            raise BuildError(f"{source.name} does not compile:\n{done.stdout}{done.stderr}")
        for module in room.glob("*.ko"):
            module.rename(folder / module.name)
        shutil.rmtree(room)

    digest = hashlib.sha256(kernel.version.encode())
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(b"%s\0%d\0" % (bytes(file.relative_to(source)), file.stat().st_size))
        digest.update(file.read_bytes())
    return cached(f"module-{source.name}-{digest.hexdigest()[:12]}", compile_all)


def build_module(source: Path) -> Path:
    """The one module that `source` makes.

    Raises:
        LabUnavailable: there are no headers, no gcc or no make.
        BuildError: it does not compile.
    """
    (module,) = build(source).glob("*.ko")
    return module


def bbswitch() -> Path:
    """Debian's bbswitch, as it comes.

    Raises:
        LabUnavailable: its source cannot be had, or modules cannot be built here.
    """
    folder = cached("bbswitch-dkms", lambda folder: unpack(["bbswitch-dkms"], folder))
    (source,) = (folder / "usr/src").glob("bbswitch-*")
    return build_module(source)


def acpi_call() -> Path:
    """Debian's acpi_call, as it comes: it evaluates any method of the firmware's tables.

    Raises:
        LabUnavailable: its source cannot be had, or modules cannot be built here.
    """
    folder = cached("acpi-call-dkms", lambda folder: unpack(["acpi-call-dkms"], folder))
    (source,) = (folder / "usr/src").glob("acpi-call-*")
    return build_module(source)


def nvhda() -> Path:
    """Our nvhda, which can also be bbswitch (``sources/nvhda``).

    Raises:
        LabUnavailable: modules cannot be built here.
    """
    return build_module(SOURCES / "nvhda")


def nvidia() -> Path:
    """Our nvidia (``sources/nvidia``); nvidia-modeset.ko and nvidia-drm.ko lie beside it.

    Raises:
        LabUnavailable: modules cannot be built here.
    """
    return build(SOURCES / "nvidia") / "nvidia.ko"


@functools.cache
def module_tree() -> Path:
    """What to mount over ``/lib/modules/VERSION`` of a lab so that modprobe finds all of these.

    It is the kernel's own folder with them added and indexed.

    Raises:
        LabUnavailable: modules cannot be built here.
    """
    kernel = fetch_kernel()
    added = sorted([bbswitch(), nvhda(), *nvidia().parent.glob("*.ko")])

    def index(folder: Path) -> None:
        tree = folder / "lib/modules" / kernel.version
        # Linked, not copied: the kernel's modules are hundreds of megabytes.
        shutil.copytree(kernel.modules, tree, copy_function=os.link, symlinks=True)
        for old in tree.glob("modules.*"):
            # depmod writes new ones, and must not write through the links.
            data = old.read_bytes()
            old.unlink()
            old.write_bytes(data)
        (tree / "updates").mkdir(exist_ok=True)
        for module in added:
            shutil.copy(module, tree / "updates")
        command = [kmod("depmod"), "-b", str(folder), kernel.version]
        subprocess.run(command, check=True, capture_output=True, timeout=BUILD_LIMIT)

    digest = hashlib.sha256("\n".join(map(str, added)).encode()).hexdigest()[:12]
    return cached(f"modules-{kernel.version}-{digest}", index) / "lib/modules" / kernel.version
