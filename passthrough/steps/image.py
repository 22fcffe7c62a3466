"""A disk image is made for a guest that is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough import programs
from passthrough.errors import PassthroughError, Refused
from passthrough.step import State, Step
from passthrough.vm.image import read_image
from romkit.render.text import human_size

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class CreateImage(Step):
    """Make an empty disk image, as its owner. It is removed only while it is still empty: what an
    installation has written stays.

    Attributes:
        path: of the file.
        format: ``raw`` or ``qcow2``.
        size: bytes.
        uid: number of the user whose it is.
    """

    kind: ClassVar[str] = "image"

    path: str
    format: str
    size: int
    uid: int

    @property
    def name(self) -> str:
        """What it does."""
        return f"make the disk {self.path} of {human_size(self.size)} ({self.format})"

    def observe(self, host: Host) -> State:
        """``empty`` or ``used``; None where there is none."""
        del host
        image = read_image(self.path, self.format)
        return None if image is None else "empty" if image.empty else "used"

    def same(self, before: State, now: State) -> bool:
        """What somebody has written is not taken back."""
        return now == "used" or bool(now == before)

    def disturbed(self, after: State, now: State) -> bool:
        """Never: a disk is there to be written to, and may be removed."""
        del after, now
        return False

    def apply(self, machine: Machine) -> None:
        """Make it.

        Raises:
            Refused: it is there.
            PassthroughError: it cannot be made.
        """
        if self.observe(machine.host) is not None:
            raise Refused(f"{self.path} is there already")
        user = programs.find_user(str(self.uid))
        programs.make_file(self.path, None, user)  # its folder
        argv: tuple[str, ...] = ("qemu-img", "create", "-q", "-f", self.format, self.path)
        argv += (str(self.size),)
        if self.format == "raw":
            argv = ("truncate", f"--size={self.size}", self.path)
        # What is on a guest's disk is its owner's only.
        status, said = programs.run_as(user, *argv, umask=0o077)
        if status:
            raise PassthroughError(f"{self.path}: {said.rpartition(': ')[2]}", hint=said)

    def verify(self, host: Host) -> str:
        """Whether it is there, empty, and of this size."""
        del host
        image = read_image(self.path, self.format)
        if image is None:
            return "it is not there"
        if image.size != self.size:
            return f"it has {image.size} bytes"
        return "" if image.empty else "it is not empty"

    def restore(self, machine: Machine, before: State) -> None:
        """Remove it."""
        if before is None and self.observe(machine.host) == "empty":
            programs.drop_file(programs.find_user(str(self.uid)), self.path)
