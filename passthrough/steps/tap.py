"""A network interface that a program of a user can be on the other side of (tun/tap)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: Where the kernel has its network interfaces.
NETWORK = "/sys/class/net"


@dataclass(frozen=True, slots=True)
class MakeTap(Step):
    """Make a TAP interface, unless there is one of this name.

    Attributes:
        interface: its name.
        uid: number of the user whose programs may use it.
        bridge: that it is put into; empty for none.
    """

    kind: ClassVar[str] = "tap"

    interface: str
    uid: int
    bridge: str = ""

    @property
    def name(self) -> str:
        """What it does."""
        into = f" in {self.bridge}" if self.bridge else ""
        return f"make the interface {self.interface}{into} for the user number {self.uid}"

    def observe(self, host: Host) -> State:
        """Whether it is there."""
        return host.exists(f"{NETWORK}/{self.interface}")

    def apply(self, machine: Machine) -> None:
        """Make it, and switch it on."""
        if self.observe(machine.host):
            return
        user = ("user", str(self.uid))
        machine.must_run("ip", "tuntap", "add", "dev", self.interface, "mode", "tap", *user)
        if self.bridge:
            machine.must_run("ip", "link", "set", "dev", self.interface, "master", self.bridge)
        machine.must_run("ip", "link", "set", "dev", self.interface, "up")

    def verify(self, host: Host) -> str:
        """Whether it is there."""
        return "" if self.observe(host) else "it is not there"

    def restore(self, machine: Machine, before: State) -> None:
        """Remove it, if it was made."""
        if not before and self.observe(machine.host):
            machine.must_run("ip", "link", "del", "dev", self.interface)
