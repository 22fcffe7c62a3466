"""Everything that passthrough raises for its caller to catch."""

from __future__ import annotations

from diag.errors import DiagError


class PassthroughError(DiagError):
    """Base of all passthrough errors: a message, and a hint what to do next."""


class NeedsRoot(PassthroughError):
    """A write is due, and this user may not make it."""


class Refused(PassthroughError):
    """Something would go wrong, and nothing was touched."""


class WriteFailed(PassthroughError):
    """The kernel refused a write, or took it and did nothing.

    Attributes:
        path: what was to be written.
        number: of the error, as in `errno`; 0 where the kernel gave none.
    """

    def __init__(self, path: str, why: str, *, number: int = 0, hint: str = "") -> None:
        super().__init__(f"{path}: {why}", hint=hint)
        self.path = path
        self.number = number


class WriteBlocked(WriteFailed):
    """A write has not returned in time. It is done in a process of its own, which was killed.

    Attributes:
        pid: that process.
        goes_on: whether it cannot be killed: the write will have its effect when it returns.
        wchan: the kernel function that it sleeps in.
        log: what the kernel has logged about it.
    """

    def __init__(self, path: str, limit: float, pid: int, wchan: str, log: str) -> None:
        where = f", it sleeps in {wchan}" if wchan else ""
        said = f"; the kernel says: {log}" if log else ""
        super().__init__(
            path,
            f"the write has not returned after {limit:g} s (process {pid}{where}){said}",
            hint="end what uses the device (a guest, a server, a game); the write then completes",
        )
        self.pid = pid
        self.goes_on = True
        self.wchan = wchan
        self.log = log


class StepFailed(PassthroughError):
    """A step did not do what it should.

    Attributes:
        step: its number in the plan, from 1.
        restored: whether the host is as it was before the plan.
    """

    def __init__(self, step: int, why: str, *, restored: bool, hint: str = "") -> None:
        super().__init__(why, hint=hint)
        self.step = step
        self.restored = restored


class Pending(PassthroughError):
    """An earlier run has left the host changed: `passthrough recover` comes first."""


class Locked(PassthroughError):
    """Another run is at work at this moment."""


class BadJournal(PassthroughError):
    """A journal that cannot be read back."""
