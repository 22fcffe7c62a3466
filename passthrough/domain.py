"""A guest whose QEMU libvirt has started: watched by libvirt's events, ended through its daemon."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from passthrough import programs
from passthrough.life import TROUBLE
from passthrough.vm.libvirt_daemon import (
    URI,
    await_release,
    end_domain,
    find_domain,
    read_last_run,
)
from passthrough.vm.monitor import Ending

if TYPE_CHECKING:
    from passthrough.journal import Entry
    from passthrough.life import Tell
    from passthrough.machine import Machine

#: What virsh prints of events (tools/virsh-domain-event.c), and what is told of it.
_TOLD = (
    ("'io-error'", TROUBLE["io-error"]),
    ("Suspended I/O Error", TROUBLE["io-error"]),
    ("Crashed", TROUBLE["guest-panicked"]),
    ("Suspended Paused", "the guest is paused; virsh resume lets it go on"),
    ("Stopped Destroyed", "it was switched off through libvirt"),
)


class DomainLife:
    """A domain of libvirt's that runs."""

    def __init__(self, name: str, uuid: str, machine: Machine) -> None:
        self.name = name
        self.uuid = uuid
        self._machine = machine

    def hold(self) -> programs.Running | None:
        """Its QEMU. The domain runs exactly as long as that does."""
        pid = find_domain(self.uuid)
        return None if pid is None else programs.hold(pid)

    async def listen(self, tell: Tell) -> None:
        """Tell what happens to it; nothing where there is no daemon any longer."""
        last = ""
        async with contextlib.aclosing(_events(self.uuid)) as events:
            async for event in events:
                said = next((text for sign, text in _TOLD if sign in event), "")
                if said and said != last:
                    tell(said)
                last = said

    async def verdict(self, running: programs.Running) -> tuple[Ending, str]:
        """How it has ended, by libvirt's log, when libvirt has tidied up."""
        del running
        await asyncio.to_thread(await_release, self._machine, self.uuid)
        run = read_last_run(self._machine.host, self.name)
        if run.reason == "shutdown":
            return Ending.ORDERLY, ""
        if run.reason == "destroyed":
            return Ending.QUIT, ""
        what = run.reason or "libvirt has not noted why"
        said = f": {run.words}" if run.words else ""
        return Ending.GONE, f"QEMU ended by itself ({what}){said}"

    async def end(
        self, running: programs.Running, patience: float, now: asyncio.Event | None = None
    ) -> Ending:
        """Ask through libvirt, then as `end_domain` does."""
        return await end_domain(self._machine, self.uuid, running, patience=patience, now=now)


def domain_of(entry: Entry, machine: Machine) -> DomainLife | None:
    """The domain that a run has started; None where it has started QEMU itself."""
    for record in entry.records:
        if record.step.get("kind") == "domain":
            return DomainLife(str(record.step["domain"]), str(record.step["uuid"]), machine)
    return None


async def _events(uuid: str) -> AsyncGenerator[str, None]:
    """The lines of ``virsh event``, in a session of its own, where no Ctrl-C reaches it."""
    quiet = asyncio.subprocess.DEVNULL
    try:
        program = await asyncio.create_subprocess_exec(
            "virsh", "-q", "-c", URI, "event", "--domain", uuid, "--all", "--loop",
            stdin=quiet, stdout=asyncio.subprocess.PIPE, stderr=quiet, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return
    try:
        assert program.stdout is not None
        async for line in program.stdout:
            yield line.decode("utf-8", "replace").strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.wait()
