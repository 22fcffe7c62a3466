"""Runs in the lab: waits for what the kernel does, and says what came of it, as JSON.

python waits.py late NOWHERE ADDRESS    await a function that never comes, and one that is late
python waits.py hear ADDRESS            a driver takes and loses it, it is lost and found
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from diag import udev
from diag.host import Host
from passthrough.machine import Machine
from passthrough.steps import presence
from passthrough.steps.driver import give


def rescan(address: str, seconds: float) -> dict[str, object]:
    """The step that rescans: its words at the end, and how long it took."""
    presence.PATIENCE = seconds
    host = Host()
    step = presence.Rescan((address,))
    begun = time.monotonic()
    step.apply(Machine(host))
    return {"seconds": time.monotonic() - begun, "problem": step.verify(host)}


def late(nowhere: str, address: str) -> dict[str, object]:
    """What comes of waiting for either; then what is there."""
    never = rescan(nowhere, 0.5)
    print("waiting", flush=True)
    return {"never": never, "late": rescan(address, 60), "devices": both()}


def hear(address: str) -> dict[str, object]:
    """What is told while a driver takes a function, lets it go, and it is removed and found."""
    machine = Machine(Host())
    with machine.host.uevents("pci", "vfio") as events:
        give(machine, address, "vfio-pci")
        give(machine, address, None)
        presence.Remove(address).apply(machine)
        presence.rescan(machine, [address])
        settled = events.settled(address, subsystem="pci")
        heard = [[e.source, e.action, e.subsystem, e.name, e.driver] for e in events.heard]
        return {"heard": heard, "settled": settled, "sources": repr(events)}


def both() -> dict[str, object]:
    """Subsystem → its devices as libudev and as sysfs list them, and as diag does."""
    folders = {name: Path("/sys/class", name) for name in ("drm", "net", "block", "sound", "vc")}
    folders["pci"] = Path("/sys/bus/pci/devices")
    return {
        name: [
            sorted(udev.listed(name) or ()),
            sorted(p.name for p in folder.iterdir() if p.is_symlink()),
            list(Host().devices(name) or ()),
        ]
        for name, folder in folders.items()
        if folder.is_dir()
    }


if __name__ == "__main__":
    what = {"late": late, "hear": hear}[sys.argv[1]]
    print(json.dumps(what(*sys.argv[2:])))
