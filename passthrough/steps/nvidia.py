"""What NVIDIA's own program does to a GPU: persistence off, and its reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough.errors import PassthroughError, Refused
from passthrough.step import Reversal, State, Step
from passthrough.steps.bbswitch import answers

if TYPE_CHECKING:
    from diag.host import Host, Transcript
    from passthrough.machine import Machine

SMI = "nvidia-smi"

#: nvidia-smi's status where another program has the GPU.
_IN_USE = 255


def _smi(machine: Machine, *words: str) -> Transcript:
    done = machine.run(SMI, *words)
    if done.status != 0:
        said = " ".join((done.out or done.err).split())[:300]
        hint = "dmesg says more"
        if done.status == _IN_USE or "In use by another client" in said:
            hint = "end what uses the card: fuser -v /dev/nvidia*; stop nvidia-persistenced"
        raise Refused(f"{SMI} {' '.join(words)}: status {done.status}: {said}", hint=hint)
    return done


@dataclass(frozen=True, slots=True)
class PersistenceOff(Step):
    """Let the driver drop the GPU's state when nobody uses it (``nvidia-smi -pm 0``).

    Persistence mode counts as a client, and no GPU with a client can be reset.

    Attributes:
        address: of the GPU.
    """

    kind: ClassVar[str] = "persistence-off"

    address: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"{SMI} -pm 0 -i {self.address}"

    def observe(self, host: Host) -> State:
        """The mode, as nvidia-smi prints it; None where it does not."""
        from diag.host import Host as Fresh

        # A host keeps what programs said; this is asked more than once.
        asked = Fresh() if host.live else host
        done = asked.run(
            SMI, "--query-gpu=persistence_mode", "--format=csv,noheader", "-i", self.address
        )
        return done.out.strip() if done is not None and done.status == 0 else None

    def apply(self, machine: Machine) -> None:
        """Switch it off."""
        _smi(machine, "-pm", "0", "-i", self.address)

    def verify(self, host: Host) -> str:
        """Whether it is off."""
        mode = self.observe(host)
        return "" if mode == "Disabled" else f"the persistence mode is {mode or 'not known'}"

    def restore(self, machine: Machine, before: State) -> None:
        """As it was."""
        if before == "Enabled":
            _smi(machine, "-pm", "1", "-i", self.address)


@dataclass(frozen=True, slots=True)
class RefreshGpu(Step):
    """Let NVIDIA's driver reset the GPU and set it up anew (``nvidia-smi -r``).

    Attributes:
        address: of the GPU.
    """

    kind: ClassVar[str] = "refresh"
    reversal: ClassVar[Reversal] = Reversal.NONE

    address: str

    @property
    def name(self) -> str:
        """What it does."""
        return f"{SMI} -r -i {self.address}"

    def observe(self, host: Host) -> State:
        """Whether it answers."""
        return answers(host, self.address)

    def same(self, before: State, now: State) -> bool:
        """A GPU that was dead and answers now is no worse off."""
        return bool(now or now == before)

    def apply(self, machine: Machine) -> None:
        """Reset it.

        Raises:
            PassthroughError: nvidia-smi does not say that it has.
        """
        said = _smi(machine, "-r", "-i", self.address).out
        if "successfully reset" not in said:
            raise PassthroughError(f"{SMI} -r did not reset it: {' '.join(said.split())[:300]}")

    def verify(self, host: Host) -> str:
        """Whether it answers."""
        return "" if answers(host, self.address) else "it does not answer any longer"
