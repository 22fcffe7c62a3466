"""For a while no driver is loaded by itself, as udev does when a card is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.step import State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: Below /run: a reboot forgets it. modprobe.d(5): folders in /run come before those in /usr/lib.
PATH = "/run/modprobe.d/dgpukit.conf"

#: udev's socket: where it is, udev runs. It looks for changed files every three seconds only.
_UDEV = "/run/udev/control"


def guard_text(modules: tuple[str, ...]) -> str:
    """The file. A blacklist keeps udev off, `install` everybody else who asks by name."""
    lines = ["# Written by passthrough while it finds a card anew; it removes this file again."]
    for module in modules:
        lines += [f"blacklist {module}", f"install {module} /bin/false"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Guard(Step):
    """Keep modules from being loaded, or let them be loaded again.

    Attributes:
        modules: their names; none lifts the guard.
    """

    kind: ClassVar[str] = "guard"

    modules: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it does."""
        if not self.modules:
            return "let drivers be loaded again"
        return f"keep {', '.join(self.modules)} from being loaded ({PATH})"

    def observe(self, host: Host) -> State:
        """What the file says; None where there is none."""
        data = host.data(PATH)
        return None if data is None else data.decode("utf-8", "replace")

    def apply(self, machine: Machine) -> None:
        """Write it, or remove it."""
        self.restore(machine, guard_text(self.modules) if self.modules else None)

    def verify(self, host: Host) -> str:
        """Whether it is as it should be."""
        wanted = guard_text(self.modules) if self.modules else None
        return "" if self.observe(host) == wanted else f"{PATH} is not as it was written"

    def restore(self, machine: Machine, before: State) -> None:
        """As it was before."""
        if before is None:
            machine.drop_file(PATH)
        else:
            machine.put_file(PATH, before)
        if machine.host.exists(_UDEV):
            machine.run("udevadm", "control", "--reload")
