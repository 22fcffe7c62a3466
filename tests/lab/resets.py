"""Runs inside the lab: a card is brought into a state, reset, and looked at; one program for all.

    python tests/lab/resets.py GPU AUDIO PORT STATE...

Prints a JSON object: state and form → what came of it. What it needs is loaded by whoever runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.engine import execute
from passthrough.errors import PassthroughError
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.reset import Form, plan_reset

DEVICES = Path("/sys/bus/pci/devices")
BBSWITCH = Path("/proc/acpi/bbswitch")


@dataclass(frozen=True, slots=True)
class Here:
    """Where the card is."""

    gpu: str
    audio: str
    port: str


def write(path: Path | str, text: str) -> None:
    with Path(path).open("w") as file:
        file.write(f"{text}\n")


def modprobe(*words: str) -> None:
    subprocess.run(["modprobe", *words], check=True)


def driver(address: str) -> str | None:
    link = DEVICES / address / "driver"
    return link.readlink().name if link.is_symlink() else None


def unbind(*addresses: str) -> None:
    for address in addresses:
        if driver(address) is not None:
            write(DEVICES / address / "driver/unbind", address)


def bind(address: str, name: str) -> None:
    unbind(address)
    write(DEVICES / address / "driver_override", name)
    write("/sys/bus/pci/drivers_probe", address)
    write(DEVICES / address / "driver_override", "")


def healthy(here: Here) -> str:
    """The host's display driver has it, nobody the audio function."""
    modprobe("bochs")
    bind(here.gpu, "bochs-drm")
    return "bochs-drm"


def with_audio(here: Here) -> str:
    """NVIDIA's driver has it, and the host plays sound through it."""
    modprobe("-a", "nvidia", "snd-hda-intel")
    bind(here.gpu, "nvidia")
    bind(here.audio, "snd_hda_intel")
    return "nvidia"


def switched_off(here: Here) -> str:
    """bbswitch has cut its power."""
    unbind(here.audio, here.gpu)
    modprobe("-a", "bbswitch", "nvhda")
    write(BBSWITCH, "OFF")
    assert "OFF" in BBSWITCH.read_text()
    return "nvidia"


def off_the_bus(here: Here) -> str:
    """It no longer answers, and NVIDIA's driver has it all the same."""
    modprobe("nvidia")
    bind(here.gpu, "nvidia")
    words = ["setpci", "-s", here.port, "SECONDARY_BUS=0", "SUBORDINATE_BUS=0"]
    subprocess.run(words, check=True)
    assert (DEVICES / here.gpu / "config").read_bytes()[:4] == b"\xff" * 4
    return "nvidia"


def asleep(here: Here) -> str:
    """vfio-pci has it, and has put it to sleep."""
    modprobe("vfio-pci")
    for address in (here.gpu, here.audio):
        bind(address, "vfio-pci")
    end = time.monotonic() + 10
    while (DEVICES / here.gpu / "power_state").read_text().strip() != "D3hot":
        assert time.monotonic() < end, "it does not fall asleep"
    return "vfio-pci"


STATES: dict[str, Callable[[Here], str]] = {
    "healthy": healthy, "audio": with_audio, "off": switched_off, "gone": off_the_bus,
    "asleep": asleep,
}  # fmt: skip


def look(here: Here) -> dict[str, object]:
    """What is to be the same, or as intended."""
    folder = DEVICES / here.gpu
    modules = Path("/proc/modules").read_text().splitlines()
    return {
        "answers": (folder / "config").read_bytes()[:4] != b"\xff" * 4,
        "driver": driver(here.gpu),
        "audio": driver(here.audio),
        "group": sorted(p.name for p in (folder / "iommu_group/devices").iterdir()),
        "override": (folder / "driver_override").read_text().strip(),
        "control": (folder / "power/control").read_text().strip(),
        "guard": Path("/run/modprobe.d").exists(),
        "switches": sorted(
            line.split()[0] for line in modules if line.split()[0] in ("bbswitch", "nvhda")
        ),
    }


def tidy(here: Here) -> None:
    """Nobody has the card, and what was loaded for a state is unloaded."""
    unbind(here.audio, here.gpu)
    for module in ("nvhda", "bbswitch", "nvidia", "bochs", "snd_hda_intel"):
        if Path("/sys/module", module).exists():
            subprocess.run(["modprobe", "-r", module], check=True)


def one(here: Here, state: str, form: Form, places: Places) -> dict[str, object]:
    """Bring the card into a state, reset it, look."""
    wanted = STATES[state](here)
    before = look(here)
    machine = Inventory(Host())
    gpu = machine.device(PciAddress.parse(here.gpu))
    assert gpu is not None
    plan = plan_reset(machine, gpu, form=form, driver=wanted)
    said = [finding.title for finding in plan.blockers]
    try:
        execute(plan, Machine(Host()), places)
    except PassthroughError as error:
        said.append(str(error))
    return {"said": said, "wanted": wanted, "before": before, "after": look(here),
            "steps": [step.name for step in plan.steps]}  # fmt: skip


def main() -> None:
    here, states = Here(*sys.argv[1:4]), sys.argv[4:]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder, "run"), Path(folder, "lib"))
        for state in states:
            for form in (Form.FULL, Form.SHORT):
                results[f"{state} {form.value}"] = one(here, state, form, places)
                tidy(here)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
