"""Everything that passthrough raises for its caller to catch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.errors import DiagError

if TYPE_CHECKING:
    from passthrough.waiting import Writer


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
        writer: that process.
        goes_on: whether it cannot be killed: the write will have its effect when it returns.
        wchan: the kernel function that it sleeps in.
        log: what the kernel has logged about it.
    """

    def __init__(self, path: str, limit: float, writer: Writer, wchan: str, log: str) -> None:
        where = f", it sleeps in {wchan}" if wchan else ""
        said = f"; the kernel says: {log}" if log else ""
        super().__init__(
            path,
            f"the write has not returned after {limit:g} s (process {writer.pid}{where}){said}",
            hint="end what uses the device (a guest, a server, a game); the write then completes",
        )
        self.writer = writer
        self.goes_on = True
        self.wchan = wchan
        self.log = log


class ProgramBlocked(PassthroughError):
    """A program has not ended in time, and was told to.

    Attributes:
        writer: its process.
        goes_on: whether it cannot be killed: it will go on when the kernel lets it.
    """

    def __init__(self, argv: tuple[str, ...], limit: float, writer: Writer, wchan: str) -> None:
        where = f", it sleeps in {wchan}" if wchan else ""
        super().__init__(
            f"{' '.join(argv)} has not ended within {limit:g} s (process {writer.pid}{where})",
            hint="see what holds it: fuser -v /dev/nvidia* /dev/dri/*, dmesg",
        )
        self.writer = writer
        self.goes_on = True


class StepFailed(PassthroughError):
    """A step did not do what it should.

    Attributes:
        step: its number in the plan, from 1.
        restored: whether the host is as it was before the plan.
        passed: steps without a way back that had their effect by then.
    """

    def __init__(
        self,
        step: int,
        why: str,
        *,
        restored: bool,
        hint: str = "",
        passed: tuple[str, ...] = (),
    ) -> None:
        super().__init__(why, hint=hint)
        self.step = step
        self.restored = restored
        self.passed = passed


class Pending(PassthroughError):
    """An earlier run has left the host changed: `passthrough recover` comes first."""


class Locked(PassthroughError):
    """Another run is at work at this moment."""


class BadJournal(PassthroughError):
    """A journal that cannot be read back."""
