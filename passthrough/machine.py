"""The one writer. Everything that changes a host goes through `Machine`."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from diag.host import Host, Transcript, search_path
from passthrough.errors import (
    NeedsRoot,
    PassthroughError,
    ProgramBlocked,
    WriteBlocked,
    WriteFailed,
)
from passthrough.waiting import last_words, wchan, writer_of

#: Seconds. The kernel answers most writes at once; a driver that lets go of a card may take a few.
WRITE_LIMIT = 15.0
#: Seconds. Loading a driver runs its probe; unloading one waits for its last user.
PROGRAM_LIMIT = 60.0

#: Seconds after which it is told what is waited for.
_TELL_AFTER = 3.0
#: Seconds that a killed writer may take to end.
_DYING = 1.0


#: Is told what is waited for, while there is still hope.
Tell = Callable[[str], None]

#: Bytes that `Machine.exchange` takes for an answer.
_ANSWER = 1 << 16

#: More than any of our processes has open.
_FILES = 4096

_REFUSED = (errno.EACCES, errno.EPERM)


def _go_on() -> None:
    """Nobody wants an end."""


class Machine:
    """A host that may be written.

    Args:
        host: how to read it.
        write_limit: seconds after which a write counts as blocked.
        tell: is told of what takes more than some seconds.
    """

    def __init__(
        self, host: Host, *, write_limit: float = WRITE_LIMIT, tell: Tell = lambda _text: None
    ) -> None:
        self.host = host
        self.write_limit = write_limit
        self.tell = tell
        #: What steps have read for their caller, by their names: a ROM.
        self.taken: dict[str, bytes] = {}
        #: Asked by what only waits: raises if the user wants an end.
        self.ask: Callable[[], None] = _go_on

    @contextlib.contextmanager
    def asking(self, ask: Callable[[], None]) -> Iterator[None]:
        """In here waiting ends by what `ask` raises. What is being undone is never broken off."""
        self.ask = ask
        try:
            yield
        finally:
            self.ask = _go_on

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
        number = _write_apart(path, text.encode() + b"\n", limit, self.tell)
        if number in _REFUSED and os.geteuid() != 0:
            raise NeedsRoot(f"{path}: writing it needs root", hint="run it with sudo")
        if number:
            why = os.strerror(number).lower()
            raise WriteFailed(path, f"the kernel refuses {text!r}: {why}", number=number)

    @contextlib.contextmanager
    def exchange(self, path: str) -> Iterator[Callable[[str], str]]:
        """Write lines to a file that answers each when it is read, as acpi_call's.

        All is done by one process of its own: there may be thousands of questions.

        Yields:
            what asks one question; it raises as `write` does.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            _answer_and_end(path, theirs)
        theirs.close()

        def ask(text: str) -> str:
            ours.send(text.encode())
            if not select.select([ours], [], [], self.write_limit)[0]:
                raise WriteBlocked(
                    path, self.write_limit, writer_of(pid), wchan(pid), last_words(pid)
                )
            said = ours.recv(_ANSWER + 1)
            number = said[0] if said else errno.EIO
            if number:
                raise _not_written(path, OSError(number, os.strerror(number)))
            return said[1:].decode("utf-8", "replace").rstrip("\n\0")

        try:
            yield ask
        finally:
            ours.close()
            os.kill(pid, signal.SIGKILL)
            _reap(pid)

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

    def drop_empty_folder(self, path: str) -> None:
        """Remove a folder in which nothing is, like a control group.

        Raises:
            NeedsRoot: this user may not.
            WriteFailed: it cannot be removed, or is not empty.
        """
        try:
            Path(path).rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _not_written(path, error) from None

    def run(self, *argv: str, limit: float = PROGRAM_LIMIT) -> Transcript:
        """Run a program that changes the host; what it said.

        Raises:
            ProgramBlocked: it does not end in time; says whether it goes on without us.
            PassthroughError: it is not installed.
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
        out, err = self._await(program, argv, limit)
        said = (out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        return Transcript(tuple(argv), program.returncode, *said)

    def _await(
        self, program: subprocess.Popen[bytes], argv: tuple[str, ...], limit: float
    ) -> tuple[bytes, bytes]:
        """What a program has written, when it has ended."""
        first = min(limit, _TELL_AFTER)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return program.communicate(timeout=first)
        self.tell(_waited_for(" ".join(argv), program.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            return program.communicate(timeout=limit - first)
        blocked = ProgramBlocked(argv, limit, writer_of(program.pid), wchan(program.pid))
        # What sleeps in the kernel is deaf to signals, and what it does when it is free again
        # nobody has taken into account.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        try:
            program.wait(_DYING)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(_DYING)
        blocked.goes_on = program.returncode is None
        for stream in filter(None, (program.stdout, program.stderr)):
            stream.close()
        raise blocked

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


def _waited_for(what: str, pid: int) -> str:
    """What is told of something that takes its time."""
    place = wchan(pid)
    where = f" (process {pid} sleeps in {place})" if place else f" (process {pid})"
    return f"still waiting for {what}{where}"


def _write_apart(path: str, data: bytes, limit: float, tell: Tell) -> int:
    """Write in a child; the error's number, 0 if there was none.

    A write to a kernel file can sleep for ever, deaf even to SIGKILL. Nobody can time that out in
    the process that sleeps; so another one does it, and we watch.
    """
    pid = os.fork()
    if pid == 0:
        _write_and_end(path, data)
    watch = os.pidfd_open(pid)
    try:
        ready = select.poll()
        ready.register(watch, select.POLLIN)
        first = min(limit, _TELL_AFTER)
        ended = ready.poll(first * 1000)
        if not ended and limit > first:
            tell(_waited_for(path, pid))
            ended = ready.poll((limit - first) * 1000)
        if not ended:
            blocked = WriteBlocked(path, limit, writer_of(pid), wchan(pid), last_words(pid))
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


def _reap(pid: int) -> None:
    """Wait for a killed child, but not for one that sleeps in the kernel."""
    watch = os.pidfd_open(pid)
    try:
        if select.select([watch], [], [], _DYING)[0]:
            os.waitpid(pid, 0)
    finally:
        os.close(watch)


def _write_and_end(path: str, data: bytes) -> NoReturn:
    """The child's part of `_write_apart`."""
    number = errno.EIO
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        _let_go(fd)
        number = 0 if os.write(fd, data) == len(data) else errno.EIO
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os._exit(number if number < 256 else errno.EIO)


def _answer_and_end(path: str, link: socket.socket) -> NoReturn:
    """The child's part of `Machine.exchange`."""
    try:
        _let_go(link.fileno())
        while words := link.recv(1024):
            link.send(_answer(path, words))
    finally:
        os._exit(0)


def _answer(path: str, words: bytes) -> bytes:
    """An error's number, 0 for none, then what a file answers."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, words + b"\n")
        finally:
            os.close(fd)
        with Path(path).open("rb") as file:
            return b"\0" + file.read(_ANSWER)
    except OSError as error:
        return bytes([error.errno or errno.EIO])


def _let_go(keep: int) -> None:
    """What could outlive us holds on to nothing of ours but one file: not to the lock, and not to
    what we print to, since whoever reads that waits for the last that could write there.
    """
    os.setsid()  # Ctrl-C at the terminal is ours to handle
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        if stream != keep:
            os.dup2(nowhere, stream)
    os.closerange(3, keep)
    os.closerange(max(keep + 1, 3), _FILES)
    os.chdir("/")
