"""Programs that a session starts and watches: QEMU, a TPM, a switch. Beside `Machine` this is the
only file that starts what lasts.

Each carries its name in its environment, and is found again by it: also after the tool that has
started it was killed, without a file that could be lost or lie.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from passthrough.errors import PassthroughError

#: Names a program of a session: ``win10/qemu``.
MARK = "DGPUKIT_PROGRAM"

#: A disk, or what a user may have of it, is full.
_FULL = (errno.ENOSPC, errno.EDQUOT)

#: The first file descriptor of those that a program is given.
FIRST_SOCKET = 100

#: What of our environment a program needs: where its windows, its sound and its words go.
_ENVIRONMENT = (
    "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "LANG", "LC_ALL", "PATH", "PIPEWIRE_RUNTIME_DIR",
    "PULSE_SERVER", "TERM", "TZ", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_SESSION_TYPE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class User:
    """Whom a program belongs to.

    Attributes:
        uid: number of the user.
        gid: number of the main group.
        name: of the user.
        home: folder of the user.
    """

    uid: int
    gid: int
    name: str
    home: str


def find_user(wanted: str | None = None) -> User:
    """The user who has called: behind sudo or pkexec too.

    Args:
        wanted: name or number of another one.

    Raises:
        PassthroughError: there is no such user.
    """
    text = wanted or os.environ.get("SUDO_UID") or os.environ.get("PKEXEC_UID") or str(os.getuid())
    try:
        entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        raise PassthroughError(
            f"there is no user {text}", hint="name the user who gets the guest by --user"
        ) from None
    return User(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir)


class Running:
    """A process, held by the kernel's handle for it: its number cannot come to mean another."""

    def __init__(self, pid: int) -> None:
        """Take hold of a process.

        Raises:
            ProcessLookupError: there is none.
        """
        self.pid = pid
        #: Its exit status, negative for a signal, once it has ended and was our child.
        self.status: int | None = None
        self._fd = os.pidfd_open(pid)

    def __repr__(self) -> str:
        return f"<Running {self.pid}>"

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        if not ready.poll(0):
            return False
        with contextlib.suppress(ChildProcessError):  # a child of ours leaves an entry behind
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return True

    async def gone(self, limit: float) -> bool:
        """Wait until it has ended, at most `limit` seconds; whether it has."""
        import asyncio  # whoever waits for nothing does not load it

        loop, over = asyncio.get_running_loop(), asyncio.Event()
        watch = os.dup(self._fd)  # several may wait at a time
        loop.add_reader(watch, over.set)
        try:
            with contextlib.suppress(TimeoutError):
                # No limit is for whoever waits for a guest.
                await asyncio.wait_for(over.wait(), max(limit, 0.001) if limit < 1e9 else None)
        finally:
            loop.remove_reader(watch)
            os.close(watch)
        return self.ended

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._send(signal.SIGTERM)

    def interrupt(self) -> None:
        """What Ctrl-C does (SIGINT)."""
        self._send(signal.SIGINT)

    def interrupt_again(self) -> None:
        """A second Ctrl-C that is not taken for the first: another signal (SIGHUP)."""
        self._send(signal.SIGHUP)

    def kill(self) -> None:
        """End it (SIGKILL)."""
        self._send(signal.SIGKILL)

    def wait(self, limit: float) -> bool:
        """The same as `gone`, where no event loop runs."""
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        ready.poll(limit * 1000)
        return self.ended

    def close(self) -> None:
        """Let go of it; it goes on."""
        os.close(self._fd)


