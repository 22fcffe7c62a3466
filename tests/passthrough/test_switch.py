"""What bbswitch and nvhda say, read by the steps that switch them."""

from __future__ import annotations

import pytest
from builders.host import HostTree

from passthrough.errors import Refused
from passthrough.steps import KINDS, AwaitPower, SetBbswitch, SetNvhda, SetPowerControl
from passthrough.steps.switch import shown

GPU, AUDIO = "0000:01:00.0", "0000:01:00.1"


def saying(text: str) -> HostTree:
    return HostTree().file("/proc/acpi/bbswitch", text).file("/proc/acpi/nvhda", text)


@pytest.mark.parametrize("word", ["ON", "OFF"])
def test_a_switch_shows_its_card_and_a_word(word: str) -> None:
    assert shown(saying(f"{GPU} {word}").host(), "bbswitch", GPU) == word
    assert SetBbswitch(GPU, on=True).observe(saying(f"{GPU} {word}").host()) == word


@pytest.mark.parametrize("text", ["", "0000:01:8\x86q", "0000:01:00.0", "0000:01:00.0 on", "ON"])
def test_a_switch_whose_card_is_gone_is_not_believed(text: str) -> None:
    with pytest.raises(Refused, match="neither ON nor OFF") as refused:
        shown(saying(text).host(), "bbswitch", GPU)
    assert "modprobe -r bbswitch" in refused.value.hint


def test_a_switch_of_another_card_is_not_used() -> None:
    with pytest.raises(Refused, match=r"switches 0000:02:00\.0, not 0000:01:00\.0"):
        shown(saying("0000:02:00.0 ON").host(), "nvhda", GPU)


def test_a_switch_that_is_not_loaded() -> None:
    with pytest.raises(Refused, match="not there") as refused:
        shown(HostTree().host(), "nvhda", GPU)
    assert refused.value.hint == "modprobe nvhda"


def test_a_card_that_is_on_and_does_not_answer_is_no_success() -> None:
    tree = saying(f"{GPU} ON")
    tree.device(GPU, config=b"\xff" * 256)
    assert SetBbswitch(GPU, on=True).verify(tree.host()) == "the card does not answer"


def test_audio_that_nvhda_shows_and_the_kernel_does_not_list_is_no_success() -> None:
    step = SetNvhda(GPU, AUDIO, on=True)
    assert step.verify(saying(f"{GPU} ON").host()) == f"{AUDIO} is not there"
    assert step.observe(saying(f"{GPU} ON").host()) == {"shows": "ON", "function": None}


def test_who_found_the_audio_function_has_not_disturbed_it() -> None:
    step = SetNvhda(GPU, AUDIO, on=True)
    free = {"shows": "ON", "function": {"driver": None}}
    bound = {"shows": "ON", "function": {"driver": "snd_hda_intel"}}
    assert not step.disturbed(free, bound)
    assert not step.same(free, bound)


@pytest.mark.parametrize(
    ("state", "until", "reached"),
    [("D3hot", "D3", True), ("D3cold", "D3", True), ("D0", "D3", False), ("D3hot", "D0", False),
     ("D0", "D0", True), ("unknown", "D0", True), ("D0", "suspended", True)],
)  # fmt: skip
def test_what_is_waited_for(state: str, until: str, reached: bool) -> None:
    tree = HostTree().device(GPU, power_state=state, runtime_status="suspended")
    assert (AwaitPower(GPU, until).verify(tree.host()) == "") is reached


def test_before_the_kernel_showed_power_states_its_own_word_counts() -> None:
    tree = HostTree().device(GPU, power_state=None, runtime_status="suspended")
    assert AwaitPower(GPU, "D3").verify(tree.host()) == ""
    tree = HostTree().device(GPU, power_state=None, runtime_status="active", driver="nouveau")
    assert "nouveau keeps it awake" in AwaitPower(GPU, "D3").verify(tree.host())


def test_control_is_the_same_whoever_woke_the_card() -> None:
    step = SetPowerControl(GPU, "on")
    assert step.same({"control": "auto", "state": "D3hot"}, {"control": "auto", "state": "D0"})
    assert not step.same({"control": "auto", "state": "D0"}, {"control": "on", "state": "D0"})


def test_journals_know_these_steps() -> None:
    for step in (SetBbswitch, SetNvhda, SetPowerControl, AwaitPower):
        assert KINDS[step.kind] is step
