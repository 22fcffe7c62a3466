"""Runs inside the lab: every plan is failed and killed at every point, and the host comes back.

    python tests/lab/trial.py GPU AUDIO PORT [KIND]

Prints a JSON object: how many trials were made, and each after which the host was another one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from diag.host import Host
from passthrough.engine import Watch, execute, find_pending, recover
from passthrough.errors import PassthroughError, StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan

DEVICES = Path("/sys/bus/pci/devices")


def text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError as error:
        return os.strerror(error.errno)


def host_state() -> dict[str, object]:
    """What a user would notice: who is there, who drives it, what is set, what is loaded."""
    state: dict[str, object] = {}
    for device in sorted(DEVICES.iterdir()):
        driver, group = device / "driver", device / "iommu_group"
        state[device.name] = [
            driver.readlink().name if driver.is_symlink() else None,
            group.readlink().name if group.is_symlink() else None,
            *(text(device / name) for name in ("driver_override", "power/control", "enable")),
            *(text(device / name) for name in ("d3cold_allowed", "reset_method", "power_state")),
        ]
    modules = Path("/proc/modules").read_text().splitlines()
    state["modules"] = sorted(line.split()[0] for line in modules)
    state["autoprobe"] = text(Path("/sys/bus/pci/drivers_autoprobe"))
    return state


def kill_at(point: str, step: int) -> Watch:
    """Die at a point, as by the OOM killer."""

    def watch(now: str, number: int) -> None:
        if (now, number) == (point, step):
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def fail_at(point: str, step: int) -> Watch:
    """Fail at a point, as a refusing kernel makes it."""

    def watch(now: str, number: int) -> None:
        if (now, number) == (point, step):
            raise PassthroughError("refused for a trial")

    return watch


def interrupt_at(point: str, step: int) -> Watch:
    """Ctrl-C at a point."""

    def watch(now: str, number: int) -> None:
        if (now, number) == (point, step):
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def trials(
    plan_of: Callable[[], Plan], machine: Machine, places: Places
) -> tuple[int, list[dict[str, object]]]:
    """All trials of one plan; how many, and those after which the host was another one."""
    before = host_state()
    count, wrong = 0, []
    for step in range(len(plan_of().steps)):
        for point in ("begin", "effect", "done"):
            for name, make in (("kill", kill_at), ("fail", fail_at), ("interrupt", interrupt_at)):
                count += 1
                said = one(plan_of(), machine, places, make(point, step), apart=name == "kill")
                left: list[object] = []
                if name == "kill" and find_pending(places):
                    left = [str(part) for part in recover(machine, places)]
                after = host_state()
                if after != before or left or find_pending(places):
                    changed = {k: [before.get(k), after.get(k)] for k in {*before, *after}
                               if before.get(k) != after.get(k)}  # fmt: skip
                    wrong.append({"trial": [name, point, step], "said": said, "left": left,
                                  "changed": changed})  # fmt: skip
                    before = after
                    shutil.rmtree(places.volatile)  # the next trial begins anew
    return count, wrong


def one(plan: Plan, machine: Machine, places: Places, watch: Watch, *, apart: bool) -> str:
    """Execute a plan that does not get to its end; what was said."""
    if apart:
        pid = os.fork()
        if pid == 0:
            try:
                execute(plan, machine, places, watch=watch)
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        return f"status {status}"
    try:
        execute(plan, machine, places, watch=watch)
    except StepFailed as failed:
        return f"{failed} (restored: {failed.restored})"
    return "it went through"


def handover(gpu: str, audio: str, _port: str) -> Plan:
    """Both functions go to vfio-pci."""
    from passthrough.steps import Bind, SetAttribute, Unbind, load_vfio

    steps = [load_vfio()]
    for address in (audio, gpu):
        override = f"{DEVICES}/{address}/driver_override"
        steps += [SetAttribute(override, "vfio-pci"), Unbind(address), Bind(address, "vfio-pci")]
    return Plan("a handover", tuple(steps))


def again(gpu: str, audio: str, port: str) -> Plan:
    """Functions and port are removed and found again."""
    from passthrough.steps import Remove, Rescan, SetAttribute

    return Plan(
        "remove and find again",
        (
            SetAttribute(f"{DEVICES}/{gpu}/power/control", "auto"),
            Remove(audio), Remove(gpu), Remove(port), Rescan((port, gpu, audio)),
        ),
    )  # fmt: skip


PLANS = {"handover": handover, "again": again}


def main() -> None:
    gpu, audio, port, kind = sys.argv[1:]
    machine = Machine(Host())
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder, "run"), Path(folder, "lib"))
        count, wrong = trials(lambda: PLANS[kind](gpu, audio, port), machine, places)
    print(json.dumps({"trials": count, "wrong": wrong}))


if __name__ == "__main__":
    main()