def find_running(mark: str) -> tuple[int, ...]:
    """The processes that a session has started under this mark. Root sees all of them."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            # Empty for a process that has ended and waits for its parent.
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return tuple(sorted(found))


def pin(thread: int, cpus: Sequence[int]) -> None:
    """Let a thread run on some of the host's CPUs only. One that has ended needs none.

    Raises:
        PassthroughError: there are no such CPUs.
    """
    try:
        os.sched_setaffinity(thread, cpus)
    except ProcessLookupError:
        return
    except OSError as error:
        where = ", ".join(map(str, cpus))
        raise PassthroughError(
            f"a thread of the guest cannot be put on CPU {where}: {error.strerror}"
        ) from None


def cgroup_of(pid: int) -> str:
    """The control group of a process or thread, from the root on; empty where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    # "0::" is that of version 2 (cgroups(7)).
    return next((line.partition("::")[2] for line in lines if line.startswith("0::")), "")


def make_file(path: str, data: bytes | None, user: User, *, anew: bool = False) -> None:
    """Make a file of a user's, as the user, with its folder.

    Args:
        path: where.
        data: its bytes; None makes only the folder.
        user: whose it is.
        anew: whether it replaces one that is there.

    Raises:
        PassthroughError: it cannot be made.
    """
    place = Path(path)
    owner = (user.uid, user.gid) if os.geteuid() == 0 else None
    try:
        with acting_as(owner):
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if data is None or (place.exists() and not anew):
                return
            half = place.with_name(f".{place.name}.{os.getpid()}")
            try:
                half.write_bytes(data)
                half.replace(place)
            finally:
                half.unlink(missing_ok=True)
    except OSError as error:
        raise PassthroughError(
            f"{path}: it cannot be made by {user.name} ({(error.strerror or '').lower()})",
            hint="make room on its disk"
            if error.errno in _FULL
            else "the profile's folder must be writable for the user who gets the guest",
        ) from None


