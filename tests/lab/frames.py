"""What a lab and its agent say to each other: frames over one virtio port.

A frame is one byte of kind, four of job number, four of length (little-endian), and a payload.
The agent has this file beside it: only the standard library.
"""

from __future__ import annotations

import struct

HEAD = struct.Struct("<cII")

# From the host to the agent.
RUN = b"R"  # JSON: argv, env, cwd, user; starts a job
SCRIPT = b"P"  # JSON: source, name; Python run in a fork of the agent; starts a job
STDIN = b"I"  # bytes for a job's standard input; none of them: its end
SIGNAL = b"K"  # a decimal number: the signal to send to a job's group

# From the agent to the host.
WAITING = b"W"  # the kernel is up; a line of JSON is to tell it which lab this is: now (seconds),
# tree, version, random (hexadecimal), env, cwd, modules, coldplug
READY = b"Y"
# JSON: why, unavailable (whether this machine is to blame); the lab cannot be what it was told
REFUSED = b"F"
STDOUT = b"O"
STDERR = b"E"
PID = b"N"  # a decimal number: a job has started
EXIT = b"X"  # a decimal number: a job's status, negative for a signal

#: Payloads are cut to this, so that one busy job does not hold up the others.
CHUNK = 65536


def frame(kind: bytes, job: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(kind, job, len(payload)) + payload


class Frames:
    """Bytes that arrive in pieces, cut into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, int, bytes]]:
        """The frames that `data` completes: kind, job, payload."""
        self._pending += data
        found = []
        while len(self._pending) >= HEAD.size:
            kind, job, length = HEAD.unpack_from(self._pending)
            end = HEAD.size + length
            if len(self._pending) < end:
                break
            found.append((kind, job, bytes(self._pending[HEAD.size : end])))
            del self._pending[:end]
        return found
