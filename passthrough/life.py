"""The life of a guest that runs: who it is, what it tells, how it ends.

A session watches one of them without knowing whether QEMU is its own or libvirt's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from passthrough import programs
from passthrough.launch import folder_of, monitor_of
from passthrough.vm.monitor import Ending, MonitorError, end_guest, open_monitor

if TYPE_CHECKING:
    from passthrough.vm.monitor import Monitor

#: Is told what a user should know while the guest runs.
Tell = Callable[[str], None]
#: Done with a guest's monitor from its start on, until it is done or the guest has ended.
Beside = Callable[["Monitor"], Awaitable[None]]

#: QEMU's words for a guest that does not run, and what they mean (QEMU, qapi/run-state.json).
TROUBLE = {
    "internal-error": "QEMU has stopped the guest: KVM reports an internal error",
    "io-error": "the guest is paused: a disk of it cannot be written (is the host's disk full?)",
    "guest-panicked": "the guest's system has crashed",
}


class Life(Protocol):
    """A guest, as far as a session goes."""

    name: str

    def hold(self) -> programs.Running | None:
        """Its QEMU; None where it does not run."""

    async def listen(self, tell: Tell) -> None:
        """Tell what happens to it, until cancelled."""

    async def verdict(self, running: programs.Running) -> tuple[Ending, str]:
        """How it has ended by itself, and what went wrong if it should not have."""

    async def end(
        self, running: programs.Running, patience: float, now: asyncio.Event | None = None
    ) -> Ending:
        """End it: asked for `patience` seconds or until `now`, then switched off."""


class QemuLife:
    """A guest whose QEMU we have started."""

    def __init__(self, name: str, beside: Beside | None = None) -> None:
        self.name = name
        self._beside = beside
        self._seen: list[str] = []

    def hold(self) -> programs.Running | None:
        """Its QEMU, by its mark."""
        pids = programs.find_running(f"{self.name}/qemu")
        return programs.hold(pids[0]) if pids else None

    async def listen(self, tell: Tell) -> None:
        """Tell what happens to it, and do meanwhile what is to be done with it."""
        async with open_monitor(monitor_of(self.name)) as monitor:
            doing = asyncio.ensure_future(_do(monitor, tell, self._beside))
            try:
                async for event in monitor.events():
                    if event.name == "SHUTDOWN":
                        self._seen.append(str(event.data.get("reason")))
                    elif event.name in ("STOP", "GUEST_PANICKED", "BLOCK_IO_ERROR"):
                        status = await monitor.status()
                        if status in TROUBLE:
                            tell(TROUBLE[status])
            finally:
                doing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await doing

    async def verdict(self, running: programs.Running) -> tuple[Ending, str]:
        """Whether QEMU has ended as it should: by its status and what it told before."""
        if running.status in (0, None) and self._seen:
            return Ending.ORDERLY, ""
        if running.status == 0:
            return Ending.GONE, ""
        words = programs.last_words(f"{folder_of(self.name)}-qemu.log")
        if running.status is not None and running.status < 0:
            number = -running.status
            what = signal.Signals(number).name if number in set(signal.Signals) else str(number)
            said = f"; it said: {words}" if words else ""
            return Ending.KILLED, f"QEMU was ended by {what}{said}"
        return Ending.GONE, f"QEMU ended with status {running.status}: {words}"

    async def end(
        self, running: programs.Running, patience: float, now: asyncio.Event | None = None
    ) -> Ending:
        """Ask by the monitor, then as `end_guest` does."""
        return await end_guest(monitor_of(self.name), running, patience=patience, now=now)


async def _do(monitor: Monitor, tell: Tell, beside: Beside | None) -> None:
    try:
        if beside is not None:
            await beside(monitor)
    except MonitorError as error:  # the guest runs all the same
        tell(error.message)
