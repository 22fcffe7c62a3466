"""A folder for what a session needs while it lasts: sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.machine import owner_of
from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class MakeFolder(Step):
    """Make a folder, and remove it with all that is in it then.

    Attributes:
        path: of the folder.
        uid: number of the user whose it is.
    """

    kind: ClassVar[str] = "folder"

    path: str
    uid: int = 0

    @property
    def name(self) -> str:
        """What it does."""
        return f"make {self.path}"

    def observe(self, host: Host) -> State:
        """Whether it is there."""
        return host.exists(self.path)

    def apply(self, machine: Machine) -> None:
        """Make it."""
        if not self.observe(machine.host):
            machine.make_folder(self.path)
            machine.give_file(self.path, self.uid, -1)

    def verify(self, host: Host) -> str:
        """Whether it is there, and theirs."""
        del host
        owner = owner_of(self.path)
        if owner is None:
            return "it is not there"
        return "" if owner[0] == self.uid else f"it belongs to the user number {owner[0]}"

    def restore(self, machine: Machine, before: State) -> None:
        """Remove it."""
        if not before:
            machine.drop_folder(self.path)
