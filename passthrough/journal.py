"""What was done to the host, on disk before it is done.

A journal is a file of JSON lines that only grows; every line is on disk (fsync) before the next
thing happens. A last line without an end was cut by a crash, and never counted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from passthrough.errors import BadJournal, Locked, NeedsRoot, PassthroughError
from passthrough.plan import Plan
from passthrough.step import State
from passthrough.waiting import Writer

#: Effects that a reboot undoes are remembered where a reboot forgets too.
VOLATILE = Path("/run/dgpukit")
#: Effects that survive a reboot.
LASTING = Path("/var/lib/dgpukit")

#: Seconds between two looks at a lock.
_AGAIN = 0.1

#: What the lines of a journal mean. One that knows more may have done what this one cannot undo.
FORMAT = 1

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that journals live in; tests have their own."""

    volatile: Path = VOLATILE
    lasting: Path = LASTING


def boot_id() -> str:
    """What tells this start of the kernel from every other."""
    return _BOOT_ID.read_text().strip()


@dataclass(slots=True)
class Record:
    """What a journal says of one step.

    Attributes:
        step: the step, as `Step.as_json` wrote it.
        before: what it observed before its effect.
        after: what it observed afterwards; None until it is done.
        done: whether its effect was verified.
        undone: whether it was taken back.
        why: why it could not be taken back.
        writer: the process whose write waited in the kernel then; None if there was none.
    """

    step: dict[str, Any]
    before: State = None
    after: State = None
    begun: bool = False
    done: bool = False
    undone: bool = False
    why: str = ""
    writer: Writer | None = None


@dataclass(slots=True)
class Entry:
    """A journal, read back.

    Attributes:
        path: its file.
        title: of the plan.
        time: when it began, seconds since the epoch.
        boot: the start of the kernel that it ran under.
        pid: the process that ran it.
        records: of its steps, in their order.
        outcome: ``done``, ``kept``, ``rolled back``, ``incomplete``; empty while it runs, and
            after a crash.
        held: whether its effect is wanted only while somebody holds it.
        since: when it began, seconds since that start of the kernel: the clock may be set.
    """

    path: Path
    title: str
    time: float
    boot: str
    pid: int
    keeps: bool
    records: list[Record] = field(default_factory=list)
    outcome: str = ""
    held: bool = False
    since: float = 0.0

    @property
    def open_records(self) -> list[tuple[int, Record]]:
        """Steps that may have had an effect that is still there; newest first."""
        found = [(n, r) for n, r in enumerate(self.records) if r.begun and not r.undone]
        return found[::-1]


class Journal:
    """A journal that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)
            self._mend()
        except OSError as error:
            raise _failed(path, error) from None

    def _mend(self) -> None:
        """Cut off what a crash has left of a line: the next one would make it damage."""
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(self._fd, whole)

    @classmethod
    def begin(cls, plan: Plan, places: Places) -> Journal:
        """A new journal for `plan`, with its whole text in it.

        Raises:
            PassthroughError: it cannot be written; nothing was touched then.
        """
        lasting = any(step.lasting for step in plan.steps)
        folder = places.lasting if lasting else places.volatile
        try:
            if not folder.is_dir():
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                _sync(folder.parent)
        except OSError as error:
            raise _failed(folder, error) from None
        numbers = [int(p.stem) for p in folder.glob("*.journal") if p.stem.isdecimal()]
        path = folder / f"{max(numbers, default=0) + 1:06}.journal"
        journal = cls(path)
        try:
            journal._add(
                event="plan", format=FORMAT, title=plan.title, time=time.time(), since=_uptime(),
                boot=boot_id(), pid=os.getpid(), keeps=plan.keeps, held=plan.held,
                steps=[step.as_json() for step in plan.steps],
            )  # fmt: skip
            # The name too must survive a crash.
            _sync(folder)
        except BaseException:
            journal.close()
            path.unlink(missing_ok=True)
            raise
        return journal

    def _add(self, **event: Any) -> None:
        line = json.dumps(event, ensure_ascii=True).encode() + b"\n"
        end = os.fstat(self._fd).st_size
        try:
            whole = os.write(self._fd, line) == len(line)
            os.fsync(self._fd)
        except OSError as error:
            self._cut(end)
            raise _failed(self.path, error) from None
        if not whole:
            self._cut(end)
            raise _failed(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _cut(self, end: int) -> None:
        """Half a line would spoil the next one."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, end)

    def begun(self, step: int, before: State) -> None:
        """The step is about to have its effect."""
        self._add(event="begin", step=step, before=before)

    def done(self, step: int, after: State) -> None:
        """The step has had its effect."""
        self._add(event="done", step=step, after=after)

    def undone(self, step: int) -> None:
        """The step was taken back."""
        self._add(event="undone", step=step)

    def stuck(self, step: int, why: str, writer: Writer | None = None) -> None:
        """The step could not be taken back; `writer` may still be at it."""
        at_it = {} if writer is None else {"writer": writer.pid, "started": writer.started}
        self._add(event="stuck", step=step, why=why, **at_it)

    def end(self, outcome: str) -> None:
        """The plan is over."""
        self._add(event="end", outcome=outcome)

    def close(self) -> None:
        """Nothing more is written."""
        os.close(self._fd)


