"""Plans that switch a card, on machines that do not exist."""

from __future__ import annotations

import errno

import pytest
from builders.host import HostTree

from diag.errors import Unreadable
from diag.gpu import NoGpu
from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.plan import Plan
from passthrough.power.plan import plan_power

PORT, GPU, AUDIO = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1"
DEVICES = "/sys/bus/pci/devices"
DEAD = b"\xff" * 256


def laptop(
    *,
    on: bool = True,
    audio: bool = True,
    driver: str | None = None,
    audio_driver: str | None = None,
    bbswitch: bool = True,
    nvhda: bool = True,
    control: str = "on",
    state: str = "D0",
    audio_status: str = "active",
    config: bytes | None = None,
    audio_config: bytes | None = None,
) -> HostTree:
    tree = HostTree().kernel().cmdline("quiet pcie_port_pm=off" if bbswitch else "quiet")
    tree.device("0000:00:02.0", class_=0x030000)
    tree.device(PORT, class_=0x060400, driver="pcieport", group=1, power_control="auto")
    tree.device(
        GPU, vendor=0x10DE, device=0x1C20, group=1, parent=PORT, driver=driver,
        power_state=state if on else "D3cold", power_control=control,
        runtime_status="suspended" if on and state != "D0" else "active",
        config=config if on else DEAD,
    )  # fmt: skip
    if audio:
        tree.device(
            AUDIO, vendor=0x10DE, device=0x10F1, class_=0x040300, group=1, parent=PORT,
            driver=audio_driver, power_control=control, runtime_status=audio_status,
            config=audio_config if on else DEAD,
        )  # fmt: skip
    for name, loaded in (("bbswitch", bbswitch), ("nvhda", nvhda)):
        if loaded:
            tree.module(name).file(f"/proc/acpi/{name}", f"{GPU} {'ON' if on else 'OFF'}")
    return tree.file("/proc/1/comm", "init").folder("/proc/1/fd")


def plan(tree: HostTree, *, on: bool, audio: bool = True, address: str | None = None) -> Plan:
    wanted = None if address is None else PciAddress.parse(address)
    return plan_power(Inventory(tree.host()), on=on, audio=audio, address=wanted)


def names(made: Plan) -> list[str]:
    return [step.name for step in made.steps]


GPU_OFF, GPU_ON = f"switch {GPU} off with bbswitch", f"switch {GPU} on with bbswitch"
AUDIO_OFF, AUDIO_ON = f"switch {AUDIO} off with nvhda", f"switch {AUDIO} on with nvhda"


def test_off_takes_the_audio_function_first() -> None:
    made = plan(laptop(), on=False)
    # In this order nothing loses its settings: the audio function is gone when the power is.
    assert names(made) == [AUDIO_OFF, GPU_OFF]
    assert made.blockers == ()


def test_off_takes_the_audio_function_from_its_driver() -> None:
    made = plan(laptop(audio_driver="snd_hda_intel"), on=False)
    assert names(made) == [f"unbind {AUDIO} from its driver", AUDIO_OFF, GPU_OFF]


def test_on_from_off() -> None:
    assert names(plan(laptop(on=False, audio=False), on=True)) == [GPU_ON, AUDIO_ON]


def test_on_from_off_with_an_audio_function_that_lost_its_power() -> None:
    made = names(plan(laptop(on=False), on=True))
    # nvhda can take nothing back while the GPU is off.
    assert made == [GPU_ON, AUDIO_OFF, AUDIO_ON]


def test_what_is_on_is_not_switched_on_again() -> None:
    with_bars = bytearray(256)
    with_bars[:4], with_bars[0x13] = bytes.fromhex("de10f110"), 0xF6
    assert names(plan(laptop(audio_config=bytes(with_bars)), on=True)) == []


def test_audio_that_has_lost_its_settings_is_found_again() -> None:
    """A card that was switched off and on by hand: the kernel's list has what no longer works."""
    without = bytes.fromhex("de10f110") + bytes(252)
    made = names(plan(laptop(audio_config=without), on=True))
    assert made == [AUDIO_OFF, AUDIO_ON]


def test_without_audio_only_the_gpu_is_switched() -> None:
    assert names(plan(laptop(audio=False), on=False, audio=False)) == [GPU_OFF]
    assert names(plan(laptop(on=False, audio=False), on=True, audio=False)) == [GPU_ON]


def test_without_nvhda_the_kernel_keeps_the_audio_functions_settings() -> None:
    made = names(plan(laptop(nvhda=False), on=False))
    asleep = f"wait until {AUDIO} is suspended (at most 12 s)"
    assert made == [f"let {AUDIO} sleep (power/control auto)", asleep, GPU_OFF]
    back = plan(laptop(on=False, nvhda=False, audio_status="suspended"), on=True)
    assert names(back) == [GPU_ON, f"keep {AUDIO} awake (power/control on)"]


def test_settings_that_are_lost_are_told() -> None:
    made = plan(laptop(on=False, nvhda=False), on=True)
    assert names(made) == [GPU_ON]
    assert any("lost its settings" in note and "passthrough reset" in note for note in made.notes)


