"""Checks of who uses the GPU: drivers, programs, NVIDIA's daemons, and the audio function."""

from __future__ import annotations

import errno

import pytest
from builders.asked import ask, only, said, verdicts
from builders.host import HostTree
from builders.laptop import AUDIO, GPU, INTEGRATED, acer, clevo, laptop

from diag.checks import drivers
from diag.checks.drivers import DRIVER_CHECKS
from diag.graphics import before_kepler
from diag.holders import MAX_FILES, device_nodes, read_holders
from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress
from diag.tree import Kind, MemoryTree

CARD = "/dev/dri/card1"


def process(tree: HostTree, pid: int, name: str, *opened: str) -> HostTree:
    """A process with files open, as /proc shows it."""
    tree.file(f"/proc/{pid}/comm", name).folder(f"/proc/{pid}/fd")
    for number, path in enumerate(opened):
        tree.links[f"/proc/{pid}/fd/{number}"] = path
    return tree


def with_nodes(**gpu: object) -> HostTree:
    """A laptop whose GPU nouveau drives, as card1."""
    tree = laptop(driver="nouveau", **gpu)
    place = tree.place(GPU)
    return tree.folder(f"{place}/drm/card1").folder(f"{place}/drm/renderD129")


def nodes(tree: HostTree, address: str = GPU) -> tuple[str, ...]:
    machine = Inventory(tree.host())
    device = machine.device(PciAddress.parse(address))
    assert device is not None
    return device_nodes(machine, device)


@pytest.mark.parametrize("check", DRIVER_CHECKS, ids=lambda check: check.slug)
def test_a_laptop_in_order_fails_nothing(check: drivers.Check) -> None:
    tree = laptop(audio={"attributes": {"msi_irqs/42": "msi"}})
    assert {f.verdict.value for f in ask(check, tree)} <= {"pass"}


# Drivers.


@pytest.mark.parametrize("driver", ["nvidia", "nouveau", "amdgpu", "i915", "bochs-drm"])
def test_a_host_driver_on_the_gpu(driver: str) -> None:
    found = only(drivers.gpu_driver, laptop(driver=driver))
    assert (found.verdict.value, found.title) == ("fail", f"{driver} uses it")
    assert ("never returns" in found.remedy) == (driver == "nvidia")


@pytest.mark.parametrize("driver", ["vfio-pci", "pci-stub", None, "vfio_pci_nvgrace"])
def test_a_gpu_that_no_host_driver_uses(driver: str | None) -> None:
    assert verdicts(drivers.gpu_driver, laptop(driver=driver)) == [(GPU, "pass")]


def test_a_loaded_driver_would_take_the_card_back() -> None:
    found = only(drivers.takers, laptop().module("nouveau"))
    assert "modprobe -r nouveau" in found.remedy
    assert ask(drivers.takers, laptop(driver="nvidia").module("nvidia")) == []
    # The other GPU is NVIDIA's too: the module has to stay.
    tree = laptop().module("nvidia")
    tree.device("0000:02:00.0", vendor=0x10DE, device=0x2484, driver="nvidia")
    remedies = {f.subject: f.remedy for f in ask(drivers.takers, tree)}
    assert 'ATTR{driver_override}="vfio-pci"' in remedies[GPU]
    assert verdicts(drivers.takers, laptop().refused("/proc/modules")) == [("", "unknown")]


def test_an_override_that_was_written_and_not_bound() -> None:
    found = only(drivers.override, laptop(driver="nouveau", driver_override="vfio-pci"))
    assert found.verdict.value == "fail"
    assert "drivers_probe" in found.remedy
    bound = laptop(driver_override="vfio-pci")
    assert verdicts(drivers.override, bound) == [(GPU, "pass")]


def test_nouveau() -> None:
    assert verdicts(drivers.nouveau, laptop(driver="nouveau")) == [(GPU, "fail")]
    assert ask(drivers.nouveau, laptop(vendor=0x1002, driver="amdgpu")) == []


# Holders.


def test_the_nodes_are_those_of_the_device_itself() -> None:
    tree = with_nodes().folder("/sys/class/drm/card0")
    sound = tree.place(AUDIO)
    for name in ("controlC1", "pcmC1D3p", "hwC1D0", "id", "number"):
        tree.file(f"{sound}/sound/card1/{name}")
    assert nodes(tree) == (CARD, "/dev/dri/renderD129")
    assert nodes(tree, AUDIO) == ("/dev/snd/controlC1", "/dev/snd/hwC1D0", "/dev/snd/pcmC1D3p",
                                  "/dev/vfio/1")  # fmt: skip
    assert nodes(laptop()) == ("/dev/vfio/1",)


