"""The monitor, against a real QEMU whose processor does not run."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from passthrough.errors import PassthroughError
from passthrough.programs import FIRST_SOCKET, Running, find_running, find_user, start
from passthrough.session import Pins, pin_guest
from passthrough.vm.monitor import Ending, MonitorError, end_guest, open_monitor

T = TypeVar("T")
QEMU = shutil.which("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="needs qemu-system-x86 (qemu-system-x86_64)")


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[tuple[str, Running]]:
    """A machine that never runs: its socket and its process."""
    path = str(tmp_path / "qmp")
    argv = [
        str(QEMU), "-S", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
        "-accel", "tcg", "-m", "32", "-qmp", f"unix:{path},server=on,wait=off",
    ]  # fmt: skip
    child = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    running = Running(child.pid)
    yield path, running
    running.kill()
    running.wait(10)
    running.close()
    child.wait()


def run(job: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await asyncio.wait_for(job(), 60)

    return asyncio.run(whole())


@needs_qemu
def test_a_guest_tells_its_state_and_what_happens(guest: tuple[str, Running]) -> None:
    path, _ = guest

    async def job() -> tuple[str, list[str]]:
        async with open_monitor(path) as monitor:
            status = await monitor.status()
            seen: list[str] = []
            events = monitor.events()

            async def collect() -> None:
                async for event in events:
                    seen.append(event.name)

            collecting = asyncio.ensure_future(collect())
            await asyncio.sleep(0)
            await monitor.ask("system_powerdown")
            with pytest.raises(MonitorError, match="refuses no-such-command"):
                await monitor.ask("no-such-command")
            await monitor.quit()
            await collecting  # the connection's end is the end of the events
            return status, seen

    status, seen = run(job)
    assert status == "prelaunch"
    assert "POWERDOWN" in seen
    assert "SHUTDOWN" in seen


@needs_qemu
def test_a_guest_that_does_not_listen_is_switched_off(guest: tuple[str, Running]) -> None:
    path, running = guest
    assert run(lambda: end_guest(path, running, patience=0.3)) is Ending.QUIT
    assert run(lambda: end_guest(path, running)) is Ending.GONE


@needs_qemu
def test_nobody_has_to_wait_for_a_guest(guest: tuple[str, Running]) -> None:
    path, running = guest

    async def job() -> Ending:
        now = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, now.set)
        return await end_guest(path, running, patience=50, now=now)

    assert run(job) is Ending.QUIT


@needs_qemu
def test_a_qemu_that_hangs_is_killed(guest: tuple[str, Running]) -> None:
    path, running = guest

    async def job() -> Ending:
        async with open_monitor(path):
            pass  # it is up
        running._send(signal.SIGSTOP)
        return await end_guest(path, running, patience=0.2, answer=0.3, quitting=0.5)

    assert run(job) is Ending.KILLED


@needs_qemu
def test_a_monitor_that_is_taken_does_not_save_a_guest(guest: tuple[str, Running]) -> None:
    path, running = guest

    async def job() -> Ending:
        async with open_monitor(path):
            return await end_guest(path, running, patience=1, answer=0.5)

    assert run(job) is Ending.QUIT


def test_where_nobody_answers_the_message_says_so(tmp_path: Path) -> None:
    async def job(path: Path) -> None:
        async with open_monitor(str(path), limit=0.3):
            pass

    with pytest.raises(MonitorError, match=r"has not answered for 0\.3 s"):
        run(lambda: job(tmp_path / "absent"))
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        with pytest.raises(MonitorError, match="has not answered"):
            run(lambda: job(tmp_path / "deaf"))


@pytest.mark.parametrize("said", [b"hello\n", b'{"QMP": 3}\n', b'{"x": ', b""])
def test_what_is_no_monitor_is_told(tmp_path: Path, said: bytes) -> None:
    path = str(tmp_path / "other")

    async def job() -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            writer.close()

        server = await asyncio.start_unix_server(answer, path)
        async with server, open_monitor(path, limit=5):
            pass

    with pytest.raises(MonitorError):
        run(job)


@needs_qemu
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_the_cpus_of_a_guest_are_pinned(guest: tuple[str, Running]) -> None:
    path, running = guest
    first, second = sorted(os.sched_getaffinity(0))[:2]

    async def job() -> int:
        async with open_monitor(path) as monitor:
            await pin_guest(monitor, running.pid, Pins(((second,),), (first,)))
            return int((await monitor.ask("query-cpus-fast"))[0]["thread-id"])

    thread = run(job)
    assert os.sched_getaffinity(thread) == {second}
    assert os.sched_getaffinity(running.pid) == {first}

    async def wrong() -> None:
        async with open_monitor(path) as monitor:
            await pin_guest(monitor, running.pid, Pins(((1023,),)))

    with pytest.raises(PassthroughError, match="cannot be put on CPU 1023"):
        run(wrong)


def test_a_program_is_found_by_its_mark_and_gets_its_sockets(tmp_path: Path) -> None:
    script = (
        f"import socket; s = socket.socket(fileno={FIRST_SOCKET}); c, _ = s.accept(); "
        "print('said', c.recv(9), flush=True); c.close(); s.accept()"
    )
    log, path = tmp_path / "log", tmp_path / "socket"
    mark = f"test/{tmp_path}"
    pid = start(mark, [shutil.which("python3") or "", "-c", script], log=str(log),
                sockets=[str(path)])  # fmt: skip
    running = Running(pid)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))  # it listens before the program has begun
            client.sendall(b"hello")
            assert client.recv(1) == b""
        assert find_running(mark) == (pid,)
        assert find_running("test/another") == ()
        assert log.read_text() == "said b'hello'\n"
    finally:
        running.kill()
        assert running.wait(10)
    assert find_running(mark) == ()
    running.close()


def test_who_has_called_is_known_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1")
    assert find_user().uid == 1
    assert find_user("root").uid == 0
    with pytest.raises(Exception, match="there is no user nobody-has-this-name"):
        find_user("nobody-has-this-name")
