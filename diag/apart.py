"""Reads of this machine that the kernel may not answer: part of the door that is host.py."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket

#: Seconds that the kernel has to answer.
PATIENCE = 2.0


class Apart:
    """A process that reads what may block, and is left behind if the kernel does not answer it.

    A read that sleeps in the kernel is deaf to signals, and a thread in it would not let us end.
    """

    def __init__(self) -> None:
        self._link: socket.socket | None = None
        self._owner = 0

    def read(self, path: str, limit: int) -> bytes:
        """At most 4096 bytes from the start of a file.

        Raises:
            TimeoutError: the kernel has not answered in time.
            OSError: as it says.
        """
        if self._link is not None and self._owner != os.getpid():
            self._drop()  # we are a fork, and what it answers is not for us
        link = self._link = self._link or self._start()
        said = b""
        with contextlib.suppress(ConnectionError):  # somebody has killed it
            link.send(os.fsencode(path))
            ready = select.poll()
            ready.register(link, select.POLLIN)
            if not ready.poll(PATIENCE * 1000):
                self._drop()
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
            said = link.recv(4096 + 1)
        if not said:
            self._drop()
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if said[0]:
            raise OSError(said[0], os.strerror(said[0]), path)
        return said[1 : 1 + limit]

    def _drop(self) -> None:
        """Leave it to itself: it ends when nobody can ask it any longer."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            try:
                os.setsid()
                _keep_only(theirs.fileno())
                while path := theirs.recv(4096):
                    theirs.send(_answer(path))
            finally:
                os._exit(0)
        theirs.close()
        self._owner = os.getpid()
        return ours


def _answer(path: bytes) -> bytes:
    """What `Apart` sends for a file: an error's number, 0 for none, then what is in it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"\0" + os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError as error:
        return bytes([error.errno or errno.EIO])


def _keep_only(*files: int) -> None:
    """Let go of all other files: what is left behind must hold no lock of ours, and whoever reads
    what we print waits for the last that could write there.
    """
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for stream in {0, 1, 2}.difference(files):
        os.dup2(nowhere, stream)
    low = 3
    for file in sorted(file for file in files if file >= low):
        os.closerange(low, file)
        low = file + 1
    os.closerange(low, 4096)


#: The one of this process.
apart = Apart()
