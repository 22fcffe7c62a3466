"""Handing a card over and back on the real kernel, with what goes wrong on real machines."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator

import pytest

from lab import driver, faults, vfio
from lab.machine import CHECKOUT, QEMU, Done, Lab
from lab.packages import LabUnavailable
from lab.topology import PORT

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
PCI = "/sys/bus/pci/devices"
PLACES = "/run/dgpukit"

#: In place of systemd: a unit is a control group, as systemd's are. $2 is the unit.
SYSTEMCTL = """#!/bin/sh
group=/sys/fs/cgroup/system.slice/$2
case $1 in
stop) kill $(cat $group/cgroup.procs); while grep -q . $group/cgroup.procs; do :; done ;;
start) sh -c "echo \\$\\$ > $group/cgroup.procs; exec nvidia-persistenced" ;;
esac
"""


@contextlib.contextmanager
def installed(lab: Lab) -> Iterator[None]:
    """NVIDIA's driver and its programs are installed."""
    try:
        with driver.driver_installed(lab):
            yield
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def functions(lab: Lab) -> tuple[str, str]:
    return lab.topology.gpu, str(lab.topology.audio)


def drivers(lab: Lab) -> tuple[str | None, str | None]:
    gpu, audio = functions(lab)
    return lab.driver(gpu), lab.driver(audio)


def run(lab: Lab, *words: str) -> Done:
    return lab.run("passthrough", *words, limit=120)


@laptop
@pytest.mark.trial
def test_fifty_handovers_leave_nothing_behind(lab: Lab) -> None:
    lab.run("modprobe", "snd-hda-intel").check()
    program = CHECKOUT / "tests/lab/handovers.py"
    words = [program, *functions(lab), "50", QEMU, "5"]
    done = lab.run(sys.executable, *words, limit=900).check()
    said = json.loads(done.out)
    assert said["wrong"] == []
    assert said["rounds"] == 50


@laptop
@pytest.mark.parametrize(("plan", "least"), [("detach", 10), ("refresh", 12)])
@pytest.mark.trial
def test_what_fails_or_is_killed_anywhere_leaves_the_host_as_it_was(
    lab: Lab, plan: str, least: int
) -> None:
    with installed(lab):
        lab.run("modprobe", "-a", "snd-hda-intel").check()
        if plan == "refresh":
            vfio.bind(lab, lab.topology.gpu)
        else:
            lab.run("modprobe", "nvidia").check()
        program = CHECKOUT / "tests/lab/trial.py"
        done = lab.run(sys.executable, program, *functions(lab), PORT, plan, limit=1200).check()
    said = json.loads(done.out)
    assert said["wrong"] == []
    assert said["trials"] >= least


@laptop
def test_detach_and_reattach_give_each_function_its_driver_back(lab: Lab) -> None:
    gpu, _ = functions(lab)
    with installed(lab):
        lab.run("modprobe", "-a", "snd-hda-intel", "nvidia").check()
        assert drivers(lab) == ("nvidia", "snd_hda_intel")
        said = json.loads(run(lab, "detach", "gpu", "--audio", "none", "--json").check().out)
        assert said["outcome"] == "kept"
        assert drivers(lab) == ("vfio-pci", None)
        assert vfio.open_device(lab, gpu).opened
        again = run(lab, "detach", gpu)
        assert (again.status, "detached already" in again.err) == (1, True)
        # The host's driver sets it up meanwhile, and vfio-pci has it again.
        run(lab, "refresh", gpu).check()
        assert drivers(lab) == ("vfio-pci", None)
        with faults.group_busy(lab, gpu) as holder:
            refused = run(lab, "reattach", gpu)
            assert refused.status == 1
            assert f"(process {holder.pid})" in refused.err
        run(lab, "reattach", gpu).check()
        assert drivers(lab) == ("nvidia", "snd_hda_intel")


