"""Checks of power: off, gone and asleep are told apart, and nothing is woken to tell them."""

from __future__ import annotations

import errno

import pytest
from builders.asked import ask, only, said, verdicts
from builders.laptop import AUDIO, GPU, PORT, acer, clevo, laptop

from diag.checks import CHECKS, power
from diag.checks.power import POWER_CHECKS
from diag.inventory import Inventory
from diag.pci import PciAddress
from diag.power import GpuPower, read_power

ONES = b"\xff" * 64


def state_of(tree: object) -> tuple[GpuPower, str | None]:
    machine = Inventory(tree.host())  # type: ignore[attr-defined]
    device = machine.device(PciAddress.parse(GPU))
    assert device is not None
    reading = read_power(machine, device)
    return reading.power, reading.by


@pytest.mark.parametrize("check", POWER_CHECKS, ids=lambda check: check.slug)
def test_a_laptop_in_order_fails_nothing(check: power.Check) -> None:
    assert {f.verdict.value for f in ask(check, laptop())} <= {"pass"}


def test_awake_asleep_off_and_gone_are_told_apart() -> None:
    suspended = {"runtime_status": "suspended"}
    assert state_of(laptop()) == (GpuPower.AWAKE, None)
    assert state_of(laptop(power_state="D3hot", **suspended)) == (GpuPower.ASLEEP, None)
    assert state_of(laptop(power_state="D3cold", **suspended)) == (GpuPower.ASLEEP, None)
    # The kernel has not suspended it, so something else has cut its power.
    assert state_of(laptop(power_state="D3cold")) == (GpuPower.OFF, None)
    assert state_of(laptop(power_state="D3cold").module("bbswitch")) == (GpuPower.OFF, "bbswitch")
    assert state_of(laptop(config=ONES)) == (GpuPower.GONE, None)
    # bbswitch is loaded, but then the kernel would show D3cold.
    assert state_of(laptop(config=ONES).module("bbswitch")) == (GpuPower.GONE, None)
    assert state_of(clevo()) == (GpuPower.OFF, "bbswitch")


def test_an_unknown_header_is_no_answer() -> None:
    config = b"\xde\x10\x20\x1c" + bytes(10) + b"\x7f" + bytes(49)
    assert state_of(laptop(config=config)) == (GpuPower.GONE, None)


def test_a_driverless_gpu_of_unknown_state_that_answers_is_awake() -> None:
    """After an unbind the kernel calls the state unknown (drivers/pci/pci-driver.c)."""
    assert state_of(laptop(power_state="unknown", driver=None)) == (GpuPower.AWAKE, None)


def test_a_gpu_behind_a_sleeping_port_is_asleep() -> None:
    tree = laptop()
    tree.file(f"{tree.place(PORT)}/power_state", "D3hot")
    assert state_of(tree) == (GpuPower.ASLEEP, None)


@pytest.mark.parametrize("values", [
    {"power_state": "D3hot", "runtime_status": "suspended"},
    {"power_state": "D3cold", "runtime_status": "suspended"},
    {"power_state": None, "runtime_status": "suspended"},
    {"power_state": "D3cold"},
])  # fmt: skip
def test_no_check_reads_what_would_wake(values: dict[str, str]) -> None:
    tree = laptop(**values).module("bbswitch").module("nvhda")
    for name in ("bbswitch", "nvhda"):
        tree.file(f"/proc/acpi/{name}", "0000:01:00.0 OFF")
    for check in CHECKS:
        ask(check, tree)
    place = tree.place(GPU)
    waking = {f"{place}/config", f"{place}/current_link_speed", "/proc/acpi/bbswitch"}
    assert not {*waking, "/proc/acpi/nvhda"} & set(tree.reads)
    assert f"{place}/power/runtime_status" in tree.reads


def test_a_gpu_that_is_off_or_gone_blocks_and_one_that_sleeps_does_not() -> None:
    asleep = laptop(power_state="D3cold", runtime_status="suspended")
    assert verdicts(power.state, asleep) == [(GPU, "pass")]
    off = only(power.state, laptop(power_state="D3cold"))
    assert (off.blocks, "its power is cut" in off.title) == (True, True)
    gone = only(power.state, laptop(config=ONES))
    assert (gone.blocks, "fallen off the bus" in gone.title) == (True, True)
    assert "ff ff ff ff" in said(gone)
    refused = laptop()
    refused.refused(f"{refused.place(GPU)}/config", errno.EIO)
    assert verdicts(power.state, refused) == [(GPU, "unknown")]