def test_what_is_off_is_not_switched_off_again() -> None:
    for audio in (False, True):
        assert names(plan(laptop(on=False, audio=audio), on=False)) == []


@pytest.mark.parametrize("driver", ["nouveau", "nvidia", "vfio-pci"])
def test_no_power_is_cut_under_a_driver(driver: str) -> None:
    made = plan(laptop(driver=driver), on=False)
    assert [finding.check for finding in made.blockers] == ["power.driver"]
    assert driver in made.blockers[0].title
    assert "passthrough detach" in made.blockers[0].remedy


def test_no_power_is_cut_under_another_function_of_the_card() -> None:
    tree = laptop()
    tree.device("0000:01:00.2", class_=0x0C0330, parent=PORT, driver="xhci_hcd", group=1)
    assert [f.subject for f in plan(tree, on=False).blockers] == ["0000:01:00.2"]


def test_audio_in_use_is_named() -> None:
    tree = laptop(audio_driver="snd_hda_intel")
    tree.folder(f"{tree.place(AUDIO)}/sound/card1/controlC1")
    tree.file("/proc/77/comm", "pipewire").link("/proc/77/fd/9", "/dev/snd/controlC1")
    tree.file("/dev/snd/controlC1")
    (found,) = plan(tree, on=False).blockers
    assert found.check == "power.audio-in-use"
    assert "pipewire (77)" in found.title


def test_an_integrated_gpu_is_not_switched_off() -> None:
    made = plan(laptop(bbswitch=False, nvhda=False), on=False, address="00:02.0")
    assert [finding.check for finding in made.blockers] == ["power.integrated"]


def test_by_the_kernel_all_functions_and_the_port_may_sleep() -> None:
    tree = laptop(bbswitch=False, nvhda=False, driver="vfio-pci")
    made = plan(tree, on=False)
    assert names(made) == [
        f"let {AUDIO} sleep (power/control auto)",
        f"let {GPU} sleep (power/control auto)",
        f"wait until {GPU} is in D3 (at most 12 s)",
    ]
    assert f"let {AUDIO} sleep (power/control auto)" not in names(plan(tree, on=False, audio=False))


def test_by_the_kernel_a_forbidden_d3cold_is_allowed() -> None:
    tree = laptop(bbswitch=False, nvhda=False, driver="vfio-pci", audio=False)
    tree.file(f"{tree.place(GPU)}/d3cold_allowed", "0")
    assert names(plan(tree, on=False))[0] == f"write '1' to {DEVICES}/{GPU}/d3cold_allowed"


def test_by_the_kernel_a_sleeping_card_is_woken_from_the_port_down() -> None:
    tree = laptop(bbswitch=False, nvhda=False, control="auto", state="D3hot", audio=False)
    assert names(plan(tree, on=True)) == [
        f"keep {PORT} awake (power/control on)",
        f"keep {GPU} awake (power/control on)",
        f"wait until {GPU} is in D0 (at most 12 s)",
    ]


def test_a_plan_wakes_nothing() -> None:
    tree = laptop(bbswitch=True, control="auto", state="D3hot")
    plan(tree, on=False)
    assert not {"/proc/acpi/bbswitch", "/proc/acpi/nvhda"} & set(tree.reads)
    assert not [path for path in tree.reads if path.startswith(tree.place(GPU))
                and path.endswith("/config")]  # fmt: skip


def test_a_card_off_the_bus_is_not_woken_by_the_kernel() -> None:
    made = plan(laptop(bbswitch=False, nvhda=False, config=DEAD), on=True)
    assert [finding.check for finding in made.blockers] == ["power.gone"]
    assert "passthrough reset" in made.blockers[0].remedy


def test_power_that_something_else_has_cut() -> None:
    made = plan(laptop(bbswitch=False, nvhda=False, on=False), on=True)
    assert [finding.check for finding in made.blockers] == ["power.cut"]


def test_who_cannot_see_the_power_is_told_so() -> None:
    tree = laptop()
    tree.refused(f"{tree.place(GPU)}/config", errno.EIO)
    with pytest.raises(Unreadable):
        plan(tree, on=False)


def test_no_gpu() -> None:
    with pytest.raises(NoGpu):
        plan(HostTree(), on=True)
    with pytest.raises(NoGpu, match="no device"):
        plan(laptop(), on=True, address="09:00.0")


def test_a_plan_is_plain_json_and_can_be_made_again() -> None:
    import json

    from passthrough.step import step_of
    from passthrough.steps import KINDS

    for made in (plan(laptop(audio_driver="snd_hda_intel"), on=False),
                 plan(laptop(bbswitch=False, nvhda=False), on=False)):  # fmt: skip
        kept = json.loads(json.dumps(made.as_json()))
        steps = [{k: v for k, v in s.items() if k not in ("name", "reversal")}
                 for s in kept["steps"]]  # fmt: skip
        assert tuple(step_of(step, KINDS) for step in steps) == made.steps
