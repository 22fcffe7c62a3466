"""Resets on the real kernel: from every state, and failed or killed at every step."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lab import driver, faults, vfio
from lab.machine import CHECKOUT, Lab
from lab.packages import LabUnavailable
from lab.topology import PORT

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
with_own_reset = pytest.mark.parametrize("lab", ["flr"], indirect=True)
PCI = "/sys/bus/pci/devices"


@contextlib.contextmanager
def installed(lab: Lab) -> Iterator[None]:
    """NVIDIA's driver, bbswitch and nvhda are installed."""
    try:
        with driver.driver_installed(lab):
            yield
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def functions(lab: Lab) -> tuple[str, str]:
    return lab.topology.gpu, str(lab.topology.audio)


def check(came: dict[str, Any], audio: str | None) -> None:
    """The device answers, its group is the same, the intended driver has it, nothing is left."""
    before, after = came["before"], came["after"]
    assert came["said"] == []
    assert after["answers"]
    assert after["group"] == before["group"]
    assert (after["driver"], after["audio"]) == (came["wanted"], audio)
    assert after["guard"] is False
    for name in ("override", "control", "switches"):
        assert after[name] == before[name], name


def from_states(lab: Lab, *states: str) -> dict[str, dict[str, Any]]:
    program = CHECKOUT / "tests/lab/resets.py"
    done = lab.run(sys.executable, program, *functions(lab), PORT, *states, limit=300).check()
    results: dict[str, dict[str, Any]] = json.loads(done.out)
    assert len(results) == 2 * len(states)
    return results


@laptop
def test_both_resets_bring_a_card_back_from_every_state(lab: Lab) -> None:
    with installed(lab):
        results = from_states(lab, "healthy", "audio", "off", "gone")
    for name, came in results.items():
        check(came, "snd_hda_intel" if name.startswith("audio") else None)
    # What is told from these states is that they were what they are called.
    assert [results[f"{name} full"]["before"]["answers"] for name in ("off", "gone")] == [False] * 2


@with_own_reset
def test_both_resets_bring_a_sleeping_card_back(lab: Lab) -> None:
    for came in from_states(lab, "asleep").values():
        check(came, "vfio-pci")


@laptop
@pytest.mark.parametrize(("plan", "least"), [("reset full", 20), ("reset short", 16)])
@pytest.mark.trial
def test_a_reset_that_fails_or_is_killed_anywhere_leaves_the_host_as_it_was(
    lab: Lab, plan: str, least: int
) -> None:
    with installed(lab):
        lab.run("modprobe", "-a", "snd-hda-intel", "bbswitch", "nvhda").check()
        vfio.bind(lab, lab.topology.gpu)
        program = CHECKOUT / "tests/lab/trial.py"
        done = lab.run(sys.executable, program, *functions(lab), PORT, plan, limit=1200).check()
        lab.sh("rmmod nvhda bbswitch").check()
    said = json.loads(done.out)
    assert said["wrong"] == []
    assert said["trials"] >= least


@with_own_reset
def test_the_gentlest_way_is_taken_and_named(lab: Lab) -> None:
    gpu, _ = functions(lab)
    before = lab.run("stat", "-c", "%i", f"{PCI}/{gpu}/config").out
    done = lab.run("passthrough", "reset", gpu, "--json").check()
    said = json.loads(done.out)
    assert [attempt["form"] for attempt in said["tried"]] == ["function"]
    assert said["tried"][0]["why_not"] == ""
    # Nothing was removed: it is the same device to the kernel.
    assert lab.run("stat", "-c", "%i", f"{PCI}/{gpu}/config").out == before


def refuse(lab: Lab, *paths: str) -> None:
    """Every write to these attributes fails from now on (full(4)), until they are gone."""
    for path in paths:
        lab.run("mount", "-n", "--bind", "/dev/full", path).check()


@with_own_reset
def test_where_the_gentle_way_fails_the_next_is_taken_and_named(lab: Lab) -> None:
    gpu, audio = functions(lab)
    refuse(lab, f"{PCI}/{gpu}/reset")
    done = lab.run("passthrough", "reset", gpu, "--driver", "").check()
    first, second, *_ = done.out.splitlines()
    assert first.startswith("function: has not helped")
    assert "no space left on device" in first
    assert second.startswith(f"reset {gpu} (short): done")
    assert {gpu, audio, PORT} <= set(lab.devices())
    # What could not be written is gone with the device that it belonged to.
    lab.write(f"{PCI}/{gpu}/reset", "1\n")


@with_own_reset
def test_where_nothing_helps_a_cold_boot_is_named_and_all_is_as_before(lab: Lab) -> None:
    gpu, audio = functions(lab)
    before = lab.devices(), lab.groups(), lab.driver(gpu), lab.driver(audio)
    refused = (f"{PCI}/{gpu}/reset", f"{PCI}/{PORT}/remove")
    refuse(lab, *refused)
    done = lab.run("passthrough", "reset", gpu, "--driver", "")
    lab.run("umount", "-n", *refused).check()
    assert done.status == 4, done.err
    for form in ("function", "short", "full"):
        assert f"{form}: " in done.err
    assert "a cold boot is needed: shut down" in done.err
    assert "this machine is as it was before" in done.err
    assert (lab.devices(), lab.groups(), lab.driver(gpu), lab.driver(audio)) == before
    assert "nothing to recover" in lab.run("passthrough", "recover").check().out


@laptop
def test_a_card_off_the_bus_is_found_again_and_the_way_is_named(lab: Lab) -> None:
    gpu, audio = functions(lab)
    with faults.off_the_bus(lab):
        done = lab.run("passthrough", "reset", gpu, "--driver", "", "--json").check()
    said = json.loads(done.out)
    assert [attempt["form"] for attempt in said["tried"]] == ["short"]
    assert {gpu, audio} <= set(lab.devices())
    assert lab.read_bytes(f"{PCI}/{gpu}/config")[:4] != b"\xff" * 4


@laptop
def test_a_card_whose_power_is_cut_needs_what_has_cut_it(lab: Lab) -> None:
    with installed(lab):
        lab.sh("modprobe bbswitch && echo OFF > /proc/acpi/bbswitch && rmmod bbswitch").check()
        done = lab.run("passthrough", "reset", lab.topology.gpu)
        assert done.status == 1
        assert "its power is cut" in done.err
        assert "modprobe bbswitch" in done.err
