"""The monitor, against a real QEMU whose processor does not run."""

from __future__ import annotations

import asyncio
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


def test_why_a_program_does_not_start_is_told(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    with pytest.raises(PassthroughError, match="no-program is not installed"):
        start("test/x", ["no-program"], log=log)
    with pytest.raises(PassthroughError, match="sleep cannot be started"):
        start("test/x", ["sleep", "9"], log=log, sockets=[str(tmp_path / "no-folder/socket")])


def test_who_has_called_is_known_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1")
    assert find_user().uid == 1
    assert find_user("root").uid == 0
    with pytest.raises(Exception, match="there is no user nobody-has-this-name"):
        find_user("nobody-has-this-name")
