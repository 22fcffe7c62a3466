"""What udev says, by pyudev. Only `diag.host` opens this door.

pyudev takes 25 ms to import and looks for libudev with a program: both happen once, when first
asked. Where there is no libudev, or the kernel gives no netlink socket, nothing is known here, and
sysfs has to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from diag.uevents import Source, Uevent


@cache
def _context() -> Any:
    """libudev, opened once; None where it is not installed."""
    try:
        import pyudev

        return pyudev.Context()
    except ImportError:  # pyudev's own word for a library that is not there
        return None


def listed(subsystem: str) -> frozenset[str] | None:
    """The names of a subsystem's devices as its folder in sysfs has them; None: nobody to ask.

    Neither their configuration nor their attribute ``uevent`` is read (seen with strace, libudev
    252), so that nothing wakes up and no driver can hold this up.
    """
    context = _context()
    if context is None:
        return None
    try:
        devices = context.list_devices(subsystem=subsystem)
        # The kernel's own name: libudev's has "/" where that has "!".
        return frozenset(device.device_path.rpartition("/")[2] for device in devices)
    except OSError:
        return None


def properties(subsystem: str, name: str) -> Mapping[str, str]:
    """What udev's database says of a device; empty where it is not known."""
    context = _context()
    if context is None:
        return {}
    import pyudev

    try:
        return dict(pyudev.Devices.from_name(context, subsystem, name).properties)
    except (pyudev.DeviceNotFoundError, OSError):
        return {}


class _Monitor:
    """A netlink socket that has been listening since it was made."""

    def __init__(self, kind: str, subsystems: Sequence[str]) -> None:
        import pyudev

        self.kind = kind
        self._monitor = pyudev.Monitor.from_netlink(_context(), kind)
        for subsystem in subsystems:
            self._monitor.filter_by(subsystem)
        self._monitor.start()

    def fileno(self) -> int:
        """The socket, for poll(2)."""
        return int(self._monitor.fileno())

    def read(self) -> Uevent | None:
        """The next event; None where there is none yet."""
        device = self._monitor.poll(timeout=0)
        if device is None:
            return None
        name = device.device_path.rpartition("/")[2]
        return Uevent(
            str(device.action), str(device.subsystem), name, self.kind,
            driver=device.properties.get("DRIVER"),
        )  # fmt: skip


def monitors(subsystems: Sequence[str], *, daemon: bool) -> tuple[Source, ...]:
    """The kernel's events of these subsystems, and udev's; those that can be had.

    Args:
        subsystems: as sysfs has them, like ``pci``.
        daemon: whether udev's daemon runs: who listens to it without is never told anything.
    """
    if _context() is None:
        return ()
    found = []
    for kind in ("kernel", "udev") if daemon else ("kernel",):
        try:
            found.append(_Monitor(kind, subsystems))
        except OSError:  # no netlink: a sandbox, or too many files are open
            continue
    return tuple(found)
