"""A key is pressed for a guest: installation media start only when somebody does it in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passthrough.vm.monitor import Monitor

#: Does nothing in the first windows of an installer, where Enter would be an answer.
KEY = "spc"
#: Bytes that a loader has read when the installer itself is on its way: what asks for the key has
#: less than 2 MB, and Windows' boot.wim hundreds.
ENOUGH = 8 << 20
#: Seconds between two presses: "Press any key to boot from CD or DVD" waits for about five.
_AGAIN = 0.5


async def press_until_read(
    monitor: Monitor, medium: str, limit: float, *, enough: int = ENOUGH
) -> bool:
    """Press a key again and again until a guest starts from its medium.

    Args:
        monitor: of the guest.
        medium: QEMU's name of the drive.
        limit: seconds after which it is given up: there was something else to start.
        enough: bytes read from the drive that show that it has started.

    Returns:
        whether it has started from it.

    Raises:
        MonitorError: QEMU refuses, or does not answer.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    while loop.time() < end:
        if await _bytes_read(monitor, medium) >= enough:
            return True
        await monitor.ask("send-key", keys=[{"type": "qcode", "data": KEY}])
        await asyncio.sleep(_AGAIN)
    return False


async def _bytes_read(monitor: Monitor, medium: str) -> int:
    said = await monitor.ask("query-blockstats")
    return sum(int(each["stats"]["rd_bytes"]) for each in said if each.get("device") == medium)
