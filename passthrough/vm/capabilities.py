"""What the installed QEMU knows, asked of itself: what it does not know is our error, not its."""

from __future__ import annotations

import re
from functools import cached_property

from diag.errors import Unreadable
from diag.host import Host
from diag.qemu import PROGRAM, Qemu, read_qemu

#: A property, as ``-device X,help`` lists it.
_PROPERTY = re.compile(r"^\s+([\w.\[\]-]+)=<", re.MULTILINE)
#: What every device takes besides (QEMU, qdev-monitor.c).
_EVERYWHERE = frozenset(("id", "bus"))


class Capabilities:
    """A QEMU and what it knows; each answer None where nobody asked it, as in most captures.

    Args:
        host: the machine that it is installed on.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._devices: dict[str, frozenset[str] | None] = {}

    def __repr__(self) -> str:
        return f"<Capabilities of QEMU on {self.host.note}>"

    @cached_property
    def qemu(self) -> Qemu | None:
        """The program and its version; None where it is not there, or nobody asked it."""
        try:
            return read_qemu(self.host)
        except Unreadable:
            return None

    @property
    def program(self) -> str:
        """How it is called."""
        return self.qemu.program if self.qemu else PROGRAM

    @property
    def version(self) -> tuple[int, int] | None:
        """Like (7, 2)."""
        if self.qemu is None or self.qemu.version is None:
            return None
        return self.qemu.version[:2]

    def properties(self, driver: str) -> frozenset[str] | None:
        """The properties of a device; empty where this QEMU has no such device."""
        if driver not in self._devices:
            said = self.host.run(self.program, "-device", f"{driver},help")
            if said is None:
                self._devices[driver] = None
            elif "options" not in said.out:  # it says so on stderr, and ends with status 0
                self._devices[driver] = frozenset()
            else:
                found = frozenset(_PROPERTY.findall(said.out))
                self._devices[driver] = found | _EVERYWHERE
        return self._devices[driver]

    @cached_property
    def machines(self) -> frozenset[str] | None:
        """The machine types."""
        return self._names("-machine")

    @cached_property
    def cpus(self) -> frozenset[str] | None:
        """The CPU models."""
        said = self.host.run(self.program, "-cpu", "help")
        if said is None or said.status:
            return None
        return frozenset(re.findall(r"^(?:x86\s+)?\s*([\w.+-]+)", said.out, re.MULTILINE))

    @cached_property
    def displays(self) -> frozenset[str] | None:
        """What its picture can be shown by."""
        return self._names("-display")

    @cached_property
    def netdevs(self) -> frozenset[str] | None:
        """The kinds of networks."""
        return self._names("-netdev")

    @cached_property
    def spice(self) -> bool | None:
        """Whether it can speak SPICE."""
        said = self.host.run(self.program, "-spice", "help")
        return None if said is None else "spice options" in said.out

    def _names(self, option: str) -> frozenset[str] | None:
        """The first words of the lines that an option's help has."""
        said = self.host.run(self.program, option, "help")
        if said is None or said.status:
            return None
        return frozenset(re.findall(r"^([\w.-]+)(?:\s|$)", said.out, re.MULTILINE))
