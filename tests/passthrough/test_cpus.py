"""CPUs of a guest's own: what is found, what is planned, and what is put back."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.host import HostTree
from hypothesis import given
from hypothesis import strategies as st

from diag.host import Host
from passthrough import programs
from passthrough.cpu_list import cpus_text, parse_cpus
from passthrough.engine import execute, find_kept, take_back
from passthrough.errors import StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.step import Step, step_of
from passthrough.steps import KINDS, AllowCpus, PinGuest, RunProgram
from passthrough.vm.cpus import cpu_findings, isolate_steps, pin_steps
from passthrough.vm.parse import parse_profile
from passthrough.vm.profile import Profile

QEMU = shutil.which("qemu-system-x86_64")
SYSTEMD = "/run/systemd/system/x"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,6", (0, 1, 2, 3, 6)), ("0", (0,)), ("", ()), ("5,1", (1, 5)), ("0-1\n", (0, 1))],
)
def test_lists_of_cpus_are_read(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cpus


@given(st.sets(st.integers(0, 9999)))
def test_lists_of_cpus_are_read_as_they_are_written(cpus: set[int]) -> None:
    assert parse_cpus(cpus_text(cpus)) == tuple(sorted(cpus))


def test_lists_of_cpus_are_written_as_the_kernel_does() -> None:
    assert cpus_text([6, 0, 1, 2, 3]) == "0-3,6"
    online = Path("/sys/devices/system/cpu/online")
    if online.exists():
        assert cpus_text(parse_cpus(online.read_text())) == online.read_text().strip()


def clevo(emulator: str = "0,4", cores: int = 2, pin: str = '"1", "5", "2", "6"') -> Profile:
    return parse_profile(
        f"""
name = "win10"
[cpu]
cores = {cores}
threads = 2
pin = [{pin}]
emulator = "{emulator}"
isolate = true
"""
    )


def host(*, controllers: str = "cpuset cpu memory", online: str = "0-7") -> HostTree:
    tree = HostTree().file("/sys/devices/system/cpu/online", online)
    return tree.file("/sys/fs/cgroup/cgroup.controllers", controllers)


def found(tree: HostTree, profile: Profile) -> list[str]:
    return [finding.title for finding in cpu_findings(tree.host(), profile)]


def test_what_forbids_cpus_of_ones_own() -> None:
    assert found(host(), clevo()) == []
    assert found(host(online="0-3"), clevo()) == ["CPU 4 is not here"]
    everything = clevo("", 4, '"0", "1", "2", "3", "4", "5", "6", "7"')
    assert found(host(), everything) == ["all CPUs would be the guest's, and none the host's"]
    assert found(host(), clevo("0,5")) == ["CPU 5 is of cpu.emulator, and the guest's alone"]
    (version1,) = found(host(controllers="cpu memory"), clevo())
    assert "no cgroup v2" in version1


def steps_of(tree: HostTree, profile: Profile) -> list[Step]:
    machine = tree.host()
    pins = pin_steps(machine, profile, "win10/qemu", "/run/monitor")
    steps = [*isolate_steps(machine, profile), *pins]
    for step in steps:
        assert step_of(step.as_json(), KINDS) == step
    return steps


def test_without_systemd_a_partition_has_them() -> None:
    assert [step.name for step in steps_of(host(), clevo())] == [
        "let control groups have cpuset",
        "take CPU 1-2,5-6 from all other programs (/sys/fs/cgroup/dgpukit.win10)",
        "pin the guest: CPU 0 to 1, CPU 1 to 5, CPU 2 to 2, CPU 3 to 6, all else of QEMU to 0,4",
    ]


def test_systemd_keeps_its_units_off_them() -> None:
    assert [step.name for step in steps_of(host().file(SYSTEMD, ""), clevo(""))] == [
        "keep init.scope on CPU 0,3-4,7 (AllowedCPUs)",
        "keep system.slice on CPU 0,3-4,7 (AllowedCPUs)",
        "keep user.slice on CPU 0,3-4,7 (AllowedCPUs)",
        "move QEMU to machine.slice (dgpukit-win10.scope)",
        # Nothing is said of QEMU's other threads: they are the host's.
        "pin the guest: CPU 0 to 1, CPU 1 to 5, CPU 2 to 2, CPU 3 to 6, "
        "all else of QEMU to 0,3-4,7",
    ]


def test_pins_alone_take_nothing_from_others() -> None:
    alone = parse_profile('name = "a"\n[cpu]\npin = ["0", "1"]\n')
    assert [step.kind for step in steps_of(host(), alone)] == ["pin"]
    assert steps_of(host(), parse_profile('name = "a"')) == []


#: As systemctl(1) does it: each unit has a file, and `set-property` of nothing is no property.
SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")/units" || exit 1
case "$1" in
show) cat "$5" 2>/dev/null; exit 0 ;;
set-property)
    [ "$2" = --runtime ] || exit 1
    echo "$3 $4" >> ../log
    [ "$3" = refused.slice ] && { echo 'Unit refused.slice not loaded.' >&2; exit 1; }
    echo "${4#AllowedCPUs=}" | tr ',' ' ' > "$3" ;;
esac
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    (folder / "units").mkdir(parents=True)
    (folder / "systemctl").write_text(SYSTEMCTL)
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "run", tmp_path / "lib")


def test_systemds_units_get_their_cpus_back(systemctl: Path, places: Places) -> None:
    machine = Machine(Host())
    (systemctl / "units/user.slice").write_text("0-5")  # somebody has set it
    steps = (AllowCpus("system.slice", "0,3-4"), AllowCpus("user.slice", "0,3-4"))
    execute(Plan("isolate", steps, keeps=True), machine, places)
    assert (systemctl / "units/system.slice").read_text().split() == ["0", "3-4"]
    assert take_back(find_kept(places)[0], machine, places) == ()
    assert (systemctl / "units/system.slice").read_text().split() == []
    assert (systemctl / "units/user.slice").read_text().split() == ["0-5"]
    assert (systemctl / "log").read_text().splitlines() == [
        "system.slice AllowedCPUs=0,3-4", "user.slice AllowedCPUs=0,3-4",
        "user.slice AllowedCPUs=0-5", "system.slice AllowedCPUs=",
    ]  # fmt: skip


def test_a_unit_that_systemd_refuses_undoes_the_others(systemctl: Path, places: Places) -> None:
    steps = (AllowCpus("system.slice", "0"), AllowCpus("refused.slice", "0"))
    with pytest.raises(StepFailed, match=r"Unit refused\.slice not loaded") as failed:
        execute(Plan("isolate", steps), Machine(Host()), places)
    assert failed.value.restored
    assert (systemctl / "units/system.slice").read_text().split() == []


CPUS = sorted(os.sched_getaffinity(0))


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[RunProgram]:
    """A guest with two CPUs, which are two threads of QEMU's, and do not run."""
    if QEMU is None:
        pytest.skip("needs qemu-system-x86 (qemu-system-x86_64)")
    monitor = str(tmp_path / "monitor")
    argv = (
        QEMU, "-S", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
        "-accel", "tcg,thread=multi", "-smp", "2", "-m", "32", "-chardev",
        f"socket,id=m,fd={programs.FIRST_SOCKET},server=on,wait=off", "-mon",
        "chardev=m,mode=control",
    )  # fmt: skip
    mark = f"test-{tmp_path.name}/qemu"
    yield RunProgram(
        mark, argv, os.getuid(), str(tmp_path / "log"), (monitor,), monitor=monitor, patience=0
    )
    for pid in programs.find_running(mark):
        os.kill(pid, signal.SIGKILL)


