"""The one writer. Everything that changes a host goes through `Machine`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from diag.host import Host, Transcript, search_path
from passthrough.errors import Locked, NeedsRoot, PassthroughError, WriteBlocked, WriteFailed

#: Seconds. The kernel answers most writes at once; a driver that lets go of a card may take a few.
WRITE_LIMIT = 15.0
#: Seconds. Loading a driver runs its probe; unloading one waits for its last user.
PROGRAM_LIMIT = 60.0

#: Seconds that a killed writer may take to end.
_DYING = 1.0

_REFUSED = (errno.EACCES, errno.EPERM)


class Machine:
    """A host that may be written.

    Args:
        host: how to read it.
        write_limit: seconds after which a write counts as blocked.
    """

    def __init__(self, host: Host, *, write_limit: float = WRITE_LIMIT) -> None:
        self.host = host
        self.write_limit = write_limit
        #: What steps have read for their caller, by their names: a ROM.
        self.taken: dict[str, bytes] = {}

    def write(self, path: str, text: str, *, limit: float | None = None) -> None:
        """Write a line to a kernel file, in one write(2), in a process of its own.

        The newline is added here: an empty write never reaches the kernel, and ``rom`` takes "0"
        for "on" where it takes "0" and a newline for "off". The file must exist.

        Raises:
            NeedsRoot: this user may not.
            WriteBlocked: it has not returned in time; says whether it goes on without us.
            WriteFailed: the kernel refused it, with the reason.
        """
        limit = self.write_limit if limit is None else limit
        number = _write_apart(path, text.encode() + b"\n", limit)
        if number in _REFUSED and os.geteuid() != 0:
            raise NeedsRoot(f"{path}: writing it needs root", hint="run it with sudo")
        if number:
            why = os.strerror(number).lower()
            raise WriteFailed(path, f"the kernel refuses {text!r}: {why}", number=number)

    def put_file(self, path: str, text: str) -> None:
        """Make an ordinary file, whole or not at all; its folder too where there is none.

        Raises:
            NeedsRoot: this user may not.
            WriteFailed: it cannot be written.
        """
        place = Path(path)
        half = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                half.write_text(text, encoding="utf-8")
                half.chmod(0o644)
                half.replace(place)
            finally:
                half.unlink(missing_ok=True)
        except OSError as error:
            raise _not_written(path, error) from None

    def drop_file(self, path: str) -> None:
        """Remove an ordinary file, and its folder if that is empty then.

        Raises:
            NeedsRoot: this user may not.
            WriteFailed: it cannot be removed.
        """
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise _not_written(path, error) from None
        with contextlib.suppress(OSError):
            Path(path).parent.rmdir()

    def give_file(self, path: str, uid: int, gid: int) -> None:
        """Change the owner and the group of a node; -1 leaves one as it is.

        Raises:
            NeedsRoot: this user may not.
            WriteFailed: it is not there.
        """
        try:
            os.chown(path, uid, gid, follow_symlinks=False)
        except OSError as error:
            raise _not_written(path, error) from None

    def make_folder(self, path: str) -> None:
        """Make a folder that everybody can enter.

        Raises:
            NeedsRoot: this user may not.
            WriteFailed: it cannot be made, or is there already.
        """
        try:
            Path(path).mkdir(mode=0o755)
        except OSError as error:
            raise _not_written(path, error) from None

    def drop_folder(self, path: str) -> None:
        """Remove a folder with the files and sockets in it.

        Raises:
            NeedsRoot: this user may not.
            WriteFailed: it cannot be removed.
        """
        try:
            shutil.rmtree(path)  # it follows no link
        except FileNotFoundError:
            return
        except OSError as error:
            raise _not_written(path, error) from None

    def run(self, *argv: str, limit: float = PROGRAM_LIMIT) -> Transcript:
        """Run a program that changes the host; what it said.

        Raises:
            PassthroughError: it is not installed, or does not end in time.
        """
        env = {**os.environ, "LC_ALL": "C", "PATH": search_path()}
        try:
            program = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=env, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise PassthroughError(f"{argv[0]} is not installed") from None
        except OSError as error:
            raise PassthroughError(f"{argv[0]}: {error.strerror}") from None
        try:
            out, err = program.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            # It may sleep in the kernel, deaf to signals: it is asked to end, and not waited for.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGTERM)
            wchan = _wchan(program.pid)
            where = f" (process {program.pid}, in {wchan})" if wchan else ""
            raise PassthroughError(
                f"{' '.join(argv)} did not end within {limit:g} s{where}",
                hint="see what holds it: fuser -v /dev/nvidia*, dmesg",
            ) from None
        said = (out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        return Transcript(tuple(argv), program.returncode, *said)

    def must_run(self, *argv: str, limit: float = PROGRAM_LIMIT) -> Transcript:
        """The same, where anything but status 0 is a failure.

        Raises:
            PassthroughError: it fails; the message has what it said.
        """
        done = self.run(*argv, limit=limit)
        if done.status != 0:
            said = " ".join((done.err or done.out).split())[-400:]
            if os.geteuid() != 0:
                raise NeedsRoot(f"{' '.join(argv)} failed: {said}", hint="run it with sudo")
            raise PassthroughError(f"{' '.join(argv)} failed with status {done.status}: {said}")
        return done


def owner_of(path: str) -> tuple[int, int] | None:
    """Owner and group of a node; None where there is none."""
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid


def _not_written(path: str, error: OSError) -> PassthroughError:
    if error.errno in _REFUSED and os.geteuid() != 0:
        return NeedsRoot(f"{path}: writing it needs root", hint="run it with sudo")
    return WriteFailed(path, (error.strerror or str(error)).lower(), number=error.errno or 0)


def _write_apart(path: str, data: bytes, limit: float) -> int:
    """Write in a child; the error's number, 0 if there was none.

    A write to a kernel file can sleep for ever, deaf even to SIGKILL. Nobody can time that out in
    the process that sleeps; so another one does it, and we watch.
    """
    pid = os.fork()
    if pid == 0:
        number = errno.EIO
        try:
            os.setsid()  # Ctrl-C at the terminal is ours to handle
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            # Nothing of ours may stay open in a process that could outlive us: not the lock.
            os.closerange(3, fd)
            os.closerange(fd + 1, 1024)
            number = 0 if os.write(fd, data) == len(data) else errno.EIO
        except OSError as error:
            number = error.errno or errno.EIO
        finally:
            os._exit(number if number < 256 else errno.EIO)
    watch = os.pidfd_open(pid)
    try:
        ready = select.poll()
        ready.register(watch, select.POLLIN)
        if not ready.poll(limit * 1000):
            blocked = WriteBlocked(path, limit, pid, _wchan(pid), _last_words(pid))
            # What ends now has done nothing. A driver that cannot be stopped goes on, and what it
            # does when it is free again nobody has taken into account.
            os.kill(pid, signal.SIGKILL)
            blocked.goes_on = not ready.poll(_DYING * 1000)
            if not blocked.goes_on:
                os.waitpid(pid, 0)
                blocked.hint = "it was stopped; dmesg may say what the driver waited for"
            raise blocked
    finally:
        os.close(watch)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else errno.EINTR


def _wchan(pid: int) -> str:
    """The kernel function that a process sleeps in; empty where the kernel does not say."""
    for name in ("wchan", "stack"):
        with contextlib.suppress(OSError):
            said = Path(f"/proc/{pid}/{name}").read_text().strip()
            if said not in ("", "0"):
                return said.splitlines()[0].partition("] ")[2] or said.splitlines()[0]
    return ""


def _last_words(pid: int) -> str:
    """The kernel's last line about a process, or about a device that is waited for."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    found = ""
    try:
        while True:
            try:
                line = os.read(log, 8192).decode("utf-8", "replace").partition(";")[2]
            except BrokenPipeError:  # the ring has moved on; the next read is at its new start
                continue
            except BlockingIOError:
                return found
            about = ("device request", "currently in use", "non-zero usage count", f"({pid})")
            if any(word in line for word in about):
                found = line.splitlines()[0]
    finally:
        os.close(log)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only run that changes this host.

    Raises:
        Locked: another one is at work.
        NeedsRoot: this user may not even try.
    """
    path = folder / "lock"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _REFUSED:
            message = f"changing this machine needs root ({path}: permission denied)"
            raise NeedsRoot(message, hint="run it with sudo") from None
        raise PassthroughError(f"{path}: {(error.strerror or '').lower()}") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(fd, 64).decode("ascii", "replace").strip() or "unknown"
            raise Locked(
                f"another passthrough run is at work (process {who})", hint="wait for its end"
            ) from None
        with contextlib.suppress(OSError):  # a full disk: who holds it is only for messages
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(fd)
