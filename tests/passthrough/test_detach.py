"""Plans that take a card from the host and give it back, on machines that do not exist."""

from __future__ import annotations

import pytest
from builders.card import AUDIO, GPU, PORT, card, loaded, machine_of, program
from builders.host import HostTree
from hypothesis import given
from hypothesis import strategies as st

from passthrough.detach import AudioPolicy, plan_detach, plan_reattach
from passthrough.plan import Plan
from passthrough.steps import (
    Bind,
    Confirm,
    LoadModule,
    Probe,
    ReleaseConsole,
    ReleaseFramebuffer,
    ResetDevice,
    RunUnit,
    SetAttribute,
    Unbind,
    UnloadModule,
)  # fmt: skip

DEVICES = "/sys/bus/pci/devices"


def plan(audio: AudioPolicy = AudioPolicy.VFIO_PCI, **given: object) -> Plan:
    return plan_detach(*machine_of(card(**given)), audio=audio)  # type: ignore[arg-type]  # any of its arguments


def checks(plan: Plan) -> list[str]:
    return [finding.check for finding in plan.blockers]


def kinds(plan: Plan) -> list[type]:
    """The kinds of its steps in their order, each run of one kind once."""
    found: list[type] = []
    for step in plan.steps:
        if found[-1:] != [type(step)]:
            found.append(type(step))
    return found


def test_all_leave_their_drivers_before_any_is_taken_and_all_are_reset_before_any_is_used() -> None:
    made = plan(driver="nvidia", audio_driver="snd_hda_intel", reset="flr")
    assert made.blockers == ()
    assert kinds(made) == [
        LoadModule, SetAttribute, UnloadModule, Unbind, Bind, ResetDevice, Confirm
    ]  # fmt: skip
    bound = [step for step in made.steps if isinstance(step, Bind)]
    assert bound == [Bind(AUDIO, "vfio-pci"), Bind(GPU, "vfio-pci")]


machines = st.fixed_dictionaries(
    {
        "driver": st.sampled_from([None, "nvidia", "nouveau", "vfio-pci"]),
        "audio_driver": st.sampled_from([None, "snd_hda_intel", "vfio-pci"]),
        "reset": st.sampled_from([None, "bus", "flr bus"]),
        "group": st.sampled_from([1, None]),
        "power": st.sampled_from(["awake", "asleep", "off", "gone"]),
    }
)


@given(machines, st.sampled_from(AudioPolicy))
def test_every_plan_keeps_the_rules(machine: dict[str, object], audio: AudioPolicy) -> None:
    made = plan(audio, **machine)
    names = [type(step) for step in made.steps]
    # An override is there before anything else could take a function.
    last_override = max(n for n, kind in enumerate(names) if kind is SetAttribute)
    lets_go = [n for n, kind in enumerate(names) if kind in (Unbind, UnloadModule)]
    takes = [n for n, kind in enumerate(names) if kind is Bind]
    assert all(last_override < n for n in lets_go)
    assert all(n < min(takes) for n in lets_go)
    # NVIDIA's driver is never unbound while it is loaded.
    if machine["driver"] == "nvidia":
        assert Unbind(GPU) not in made.steps
    # What is in vfio-pci's hands already is left there.
    if machine["driver"] == "vfio-pci":
        assert Unbind(GPU) not in made.steps
    # A reset of the bus would hit the audio function too.
    assert (ResetDevice(GPU) in made.steps) == (machine["reset"] == "flr bus")
    assert not [step for step in made.steps if PORT in getattr(step, "address", "")]
    assert bool(made.blockers) == (machine["group"] is None or machine["power"] in ("off", "gone"))
    assert made.keeps


def test_nobody_gets_the_audio_function_where_that_is_wished() -> None:
    made = plan(AudioPolicy.NONE, audio_driver="snd_hda_intel")
    assert SetAttribute(f"{DEVICES}/{AUDIO}/driver_override", "none") in made.steps
    assert Unbind(AUDIO) in made.steps
    assert not [s for s in made.steps if isinstance(s, Bind) and s.address == AUDIO]
    assert Confirm(AUDIO, 1, "") in made.steps


def test_a_stub_gets_it_where_that_is_wished() -> None:
    made = plan(AudioPolicy.PCI_STUB)
    assert made.steps.index(LoadModule("pci-stub")) < made.steps.index(Bind(AUDIO, "pci-stub"))