@laptop
def test_who_uses_the_card_is_named_before_anything_is_touched(lab: Lab) -> None:
    with installed(lab):
        lab.run("modprobe", "nvidia").check()
        lab.run("nvidia-persistenced").check()
        pid = lab.sh("pidof -x nvidia-persistenced || pgrep -f nvidia-persistenced").out.split()[0]
        started = time.monotonic()
        done = run(lab, "detach", "gpu")
        assert time.monotonic() - started < 60
        assert done.status == 1
        assert f"nvidia-persiste (process {pid}) uses it: /dev/nvidia0" in done.out
        assert f"kill {pid}" in done.out
        assert drivers(lab)[0] == "nvidia"
        lab.run("kill", pid).check()
        lab.sh(f"while test -d /proc/{pid}; do :; done").check()


@laptop
def test_a_service_is_stopped_for_it_and_runs_again_at_the_end(lab: Lab) -> None:
    unit = "nvidia-persistenced.service"
    group = f"/sys/fs/cgroup/system.slice/{unit}"
    with installed(lab):
        lab.sh(f"mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup; "
               f"mkdir -p {group}").check()  # fmt: skip
        lab.run("tee", "/usr/local/sbin/systemctl", stdin=SYSTEMCTL.encode()).check()
        lab.sh("chmod +x /usr/local/sbin/systemctl; modprobe nvidia").check()
        lab.sh(f"systemctl start {unit}").check()
        first = lab.read(f"{group}/cgroup.procs")
        assert first
        run(lab, "detach", "gpu").check()
        assert lab.read(f"{group}/cgroup.procs") == ""
        run(lab, "reattach", "gpu").check()
        assert lab.read(f"{group}/cgroup.procs") not in ("", first)
        assert drivers(lab)[0] == "nvidia"
        lab.sh(f"systemctl stop {unit}; rm /usr/local/sbin/systemctl").check()


@pytest.mark.parametrize("lab", ["strangers"], indirect=True)
def test_a_stranger_in_the_group_is_named_or_goes_too(lab: Lab) -> None:
    lab.run("modprobe", "e1000e").check()
    done = run(lab, "detach", "gpu")
    assert done.status == 1
    assert "0000:02:00.0 shares its group and e1000e has it" in done.out
    assert drivers(lab) == (None, None)
    run(lab, "detach", "gpu", "--with-strangers").check()
    assert vfio.open_device(lab, lab.topology.gpu).opened
    run(lab, "reattach", "gpu").check()
    assert lab.driver("0000:02:00.0") == "e1000e"


@laptop
def test_a_host_that_cannot_be_written_stays_as_it_is(lab: Lab) -> None:
    lab.run("modprobe", "snd-hda-intel").check()
    before = drivers(lab)
    with faults.read_only_sysfs(lab):
        done = run(lab, "detach", "gpu")
        assert done.status == 4
        assert "read-only file system" in done.err
        assert "as it was before" in done.err
    with faults.full_disk(lab, PLACES):
        done = run(lab, "detach", "gpu")
        assert done.status == 3
        assert "no space left on device" in done.err
    assert drivers(lab) == before


@laptop
def test_an_ordinary_user_sees_the_plan_and_what_a_write_needs(lab: Lab) -> None:
    lab.run("modprobe", "snd-hda-intel").check()
    program = CHECKOUT / "tests/lab/ordinary.py"
    said = json.loads(lab.run(sys.executable, program, str(faults.ORDINARY)).check().out)
    steps = 0
    for (status, root), (other, nobody) in zip(said["root"], said["nobody"], strict=True):
        assert status == other
        # What only root can find out may be missing; what would be done is the same.
        for key in ("steps", "title", "outcome"):
            assert json.loads(nobody).get(key) == json.loads(root).get(key)
        steps += len(json.loads(nobody).get("steps", ()))
    assert steps > 20
    for status, told in said["writes"]:
        assert status == 3
        assert "needs root" in told
        assert "sudo" in told
    assert drivers(lab) == (None, "snd_hda_intel")
