"""The first program of a lab: runs what the host asks for, many jobs at a time.

It is process 1 there, and must not end before the machine does. It starts before the lab has this
machine's files, waits there while a snapshot is taken, and goes on in each lab that starts from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import selectors
import signal
import struct
import subprocess
import termios
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import frames
import newroot
import warm

PORTS = Path("/sys/class/virtio-ports")


class Job:
    """A process group that the host started.

    Attributes:
        pid: the leader.
        status: its exit status once it has ended; negative for a signal.
        outputs: the pipes that are still open.
    """

    def __init__(self, number: int, pid: int, stdin: int, outputs: dict[int, bytes]) -> None:
        self.number = number
        self.pid = pid
        self.stdin = stdin
        self.pending = bytearray()
        self.stdin_ends = False
        self.outputs = outputs
        self.status: int | None = None


class Agent:
    """One selector over the port and all jobs' pipes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.frames = frames.Frames()
        self.jobs: dict[int, Job] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(port, selectors.EVENT_READ, self.from_host)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        self.selector.register(wake_read, selectors.EVENT_READ, self.reap)

    def say(self, kind: bytes, job: int, payload: bytes = b"") -> None:
        data = memoryview(frames.frame(kind, job, payload))
        while data:
            data = data[os.write(self.port, data) :]

    def serve(self) -> None:
        self.say(frames.READY, 0)
        while True:
            for key, _ in self.selector.select():
                # What came before it in this round may have closed it, and opened another by the
                # same number: a read from that one would not return.
                if self.selector.get_map().get(key.fd) is key:
                    key.data(key.fd)

    # From the host.

    def from_host(self, fd: int) -> None:
        data = os.read(fd, 1 << 20)
        if not data:  # the host has gone: nobody needs this machine any longer
            power_off()
        for kind, number, payload in self.frames.feed(data):
            if kind in (frames.RUN, frames.SCRIPT):
                self.begin(number, kind, json.loads(payload))
            elif number in self.jobs:
                job = self.jobs[number]
                if kind == frames.STDIN:
                    self.give(job, payload)
                elif kind == frames.SIGNAL:
                    try:
                        os.killpg(job.pid, int(payload))
                    except ProcessLookupError:  # it leads no group yet, and has no children
                        os.kill(job.pid, int(payload))

    def begin(self, number: int, kind: bytes, asked: dict[str, object]) -> None:
        stdin, theirs_in = _pipe_to_child()
        out, theirs_out = _pipe_from_child()
        err, theirs_err = _pipe_from_child()
        # A signal that comes before the child can take it waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            _become(kind, asked, (theirs_in, theirs_out, theirs_err))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        for fd in (theirs_in, theirs_out, theirs_err):
            os.close(fd)
        os.set_blocking(stdin, False)
        job = Job(number, pid, stdin, {out: frames.STDOUT, err: frames.STDERR})
        self.jobs[number] = job
        for output in job.outputs:
            self.selector.register(output, selectors.EVENT_READ, self._from(job))
        self.say(frames.PID, number, str(pid).encode())

    def give(self, job: Job, data: bytes) -> None:
        if job.stdin < 0:
            return
        job.pending += data
        job.stdin_ends = job.stdin_ends or not data
        self.feed(job)

    def feed(self, job: Job) -> None:
        waits = False
        try:
            while job.pending:
                del job.pending[: os.write(job.stdin, job.pending)]
        except BlockingIOError:
            waits = True
        except BrokenPipeError:
            job.pending.clear()
            job.stdin_ends = True
        registered = job.stdin in self.selector.get_map()
        if waits and not registered:
            self.selector.register(job.stdin, selectors.EVENT_WRITE, lambda _: self.feed(job))
        elif not waits:
            if registered:
                self.selector.unregister(job.stdin)
            if job.stdin_ends:
                os.close(job.stdin)
                job.stdin = -1

    # From the jobs.

    def _from(self, job: Job) -> Callable[[int], None]:
        def read(fd: int) -> None:
            data = os.read(fd, frames.CHUNK)
            if data:
                self.say(job.outputs[fd], job.number, data)
            else:
                self.end_output(job, fd)

        return read

    def end_output(self, job: Job, fd: int) -> None:
        self.selector.unregister(fd)
        os.close(fd)
        del job.outputs[fd]

    def reap(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(fd, 512):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for job in self.jobs.values():
                if job.pid == pid:
                    self.ended(job, os.waitstatus_to_exitcode(status))
                    break

    def ended(self, job: Job, status: int) -> None:
        """The leader is gone. What it left running may hold the pipes: read what is in them now."""
        for fd in list(job.outputs):
            # No more than that: a child that goes on writing would keep us here for ever.
            left = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), "little")
            while left:
                data = os.read(fd, min(left, frames.CHUNK))
                self.say(job.outputs[fd], job.number, data)
                left -= len(data)
            self.end_output(job, fd)
        if job.stdin >= 0:
            if job.stdin in self.selector.get_map():
                self.selector.unregister(job.stdin)
            os.close(job.stdin)
        del self.jobs[job.number]
        self.say(frames.EXIT, job.number, str(status).encode())


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """SIGCHLD needs a handler to wake the selector up."""


