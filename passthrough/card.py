"""A card that can be handed over, as it is now: its functions, the port above, what switches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.errors import Unreadable
from diag.gpu import pick_gpu
from diag.graphics import candidates
from diag.holders import Holder, device_nodes, read_holders
from diag.names import Names
from diag.power import PowerReading, Switch, read_power, read_switches
from passthrough.engine import find_kept, find_pending
from passthrough.errors import BadJournal, Refused

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.inventory import Inventory
    from diag.pci import PciAddress
    from passthrough.journal import Entry, Places


@dataclass(frozen=True, slots=True)
class Part:
    """A function of a card, or the port above it.

    Attributes:
        role: ``GPU``, ``audio``, ``port``, or ``function`` for what else is on the card.
        device: the function.
        power: whether it is awake.
        holders: who has its device nodes open; None where that could not be looked at.
        hidden: processes that could not be looked into.
    """

    role: str
    device: PciDevice
    power: PowerReading
    holders: tuple[Holder, ...] | None
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """A card.

    Attributes:
        name: what its GPU is called.
        parts: the GPU first, the port last.
        switches: bbswitch and nvhda, where they are loaded.
    """

    name: str
    parts: tuple[Part, ...]
    switches: tuple[Switch, ...]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs whose effect is still there.

    Attributes:
        pending: those that have left the machine changed and were not meant to.
        kept: those whose effect is wanted for a while.
        unread: why they are not known; then both are empty.
    """

    pending: tuple[Entry, ...] = ()
    kept: tuple[Entry, ...] = ()
    unread: BadJournal | None = None


def pick_card(machine: Inventory, address: PciAddress | None) -> PciDevice:
    """The GPU that is asked for; without an address the only one that can be handed over.

    Raises:
        Refused: there are several, and one of them may be what the host shows its picture with.
        NoGpu: there is none, or what is at the address is none.
        Unreadable: sysfs cannot be read.
    """
    several = candidates(machine) if address is None else ()
    if len(several) > 1:
        names = Names(machine.host)
        known = ", ".join(f"{gpu.address} ({names.of(gpu)})" for gpu in several)
        raise Refused(f"which GPU? There are {len(several)}: {known}", hint="name its address")
    return pick_gpu(machine, address)


def read_cards(machine: Inventory) -> tuple[Card, ...]:
    """The cards that can be handed over; where there is none, those that cannot.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    names, switches = Names(machine.host), read_switches(machine)
    gpus = candidates(machine) or machine.gpus
    return tuple(
        Card(
            names.of(gpu),
            tuple(_parts(machine, gpu)),
            _switches_of(gpu, switches, first=not number),
        )
        for number, gpu in enumerate(gpus)
    )


def _switches_of(
    gpu: PciDevice, switches: tuple[Switch, ...], *, first: bool
) -> tuple[Switch, ...]:
    """Those that switch a card: each says which; one that was not asked is shown with the first."""
    own = str(gpu.address)
    said = ((switch, (switch.says or "").partition(" ")[0]) for switch in switches)
    return tuple(switch for switch, address in said if (address == own if address else first))


def _parts(machine: Inventory, gpu: PciDevice) -> list[Part]:
    sound = machine.audio_of(gpu)
    port = None if gpu.parent is None else machine.device(gpu.parent)
    functions = [("GPU", gpu)]
    for other in machine.siblings(gpu):
        functions.append(("audio" if other is sound else "function", other))
    nodes = {device.address: device_nodes(machine, device) for _, device in functions}
    try:
        wanted = tuple(node for held in nodes.values() for node in held)
        looked = read_holders(machine.host, wanted) if wanted else None
        found, hidden, known = (looked.found, looked.hidden, True) if looked else ((), 0, True)
    except Unreadable:
        found, hidden, known = (), 0, False
    parts = []
    for role, device in functions:
        own = set(nodes[device.address])
        holders = tuple(holder for holder in found if own & set(holder.nodes))
        power = read_power(machine, device)
        parts.append(
            Part(role, device, power, holders if known or not own else None, hidden if own else 0)
        )
    if port is not None:
        parts.append(Part("port", port, read_power(machine, port), ()))
    return parts


def read_runs(places: Places) -> Runs:
    """The runs whose effect is still there, as far as this user may know."""
    try:
        return Runs(find_pending(places), find_kept(places))
    except BadJournal as error:
        return Runs(unread=error)
