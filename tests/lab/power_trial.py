"""Runs inside the lab: power switches asked for by our own steps.

    python tests/lab/power_trial.py GPU AUDIO rows    the field report's 16 rows
    python tests/lab/power_trial.py GPU AUDIO refused what is written although a driver is bound

Prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from diag.host import Host
from lab.power import TABLE
from passthrough.engine import execute
from passthrough.errors import PassthroughError, StepFailed, WriteFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.power.model import Operation, possible, shortest
from passthrough.step import Step
from passthrough.steps import SetBbswitch, SetNvhda
from passthrough.steps.switch import shown, write_word


def step_of(operation: Operation, gpu: str, audio: str) -> Step:
    if operation.switch == "nvhda":
        return SetNvhda(gpu, audio, operation.on)
    return SetBbswitch(gpu, operation.on)


def rows(gpu: str, audio: str, places: Places) -> list[dict[str, str]]:
    """Each row of the table: its first state is reached on the way that the model finds."""
    machine, seen = Machine(Host()), []

    def state() -> str:
        return "/".join(shown(machine.host, name, gpu) for name in ("bbswitch", "nvhda"))

    def take(*operations: Operation) -> str:
        steps = tuple(step_of(operation, gpu, audio) for operation in operations)
        try:
            execute(Plan("a row", steps), machine, places)
        except StepFailed as failed:
            return f"{failed} (restored: {failed.restored})"
        return ""

    for before, switch, word, _ in TABLE:
        known = state().split("/")
        listed = Path(f"/sys/bus/pci/devices/{audio}").exists()
        start = possible(gpu=known[0] == "ON", listed=listed, audio=known[1] == "ON")
        way = shortest(start, lambda power, wanted=before: str(power) == wanted)  # type: ignore[misc]  # a lambda's default
        said = take(*(way or ()))
        reached = state()
        said += take(Operation(switch, word == "ON"))
        seen.append(
            {"before": reached, "switch": switch, "word": word, "after": state(), "said": said}
        )
    return seen


def refused(gpu: str) -> str:
    """What is said where a driver has come between the plan and the write."""
    try:
        write_word(Machine(Host()), "bbswitch", gpu, on=False)
    except WriteFailed as error:
        return f"{error.message} -> {error.hint}"
    except PassthroughError as error:
        return f"another error: {error.message}"
    return "not refused"


def main() -> None:
    gpu, audio, kind = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder, "run"), Path(folder, "lib"))
        print(json.dumps(refused(gpu) if kind == "refused" else rows(gpu, audio, places)))


if __name__ == "__main__":
    main()
