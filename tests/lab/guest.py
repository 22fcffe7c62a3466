"""A lab that runs: what one can ask of it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import frames
from lab.job import COMMAND_LIMIT, Done, LabError, Running, SetUpError
from lab.kernel import Kernel
from lab.monitor import Monitor
from lab.packages import LabUnavailable
from lab.topology import Topology

#: The checkout: commands start there.
CHECKOUT = Path(__file__).parent.parent.parent

#: Seconds. A lab that is not up by then never will be (it takes three to six, under load twenty).
BOOT_LIMIT = 180.0

#: Run in the lab, with `call` put in: the number of the error that it ends in.
_CALL = """
import os, sys
try:
    {call}
except OSError as error:
    sys.exit(str(error.errno))"""


class Lab:
    """A booted lab. `open_lab` makes one."""

    def __init__(
        self,
        topology: Topology,
        kernel: Kernel,
        qemu: subprocess.Popen[bytes],
        folder: Path,
        port: socket.socket,
    ) -> None:
        self.topology = topology
        self.kernel = kernel
        self.folder = folder
        self.boot_seconds = 0.0
        self.restored = False
        self._qemu = qemu
        self._port = port
        self._jobs: dict[int, Running] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._waits = threading.Event()
        self._ready = threading.Event()
        self._gone = False
        self._refused: dict[str, Any] | None = None
        self._monitor: Monitor | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    # What arrives.

    def _listen(self) -> None:
        parts = frames.Frames()
        with contextlib.suppress(OSError):
            while data := self._port.recv(1 << 20):
                for kind, number, payload in parts.feed(data):
                    if kind == frames.WAITING:
                        self._waits.set()
                    elif kind == frames.READY:
                        self._ready.set()
                    elif kind == frames.REFUSED:
                        self._refused = json.loads(payload)
                        self._ready.set()
                    elif (job := self._jobs.get(number)) is not None:
                        job.arrived(kind, payload)
        self._gone = True
        self._waits.set()
        self._ready.set()
        for job in list(self._jobs.values()):
            job.arrived(b"", b"")

    def await_kernel(self, limit: float = BOOT_LIMIT) -> None:
        """Wait until the kernel is up and the lab waits for `go_on`.

        Raises:
            LabUnavailable: this machine's QEMU has no 9p.
            LabError: it does not; the message shows the console.
        """
        self._await(self._waits, limit)

    def go_on(self, told: Mapping[str, Any], limit: float = BOOT_LIMIT) -> None:
        """Tell a lab that waits which one it is, and wait until its agent answers.

        Raises:
            LabUnavailable: 9p does not give it this machine's files.
            SetUpError: it cannot load a module that was asked for.
            LabError: it does not; the message shows the console.
        """
        with contextlib.suppress(OSError):
            self._port.sendall(json.dumps({**told, "now": time.time()}).encode() + b"\n")
        self._await(self._ready, limit)

    def _await(self, event: threading.Event, limit: float) -> None:
        if not event.wait(limit):
            raise LabError(self.told(f"the lab did not boot within {limit:g} s"))
        if self._refused is not None:
            if self._refused["unavailable"]:
                raise LabUnavailable(
                    f"the lab cannot have this machine's /: {self._refused['why']}"
                )
            raise SetUpError(self.told(f"the lab cannot be set up: {self._refused['why']}"))
        if self._gone:
            self._qemu.wait(10)
            said = " ".join((self.folder / "qemu.log").read_text(errors="replace").split())
            if "fsdev" in said or "virtio-9p" in said:
                raise LabUnavailable(f"the lab needs a QEMU with 9p, and this one says: {said}")
            raise LabError(self.told(f"the lab ended before it was up (QEMU says: {said!r})"))

    # What is sent.

    def say(self, kind: bytes, job: int, payload: bytes = b"") -> None:
        """Send one frame to the agent.

        Raises:
            LabError: nobody is there any longer.
        """
        with self._lock:
            try:
                self._port.sendall(frames.frame(kind, job, payload))
            except OSError:
                raise LabError(self.told("the lab has gone away")) from None

    def _begin(self, kind: bytes, argv: tuple[str, ...], asked: dict[str, Any]) -> Running:
        with self._lock:
            self._count += 1
            number = self._count
        job = self._jobs[number] = Running(self, number, argv)
        if self._gone:
            raise LabError(self.told("the lab has gone away"))
        self.say(kind, number, json.dumps(asked).encode())
        return job

    def start(
        self,
        *argv: str | Path,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        cwd: str | Path = CHECKOUT,
    ) -> Running:
        """Start a command as root, or as the user number `user`."""
        words = tuple(str(word) for word in argv)
        asked = {"argv": words, "env": dict(env or {}), "cwd": str(cwd), "user": user}
        return self._begin(frames.RUN, words, asked)

    def run(
        self,
        *argv: str | Path,
        stdin: bytes = b"",
        limit: float = COMMAND_LIMIT,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        cwd: str | Path = CHECKOUT,
    ) -> Done:
        """Run a command to its end.

        Raises:
            LabError: it does not end within `limit` seconds.
        """
        job = self.start(*argv, env=env, user=user, cwd=cwd)
        job.send(stdin)
        job.close_stdin()
        return job.wait(limit)

    def sh(self, script: str, limit: float = COMMAND_LIMIT, user: int | None = None) -> Done:
        """Run a shell script to its end."""
        return self.run("sh", "-c", script, limit=limit, user=user)

    def start_python(self, source: str, user: int | None = None) -> Running:
        """Start Python source in a fork of the agent: the standard library, without a start-up."""
        asked = {"source": source, "name": "<lab>", "env": {}, "cwd": "/", "user": user}
        job = self._begin(frames.SCRIPT, ("python", "-c", source), asked)
        job.close_stdin()
        return job

    def python(self, source: str, limit: float = COMMAND_LIMIT, user: int | None = None) -> Done:
        """Run Python source in a fork of the agent to its end."""
        return self.start_python(source, user).wait(limit)

    def read(self, path: str) -> str:
        """What a file of the lab holds, without the last line's end.

        Raises:
            OSError: with the number that the lab's kernel gave.
        """
        return self.read_bytes(path).decode(errors="replace").rstrip("\n")

    def read_bytes(self, path: str) -> bytes:
        """What a file of the lab holds.

        Raises:
            OSError: with the number that the lab's kernel gave.
        """
        return self._file_call(f"sys.stdout.buffer.write(open({path!r}, 'rb').read())", path)

    def write(self, path: str, data: str, limit: float = COMMAND_LIMIT) -> None:
        """Write to a file of the lab in one write(2), without creating it.

        Raises:
            OSError: with the number that the lab's kernel gave.
            LabError: the write did not return within `limit` seconds.
        """
        call = f"os.write(os.open({path!r}, os.O_WRONLY), {data.encode()!r})"
        self._file_call(call, path, limit)

    def _file_call(self, call: str, path: str, limit: float = COMMAND_LIMIT) -> bytes:
        done = self.python(_CALL.format(call=call), limit)
        if done.status != 0:
            if not done.err.isdigit():  # not the file's doing: a wrong path, a killed reader
                done.check()
            number = int(done.err)
            raise OSError(number, os.strerror(number), path)
        return done.stdout

    def driver(self, address: str) -> str | None:
        """The driver that has the PCI device at `address`."""
        link = f"/sys/bus/pci/devices/{address}/driver"
        done = self.python(f"import os; print(os.path.basename(os.readlink({link!r})))")
        return done.out if done.status == 0 else None

    def devices(self) -> list[str]:
        """The addresses of all PCI devices."""
        source = "import os; print(*os.listdir('/sys/bus/pci/devices'))"
        return sorted(self.python(source).check().out.split())

    def groups(self) -> set[frozenset[str]]:
        """The IOMMU groups, as the kernel has them."""
        source = """
