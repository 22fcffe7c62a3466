"""A mediated device: a part of a GPU for a guest (Linux, Documentation/driver-api/
vfio-mediated-device.rst)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.errors import Refused
from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: Where the kernel has all of them, by their UUIDs.
MDEVS = "/sys/bus/mdev/devices"


def type_of(host: Host, uuid: str) -> str | None:
    """The type of a mediated device; None if there is none of this UUID."""
    return host.link(f"{MDEVS}/{uuid}/mdev_type") if host.exists(f"{MDEVS}/{uuid}") else None


@dataclass(frozen=True, slots=True)
class CreateMdev(Step):
    """Make a mediated device.

    Attributes:
        parent: address of the GPU that it is a part of.
        type: one of its ``mdev_supported_types``.
        uuid: what it is called.
    """

    kind: ClassVar[str] = "mdev"

    parent: str
    type: str
    uuid: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"make a {self.type} of {self.parent} ({self.uuid})"

    def observe(self, host: Host) -> State:
        """Its type; None where there is none."""
        return type_of(host, self.uuid)

    def apply(self, machine: Machine) -> None:
        """Make it, unless it is there.

        Raises:
            Refused: there is one of this UUID that is of another type.
        """
        now = self.observe(machine.host)
        if now is None:
            folder = f"{DEVICES}/{self.parent}/mdev_supported_types/{self.type}"
            machine.write(f"{folder}/create", self.uuid)
        elif now != self.type:
            raise Refused(
                f"{self.uuid} is a {now} already",
                hint=f"remove it: echo 1 > {MDEVS}/{self.uuid}/remove",
            )

    def verify(self, host: Host) -> str:
        """Whether it is there."""
        now = self.observe(host)
        return "" if now == self.type else f"there is {now or 'no mediated device'}"

    def restore(self, machine: Machine, before: State) -> None:
        """Remove what was made."""
        if before is None and self.observe(machine.host) is not None:
            machine.write(f"{MDEVS}/{self.uuid}/remove", "1")
