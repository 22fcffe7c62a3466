"""nvhda switches the audio function of an NVIDIA GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.errors import Refused
from passthrough.step import Reversal, State, Step
from passthrough.steps.driver import driver_of, release
from passthrough.steps.presence import PATIENCE, is_present, put_back, settings_of
from passthrough.steps.switch import ON, shown, word_of, write_word

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

NAME = "nvhda"


@dataclass(frozen=True, slots=True)
class SetNvhda(Step):
    """Switch the audio function: off takes it off the kernel's list, on finds it again.

    Attributes:
        gpu: the GPU's address, which nvhda shows.
        audio: the address of the audio function.
        on: whether it is to be there.
    """

    kind: ClassVar[str] = "nvhda"
    #: The function that is found again is a new one to the kernel.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    gpu: str
    audio: str
    on: bool

    @property
    def name(self) -> str:
        """What it does."""
        return f"switch {self.audio} {'on' if self.on else 'off'} with nvhda"

    def observe(self, host: Host) -> State:
        """What nvhda shows; the function's driver and settings, None where it is not listed."""
        listed = is_present(host, self.audio)
        return {
            "shows": shown(host, NAME, self.gpu),
            "function": settings_of(host, self.audio) if listed else None,
        }

    def same(self, before: State, now: State) -> bool:
        """The bit that nvhda sets has no effect on a function that is listed already."""
        listed = before["function"] is not None and before["function"] == now["function"]
        return bool(listed or before == now)

    def disturbed(self, after: State, now: State) -> bool:
        """A driver may have found it since: it is new to the kernel."""
        return bool(after["shows"] != now["shows"])

    def apply(self, machine: Machine) -> None:
        """Switch it.

        Raises:
            Refused: a driver has it.
            WriteFailed: nvhda does not; says why.
        """
        host = machine.host
        if shown(host, NAME, self.gpu) == word_of(self.on) and is_present(host, self.audio) is (
            self.on
        ):
            return
        driver = driver_of(host, self.audio)
        if not self.on and driver is not None:
            raise Refused(
                f"{driver} has {self.audio}: it is not taken away under a driver",
                hint=f"unbind it first: echo {self.audio} > /sys/bus/pci/drivers/{driver}/unbind",
            )
        with host.uevents("pci") as uevents:
            write_word(machine, NAME, self.gpu, on=self.on)
            uevents.until(
                lambda: is_present(host, self.audio) is self.on, PATIENCE, ask=machine.ask
            )

    def verify(self, host: Host) -> str:
        """Whether nvhda shows so, and the function is there or not."""
        now = shown(host, NAME, self.gpu)
        if now != word_of(self.on):
            return f"nvhda still shows {now}"
        if is_present(host, self.audio) is not self.on:
            return f"{self.audio} is {'not there' if self.on else 'still there'}"
        return ""

    def restore(self, machine: Machine, before: State) -> None:
        """Switch it back, and give the function the driver and the settings that it had."""
        host = machine.host
        if before["function"] is None:
            release(machine, self.audio) if is_present(host, self.audio) else None
            if before["shows"] != shown(host, NAME, self.gpu):
                write_word(machine, NAME, self.gpu, on=before["shows"] == ON)
            return
        if not is_present(host, self.audio):
            write_word(machine, NAME, self.gpu, on=True)
        put_back(machine, self.audio, before["function"])