def test_a_program_on_a_wire_to_a_monitor_holds_the_driver_up() -> None:
    tree = with_nodes()
    place = tree.place(GPU)
    wires = {
        "i2c-3": f"{place}/i2c-3/i2c-dev",
        "i2c-7": f"{place}/drm/card1/card1-DP-1/i2c-7/i2c-dev",
        "i2c-0": f"{tree.place(INTEGRATED)}/i2c-0/i2c-dev",
        "i2c-1": "/sys/devices/pci0000:00/0000:00:1f.4/i2c-1/i2c-dev",
    }
    for name, folder in wires.items():
        tree.folder(f"{folder}/{name}").link(f"/sys/class/i2c-dev/{name}", f"{folder}/{name}")
    assert nodes(tree) == (CARD, "/dev/dri/renderD129", "/dev/i2c-3", "/dev/i2c-7")
    found = only(drivers.holders, process(tree, 812, "openrgb", "/dev/i2c-3", "/dev/i2c-30"))
    assert (found.verdict.value, found.title) == ("fail", "open in openrgb (812)")


def test_the_number_of_an_nvidia_card_is_what_its_driver_says() -> None:
    tree = laptop(driver="nvidia")
    information = "Model: \t NVIDIA GeForce GTX 1060\nDevice Minor: \t 1\n"
    tree.file(f"/proc/driver/nvidia/gpus/{GPU}/information", information)
    tree.device("0000:02:00.0", vendor=0x10DE, device=0x2484, driver="nvidia")
    # With two cards a shared node does not say which is used.
    assert nodes(tree) == ("/dev/nvidia1",)
    asleep = laptop(driver="nvidia", power_state="D3cold", runtime_status="suspended")
    asleep.file(f"/proc/driver/nvidia/gpus/{GPU}/information", information)
    assert "/dev/nvidia0" in nodes(asleep)
    assert f"/proc/driver/nvidia/gpus/{GPU}/information" not in asleep.reads


def test_a_program_that_has_the_card_open() -> None:
    tree = process(with_nodes(), 812, "Xorg", "/dev/dri/card0", CARD, CARD)
    found = only(drivers.holders, tree)
    assert (found.verdict.value, found.title) == ("fail", "open in Xorg (812)")
    assert (f"Xorg: {CARD}" in said(found), "card0" in said(found)) == (True, False)


def test_a_guest_that_has_the_group() -> None:
    tree = process(laptop(), 900, "qemu-system-x86", "/dev/vfio/vfio", "/dev/vfio/1")
    found = only(drivers.holders, tree)
    assert found.title == "open in qemu-system-x86 (900)"
    assert "shut the virtual machine down" in found.remedy


def test_a_file_of_the_same_name_is_not_the_node() -> None:
    tree = process(laptop(), 900, "less", "/home/user/1", "/dev/vfio/11", "socket:[1]")
    assert verdicts(drivers.holders, tree) == [(GPU, "pass")]


def test_processes_that_cannot_be_looked_into_are_no_pass() -> None:
    tree = process(laptop(), 7, "Xorg").refused("/proc/7/fd")
    found = only(drivers.holders, tree)
    assert (found.verdict.value, found.remedy) == ("unknown", "run it again as root")
    assert "1 processes of other users" in found.title
    # One that is seen to hold it is enough.
    process(tree, 8, "qemu", "/dev/vfio/1")
    assert verdicts(drivers.holders, tree) == [(GPU, "fail")]


def test_a_capture_without_processes_says_so() -> None:
    assert verdicts(drivers.holders, laptop().without("/proc/1")) == [(GPU, "unknown")]


def test_the_files_that_programs_have_open_are_not_looked_at() -> None:
    """One on a network file system whose server is gone would block for ever."""
    looked: list[str] = []

    class Watched(MemoryTree):
        def kind(self, path: str) -> Kind:
            looked.append(path)
            return super().kind(path)

    tree = process(HostTree(), 5, "editor", "/net/dead/file", CARD)
    host = Host(tree=Watched(tree.files, tree.links, {}, frozenset(tree.folders)))
    assert [holder.nodes for holder in read_holders(host, (CARD,)).found] == [(CARD,)]
    assert [path for path in looked if path.startswith(("/net", "/dev"))] == []


def test_no_number_of_open_files_makes_it_look_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FILES > 10_000
    monkeypatch.setattr("diag.holders.MAX_FILES", 3)
    tree = process(HostTree(), 5, "many", *["/dev/null"] * 10, CARD)
    tree = process(tree, 6, "few", CARD)
    found = read_holders(tree.host(), (CARD,))
    # What was left out is not known, and is no pass.
    assert ([h.name for h in found.found], found.looked, found.hidden) == (["few"], 1, 1)