def test_an_audio_function_that_was_in_use_and_cannot_be_reset_is_mentioned() -> None:
    """The Acer report: bound to vfio-pci without a reset, it breaks guests and stutters hosts."""
    used = plan(audio_driver="snd_hda_intel")
    assert any("passthrough reset before" in note for note in used.notes)
    assert not any("passthrough reset before" in note for note in plan().notes)


def test_options_of_vfio_pci_are_given_when_it_is_loaded() -> None:
    made = plan_detach(*machine_of(card()), options=("disable_idle_d3=1",))
    assert made.steps[0].name == "modprobe vfio-pci disable_idle_d3=1"
    again = plan_detach(*machine_of(card(driver="vfio-pci")), options=("disable_idle_d3=1",))
    assert any("has no effect" in note for note in again.notes)


def test_a_stranger_in_the_group_stands_in_the_way_unless_it_goes_too() -> None:
    tree = card().device("0000:02:00.0", class_=0x020000, group=1, driver="e1000e")
    loaded(tree, "e1000e", "0000:02:00.0")
    made = plan_detach(*machine_of(tree))
    assert checks(made) == ["detach.stranger"]
    assert "0000:02:00.0 shares its group and e1000e has it" in made.blockers[0].title
    along = plan_detach(*machine_of(tree), strangers=True)
    assert along.blockers == ()
    assert Bind("0000:02:00.0", "vfio-pci") in along.steps


def test_a_stranger_without_a_driver_stands_in_nobodys_way() -> None:
    tree = card().device("0000:02:00.0", class_=0x020000, group=1)
    assert plan_detach(*machine_of(tree)).blockers == ()


@pytest.mark.parametrize(
    ("machine", "check"),
    [
        ({"group": None}, "detach.no-group"),
        ({"power": "off"}, "detach.dead"),
        ({"power": "gone"}, "detach.dead"),
        ({"available": ("nvidia",)}, "detach.no-vfio"),
    ],
)
def test_what_stands_in_the_way_is_said(machine: dict[str, object], check: str) -> None:
    made = plan(**machine)  # type: ignore[arg-type]  # any of its arguments
    assert checks(made) == [check]
    assert made.blockers[0].remedy


def test_programs_are_named_each_with_what_ends_it() -> None:
    tree = card(driver="nvidia")
    program(tree, 812, "Xorg", "/dev/nvidia0", "/dev/nvidiactl")
    program(tree, 900, "gdm", "/dev/nvidiactl", unit="gdm.service")
    made = plan_detach(*machine_of(tree))
    assert [(f.title, f.remedy) for f in made.blockers] == [
        ("Xorg (process 812) uses it: /dev/nvidia0, /dev/nvidiactl", "end it: kill 812"),
        ("gdm (process 900) uses it: /dev/nvidiactl", "systemctl stop gdm.service"),
    ]


def test_a_sound_server_that_watches_the_mixer_is_only_mentioned() -> None:
    tree = card(audio_driver="snd_hda_intel")
    tree.folder(f"{tree.place(AUDIO)}/sound/card1/controlC1")
    tree.folder(f"{tree.place(AUDIO)}/sound/card1/pcmC1D3p")
    program(tree, 700, "pipewire", "/dev/snd/controlC1")
    made = plan_detach(*machine_of(tree))
    assert made.blockers == ()
    assert [f.severity.value for f in made.findings] == ["warning"]
    program(tree, 701, "mpv", "/dev/snd/pcmC1D3p")
    assert checks(plan_detach(*machine_of(tree))) == ["slot.in-use"]


def test_a_guest_that_has_the_card_is_named() -> None:
    tree = program(card(driver="vfio-pci"), 4242, "qemu-system-x86", "/dev/vfio/1")
    made = plan_detach(*machine_of(tree))
    assert "qemu-system-x86 (process 4242)" in made.blockers[0].title
    assert "qemu-system-x86" in plan_reattach(*machine_of(tree)).blockers[0].title


def test_services_are_stopped_before_the_modules_go_and_start_when_all_is_taken_back() -> None:
    unit = "nvidia-powerd.service"
    tree = program(card(driver="nvidia"), 500, "nvidia-powerd", unit=unit)
    made = plan_detach(*machine_of(tree))
    stop = made.steps.index(RunUnit(unit, running=False))
    assert stop < made.steps.index(UnloadModule("nvidia"))


