"""The only door to a machine: the live one, a directory, or a capture. It reads and never writes.

Absent and unreadable are two facts here. What is absent is None; what is there and cannot be read
raises `Unreadable`, which a check turns into "unknown".
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import join, normpath

from diag.errors import Unreadable
from diag.tree import Kind, Tree

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

#: Seconds that such an attribute may take.
PATIENCE = 2.0

#: Programs of an administrator are not in everybody's PATH.
PROGRAM_FOLDERS = (
    "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin",
)  # fmt: skip

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
_REFUSED = (errno.EACCES, errno.EPERM)


def search_path() -> str:
    """Where programs are looked for: PATH, then an administrator's folders.

    An empty or relative part of PATH would mean the current folder, whoever may write there.
    """
    parts = [*os.environ.get("PATH", "").split(":"), *PROGRAM_FOLDERS]
    return ":".join(part for part in parts if part.startswith("/"))


class FolderTree:
    """A directory of this machine; ``/`` is the machine itself."""

    def __init__(self, root: Path) -> None:
        self._root = "" if root == Path("/") else os.fspath(root)

    def __repr__(self) -> str:
        return f"<FolderTree {self._root or '/'}>"

    def kind(self, path: str) -> Kind:
        """What `path` is itself."""
        mode = os.lstat(self._root + path).st_mode
        if stat.S_ISREG(mode):
            return Kind.FILE
        if stat.S_ISDIR(mode):
            return Kind.FOLDER
        return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER

    def data(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes from the start of a file.

        The file is opened without waiting: a FIFO or a device never holds diag up. An attribute of
        this machine that may block gives a TimeoutError.
        """
        if not self._root and path.rpartition("/")[2] in _MAY_BLOCK:
            return _read_apart(path, limit)
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
        return os.fspath(Path(self._root + path).readlink())

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        return [entry.name for entry in Path(self._root + path).iterdir()]


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

    def _kind(self, path: str) -> Kind | None:
        place = self.chase(path)
        try:
            return self._tree.kind(place)
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
        place = self.chase(path)
        try:
            return self._tree.data(place, limit)
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
        place = f"{self.chase(folder or '/').rstrip('/')}/{name}"
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
            return tuple(sorted(self._tree.names(self.chase(path))))
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
                done = subprocess.run(
                    [program, *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True,
                    timeout=RUN_LIMIT, env=env, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Unreadable(" ".join(argv), f"did not end within {RUN_LIMIT:g} s") from None
            except OSError as error:
                raise _unreadable(" ".join(argv), error) from None
            out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
            self._transcripts[argv] = Transcript(argv, done.returncode, out, err)
        return self._transcripts[argv]

    # udev.

    def properties(self, address: str) -> Mapping[str, str]:
        """What udev's database says of a PCI device; empty where it does not know it.

        Live it is asked by pyudev; a capture has udev's own files (``E:KEY=value``).

        Raises:
            Unreadable: the database is there and cannot be read, or the kernel does not answer.
        """
        if self.live:
            # libudev reads this too, and would wait for as long as the kernel does.
            self.data(f"/sys/bus/pci/devices/{address}/uevent")
            return _live_properties(address)
        said = self.text(f"/run/udev/data/+pci:{address}") or ""
        pairs = (line[2:].partition("=") for line in said.splitlines() if line.startswith("E:"))
        return {key: value for key, _, value in pairs}


def _read_apart(path: str, limit: int) -> bytes:
    """Read a file in a process of its own, which is left behind if the kernel does not answer.

    Raises:
        TimeoutError: it has not answered in time.
        OSError: as the kernel says.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            os.setsid()
            os.write(theirs, os.read(fd, min(limit, 4096)))
        except OSError as error:
            status = error.errno or errno.EIO
        finally:
            os._exit(status)
    os.close(theirs)
    os.close(fd)
    watch = os.pidfd_open(pid)
    try:
        ready = select.poll()
        ready.register(watch, select.POLLIN)
        if not ready.poll(PATIENCE * 1000):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
        _, status = os.waitpid(pid, 0)
        number = os.waitstatus_to_exitcode(status)
        if number > 0:
            raise OSError(number, os.strerror(number), path)
        return os.read(ours, 4096)
    finally:
        os.close(watch)
        os.close(ours)


def _live_properties(address: str) -> Mapping[str, str]:
    try:
        import pyudev
    except ImportError:  # libudev is not there
        return {}
    try:
        device = pyudev.Devices.from_name(pyudev.Context(), "pci", address)
        return dict(device.properties)
    except (pyudev.DeviceNotFoundError, OSError):
        return {}


def _unreadable(path: str, error: OSError) -> Unreadable:
    if error.errno == errno.ETIMEDOUT:  # here, or when the capture was taken
        why = f"the kernel has not answered for {PATIENCE:g} s: a driver waits inside it"
        return Unreadable(path, why, hint="end what uses the device; see dmesg")
    needs_root = error.errno in _REFUSED
    why = os.strerror(error.errno) if error.errno else str(error)
    hint = "run it again as root, or with sudo" if needs_root else ""
    return Unreadable(path, why[:1].lower() + why[1:], needs_root=needs_root, hint=hint)
