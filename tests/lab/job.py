"""A command that runs, or has run, in a lab."""

from __future__ import annotations

import contextlib
import queue
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from lab import frames

if TYPE_CHECKING:
    from lab.guest import Lab

#: Seconds that a command may take where nothing else was said.
COMMAND_LIMIT = 120.0
#: Seconds that a lab may live, whoever forgot about it.
LIFE_LIMIT = 1800.0

_SIGKILL = 9


class LabError(Exception):
    """The lab did not do what it should. The message ends with what its console said last."""


class SetUpError(LabError):
    """The lab is up, and cannot be what it was told to be."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended.

    Attributes:
        argv: what was run.
        status: its exit status; negative for a signal, as in `subprocess`.
        stdout: what it wrote, bytes.
        stderr: the same.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        """Its output as text, without the last line's end."""
        return self.stdout.decode(errors="replace").rstrip("\n")

    @property
    def err(self) -> str:
        """What it complained of, as text."""
        return self.stderr.decode(errors="replace").rstrip("\n")

    def check(self) -> Done:
        """Itself, if the status is 0.

        Raises:
            LabError: it is not; the message has what the command wrote.
        """
        if self.status != 0:
            what = shlex.join(self.argv)
            raise LabError(f"{what}\nended with status {self.status}\n{self.out}\n{self.err}")
        return self


class Running:
    """A command that may still be running in the lab."""

    def __init__(self, lab: Lab, number: int, argv: tuple[str, ...]) -> None:
        self._lab = lab
        self._number = number
        self._argv = argv
        self._news: queue.Queue[tuple[bytes, bytes]] = queue.Queue()
        self._out, self._err = bytearray(), bytearray()
        self._status: int | None = None
        self._pid: int | None = None

    @property
    def pid(self) -> int:
        """Its process number in the lab."""
        while self._pid is None:
            self._next(COMMAND_LIMIT)
        return self._pid

    def _next(self, limit: float) -> None:
        try:
            kind, payload = self._news.get(timeout=max(limit, 0.001))
        except queue.Empty:
            raise TimeoutError from None
        if kind == frames.STDOUT:
            self._out += payload
        elif kind == frames.STDERR:
            self._err += payload
        elif kind == frames.PID:
            self._pid = int(payload)
        elif kind == frames.EXIT:
            self._status = int(payload)
        else:
            raise LabError(self._lab.told(f"the lab went away while it ran {self._argv}"))

    def arrived(self, kind: bytes, payload: bytes) -> None:
        """Called by the lab's reader."""
        self._news.put((kind, payload))

    def send(self, data: bytes) -> None:
        """Write to its standard input."""
        for start in range(0, len(data), frames.CHUNK):
            self._lab.say(frames.STDIN, self._number, data[start : start + frames.CHUNK])

    def close_stdin(self) -> None:
        """End its standard input."""
        self._lab.say(frames.STDIN, self._number)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it has started."""
        self._lab.say(frames.SIGNAL, self._number, str(int(number)).encode())

    def poll(self) -> int | None:
        """Its status if it has ended."""
        with contextlib.suppress(TimeoutError):
            while self._status is None:
                self._next(0)
        return self._status

    def read_until(self, text: bytes, limit: float = COMMAND_LIMIT) -> bytes:
        """Wait until its output contains `text`; all of the output so far.

        Raises:
            LabError: it ends first, or `limit` seconds pass.
        """
        end = time.monotonic() + limit
        while text not in self._out:
            if self._status is not None:
                raise LabError(f"{self._argv} ended without {text!r}: {self._out!r} {self._err!r}")
            try:
                self._next(end - time.monotonic())
            except TimeoutError:
                raise LabError(self._lab.told(f"{self._argv} never said {text!r}")) from None
        return bytes(self._out)

    def follow(self, stdout: BinaryIO, stderr: BinaryIO) -> int:
        """Pass on what it writes as it comes, until it ends; its status."""
        while self._status is None:
            self._next(LIFE_LIMIT)
            for kept, stream in ((self._out, stdout), (self._err, stderr)):
                stream.write(kept)
                stream.flush()
                kept.clear()
        return self._status

    def wait(self, limit: float = COMMAND_LIMIT) -> Done:
        """Wait for its end.

        Raises:
            LabError: it has not ended after `limit` seconds. It is killed then.
        """
        end = time.monotonic() + limit
        while self._status is None:
            try:
                self._next(end - time.monotonic())
            except TimeoutError:
                self.signal(_SIGKILL)
                said = f"{self._argv} did not end within {limit:g} s: {self._out!r} {self._err!r}"
                raise LabError(self._lab.told(said)) from None
        self._lab.forget(self._number)
        return Done(self._argv, self._status, bytes(self._out), bytes(self._err))
