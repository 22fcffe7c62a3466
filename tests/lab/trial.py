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

from diag.device import PciDevice
from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress
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
            *(text(device / name) for name in ("driver_override", "power/control")),
            *(text(device / name) for name in ("d3cold_allowed", "reset_method")),
            # A function without power management has no state until something sets one, and
            # bbswitch counts up each time that it is loaded.
            (text(device / "power_state") or "").replace("unknown", "D0"),
            text(device / "enable") != "0",
        ]
    modules = Path("/proc/modules").read_text().splitlines()
    state["modules"] = sorted(line.split()[0] for line in modules)
    state["autoprobe"] = text(Path("/sys/bus/pci/drivers_autoprobe"))
    state["pages"] = text(Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"))
    state["groups"] = sorted(path.name for path in Path("/sys/fs/cgroup").glob("*/"))
    state["controllers"] = text(Path("/sys/fs/cgroup/cgroup.subtree_control"))
    state["cpus"] = sorted(os.sched_getaffinity(1))
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


#: The trials that are made of longer plans: what is done, at which point, at which steps of six.
_THINNED = {("kill", "done", step) for step in range(6)} | {
    ("fail", "effect", 0), ("interrupt", "effect", 3),
}  # fmt: skip


def trials(
    plan_of: Callable[[], Plan], machine: Machine, places: Places, *, thin: bool = False
) -> tuple[int, list[dict[str, object]]]:
    """All trials of one plan; how many, and those after which the host was another one.

    Thin: killed between effect and journal at every step, failed or ended at every sixth.
    """
    before = host_state()
    count, wrong = 0, []
    if thin:
        # The host is the same each time, and so is the plan; looking it all up takes its time.
        once = plan_of()
        plan_of = lambda: once  # noqa: E731  (the same call for both)
    for step in range(len(plan_of().steps)):
        for point in ("begin", "effect", "done"):
            for name, make in (("kill", kill_at), ("fail", fail_at), ("interrupt", interrupt_at)):
                if thin and (name, point, step % 6) not in _THINNED:
                    continue
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


def power_off(_gpu: str, _audio: str, _port: str) -> Plan:
    """The card is switched off, by what this machine has for it."""
    from passthrough.power.plan import plan_power

    return plan_power(Inventory(Host()), on=False)


def power_on(_gpu: str, _audio: str, _port: str) -> Plan:
    """The card is switched on again."""
    from passthrough.power.plan import plan_power

    return plan_power(Inventory(Host()), on=True)


def detach(gpu: str, _audio: str, _port: str) -> Plan:
    """Both functions go to vfio-pci, as the command does it."""
    from passthrough.detach import plan_detach

    return plan_detach(*_card(gpu))


def reset_full(gpu: str, _audio: str, _port: str) -> Plan:
    """All twelve steps of the field reports."""
    from passthrough.reset import Form, plan_reset

    return plan_reset(*_card(gpu), form=Form.FULL)


def reset_short(gpu: str, _audio: str, _port: str) -> Plan:
    """Those that suffice for most cards."""
    from passthrough.reset import Form, plan_reset

    return plan_reset(*_card(gpu), form=Form.SHORT)


def refresh(gpu: str, _audio: str, _port: str) -> Plan:
    """NVIDIA's driver has the GPU for a while."""
    from passthrough.refresh import plan_refresh

    return plan_refresh(*_card(gpu))


def read_rom(gpu: str, _audio: str, _port: str) -> Plan:
    """The ROM BAR is switched on and off."""
    from passthrough.romdump import Via, plan_dump

    return plan_dump(*_card(gpu), Via.BAR)


def session(gpu: str, _audio: str, _port: str) -> Plan:
    """What a guest needs besides its card: a folder, its node, a program that listens, a TAP."""
    from passthrough.steps import (
        Bind,
        GiveNode,
        MakeFolder,
        MakeTap,
        RunProgram,
        SetAttribute,
        load_vfio,
    )

    folder, uid = "/run/trial", 65534
    listens = RunProgram(
        "trial/sleep", ("sleep", "1000"), uid, f"{folder}.log", (f"{folder}/socket",)
    )
    return Plan(
        "a session",
        (
            load_vfio(), SetAttribute(f"{DEVICES}/{gpu}/driver_override", "vfio-pci"),
            Bind(gpu, "vfio-pci"), MakeFolder(folder, uid), GiveNode(f"{DEVICES}/{gpu}", uid),
            listens, MakeTap("trial0", uid),
        ),
    )  # fmt: skip


def resources(_gpu: str, _audio: str, _port: str) -> Plan:
    """Huge pages and a CPU that nobody else has; the machine has two of these."""
    from passthrough.steps import EnableController, MakePartition, RunProgram, SetPagesApart

    sleeps = RunProgram("trial/sleep", ("sleep", "1000"), 65534, "/run/trial.log")
    own = MakePartition("/sys/fs/cgroup/dgpukit.trial", "1")
    steps = (SetPagesApart("2M", 4), EnableController("cpuset"), own, sleeps)
    return Plan("resources", steps)


def _card(gpu: str) -> tuple[Inventory, PciDevice]:
    machine = Inventory(Host())
    device = machine.device(PciAddress.parse(gpu))
    assert device is not None
    return machine, device


PLANS = {
    "power off": power_off, "power on": power_on, "handover": handover, "again": again,
    "session": session, "resources": resources,
}  # fmt: skip

#: Longer ones, of which not every trial is made.
THIN = {
    "detach": detach, "reset full": reset_full, "reset short": reset_short, "refresh": refresh,
    "read rom": read_rom,
}  # fmt: skip


def main() -> None:
    gpu, audio, port, kind = sys.argv[1:]
    machine = Machine(Host())
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder, "run"), Path(folder, "lib"))
        make = {**PLANS, **THIN}[kind]
        count, wrong = trials(lambda: make(gpu, audio, port), machine, places, thin=kind in THIN)
    print(json.dumps({"trials": count, "wrong": wrong}))


if __name__ == "__main__":
    main()