def _sync(folder: Path) -> None:
    """Let the names in a folder survive a crash."""
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(there)
    finally:
        os.close(there)


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _failed(path: Path, error: OSError) -> PassthroughError:
    return PassthroughError(
        f"{path}: the journal cannot be written ({(error.strerror or str(error)).lower()})",
        hint="without a journal nothing is touched; make room, or run it as root",
    )


@contextlib.contextmanager
def locked(folder: Path, *, wait: float = 0) -> Iterator[None]:
    """Be the only run that changes this host.

    Args:
        folder: where the lock is.
        wait: seconds that another one may take to its end.

    Raises:
        Locked: another one is at work.
        NeedsRoot: this user may not even try.
    """
    path = folder / "lock"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            message = f"changing this machine needs root ({path}: permission denied)"
            raise NeedsRoot(message, hint="run it with sudo") from None
        raise PassthroughError(f"{path}: {(error.strerror or '').lower()}") from None
    try:
        if not _lock(fd, wait):
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


def _lock(fd: int, wait: float) -> bool:
    """Lock a file, and wait for it a while; whether it is ours."""
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_AGAIN)
        else:
            return True


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Say by a lock that the run of this journal lives; the kernel ends it with our process."""
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Whether the run of this journal lives."""
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def read_journal(path: Path) -> Entry:
    """What a journal says.

    Raises:
        BadJournal: it was not written by passthrough, or by a newer one, or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        why = (error.strerror or "").lower()
        raise BadJournal(f"{path}: {why}", hint="run it as root") from None
    entry: Entry | None = None
    try:
        for line in data.split(b"\n")[:-1]:
            event = json.loads(line)
            kind = event["event"]
            if kind == "plan":
                if event.get("format", FORMAT) > FORMAT:
                    raise BadJournal(
                        f"{path}: a newer passthrough has written it",
                        hint="let that one read it: passthrough recover",
                    )
                entry = Entry(
                    path, event["title"], event["time"], event["boot"], event["pid"],
                    event["keeps"], [Record(step) for step in event["steps"]],
                    held=event.get("held", False), since=event.get("since", 0.0),
                )  # fmt: skip
                continue
            if kind == "end":
                _plan_of(entry).outcome = event["outcome"]
                continue
            record = _plan_of(entry).records[event["step"]]
            if kind == "begin":
                record.begun, record.before = True, event["before"]
            elif kind == "done":
                record.done, record.after = True, event["after"]
            elif kind == "undone":
                record.undone = True
            elif kind == "stuck":
                record.why, pid = event["why"], event.get("writer", 0)
                record.writer = Writer(pid, event.get("started", 0)) if pid else None
            # Once something is taken back, it is no longer over.
            _plan_of(entry).outcome = ""
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadJournal(f"{path}: damaged ({error})", hint=_DAMAGED) from None
    if entry is None:
        raise BadJournal(f"{path}: empty", hint=_DAMAGED)
    return entry


def _plan_of(entry: Entry | None) -> Entry:
    if entry is None:
        raise ValueError("no plan comes first")
    return entry


_DAMAGED = "look at the file; when the host is as it should be, remove it (or reboot)"


def journals(places: Places) -> Iterator[Path]:
    """All journals, oldest first in each folder.

    One without a whole line is left out: its run ended before anything was touched.
    """
    for folder in (places.lasting, places.volatile):
        if folder.is_dir():
            yield from filter(_has_begun, sorted(folder.glob("*.journal")))


def _has_begun(path: Path) -> bool:
    try:
        return b"\n" in path.read_bytes()
    except OSError:  # whoever reads it will say why
        return True
