"""Plans that reset a card, on machines that do not exist."""

from __future__ import annotations

from typing import Any

import pytest
from builders.card import AUDIO, GPU, PORT, card, loaded, machine_of, program
from hypothesis import given
from hypothesis import strategies as st

from passthrough.escalation import plan_escalation
from passthrough.plan import Plan
from passthrough.reset import Form, forms_for, plan_reset
from passthrough.step import Reversal, Step, step_of
from passthrough.steps import (
    KINDS,
    Bind,
    Confirm,
    Guard,
    LoadModule,
    PersistenceOff,
    RefreshGpu,
    Remove,
    Rescan,
    ResetDevice,
    RunUnit,
    SetAttribute,
    SetBbswitch,
    SetNvhda,
    SetPowerControl,
    Unbind,
    UnloadModule,
)  # fmt: skip

FINDING = (Form.SHORT, Form.FULL)


def plan(form: Form = Form.FULL, to: str | None = None, **given: object) -> Plan:
    return plan_reset(*machine_of(card(**given)), form=form, driver=to)  # type: ignore[arg-type]  # any of its arguments


def place(plan: Plan, step: Step) -> int:
    return plan.steps.index(step)


def in_order(plan: Plan, *steps: Step) -> bool:
    places = [place(plan, step) for step in steps]
    return places == sorted(places)


def checks(plan: Plan) -> list[str]:
    return [finding.check for finding in plan.blockers]


def test_the_long_form_takes_the_steps_of_the_field_report_in_their_order() -> None:
    tree = card(driver="nvidia", audio_driver="snd_hda_intel", switches=True)
    tree.file("/usr/bin/nvidia-smi")
    made = plan_reset(*machine_of(tree))
    assert in_order(
        made,
        UnloadModule("nvidia"),
        SetBbswitch(GPU, on=False),
        SetBbswitch(GPU, on=True),
        SetNvhda(GPU, AUDIO, on=True),
        Remove(AUDIO),
        ResetDevice(GPU),
        Remove(GPU),
        Remove(PORT),
        Rescan((PORT, GPU, AUDIO)),
        Unbind(GPU),
        LoadModule("nvidia"),
        Bind(GPU, "nvidia"),
        PersistenceOff(GPU),
        RefreshGpu(GPU),
        Bind(AUDIO, "snd_hda_intel"),
    )
    assert made.blockers == ()


def test_the_short_form_cuts_no_power_and_resets_nothing() -> None:
    made = plan(Form.SHORT, switches=True)
    assert not [s for s in made.steps if isinstance(s, SetBbswitch | SetNvhda | ResetDevice)]
    assert in_order(made, Remove(PORT, (GPU, AUDIO)), Rescan((PORT, GPU, AUDIO)))
    assert made.irreversible == ()


def test_a_card_that_is_off_gets_power_before_it_is_looked_for() -> None:
    made = plan(Form.SHORT, power="off", switches=True)
    assert in_order(
        made, SetBbswitch(GPU, on=True), UnloadModule("bbswitch"), Rescan((PORT, GPU, AUDIO))
    )


machines = st.fixed_dictionaries(
    {
        "power": st.sampled_from(["awake", "asleep", "off", "gone"]),
        "driver": st.sampled_from([None, "nvidia", "nouveau", "vfio-pci"]),
        "audio": st.booleans(),
        "audio_driver": st.sampled_from([None, "snd_hda_intel", "vfio-pci"]),
        "switches": st.booleans(),
        "group": st.sampled_from([1, None]),
        "reset": st.sampled_from([None, "bus", "flr bus", "pm"]),
        "control": st.sampled_from(["on", "auto"]),
    }
)