def affinities(mark: str) -> dict[str, set[int]]:
    (pid,) = programs.find_running(mark)
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {t.name: os.sched_getaffinity(int(t.name)) for t in threads}


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_the_threads_of_a_guest_are_pinned_and_let_go(qemu: RunProgram, places: Places) -> None:
    first, second = CPUS[:2]
    machine = Machine(Host())
    execute(Plan("start it", (qemu,), keeps=True), machine, places)
    before = affinities(qemu.mark)
    pin = PinGuest(qemu.mark, qemu.monitor, (str(second), str(first)), str(first))
    execute(Plan("pin it", (pin,), keeps=True), machine, places)
    now = affinities(qemu.mark)
    assert sorted(map(tuple, now.values())).count((second,)) == 1  # one CPU of the guest's
    assert sum(cpus == {first} for cpus in now.values()) == len(now) - 1
    (pid,) = programs.find_running(qemu.mark)
    assert now[str(pid)] == {first}
    pinned = next(entry for entry in find_kept(places) if entry.title == "pin it")
    assert take_back(pinned, machine, places) == ()
    after = affinities(qemu.mark)
    assert {thread: after[thread] for thread in before if thread in after} == before
    # A guest that has ended needs no more.
    execute(Plan("pin it", (pin,), keeps=True), machine, places)
    os.kill(pid, signal.SIGKILL)
    for entry in find_kept(places):
        assert take_back(entry, machine, places) == ()


def test_a_cpu_that_is_not_there_fails_the_step(qemu: RunProgram, places: Places) -> None:
    pin = PinGuest(qemu.mark, qemu.monitor, ("1023",))
    with pytest.raises(StepFailed, match="cannot be put on CPU 1023") as failed:
        execute(Plan("it", (qemu, pin)), Machine(Host()), places)
    assert failed.value.restored
    assert programs.find_running(qemu.mark) == ()
