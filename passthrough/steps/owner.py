"""A device's node is given to a user, so that a program without root's rights can open it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.errors import Refused
from passthrough.machine import owner_of
from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class GiveNode(Step):
    """Let a user open a node, besides those who may already.

    Attributes:
        device: folder of the device in sysfs; the node is that of its IOMMU group.
        uid: number of the user.
    """

    kind: ClassVar[str] = "owner"

    device: str
    uid: int

    @property
    def name(self) -> str:
        """What it does."""
        device = self.device.rpartition("/")[2]
        return f"give the VFIO group of {device} to the user number {self.uid}"

    def _path(self, host: Host) -> str | None:
        group = host.link(f"{self.device}/iommu_group")
        return None if group is None else f"/dev/vfio/{group}"

    def observe(self, host: Host) -> State:
        """Owner and group of the node; None where it is not there."""
        path = self._path(host)
        owner = None if path is None else owner_of(path)
        return None if owner is None else list(owner)

    def same(self, before: State, now: State) -> bool:
        """A node that is gone comes back as root's."""
        return now is None or before is None or bool(now == before)

    def disturbed(self, after: State, now: State) -> bool:
        """Never: the kernel and udev make nodes anew, each with its own owner."""
        del after, now
        return False

    def apply(self, machine: Machine) -> None:
        """Change the owner; the group stays.

        Raises:
            Refused: there is no group.
        """
        path = self._path(machine.host)
        if path is None:
            raise Refused(f"{self.device} has no IOMMU group")
        machine.give_file(path, self.uid, -1)

    def verify(self, host: Host) -> str:
        """Whether it is theirs."""
        now = self.observe(host)
        if now is None:
            return "it is not there"
        return "" if now[0] == self.uid else f"it belongs to the user number {now[0]}"

    def restore(self, machine: Machine, before: State) -> None:
        """Give it back."""
        path = self._path(machine.host)
        if before is not None and path is not None:
            machine.give_file(path, *before)