def test_the_firmwares_picture_is_released_where_it_is_on_this_card() -> None:
    def with_picture(*, boot_vga: bool) -> Plan:
        tree = card(boot_vga=boot_vga)
        tree.folder("/sys/bus/platform/drivers/efi-framebuffer/efi-framebuffer.0")
        tree.folder("/sys/bus/platform/devices/efi-framebuffer.0")
        tree.file("/sys/class/vtconsole/vtcon0/name", "(S) dummy device")
        tree.file("/sys/class/vtconsole/vtcon0/bind", "0")
        tree.file("/sys/class/vtconsole/vtcon1/name", "(M) frame buffer device")
        tree.file("/sys/class/vtconsole/vtcon1/bind", "1")
        return plan_detach(*machine_of(tree))

    steps = with_picture(boot_vga=True).steps
    console = ReleaseConsole("vtcon1")
    picture = ReleaseFramebuffer("efi-framebuffer", "efi-framebuffer.0")
    assert steps.index(console) < steps.index(picture) < steps.index(Bind(GPU, "vfio-pci"))
    assert any("gives it up for good" in note for note in with_picture(boot_vga=True).notes)
    others = with_picture(boot_vga=False).steps
    assert console not in others
    assert picture not in others


@pytest.mark.parametrize(
    ("name", "bind", "boot_vga", "told"),
    [
        ("(S) VGA+", "1", True, True), ("(S) VGA+", "0", True, False),
        ("(S) VGA+", "1", False, False), ("(M) frame buffer device", "1", True, False),
    ],
)  # fmt: skip
def test_a_picture_that_the_kernel_gives_up_for_good_is_told_before(
    name: str, bind: str, boot_vga: bool, told: bool
) -> None:
    """Text on the VGA hardware; a console of a framebuffer that is no driver's is one of a DRM
    driver, which shows its picture again when it has the card again."""
    tree = card(boot_vga=boot_vga)
    tree.file("/sys/class/vtconsole/vtcon0/name", name)
    tree.file("/sys/class/vtconsole/vtcon0/bind", bind)
    notes = plan_detach(*machine_of(tree)).notes
    assert any("gives it up for good" in note for note in notes) is told


def test_a_card_that_no_journal_knows_goes_to_the_drivers_that_the_kernel_has_for_it() -> None:
    tree = card(driver="vfio-pci", audio_driver="vfio-pci")
    tree.file(f"{tree.place(GPU)}/driver_override", "vfio-pci")
    made = plan_reattach(*machine_of(tree))
    assert [s for s in made.steps if isinstance(s, Unbind)] == [Unbind(GPU), Unbind(AUDIO)]
    clear = SetAttribute(f"{DEVICES}/{GPU}/driver_override", "")
    assert made.steps.index(clear) < made.steps.index(Unbind(GPU))
    assert [s.address for s in made.steps if isinstance(s, Probe)] == [GPU, AUDIO]
    assert not made.keeps


def test_a_card_that_the_host_has_is_left_alone() -> None:
    made = plan_reattach(*machine_of(card(driver="nvidia", audio_driver="snd_hda_intel")))
    assert made.steps == ()


FRAMEBUFFER = "/sys/bus/platform/drivers/efi-framebuffer/efi-framebuffer.0"
DEVICE = "/sys/bus/platform/devices/efi-framebuffer.0"
CONSOLE = "/sys/class/vtconsole/vtcon1/bind"


@pytest.mark.parametrize(
    ("there", "bound", "given_back"),
    [(True, True, True), (True, False, False), (False, False, True)],
)
def test_a_picture_that_the_kernel_has_taken_away_counts_as_given_back(
    there: bool, bound: bool, given_back: bool
) -> None:
    """vfio-pci takes its device off the kernel's list: nobody can bind what is not there."""
    step = ReleaseFramebuffer("efi-framebuffer", "efi-framebuffer.0")
    before = step.observe(HostTree().folder(FRAMEBUFFER).folder(DEVICE).host())
    tree = HostTree()
    if there:
        tree.folder(DEVICE)
    if bound:
        tree.folder(FRAMEBUFFER)
    assert step.same(before, step.observe(tree.host())) is given_back


@pytest.mark.parametrize(("bind", "given_back"), [("1", True), ("0", False), (None, True)])
def test_a_console_that_went_with_its_picture_counts_as_given_back(
    bind: str | None, given_back: bool
) -> None:
    step = ReleaseConsole("vtcon1")
    before = step.observe(HostTree().file(CONSOLE, "1").host())
    now = HostTree() if bind is None else HostTree().file(CONSOLE, bind)
    assert step.same(before, step.observe(now.host())) is given_back
    # One that has come again since is the kernel's doing.
    assert not step.disturbed("0", "1")
