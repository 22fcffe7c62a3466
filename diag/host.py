"""The only door to a machine: the live one, a directory, or a capture. It reads and never writes.

Absent and unreadable are two facts here. What is absent is None; what is there and cannot be read
raises `Unreadable`, which a check turns into "unknown".
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import join, normpath
from typing import TYPE_CHECKING

from diag.apart import PATIENCE, apart
from diag.errors import Unreadable
from diag.tree import Kind, Tree

if TYPE_CHECKING:
    from diag.uevents import Uevents

#: Bytes. More than any text that diag reads from a kernel; pci.ids has 1.5 MB, modules.alias 2 MB.
LIMIT = 16 << 20

#: Bytes asked for at once: below /proc/sys the kernel refuses 4 MiB and more (ENOMEM).
_PIECE = 1 << 16

#: Links followed for one path, as the kernel does (MAXSYMLINKS).
MAX_LINKS = 40

#: Seconds that a program may take.
RUN_LIMIT = 20.0

#: Attributes that the kernel answers only when nobody holds the device's lock. A driver that waits
#: for its last user while it lets go of a device holds it for as long as that takes.
_MAY_BLOCK = ("driver_override", "sriov_numvfs", "uevent")

#: Programs of an administrator are not in everybody's PATH.
PROGRAM_FOLDERS = (
    "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin",
)  # fmt: skip

#: Subsystems that are buses; others are classes of devices, in a folder of another kind.
_BUSES = ("mdev", "pci")

#: The socket by which udev's daemon is told to end: it is there for as long as the daemon is.
_UDEV_DAEMON = "/run/udev/control"

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
_REFUSED = (errno.EACCES, errno.EPERM)


def search_path() -> str:
    """Where programs are looked for: PATH, then an administrator's folders.

    An empty or relative part of PATH would mean the current folder, whoever may write there.
    """
    parts = [*os.environ.get("PATH", "").split(":"), *PROGRAM_FOLDERS]
    return ":".join(part for part in parts if part.startswith("/"))


def _kind_of(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER


class FolderTree:
    """A directory of this machine; ``/`` is the machine itself."""

    def __init__(self, root: Path) -> None:
        self._root = "" if root == Path("/") else os.fspath(root)

    def __repr__(self) -> str:
        return f"<FolderTree {self._root or '/'}>"

    def kind(self, path: str) -> Kind:
        """What `path` is itself."""
        return _kind_of(os.lstat(self._root + path).st_mode)

    def data(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes from the start of a file.

        The file is opened without waiting: a FIFO or a device never holds diag up. An attribute of
        this machine that may block gives a TimeoutError.
        """
        if not self._root and path.rpartition("/")[2] in _MAY_BLOCK:
            return apart.read(path, limit)
        fd = os.open(self._root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            parts, left = [], limit
            # sysfs and procfs hand out their files in pieces.
            while left > 0 and (part := os.read(fd, min(left, _PIECE))):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def target(self, path: str) -> str:
        """What a link says."""
        return os.readlink(self._root + path)  # noqa: PTH115  a Path costs more than the call

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        return os.listdir(self._root + path)  # noqa: PTH208  a Path for each name costs more


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a program said.

    Attributes:
        argv: what was run.
        status: its exit status.
        out: its output as text.
        err: its complaints as text.
    """

    argv: tuple[str, ...]
    status: int
    out: str
    err: str = ""


class Host:
    """A machine to read.

    Args:
        root: a directory that holds its files; ``/`` is this machine.
        tree: its files, if they are no directory (a capture).
        transcripts: what programs said there; programs are run only on this machine.
        note: what a person calls it.
    """

    def __init__(
        self,
        root: str | Path = "/",
        *,
        tree: Tree | None = None,
        transcripts: Mapping[tuple[str, ...], Transcript] | None = None,
        note: str = "",
    ) -> None:
        self.live = tree is None and Path(root).resolve() == Path("/")
        self.note = note or ("this machine" if self.live else str(root))
        self._tree = tree or FolderTree(Path(root).resolve())
        self._transcripts = dict(transcripts or {})

    def __repr__(self) -> str:
        return f"<Host {self.note}>"

    @property
    def tree(self) -> Tree:
        """Its files as they are, links not followed: for taking a capture."""
        return self._tree

    # Paths.

    def chase(self, path: str) -> str:
        """`path` without links, every one of them followed inside the root. It need not exist.

        Raises:
            Unreadable: links lead in a circle, or a folder on the way cannot be entered.
        """
        waiting = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        followed = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                del done[-1:]
                continue
            here = "/" + "/".join([*done, part])
            try:
                is_link = self._tree.kind(here) is Kind.LINK
                target = self._tree.target(here) if is_link else None
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise _unreadable(path, error) from None
                target = None  # nothing here, and so nothing below that could be a link
            if target is None:
                done.append(part)
                continue
            followed += 1
            if followed > MAX_LINKS:
                raise Unreadable(path, "its links lead in a circle")
            if target.startswith("/"):
                done.clear()
            waiting += [part for part in target.split("/") if part not in ("", ".")][::-1]
        return "/" + "/".join(done)

    def _place(self, path: str) -> str:
        """Where a file is: the kernel follows links by itself, and faster, where no root confines
        them.
        """
        return path if self.live else self.chase(path)

    def _kind(self, path: str) -> Kind | None:
        try:
            if self.live:
                return _kind_of(Path(path).stat().st_mode)
            return self._tree.kind(self.chase(path))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _unreadable(path, error) from None

    def exists(self, path: str) -> bool:
        """Whether something is there.

        Raises:
            Unreadable: that cannot be known.
        """
        return self._kind(path) is not None

    def data(self, path: str, limit: int = LIMIT) -> bytes | None:
        """The first `limit` bytes of a file; None if there is none.

        Raises:
            Unreadable: it is there and cannot be read.
        """
        try:
            return self._tree.data(self._place(path), limit)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise _unreadable(path, error) from None

    def text(self, path: str, limit: int = LIMIT) -> str | None:
        """A file as text, without white space at its end; None if there is none.

        Raises:
            Unreadable: it is there and cannot be read.
        """
        data = self.data(path, limit)
        return None if data is None else data.decode("utf-8", "replace").rstrip("\n\0 \t")

    def link(self, path: str) -> str | None:
        """The last part of where a link leads, like a driver's name; None if there is no link.

        Raises:
            Unreadable: it is there and cannot be read.
        """
        folder, _, name = path.rpartition("/")
        place = f"{self._place(folder or '/').rstrip('/')}/{name}"
        try:
            if self._tree.kind(place) is not Kind.LINK:
                return None
            return self._tree.target(place).rstrip("/").rpartition("/")[2]
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _unreadable(path, error) from None

    def names(self, path: str) -> tuple[str, ...] | None:
        """What is in a folder, sorted; None if there is no such folder.

        Raises:
            Unreadable: it is there and cannot be listed.
        """
        try:
            return tuple(sorted(self._tree.names(self._place(path))))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise _unreadable(path, error) from None

    def links(self, path: str) -> Mapping[str, str]:
        """The links in a folder: name → where each leads from the root, without looking there.

        An open file may be on a network file system whose server is gone: to look would block.

        Raises:
            Unreadable: the folder is there and cannot be listed, or its links cannot be read.
        """
        found: dict[str, str] = {}
        for name in self.names(path) or ():
            try:
                target = self._tree.target(f"{path}/{name}")
            except OSError as error:
                if error.errno in (*_ABSENT, errno.EINVAL):  # gone meanwhile, or no link
                    continue
                raise _unreadable(path, error) from None
            found[name] = normpath(join(path, target))
        return found

    # Programs.

    def has_program(self, name: str) -> bool:
        """Whether a program is installed. It is looked for in the usual folders of the host."""
        return any(self.exists(f"{folder}/{name}") for folder in PROGRAM_FOLDERS)

    def run(self, *argv: str) -> Transcript | None:
        """What a program says; None if it is not installed, or was not run for this capture.

        Only programs that read are ever run, in the C locale, without input.

        Raises:
            Unreadable: it did not end in time, or could not be started.
        """
        if not self.live:
            return self._transcripts.get(argv)
        path = search_path()
        program = shutil.which(argv[0], path=path)
        if program is None:
            return None
        if argv not in self._transcripts:
            env = {"PATH": path, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
            try:
                status, *streams = _run([program, *argv[1:]], env)
            except subprocess.TimeoutExpired:
                raise Unreadable(" ".join(argv), f"did not end within {RUN_LIMIT:g} s") from None
            except OSError as error:
                raise _unreadable(" ".join(argv), error) from None
            out, err = (stream.decode("utf-8", "replace") for stream in streams)
            self._transcripts[argv] = Transcript(argv, status, out, err)
        return self._transcripts[argv]

    # Devices.

    def devices(self, subsystem: str) -> tuple[str, ...] | None:
        """The names of a bus's or a class's devices, sorted; None if there is no such one.

        Live udev is asked. What is there is the kernel's to say, though: udev may be missing, be
        kept out of a container, or not list yet what the kernel has just found; and what it has
        listed may be gone. So a device that is in sysfs is never left out, and no other is in.

        Raises:
            Unreadable: they are there and cannot be listed.
        """
        known: frozenset[str] = frozenset()
        if self.live:
            from diag import udev

            known = udev.listed(subsystem) or known
        place = f"bus/{subsystem}/devices" if subsystem in _BUSES else f"class/{subsystem}"
        names = self.names(f"/sys/{place}")
        if names is None:
            return None
        # Among a class's devices a file may lie: /sys/class/drm/version.
        return tuple(
            name
            for name in names
            if name in known or self._kind(f"/sys/{place}/{name}") is not Kind.FILE
        )

    def uevents(self, *subsystems: str) -> Uevents:
        """What the kernel tells from now on of devices of these subsystems, and udev's daemon if it
        runs. Without any there are no events, and waiting is looking again and again.
        """
        from diag.uevents import Uevents

        if not self.live:
            return Uevents(still=True)
        if not subsystems:
            return Uevents()
        from diag import udev

        return Uevents(udev.monitors(subsystems, daemon=self.exists(_UDEV_DAEMON)))

    def properties(self, address: str) -> Mapping[str, str]:
        """What udev's database says of a PCI device; empty where it does not know it.

        Live it is asked by pyudev; a capture has udev's own files (``E:KEY=value``).

        Raises:
            Unreadable: the database is there and cannot be read, or the kernel does not answer.
        """
        if self.live:
            from diag import udev

            # libudev reads this too, and would wait for as long as the kernel does.
            self.data(f"/sys/bus/pci/devices/{address}/uevent")
            return udev.properties("pci", address)
        said = self.text(f"/run/udev/data/+pci:{address}") or ""
        pairs = (line[2:].partition("=") for line in said.splitlines() if line.startswith("E:"))
        return {key: value for key, _, value in pairs}


def _run(argv: list[str], env: dict[str, str]) -> tuple[int, bytes, bytes]:
    """A program's status, what it says, and its complaints.

    Raises:
        TimeoutExpired: it does not end. One that sleeps in a driver is deaf to SIGKILL; it is left
            behind (`subprocess.run` would wait for it).
    """
    program = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    try:
        out, err = program.communicate(timeout=RUN_LIMIT)
    except BaseException:
        program.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(1)
        raise
    finally:
        for stream in filter(None, (program.stdout, program.stderr)):
            stream.close()
    return program.returncode, out, err


def _unreadable(path: str, error: OSError) -> Unreadable:
    if error.errno == errno.ETIMEDOUT:  # here, or when the capture was taken
        why = f"the kernel has not answered for {PATIENCE:g} s: a driver waits inside it"
        return Unreadable(path, why, hint="end what uses the device; see dmesg")
    needs_root = error.errno in _REFUSED
    why = os.strerror(error.errno) if error.errno else str(error)
    hint = "run it again as root, or with sudo" if needs_root else ""
    return Unreadable(path, why[:1].lower() + why[1:], needs_root=needs_root, hint=hint)
