"""The stand-in for NVIDIA's driver and programs in a lab. ``sources/README.md`` has its limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lab import modules
from lab.machine import Lab

#: Who has this open uses the GPU.
NODE = "/dev/nvidia0"
KNOBS = "/sys/module/nvidia/parameters"

#: In front of a real one's folder in a lab's PATH.
_PROGRAMS = "/usr/local/sbin"
_NAMES = ("nvidia-smi", "nvidia-persistenced")


@contextlib.contextmanager
def driver_installed(lab: Lab) -> Iterator[None]:
    """nvidia is installed, not loaded: modprobe finds the modules, PATH has the programs.

    modprobe knows nvidia, nvidia-modeset, nvidia-drm, nvhda and bbswitch inside.

    Raises:
        LabUnavailable: modules cannot be built here.
    """
    place = f"/lib/modules/{lab.kernel.version}"
    programs = " ".join(str(modules.SOURCES / name) for name in _NAMES)
    lab.sh(
        f"mkdir -p {_PROGRAMS} && ln -sf {programs} {_PROGRAMS}/ && "
        f"mount -n --bind {modules.module_tree()} {place}"
    ).check()
    try:
        yield
    finally:
        unload_driver(lab)
        links = " ".join(f"{_PROGRAMS}/{name}" for name in _NAMES)
        lab.sh(f"umount -n {place} && rm {links}").check()


def unload_driver(lab: Lab) -> None:
    """Unload what is loaded of nvidia, in its order.

    Raises:
        LabError: it is in use.
    """
    lab.sh(
        "for module in nvidia_drm nvidia_modeset nvidia; do "
        "test ! -d /sys/module/$module || rmmod $module || exit 1; done"
    ).check()