import json, pathlib
groups = pathlib.Path('/sys/kernel/iommu_groups')
print(json.dumps([[d.name for d in g.glob('devices/*')] for g in groups.glob('*')]))"""
        return {frozenset(group) for group in json.loads(self.python(source).check().out)}

    def dmesg(self) -> str:
        """The kernel's log."""
        return self.run("dmesg").check().out

    @property
    def monitor(self) -> Monitor:
        """QEMU's own side of the machine: unplug, plug, press keys."""
        if self._monitor is None:
            self._monitor = Monitor(self.folder / "qmp")
        return self._monitor

    @property
    def console(self) -> str:
        """What the kernel has written to its serial console."""
        with contextlib.suppress(OSError):
            return (self.folder / "console").read_text(errors="replace")
        return ""

    def told(self, message: str) -> str:
        """`message` with the end of the console below it."""
        lines = self.console.splitlines()[-40:]
        return "\n".join([message, "the console's last lines:", *lines])

    def forget(self, number: int) -> None:
        """A command has ended and was read."""
        self._jobs.pop(number, None)

    @property
    def alive(self) -> bool:
        """Whether the machine runs."""
        return not self._gone and self._qemu.poll() is None

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self._qemu.kill()

    def close(self) -> None:
        """Switch it off. What it has changed is gone."""
        self._gone = True
        if self._monitor is not None:
            self._monitor.close()
        self._qemu.kill()
        self._qemu.wait()
        with contextlib.suppress(OSError):
            self._port.shutdown(socket.SHUT_RDWR)
        self._port.close()