def run_as(user: User, *argv: str, limit: float = 60.0, umask: int = -1) -> tuple[int, str]:
    """Run a short program as a user; its exit status and what it said.

    Args:
        user: who runs it.
        argv: what is run.
        limit: seconds that it may take.
        umask: rights that the files it makes do not get; -1 for ours.

    Raises:
        PassthroughError: it is not installed, or does not end in time.
    """
    root = os.geteuid() == 0
    path = f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin".lstrip(":")
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=limit, check=False, cwd="/", env={"PATH": path, "LC_ALL": "C"},
            user=user.uid if root else None, group=user.gid if root else None,
            extra_groups=_groups(user) if root else None, umask=umask,
        )  # fmt: skip
    except FileNotFoundError:
        raise PassthroughError(f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise PassthroughError(f"{argv[0]} did not end within {limit:g} s") from None
    except OSError as error:
        raise PassthroughError(f"{argv[0]}: {(error.strerror or '').lower()}") from None
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def may_open(user: User, path: str, *, write: bool = False) -> bool:
    """Whether a user may read a file, or write to it too.

    Raises:
        PassthroughError: that could not be found out.
    """
    signs = ("-r", "-w") if write else ("-r",)
    return all(run_as(user, "test", sign, path)[0] == 0 for sign in signs)


def drop_file(user: User, path: str) -> None:
    """Remove a file of a user's, as the user.

    Raises:
        PassthroughError: it cannot be removed.
    """
    try:
        with acting_as((user.uid, user.gid) if os.geteuid() == 0 else None):
            Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise PassthroughError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def hold(pid: int) -> Running | None:
    """Take hold of a process; None where it has just ended."""
    try:
        return Running(pid)
    except ProcessLookupError:
        return None


def await_path(path: str, running: Running, limit: float) -> bool:
    """Wait until a program has made a path; whether it has, and runs.

    Args:
        path: empty where the program has nothing to make.
        running: the program.
        limit: seconds.
    """
    end = time.monotonic() + limit
    while time.monotonic() < end and not running.wait(0.01):
        if not path or Path(path).exists():
            return not running.ended
    return False


def last_words(log: str) -> str:
    """The last line with a message that a program has left in its log, or nothing."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def start(
    mark: str,
    argv: Sequence[str],
    *,
    user: User | None = None,
    log: str,
    sockets: Sequence[str] = (),
    memlock: int = 0,
) -> int:
    """Start a program in a session of its own, where no Ctrl-C reaches it.

    Args:
        mark: what finds it again.
        argv: what to run.
        user: who it is run as, with this user's groups and that of /dev/kvm; None: as we are.
        log: file that gets what it says; made anew.
        sockets: paths of sockets to listen at; the program gets them from `FIRST_SOCKET` on.
        memlock: bytes that it may lock in memory, if that is more than what we may.

    Returns:
        its process number.

    Raises:
        PassthroughError: it cannot be started.
    """
    me = user if os.geteuid() == 0 else None
    env = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
    env["PATH"] = f"{env.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".lstrip(":")
    env[MARK] = mark
    who = user or find_user()
    env |= {"HOME": who.home, "USER": who.name, "LOGNAME": who.name}
    env["XDG_RUNTIME_DIR"] = f"/run/user/{who.uid}"
    owner = (me.uid, me.gid) if me else None
    groups = _groups(me) if me else None
    try:
        with contextlib.ExitStack() as stack:
            given = [
                stack.enter_context(_listening(path, FIRST_SOCKET + number, owner))
                for number, path in enumerate(sockets)
            ]
            stack.enter_context(_may_lock(memlock))
            # A switch ends when nobody can speak to it any longer: it holds that end itself.
            quiet, end = os.pipe()
            stack.callback(os.close, quiet)
            stack.callback(os.close, end)
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            stack.callback(os.close, said)
            program = subprocess.Popen(
                list(argv), stdin=quiet, stdout=said, stderr=said, env=env, cwd="/",
                pass_fds=(*given, end), start_new_session=True,
                user=me.uid if me else None, group=me.gid if me else None, extra_groups=groups,
            )  # fmt: skip
            program.returncode = 0  # it outlives this object, which would complain
            return program.pid
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and error.filename == argv[0]:
            raise PassthroughError(f"{argv[0]} is not installed") from None
        raise PassthroughError(f"{argv[0]} cannot be started: {_why(error, argv[0])}") from None


def _why(error: Exception, program: str) -> str:
    """Plain words, with the file where it is not the program's own."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    file = error.filename if error.filename != program else None
    return f"{error.strerror.lower()} ({file})" if file else error.strerror.lower()


def _groups(user: User) -> list[int]:
    found = set(os.getgrouplist(user.name, user.gid))
    with contextlib.suppress(OSError):  # without it QEMU says itself that it has no KVM
        found.add(Path("/dev/kvm").stat().st_gid)
    return sorted(found - {0})


@contextlib.contextmanager
def acting_as(owner: tuple[int, int] | None) -> Iterator[None]:
    """Reach files as a user: what that user may not, we then may not either.

    Args:
        owner: numbers of user and group; None changes nothing.
    """
    if owner is None:
        yield
        return
    before = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(_groups_of(*owner))  # sudo leaves group 0: it opens what only root's group may
    try:
        os.setegid(owner[1])
        os.seteuid(owner[0])
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])


def _groups_of(uid: int, gid: int) -> list[int]:
    """A user's groups, without root's; only the main one where the user has no name."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return [gid]
    return sorted(set(os.getgrouplist(name, gid)) - {0})


@contextlib.contextmanager
def _listening(path: str, number: int, owner: tuple[int, int] | None) -> Iterator[int]:
    """A socket that listens before the program runs: nobody can come too early."""
    with socket.socket(socket.AF_UNIX) as made:
        with acting_as(owner):
            Path(path).unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                made.bind(path)
            finally:
                os.umask(mask)
        made.listen(4)
        os.dup2(made.fileno(), number, inheritable=False)
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def _may_lock(wanted: int) -> Iterator[None]:
    """Raise the limit of locked memory for what is started meanwhile.

    vfio pins all memory of a guest; systems allow 8 MB (errors like ``vfio_dma_map … -12``).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = resource.RLIM_INFINITY
    enough = soft == unlimited or wanted <= soft
    if enough:
        yield
        return
    top = hard if hard == unlimited else max(hard, wanted)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (wanted, top))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