@given(machines, st.sampled_from(Form), st.sampled_from([None, "", "nvidia", "vfio-pci"]))
def test_every_plan_keeps_the_rules(
    machine: dict[str, object], form: Form, driver: str | None
) -> None:
    if not machine["audio"]:
        machine["audio_driver"] = None
    made = plan(form, driver, **machine)
    removes = [n for n, step in enumerate(made.steps) if isinstance(step, Remove)]
    # A module that switches power would keep a pointer to what is removed.
    for name in ("nvhda", "bbswitch") if machine["switches"] and removes else ():
        assert place(made, UnloadModule(name)) < removes[0]
    # Unbinding NVIDIA's driver while it is in use hangs for ever: its module goes first.
    if machine["driver"] == "nvidia":
        assert isinstance(made.steps[0], UnloadModule)
        assert UnloadModule("nvidia") in made.steps
    # No power is cut under a driver.
    off = [n for n, s in enumerate(made.steps) if s == SetBbswitch(GPU, on=False)]
    if off and machine["driver"] not in (None, "nvidia", "nouveau"):
        assert place(made, Unbind(GPU)) < off[0]
    # Whatever is kept from being loaded is not asked for meanwhile, and can be loaded at the end.
    guards = [n for n, step in enumerate(made.steps) if isinstance(step, Guard)]
    assert len(guards) in (0, 2)
    if guards:
        between = made.steps[guards[0] : guards[1]]
        assert not [step for step in between if isinstance(step, LoadModule)]
        assert guards[0] < min(removes) < guards[1]
    # What is removed is looked for, and what was looked for is let go by whoever took it.
    for at in removes:
        rescan = next(n for n, s in enumerate(made.steps) if isinstance(s, Rescan))
        assert at < rescan < made.steps.index(Unbind(GPU), rescan)
    assert isinstance(made.steps[-1], Confirm)
    # A journal gives every step back, and only a reset has no way back.
    for step in made.steps:
        assert step_of(step.as_json(), KINDS) == step
        lost = step.reversal is Reversal.NONE
        assert lost == isinstance(step, ResetDevice | RefreshGpu)


@given(machines)
def test_making_a_plan_never_wakes_a_sleeping_card(machine: dict[str, object]) -> None:
    tree = card(**{**machine, "power": "asleep", "audio_driver": None})  # type: ignore[arg-type]  # any of its arguments
    plan_reset(*machine_of(tree))
    assert not [path for path in tree.reads if path.endswith(f"{GPU}/config")]


def test_a_sleeping_card_is_woken_before_it_is_removed_and_may_sleep_again() -> None:
    made = plan(power="asleep", control="auto", driver="vfio-pci")
    assert in_order(
        made, SetPowerControl(GPU, "on"), Remove(GPU), Bind(GPU, "vfio-pci"),
        SetPowerControl(GPU, "auto"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "given", "told"),
    [
        (Form.FULL, {"switches": True}, True),
        (Form.FULL, {"switches": True, "power": "off"}, False),
        (Form.FULL, {"switches": True, "audio": False}, False),
        (Form.FULL, {"switches": False}, False),
        (Form.SHORT, {"switches": True}, False),
    ],
)
def test_that_the_audio_function_goes_off_first_is_told(
    form: Form, given: dict[str, Any], told: bool
) -> None:
    """The field reports switch it off second; here every step must have a way back."""
    notes = plan(form, **given).notes
    assert any("audio function goes off before the GPU" in note for note in notes) is told


def test_what_was_loaded_to_switch_the_power_is_loaded_again_and_cuts_no_power() -> None:
    tree = card(switches=True)
    tree.module("bbswitch", {"load_state": "0", "unload_state": "1"})
    made = plan_reset(*machine_of(tree))
    assert LoadModule("bbswitch", ("unload_state=1", "load_state=-1")) in made.steps
    assert LoadModule("nvhda") in made.steps


def test_a_module_that_would_cut_the_power_when_it_is_unloaded_is_told_not_to() -> None:
    tree = card(switches=True).module("bbswitch", {"unload_state": "0"})
    made = plan_reset(*machine_of(tree), form=Form.SHORT)
    writes = [s.name for s in made.steps if "unload_state" in s.name]
    assert writes[0] == "write '-1' to /sys/module/bbswitch/parameters/unload_state"
    assert in_order(made, made.steps[1], UnloadModule("bbswitch"), Remove(PORT, (GPU, AUDIO)))


def test_who_has_the_gpu_afterwards() -> None:
    for now, told, wanted in (
        ("vfio-pci", None, "vfio-pci"),
        (None, None, "nvidia"),
        ("nouveau", None, "nouveau"),
        ("nouveau", "nvidia", "nvidia"),
        ("nvidia", "", ""),
    ):
        last = plan(to=told, driver=now).steps[-1]
        assert isinstance(last, Confirm)
        assert last.driver == wanted
    # A card of another maker goes to nobody that it did not have.
    last = plan(vendor=0x1002).steps[-1]
    assert isinstance(last, Confirm)
    assert last.driver == ""


def test_an_override_comes_back_after_the_driver_that_it_would_keep_off() -> None:
    tree = card(driver="vfio-pci").file("/usr/bin/nvidia-smi")
    tree.file(f"{tree.place(GPU)}/driver_override", "vfio-pci")
    made = plan_reset(*machine_of(tree), driver="nvidia")
    override = SetAttribute(f"/sys/bus/pci/devices/{GPU}/driver_override", "vfio-pci")
    assert in_order(made, LoadModule("nvidia"), Bind(GPU, "nvidia"), override)


