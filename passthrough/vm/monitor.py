"""QEMU's monitor: what a guest does, and asking it to end (QEMU's docs/interop/qmp-spec).

An end has three degrees, each after a limit: the guest is asked (its ACPI power button), QEMU is
told to quit, and QEMU's process is killed. What was needed is told, so that a user knows whether
the guest has saved its disks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from passthrough.errors import PassthroughError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

#: Seconds that QEMU may take to answer. It answers at once, unless it does not run.
ANSWER_LIMIT = 10.0
#: Seconds that a guest may take to shut down before it is ended.
PATIENCE = 60.0
#: Seconds that QEMU may take to quit: it gives memory and devices back.
QUIT_LIMIT = 10.0

#: Seconds between two attempts to connect.
_AGAIN = 0.02


class MonitorError(PassthroughError):
    """QEMU does not answer, or refuses a command."""


class Program(Protocol):
    """A process, as far as ending it goes."""

    async def gone(self, limit: float) -> bool:
        """Wait until it has ended, at most `limit` seconds; whether it has."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM). Nothing happens where it has ended."""

    def kill(self) -> None:
        """End it (SIGKILL). Nothing happens where it has ended."""


class Ending(Enum):
    """What it took to end a guest."""

    #: It had ended already.
    GONE = "it had ended"
    #: The guest has shut itself down.
    ORDERLY = "the guest has shut down"
    #: QEMU was told to quit: for the guest as if the power was cut.
    QUIT = "the guest did not shut down, and was switched off"
    #: QEMU did not obey either.
    KILLED = "QEMU did not answer, and was killed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that QEMU tells unasked.

    Attributes:
        name: like ``SHUTDOWN``, ``STOP``, ``GUEST_PANICKED`` (QEMU's qapi/run-state.json).
        data: what belongs to it.
    """

    name: str
    data: dict[str, Any]


class Monitor:
    """A connection to QEMU's monitor. `open_monitor` makes one."""

    def __init__(self, client: QMPClient, limit: float) -> None:
        self._client = client
        self._limit = limit

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Run a command; what it returns.

        Raises:
            MonitorError: QEMU refuses it, has ended, or does not answer in time.
        """
        from qemu.qmp import ExecuteError, QMPError

        try:
            return await asyncio.wait_for(
                self._client.execute(command, arguments or None), self._limit
            )
        except ExecuteError as error:
            raise MonitorError(f"QEMU refuses {command}: {error}") from None
        except TimeoutError:
            raise MonitorError(f"QEMU has not answered {command} for {self._limit:g} s") from None
        except (QMPError, OSError, EOFError):
            raise MonitorError(f"QEMU ended before it answered {command}") from None

    async def status(self) -> str:
        """The state of the guest, in QEMU's words: ``running``, ``paused``, ``prelaunch``…

        Raises:
            MonitorError: as of `ask`.
        """
        return str((await self.ask("query-status"))["status"])

    async def ask_shutdown(self) -> None:
        """Press the guest's power button (ACPI). Whether it listens is another matter.

        Raises:
            MonitorError: as of `ask`.
        """
        await self.ask("system_powerdown")

    async def quit(self) -> None:
        """Tell QEMU to end. That it ends before its answer is fine.

        Raises:
            MonitorError: it does not answer in time.
        """
        from qemu.qmp import QMPError

        with contextlib.suppress(QMPError, OSError, EOFError):
            try:
                await asyncio.wait_for(self._client.execute("quit"), self._limit)
            except TimeoutError:
                raise MonitorError(f"QEMU has not answered quit for {self._limit:g} s") from None

    async def events(self) -> AsyncIterator[Event]:
        """What happens from now on, until the connection ends."""
        with self._client.listener() as listener:
            waiting = asyncio.ensure_future(self._ended())
            try:
                while True:
                    coming = asyncio.ensure_future(listener.get())
                    await asyncio.wait((coming, waiting), return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        coming.cancel()
                        return
                    message = coming.result()
                    yield Event(str(message["event"]), dict(message.get("data") or {}))  # type: ignore[call-overload]  # a Message holds any JSON
            finally:
                waiting.cancel()

    async def _ended(self) -> None:
        from qemu.qmp import Runstate

        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    async def close(self) -> None:
        """Hang up; QEMU goes on."""
        from qemu.qmp import QMPError

        # Disconnecting is where the library tells how the connection has ended.
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            await asyncio.wait_for(self._client.disconnect(), self._limit)


@contextlib.asynccontextmanager
async def open_monitor(path: str, *, limit: float = ANSWER_LIMIT) -> AsyncIterator[Monitor]:
    """Connect to QEMU's monitor.

    Args:
        path: of its socket. It need not be there yet: QEMU makes it when it starts.
        limit: seconds that QEMU may take for this and for every answer.

    Raises:
        MonitorError: nobody answers there in time.
    """
    from qemu.qmp import QMPClient

    client = QMPClient("guest")
    monitor = Monitor(client, limit)
    try:
        await asyncio.wait_for(_connect(client, path), limit)
    except TimeoutError:
        with contextlib.suppress(Exception):  # what was half made is of no use to anybody
            await client.disconnect()
        raise MonitorError(
            f"{path}: QEMU's monitor has not answered for {limit:g} s",
            hint="does QEMU run? another program may be connected to it",
        ) from None
    try:
        yield monitor
    finally:
        await monitor.close()


async def _connect(client: QMPClient, path: str) -> None:
    from qemu.qmp import ConnectError

    while True:
        try:
            return await client.connect(path)
        except ConnectError as error:
            if not isinstance(error.exc, FileNotFoundError | ConnectionRefusedError):
                raise MonitorError(
                    f"{path}: QEMU's monitor cannot be used ({error.exc or error})"
                ) from None
        await asyncio.sleep(_AGAIN)


async def end_guest(
    path: str,
    program: Program,
    *,
    patience: float = PATIENCE,
    answer: float = ANSWER_LIMIT,
    quitting: float = QUIT_LIMIT,
    now: asyncio.Event | None = None,
) -> Ending:
    """End a guest, in order if it can be: asked, switched off, killed.

    Args:
        path: of the monitor's socket.
        program: QEMU's process.
        patience: seconds that the guest may take to shut down; 0 does not ask it.
        answer: seconds that QEMU may take to answer.
        quitting: seconds that QEMU may take to quit.
        now: set by whoever does not want to wait for the guest any longer.
    """
    if await program.gone(0):
        return Ending.GONE
    asked = False
    try:
        async with open_monitor(path, limit=answer) as monitor:
            if patience > 0:
                await monitor.ask_shutdown()
                asked = True
                if await gone_or(program, patience, now):
                    return Ending.ORDERLY
            await monitor.quit()
            if await program.gone(quitting):
                return Ending.QUIT
    except MonitorError:
        # A guest may have shut down while we spoke.
        if await program.gone(0):
            return Ending.ORDERLY if asked else Ending.GONE
    # SIGTERM makes QEMU quit in order where its main loop runs but its monitor is taken.
    program.terminate()
    if await program.gone(quitting):
        return Ending.QUIT
    program.kill()
    await program.gone(quitting)
    return Ending.KILLED


async def gone_or(program: Program, limit: float, now: asyncio.Event | None) -> bool:
    """Wait for a program's end, for `limit` seconds or until `now`; whether it has ended."""
    if now is None:
        return await program.gone(limit)
    end = asyncio.ensure_future(program.gone(limit))
    hurry = asyncio.ensure_future(now.wait())
    await asyncio.wait((end, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not end.done():
        end.cancel()
        return await program.gone(0)
    return end.result()


def await_answer(path: str, program: Program, limit: float) -> str:
    """Wait until QEMU's monitor answers; the state of the guest.

    Raises:
        MonitorError: QEMU has ended, or does not answer in time.
    """

    async def ask() -> str:
        async with open_monitor(path, limit=limit) as monitor:
            return await monitor.status()

    async def whole() -> str:
        asking = asyncio.ensure_future(ask())
        ending = asyncio.ensure_future(program.gone(limit))
        await asyncio.wait((asking, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not asking.done():
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, MonitorError):
                await asking
            raise MonitorError("QEMU ended at once")
        return asking.result()

    return asyncio.run(whole())


def end_program(path: str, program: Program | None, patience: float) -> Ending:
    """End a program: a guest in order, where it has a monitor.

    Args:
        path: of QEMU's monitor; empty for any other program.
        program: None where it has ended already.
        patience: seconds that a guest may take to shut down.
    """
    if program is None:
        return Ending.GONE
    if path:
        return asyncio.run(end_guest(path, program, patience=patience))

    async def whole() -> Ending:
        program.terminate()
        if await program.gone(QUIT_LIMIT):
            return Ending.QUIT
        program.kill()
        await program.gone(QUIT_LIMIT)
        return Ending.KILLED

    return asyncio.run(whole())