def test_nvidias_daemons() -> None:
    # The kernel keeps 15 characters of a name.
    tree = process(process(laptop(), 20, "nvidia-persiste"), 21, "nvidia-powerd")
    found = ask(drivers.nvidia_programs, tree)
    assert [f.title for f in found] == ["nvidia-persistenced runs", "nvidia-powerd runs"]
    assert "systemctl mask nvidia-powerd" in found[1].remedy
    assert verdicts(drivers.nvidia_programs, laptop().without("/proc/1")) == [
        ("machine", "unknown")
    ]
    assert ask(drivers.nvidia_programs, laptop(vendor=0x1002)) == []


# NVIDIA's rule.


@pytest.mark.parametrize(("device", "verdict"), [
    (0x1C20, "pass"),  # GP106M
    (0x0FC6, "pass"),  # GK107
    (0x1180, "pass"),  # GK104
    (0x0DF4, "fail"),  # GF108M
    (0x1140, "fail"),  # GF117M
    (0x1251, "fail"),  # GF116M
])  # fmt: skip
def test_cards_before_kepler_refuse_a_virtual_machine(device: int, verdict: str) -> None:
    assert verdicts(drivers.vm_rule, laptop(device=device)) == [(GPU, verdict)]


def test_families_agree_with_pci_ids() -> None:
    """Every Fermi and Kepler card of pci.ids is on the side where it belongs."""
    from pathlib import Path

    path = Path("/usr/share/misc/pci.ids")
    if not path.exists():
        pytest.skip("pci.ids is not installed")
    lines = path.read_text(errors="replace").split("\n10de  ")[1].splitlines()[1:]
    wrong, known = [], 0
    for line in lines:
        if line[:1] not in "\t#":
            break
        if line.startswith("#"):
            continue
        words = line.split()
        # Their audio functions and bridges have ids of their own, in between.
        if line.startswith("\t\t") or len(words) < 2 or "Audio" in line or "HDMI" in line:
            continue
        number, chip = int(words[0], 16), words[1]
        if chip[:2] in ("GF", "GK", "GM", "GP", "GV", "TU", "GA", "AD") and chip[2:3].isdigit():
            known += 1
            wrong += [line] if before_kepler(number) != chip.startswith("GF") else []
    assert known > 500
    assert wrong == []


# Audio.


def without_audio(**gpu: object) -> HostTree:
    tree = laptop(**gpu)
    return tree.without(f"/sys/bus/pci/devices/{AUDIO}").without(tree.place(AUDIO))


def test_a_hidden_audio_function() -> None:
    found = only(drivers.audio_there, without_audio())
    assert (found.verdict.value, found.severity.value) == ("fail", "note")
    assert "nvhda" not in found.remedy
    # Before 5.4 the kernel does not switch it on itself.
    assert "nvhda" in only(drivers.audio_there, clevo()).remedy
    # A card without outputs needs none.
    assert ask(drivers.audio_there, without_audio(class_=0x030200)) == []
    for check in (drivers.audio_driver, drivers.audio_reset, drivers.audio_msi):
        assert ask(check, without_audio()) == []


def test_an_audio_function_with_a_host_driver() -> None:
    found = only(drivers.audio_driver, laptop(audio={"driver": "snd_hda_intel"}))
    assert (found.subject, found.verdict.value) == (AUDIO, "fail")
    # iommu.viable says whether the group is: from 5.19 on not before this driver has let go.
    assert "has to let go of it first" in found.title
    assert verdicts(drivers.audio_driver, laptop(audio={"driver": None})) == [(AUDIO, "pass")]


def test_an_audio_function_without_reset() -> None:
    assert f"{AUDIO}/remove" in only(drivers.audio_reset, acer()).remedy
    refused = laptop()
    refused.refused(f"{refused.place(AUDIO)}/reset_method", errno.EIO)
    assert verdicts(drivers.audio_reset, refused) == [("", "unknown")]


def test_the_interrupts_of_the_audio_function() -> None:
    line = laptop(audio={"driver": "snd_hda_intel"})
    assert "enable_msi=1" in only(drivers.audio_msi, line).remedy
    messages = {"driver": "snd_hda_intel", "attributes": {"msi_irqs/42": "msi"}}
    assert verdicts(drivers.audio_msi, laptop(audio=messages)) == [(AUDIO, "pass")]
    # Without a driver nothing sets any up.
    assert verdicts(drivers.audio_msi, laptop()) == [(AUDIO, "unknown")]


def test_the_integrated_gpu_is_left_alone() -> None:
    tree = HostTree().device(INTEGRATED, driver="i915", boot_vga=True)
    assert [f for check in DRIVER_CHECKS for f in ask(check, tree)] == []