def test_a_card_without_power_and_without_its_switch_cannot_be_found_again() -> None:
    made = plan(power="off")
    assert checks(made) == ["reset.no-power"]
    assert "bbswitch" in made.blockers[0].remedy


def test_what_is_part_of_the_processor_is_left_alone() -> None:
    made = plan_reset(*machine_of(card(), "0000:00:02.0"))
    assert "reset.integrated" in checks(made)


def test_a_reset_of_one_function_needs_a_method_that_hits_it_alone() -> None:
    assert checks(plan(Form.FUNCTION, reset="bus")) == ["reset.no-method"]
    assert checks(plan(Form.FUNCTION, reset=None)) == ["reset.no-method"]
    made = plan(Form.FUNCTION, reset="flr bus", driver="nvidia")
    assert made.blockers == ()
    assert in_order(made, UnloadModule("nvidia"), ResetDevice(GPU), Bind(GPU, "nvidia"))
    # Alone on its bus, a reset of the bus is one of the function.
    assert plan(Form.FUNCTION, reset="bus", audio=False).blockers == ()


def test_a_port_with_others_behind_it_stays() -> None:
    tree = card().device("0000:01:01.0", class_=0x020000, parent=PORT, group=1)
    made = plan_reset(*machine_of(tree))
    assert Remove(PORT) not in made.steps
    assert f"{PORT} stays: others are behind it too" in made.notes
    short = plan_reset(*machine_of(tree), form=Form.SHORT)
    assert {s.address for s in short.steps if isinstance(s, Remove)} == {GPU, AUDIO}


def test_whoever_uses_the_card_is_named_and_nothing_is_done() -> None:
    tree = program(card(driver="nvidia"), 812, "Xorg", "/dev/nvidia0")
    made = plan_reset(*machine_of(tree))
    assert checks(made) == ["slot.in-use"]
    assert made.blockers[0].title == "Xorg (process 812) uses it: /dev/nvidia0"


def test_nvidias_own_service_is_stopped_first_and_started_last() -> None:
    unit = "nvidia-persistenced.service"
    tree = program(card(driver="nvidia"), 500, "nvidia-persiste", "/dev/nvidia0", unit=unit)
    made = plan_reset(*machine_of(tree))
    assert made.blockers == ()
    assert made.steps[0] == RunUnit(unit, running=False)
    assert made.steps[-2] == RunUnit(unit, running=True)


def test_a_daemon_that_no_service_runs_is_named_not_killed() -> None:
    tree = program(card(driver="nvidia"), 500, "nvidia-persiste", "/dev/nvidia0")
    made = plan_reset(*machine_of(tree))
    assert "kill 500" in made.blockers[0].remedy
    assert not [step for step in made.steps if isinstance(step, RunUnit)]


def test_processes_that_cannot_be_looked_into_are_neither_users_nor_none() -> None:
    tree = card(driver="nvidia").folder("/proc/77/fd").refused("/proc/77/fd")
    made = plan_reset(*machine_of(tree))
    assert made.blockers == ()
    assert [finding.verdict.value for finding in made.findings] == ["unknown"]


def test_a_second_card_keeps_the_drivers_modules() -> None:
    tree = card(driver="nvidia")
    tree.device("0000:02:00.0", vendor=0x10DE, device=0x1C20, driver="nvidia")
    loaded(tree, "nvidia", "0000:02:00.0")
    made = plan_reset(*machine_of(tree))
    assert UnloadModule("nvidia") not in made.steps
    assert place(made, Unbind(GPU)) < place(made, Remove(GPU))


@pytest.mark.parametrize(
    ("machine", "forms"),
    [
        ({"reset": "flr bus"}, [Form.FUNCTION, Form.SHORT, Form.FULL]),
        ({"reset": "bus"}, [Form.SHORT, Form.FULL]),
        ({"reset": "flr", "power": "asleep"}, [Form.FUNCTION, Form.SHORT, Form.FULL]),
        ({"reset": "flr", "power": "gone"}, [Form.SHORT, Form.FULL]),
        ({"reset": "flr", "power": "off", "switches": True}, [Form.SHORT, Form.FULL]),
    ],
)
def test_the_gentlest_way_that_fits_comes_first(
    machine: dict[str, object], forms: list[Form]
) -> None:
    where, gpu = machine_of(card(**machine))  # type: ignore[arg-type]  # any of its arguments
    assert list(forms_for(where, gpu)) == forms
    titles = [made.title for made in plan_escalation(where, None)]
    assert titles == [f"reset {GPU} ({form.value})" for form in forms]
