"""What bbswitch and nvhda do, as a function of three hidden variables.

The field report from an Acer Nitro 5 has the table: what both files show, what is written to one
of them, what both show then; 16 rows. The table follows from what the two modules do (bbswitch.c,
nvhda.c): bbswitch shows OFF where the card answers with ones; nvhda shows ON where bit 25 of the
dword at 0x488 of the GPU's config is set *and* the kernel's list has an audio function of NVIDIA's.
A card without power answers with ones, so that bit too reads as one.

The kernel restores the GPU's settings after a loss of power, and not the audio function's: that
one works again once it was taken off the list and found again. It is the fourth variable here, and
neither file shows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import product

BBSWITCH, NVHDA = "bbswitch", "nvhda"


@dataclass(frozen=True, slots=True)
class Operation:
    """One write.

    Attributes:
        switch: ``bbswitch`` or ``nvhda``.
        on: whether ON is written, not OFF.
    """

    switch: str
    on: bool

    def __str__(self) -> str:
        return f"{self.switch} {'ON' if self.on else 'OFF'}"


GPU_OFF, GPU_ON = Operation(BBSWITCH, False), Operation(BBSWITCH, True)
AUDIO_OFF, AUDIO_ON = Operation(NVHDA, False), Operation(NVHDA, True)
#: Of two ways of the same length the one with the earlier writes is taken: the audio function is
#: switched while the GPU has power, since nvhda can take nothing back without it.
OPERATIONS = (GPU_ON, AUDIO_OFF, AUDIO_ON, GPU_OFF)


@dataclass(frozen=True, slots=True)
class Power:
    """What a card's power is, seen and unseen.

    Attributes:
        gpu: whether the card has power.
        bit: whether the GPU is set to have an audio function; survives a loss of power.
        listed: whether the kernel's list has the audio function.
        lost: whether the listed audio function has lost its settings with its power.
    """

    gpu: bool
    bit: bool
    listed: bool
    lost: bool = False

    @property
    def audio(self) -> bool:
        """What nvhda shows."""
        return self.listed and (self.bit or not self.gpu)

    def __str__(self) -> str:
        """What both files show, as the field report writes it: ``ON/OFF`` is bbswitch/nvhda."""
        return "/".join("ON" if on else "OFF" for on in (self.gpu, self.audio))


def after(power: Power, operation: Operation) -> Power:
    """What `operation` leads to. Every one of them can be repeated without effect."""
    if operation == GPU_OFF:
        return replace(power, gpu=False, lost=power.lost or (power.gpu and power.listed))
    if operation == GPU_ON:
        return replace(power, gpu=True)
    if operation == AUDIO_OFF:
        # A card without power takes no setting: the bit stays.
        return replace(power, bit=power.bit and not power.gpu, listed=False, lost=False)
    if not power.gpu:
        return power
    return replace(power, bit=True, listed=True)


def possible(
    *, gpu: bool, listed: bool, audio: bool | None = None, lost: bool = False
) -> frozenset[Power]:
    """What the power can be, from what can be seen of it.

    Args:
        gpu: whether the GPU has power.
        listed: whether the kernel's list has the audio function.
        audio: what nvhda shows, where that was read.
        lost: whether the audio function has lost its settings.
    """
    # What is on the list of a card without power has lost its settings by then.
    lost = listed and (lost or not gpu)
    every = (Power(gpu, bit, listed, lost) for bit in (False, True))
    return frozenset(power for power in every if audio is None or power.audio is audio)


#: Everything that can be.
EVERY = tuple(
    Power(gpu, bit, listed, lost)
    for gpu, bit, listed, lost in product((False, True), repeat=4)
    if (listed or not lost) and (gpu or lost or not listed)
)


def shortest(
    start: Iterable[Power],
    wanted: Callable[[Power], bool],
    *,
    forbidden: Collection[Operation] = (),
) -> tuple[Operation, ...] | None:
    """The fewest writes that lead from each of the states in `start` to a wanted one.

    Args:
        start: what the power may be now: not everything can be seen.
        wanted: whether a state is wanted.
        forbidden: what may not be written: no GPU is switched off under its driver.

    Returns:
        the writes; None where there is no way.
    """
    first = frozenset(start)
    ways: deque[tuple[frozenset[Power], tuple[Operation, ...]]] = deque([(first, ())])
    seen = {first}
    while ways:
        states, way = ways.popleft()
        if all(wanted(state) for state in states):
            return way
        for operation in OPERATIONS:
            if operation in forbidden:
                continue
            then = frozenset(after(state, operation) for state in states)
            if then not in seen:
                seen.add(then)
                ways.append((then, (*way, operation)))
    return None