def test_the_clevo_of_the_field_report_is_off_by_bbswitch() -> None:
    found = only(power.state, clevo())
    assert (found.blocks, found.title) == (True, "bbswitch has switched it off")
    assert "echo ON > /proc/acpi/bbswitch" in found.remedy
    # pcie_port_pm=off is what bbswitch needs since 4.8, and the report has it.
    assert verdicts(power.port, clevo()) == [("machine", "pass")]


def test_the_acer_of_the_field_report_has_both_switches_in_the_way() -> None:
    assert verdicts(power.switches, acer()) == [("bbswitch", "fail"), ("nvhda", "fail")]
    assert all("modprobe -r" in f.remedy for f in ask(power.switches, acer()))
    assert verdicts(power.nvhda_obsolete, acer()) == [("nvhda", "fail")]
    assert verdicts(power.nvhda_obsolete, acer().kernel("4.19.0")) == [("nvhda", "pass")]
    unknown = acer().without("/proc/sys/kernel/osrelease")
    assert verdicts(power.nvhda_obsolete, unknown) == [("nvhda", "unknown")]


def test_switches_are_asked_only_if_waking_is_wanted() -> None:
    unasked = [("bbswitch", "unknown"), ("nvhda", "unknown")]
    assert verdicts(power.switch_state, acer()) == unasked
    asked = [("bbswitch", "pass"), ("nvhda", "pass")]
    assert verdicts(power.switch_state, acer(), wake=True) == asked
    off = acer().file("/proc/acpi/nvhda", "0000:01:00.0 OFF")
    assert verdicts(power.switch_state, off, wake=True)[1] == ("nvhda", "fail")
    # What bbswitch prints once the card was removed beneath it, as measured.
    freed = acer().file("/proc/acpi/bbswitch", b"0000:01:8\x86q\x02\n")
    assert "removed beneath it" in ask(power.switch_state, freed, wake=True)[0].title
    refused = acer().refused("/proc/acpi/bbswitch")
    assert verdicts(power.switch_state, refused, wake=True)[0] == ("bbswitch", "unknown")


def test_a_dead_audio_function() -> None:
    found = only(power.audio, laptop(audio={"config": ONES}))
    assert (found.subject, found.verdict.value) == (AUDIO, "fail")
    refused = laptop()
    refused.refused(f"{refused.place(AUDIO)}/config", errno.EIO)
    assert verdicts(power.audio, refused) == [(AUDIO, "unknown")]


def test_bbswitch_and_the_kernel_must_not_both_switch() -> None:
    both = laptop().module("bbswitch")
    assert "pcie_port_pm=off" in only(power.port, both).remedy
    neither = laptop().cmdline("quiet pcie_port_pm=off")
    assert "keeps the card from being switched off" in only(power.port, neither).title
    assert verdicts(power.port, laptop().without("/proc/cmdline")) == [("machine", "unknown")]


def test_a_card_that_never_sleeps() -> None:
    assert verdicts(power.idle, laptop(power_control="on")) == [(GPU, "fail")]
    awake = laptop().module("vfio_pci", {"disable_idle_d3": "Y"})
    assert "disable_idle_d3" in only(power.idle, awake).title
    refused = laptop().refused("/sys/module/vfio_pci/parameters/disable_idle_d3")
    assert verdicts(power.idle, refused) == [("", "unknown")]


def test_a_card_that_did_not_wake_up_may_not_lose_its_power_again() -> None:
    stuck = laptop(runtime_status="error")
    assert "d3cold_allowed" in only(power.d3cold, stuck).remedy
    safe = laptop(runtime_status="error", d3cold_allowed=False)
    assert verdicts(power.d3cold, safe) == [(GPU, "pass")]


def test_bbswitch_that_switches_off_when_it_is_unloaded_stays_loaded() -> None:
    """bbswitch.c, bbswitch_exit: unload_state 0 is off, 1 is on, -1 leaves it as it is."""
    off = clevo().file("/sys/module/bbswitch/parameters/unload_state", "0")
    for check in (power.state, power.switches):
        remedy = only(check, off).remedy
        assert "leave bbswitch loaded" in remedy, check.slug
        assert "parameters/unload_state before modprobe -r bbswitch" in remedy
        assert "leave bbswitch loaded" not in only(check, clevo()).remedy
    # Root alone may read it.
    hidden = clevo().refused("/sys/module/bbswitch/parameters/unload_state")
    assert "if unload_state is 0" in only(power.state, hidden).remedy


def test_a_card_that_is_off_or_gone_is_not_told_to_sleep() -> None:
    assert ask(power.idle, laptop(power_state="D3cold", power_control="on", driver=None)) == []
    assert ask(power.idle, laptop(config=ONES, power_control="on")) == []
