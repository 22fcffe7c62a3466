"""From the first file system of a lab to this machine's own ``/``, with a tmpfs over it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: Where a lab's own files are, inside it.
INSIDE = Path("/run/lab")

#: include/uapi/linux/mount.h
_READ_ONLY, _BIND, _MOVE = 1, 4096, 8192
_9P = "trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any"


class RootError(Exception):
    """This machine's files cannot be had in the lab."""


_libc = ctypes.CDLL(None, use_errno=True)


def _mount(what: str, where: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    if _libc.mount(what.encode(), where.encode(), kind.encode(), flags, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {what} on {where}: {os.strerror(number)}")


def enter(tree: str, version: str) -> None:
    """Make this machine's ``/`` the root, read-only below a tmpfs.

    Args:
        tree: where the kernel's package is unpacked, on this machine.
        version: the kernel's.

    Raises:
        RootError: 9p does not give it.
        OSError: one of the other mounts is refused.
    """
    for place in ("/ro", "/rw", "/new"):
        Path(place).mkdir()
    try:
        _mount("root", "/ro", "9p", _READ_ONLY, _9P)
    except OSError as error:
        raise RootError(error.strerror) from error
    _mount("rw", "/rw", "tmpfs", options="mode=755")
    Path("/rw/upper").mkdir()
    Path("/rw/work").mkdir()
    overlay = "lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work,xino=off"
    _mount("overlay", "/new", "overlay", options=overlay)
    for name in ("proc", "sys", "dev"):
        _mount(f"/{name}", f"/new/{name}", flags=_MOVE)
    _mount("run", "/new/run", "tmpfs", options="mode=755")
    inside, modules = Path(f"/new{INSIDE}"), f"lib/modules/{version}"
    inside.mkdir()
    for place in ("dev/pts", "dev/shm", modules):
        Path("/new", place).mkdir(parents=True, exist_ok=True)
    _mount("devpts", "/new/dev/pts", "devpts")
    _mount("shm", "/new/dev/shm", "tmpfs")
    (inside / "written").mkdir()
    _mount("/rw", str(inside / "written"), flags=_MOVE)
    _mount(f"/new{tree}/{modules}", f"/new/{modules}", flags=_BIND)
    os.chdir("/new")
    _mount(".", "/", flags=_MOVE)
    os.chroot(".")
    os.chdir("/")
