"""The two files in /proc/acpi that switch a card: bbswitch the GPU, nvhda its audio function.

Both know a word by how it begins, take at most seven bytes, answer every write with success, and
say in the kernel's log alone why they did nothing (bbswitch.c, nvhda.c). So every write is read
back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthrough.errors import Refused, WriteFailed
from passthrough.kernel_log import listening

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine

ON, OFF = "ON", "OFF"

#: What a refusal in the log means, and what to do.
_HINTS = {
    "in use by driver": "take the card from its driver first: passthrough detach, or modprobe -r",
    "Not multifunction": "switch the GPU on first",
    "No nv audio": "the GPU must be on, and a rescan may be needed: passthrough reset",
    "removed": "the module points to a device that is no more: load it again",
}


def word_of(on: bool) -> str:
    """What is written, and read back."""
    return ON if on else OFF


def file_of(name: str) -> str:
    """The file of a switch, by the name of its module."""
    return f"/proc/acpi/{name}"


def shown(host: Host, name: str, gpu: str) -> str:
    """What a switch shows, ``ON`` or ``OFF``. Reading it wakes the port above the card.

    Raises:
        Refused: it is not loaded, switches another card, or says neither.
        Unreadable: it cannot be read.
    """
    path = file_of(name)
    text = host.text(path, 256)
    if text is None:
        raise Refused(f"{path} is not there", hint=f"modprobe {name}")
    address, _, word = text.partition(" ")
    if word not in (ON, OFF):
        raise Refused(
            f"{path} says neither ON nor OFF: the card was removed beneath it",
            hint=f"modprobe -r {name}; if that fails, restart the machine",
        )
    if address != gpu:
        raise Refused(f"{name} switches {address}, not {gpu}", hint=f"name {address}")
    return word


def write_word(machine: Machine, name: str, gpu: str, *, on: bool) -> None:
    """Write ON or OFF, and read back whether it was heard.

    Raises:
        WriteFailed: it was not, with what the kernel has logged about it.
        Refused, Unreadable: as for `shown`.
    """
    word, path = word_of(on), file_of(name)
    with listening() as heard:
        machine.write(path, word)
        now = shown(machine.host, name, gpu)
        if now == word:
            return
        said = [line for line in heard() if any(part in line for part in ("bbswitch", "nvhda"))]
    why = f"; the kernel says: {said[-1]}" if said else ", and the kernel's log does not say why"
    hint = next((h for sign, h in _HINTS.items() if said and sign in said[-1]), "")
    raise WriteFailed(path, f"it has taken {word} and still shows {now}{why}", hint=hint)
