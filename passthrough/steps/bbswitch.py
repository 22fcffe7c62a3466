"""bbswitch cuts a GPU's power, or gives it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diag.device import DEVICES
from passthrough.errors import Refused
from passthrough.step import State, Step
from passthrough.steps.driver import driver_of
from passthrough.steps.switch import OFF, shown, word_of, write_word

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

NAME = "bbswitch"


@dataclass(frozen=True, slots=True)
class SetBbswitch(Step):
    """Switch a GPU by bbswitch, which keeps its settings over the loss of power.

    Attributes:
        gpu: its address.
        on: whether it gets power.
    """

    kind: ClassVar[str] = "bbswitch"

    gpu: str
    on: bool

    @property
    def name(self) -> str:
        """What it does."""
        return f"switch {self.gpu} {'on' if self.on else 'off'} with bbswitch"

    def observe(self, host: Host) -> State:
        """ON or OFF."""
        return shown(host, NAME, self.gpu)

    def apply(self, machine: Machine) -> None:
        """Switch it.

        Raises:
            Refused: a driver has it: without power under it the driver would hang.
            WriteFailed: bbswitch refuses; says why.
        """
        self._switch(machine, on=self.on)

    def _switch(self, machine: Machine, *, on: bool) -> None:
        host = machine.host
        if shown(host, NAME, self.gpu) == word_of(on):
            return
        driver = driver_of(host, self.gpu)
        if not on and driver is not None:
            raise Refused(
                f"{driver} has {self.gpu}: its power is not cut under a driver",
                hint=f"take it from its driver first: passthrough detach {self.gpu}",
            )
        write_word(machine, NAME, self.gpu, on=on)

    def verify(self, host: Host) -> str:
        """Whether it shows so, and, switched on, whether the card answers."""
        now = shown(host, NAME, self.gpu)
        if now != word_of(self.on):
            return f"bbswitch still shows {now}"
        return "" if not self.on or answers(host, self.gpu) else "the card does not answer"

    def restore(self, machine: Machine, before: State) -> None:
        """Switch it back."""
        self._switch(machine, on=before != OFF)


def answers(host: Host, address: str) -> bool:
    """Whether a function answers with anything but ones."""
    start = host.data(f"{DEVICES}/{address}/config", 4)
    return start is not None and start != b"\xff" * 4
