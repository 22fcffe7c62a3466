"""A function's ROM BAR is read, and is switched off again whatever happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from diag.errors import Unreadable
from passthrough.errors import Refused
from passthrough.step import State, Step
from passthrough.steps.driver import driver_of

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

#: Bytes. The largest ROM BAR that the specification allows (PCI 3.0, 6.2.5.2).
LARGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class ReadRom(Step):
    """Read what is behind the ROM BAR; the bytes are in `Machine.taken` under `address` then.

    sysfs gives the ROM only to who has asked for it (``rom``), and a function without a driver has
    to be enabled for that (``enable``, which counts). Both are as before when the step ends, and a
    step that was killed half-way is taken back as any other.

    Attributes:
        address: of the function.
    """

    kind: ClassVar[str] = "read-rom"

    address: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"switch the ROM BAR of {self.address} on, read it, and switch it off"

    def _path(self, name: str) -> str:
        return f"{DEVICES}/{self.address}/{name}"

    def observe(self, host: Host) -> State:
        """Whether the ROM can be read now, and how often the function was enabled."""
        count = host.text(self._path("enable"))
        try:
            readable = bool(host.data(self._path("rom"), 2))
        except Unreadable:  # EIO or EINVAL: it is off
            readable = False
        return {"rom": readable, "enable": None if count is None else int(count)}

    def apply(self, machine: Machine) -> None:
        """Switch on, read, switch off.

        Raises:
            Refused: the kernel gives no bytes.
        """
        host = machine.host
        before = self.observe(host)
        if not host.exists(self._path("rom")):
            raise Refused(f"{self.address} has no ROM BAR", hint="passthrough rom dump --via acpi")
        try:
            if driver_of(host, self.address) is None and not before["enable"]:
                machine.write(self._path("enable"), "1")
            machine.write(self._path("rom"), "1")
            machine.taken[self.address] = self._read(host)
        finally:
            self.restore(machine, before)
        if self.observe(host) != before:
            raise Refused(f"the ROM BAR of {self.address} could not be switched off again")

    def _read(self, host: Host) -> bytes:
        try:
            data = host.data(self._path("rom"), LARGEST)
        except Unreadable as error:
            raise Refused(
                f"the kernel cannot read the ROM of {self.address} ({error.why})",
                hint="the card has none there, or is switched off; try --via acpi or --via vfct",
            ) from None
        if not data:
            raise Refused(
                f"the ROM of {self.address} reads as nothing",
                hint="passthrough rom dump --via acpi, or --via vfct",
            )
        return data

    def verify(self, host: Host) -> str:
        """Nothing: `apply` has seen that all is as before."""
        del host
        return ""

    def restore(self, machine: Machine, before: State) -> None:
        """Switch off what was off."""
        now = self.observe(machine.host)
        if now["rom"] and not before["rom"]:
            machine.write(self._path("rom"), "0")
        extra = (now["enable"] or 0) - (before["enable"] or 0)
        if extra > 0 and driver_of(machine.host, self.address) is None:
            machine.write(self._path("enable"), "0")