def _pipe_to_child() -> tuple[int, int]:
    theirs, ours = os.pipe()
    return ours, theirs


def _pipe_from_child() -> tuple[int, int]:
    ours, theirs = os.pipe()
    return ours, theirs


def _become(kind: bytes, asked: dict[str, object], stdio: tuple[int, int, int]) -> None:
    """In the new process: be what was asked for. Never returns."""
    status = 127
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        os.closerange(3, 256)
        os.environ.update({str(k): str(v) for k, v in asked["env"].items()})  # type: ignore[attr-defined]
        os.chdir(str(asked["cwd"]))
        user = asked.get("user")
        if user is not None:
            os.setgroups([])
            os.setgid(int(user))  # type: ignore[call-overload]
            os.setuid(int(user))  # type: ignore[call-overload]
        if kind == frames.RUN:
            argv = [str(arg) for arg in asked["argv"]]  # type: ignore[attr-defined]
            # Another user may be kept from this interpreter's files, and only exec finds that out.
            script = None if user is not None else warm.script_path(argv, asked["env"])  # type: ignore[arg-type]
            if script is None:
                # Python ignores SIGPIPE; a program expects to be ended by it.
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                os.execvp(argv[0], argv)
            warm.open_streams()
            warm.run_script(script, argv)
        warm.open_streams()
        names = {"__name__": "__main__", "__file__": str(asked["name"])}
        code = compile(str(asked["source"]), str(asked["name"]), "exec")
        warm.end(lambda: exec(code, names))
    except FileNotFoundError as error:
        os.write(2, f"lab: {asked.get('argv', asked['cwd'])}: {error}\n".encode())
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        status = 1
    finally:
        os._exit(status)


def power_off() -> None:
    """End the machine at once; there is nothing on its disks."""
    Path("/proc/sysrq-trigger").write_text("o\n")
    while True:
        time.sleep(60)


def _port(name: str) -> int:
    """The device of the virtio port `name`. There is no udev here that would link it."""
    for port in PORTS.iterdir():
        if (port / "name").read_text().strip() == name:
            return os.open(f"/dev/{port.name}", os.O_RDWR)
    raise SystemExit(f"lab: no virtio port {name}")


class ModuleError(Exception):
    """A module that was asked for cannot be loaded."""


#: include/uapi/linux/random.h: _IOW('R', 3, int[2]), _IO('R', 7)
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207


def _mix_in(noise: bytes) -> None:
    """Make the kernel's random numbers others than those of labs from the same snapshot."""
    with Path("/dev/urandom").open("wb", buffering=0) as device:
        counted = struct.pack("ii", 8 * len(noise), len(noise)) + noise
        fcntl.ioctl(device, RNDADDENTROPY, counted)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def _set_up(asked: dict[str, object]) -> None:
    os.environ.clear()
    os.environ.update({str(k): str(v) for k, v in asked["env"].items()})  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/hostname").write_text("lab\n")
    for module in asked["modules"]:  # type: ignore[attr-defined]
        done = subprocess.run(["modprobe", module], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise ModuleError(f"modprobe {module}: {done.stderr.strip()}")
    if asked["coldplug"]:
        found = {p.read_text().strip() for p in Path("/sys/bus").glob("*/devices/*/modalias")}
        subprocess.run(["modprobe", "-a", "-q", "-b", *sorted(found)], check=False)
    os.chdir(str(asked["cwd"]))


def main() -> None:
    """Wait to be told which lab this is, set it up, then serve until it is switched off."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm.import_shared(Path("/lab/ours").read_text().split())
    # Forks would copy what the collector touches.
    gc.collect()
    gc.freeze()
    port = _port("lab")
    os.write(port, frames.frame(frames.WAITING, 0))
    line = bytearray()
    while not line.endswith(b"\n"):
        line += os.read(port, 1)
    told = json.loads(line)
    time.clock_settime(time.CLOCK_REALTIME, told["now"])
    _mix_in(bytes.fromhex(told["random"]))
    try:
        newroot.enter(told["tree"], told["version"])
        _set_up(told)
    except (newroot.RootError, ModuleError) as error:
        refused = {"why": str(error), "unavailable": isinstance(error, newroot.RootError)}
        os.write(port, frames.frame(frames.REFUSED, 0, json.dumps(refused).encode()))
        # The host reads it, and ends this machine.
        signal.pause()
    Agent(port).serve()


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        power_off()
