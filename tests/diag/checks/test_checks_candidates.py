"""Which GPUs are judged as ones to hand over: no console, no processor's own; cards of a VM are."""

from __future__ import annotations

import pytest
from builders.asked import ask, only, said, verdicts
from builders.host import HostTree
from builders.laptop import AUDIO, GPU, INTEGRATED, PORT, RESOURCE, laptop

from diag.checks import display, drivers, gpu, power, rom, run_checks
from diag.checks.iommu import iommu_group, iommu_viable
from diag.gpu import pick_gpu
from diag.graphics import candidates
from diag.inventory import Inventory
from romkit.finding import blocking

CONSOLE, BRIDGE, ACCELERATOR = "0000:03:00.0", "0000:02:00.0", "0000:41:00.0"
NO_ROM = "\n".join([*RESOURCE.splitlines()[:6], "0x0 0x0 0x0"])
#: A virtual function's config: ids of ones (SR-IOV 1.1, 3.4.1.1), then what every function has.
VIRTUAL = b"\xff" * 4 + bytes.fromhex("06001000 00008003 00000000") + bytes(48)


def given(tree: HostTree) -> list[str]:
    return [str(gpu.address) for gpu in candidates(Inventory(tree.host()))]


def server(vendor: int = 0x1A03, device: int = 0x2000) -> HostTree:
    """A server without battery: its console's display behind a bridge, and an accelerator."""
    tree = HostTree().kernel().folder("/sys/class/power_supply")
    tree.device("0000:00:1c.0", class_=0x060400, driver="pcieport", group=5)
    tree.device(BRIDGE, vendor=0x1A03, device=0x1150, class_=0x060400, group=5,
                parent="0000:00:1c.0")  # fmt: skip
    tree.device(CONSOLE, vendor=vendor, device=device, driver="ast", boot_vga=True, group=5,
                parent=BRIDGE)  # fmt: skip
    tree.device("0000:40:01.0", class_=0x060400, driver="pcieport", group=6)
    return tree.device(
        ACCELERATOR, vendor=0x10DE, device=0x2235, class_=0x030200, driver="vfio-pci", group=7,
        parent="0000:40:01.0", rom=0x80000,
    )  # fmt: skip


# A server's console.


@pytest.mark.parametrize(("vendor", "device", "name"), [
    (0x1A03, 0x2000, "ASPEED"), (0x102B, 0x0534, "G200eR2"), (0x19E5, 0x1711, "Hi171x"),
])  # fmt: skip
def test_the_display_of_a_servers_console_is_not_one_to_hand_over(
    vendor: int, device: int, name: str
) -> None:
    tree = server(vendor, device)
    assert given(tree) == [ACCELERATOR], name
    assert str(pick_gpu(Inventory(tree.host()), None).address) == ACCELERATOR


def test_an_old_matrox_card_is_a_card() -> None:
    # 102b:0525 is the G400 (pci.ids).
    assert CONSOLE in given(server(0x102B, 0x0525))


def test_a_server_with_nothing_but_its_console_is_told_so() -> None:
    tree = server().without(f"/sys/bus/pci/devices/{ACCELERATOR}")
    found = only(gpu.present, tree)
    assert (found.verdict.value, "remote console" in found.title) == ("fail", True)


# A card on the root bus of a virtual machine.


def test_nvidias_card_on_the_root_bus_was_passed_to_this_machine() -> None:
    tree = HostTree().device("0000:00:1e.0", vendor=0x10DE, device=0x1EB8, class_=0x030200)
    tree.device("0000:00:03.0", vendor=0x1D0F, device=0x1111).device(INTEGRATED, device=0x591B)
    assert given(tree) == ["0000:00:1e.0"]
    assert only(gpu.present, tree).verdict.value == "pass"


# A GPU that the host keeps blocks nothing.


def shared(place: str = INTEGRATED) -> HostTree:
    """In the group of one GPU there is a USB controller that the host uses."""
    tree, group = laptop(), 0 if place == INTEGRATED else 1
    return tree.device("0000:00:14.0", device=0xA36D, class_=0x0C0330, driver="xhci_hcd",
                       group=group)  # fmt: skip


def test_what_the_integrated_gpu_shares_its_group_with_is_only_good_to_know() -> None:
    for check, subject in ((iommu_group, INTEGRATED), (iommu_viable, INTEGRATED)):
        found = {f.subject: f for f in ask(check, shared())}
        assert (found[subject].verdict.value, found[subject].severity.value) == ("fail", "note")
        assert found[GPU].verdict.value == "pass"
        assert not blocking(found.values())
    found = {f.subject: f for f in ask(iommu_viable, shared(GPU))}
    assert found[GPU].blocks


# Virtual functions.


def virtual(**values: object) -> HostTree:
    tree = laptop(config=VIRTUAL, **values)
    return tree.link(f"{tree.place(GPU)}/physfn", tree.place(INTEGRATED))


def test_a_virtual_function_has_its_power_although_its_ids_are_ones() -> None:
    assert verdicts(power.state, virtual()) == [(GPU, "pass")]
    assert verdicts(rom.readable, virtual()) == [(GPU, "pass")]
    # A card without power has nothing else.
    assert verdicts(power.state, laptop(config=b"\xff" * 64)) == [(GPU, "fail")]


def test_a_virtual_function_misses_no_audio() -> None:
    def without_audio(tree: HostTree) -> HostTree:
        return tree.without(f"/sys/bus/pci/devices/{AUDIO}").without(tree.place(AUDIO))

    assert ask(drivers.audio_there, without_audio(virtual())) == []
    assert verdicts(drivers.audio_there, without_audio(laptop())) == [(GPU, "fail")]


# What is said of audio.


def test_that_there_is_no_audio_is_said_of_what_was_looked_at() -> None:
    tree = laptop()
    # Function 1 is there, and is a USB controller.
    tree.device(AUDIO, vendor=0x10DE, device=0x1AD8, class_=0x0C0330, group=1, parent=PORT)
    text = said(only(drivers.audio_there, tree))
    assert f"{AUDIO}; no function of class 0403" in text
    assert "not there" not in text


def test_audio_in_a_group_of_its_own_does_not_hold_the_gpus_group() -> None:
    apart = laptop(audio={"driver": "snd_hda_intel", "group": 13})
    found = only(drivers.audio_driver, apart)
    assert (found.severity.value, "another group" in found.title) == ("note", True)
    assert "viable" not in said(found)
    assert [f.verdict.value for f in ask(iommu_viable, apart) if f.subject == GPU] == ["pass"]
    together = only(drivers.audio_driver, laptop(audio={"driver": "snd_hda_intel"}))
    assert (together.severity.value, together.verdict.value) == ("warning", "fail")


# Laptops' 3D controllers and servers' accelerators.


def test_an_accelerator_is_not_told_what_a_muxless_laptop_is() -> None:
    text = said(only(display.muxless, server()))
    assert "another display" in text
    assert ("_ROM" in text, "battery" in text) == (False, False)
    assert ask(rom.muxless, server()) == []
    # In a laptop one with a ROM of its own needs no method for it either.
    own = laptop(class_=0x030200, boot_vga=None)
    assert "_ROM" not in said(only(display.muxless, own))
    none = laptop(class_=0x030200, boot_vga=None, attributes={"resource": NO_ROM})
    assert "_ROM" in only(display.muxless, none).title
    assert len(ask(rom.muxless, none)) == 1


def test_the_only_gpu_of_a_laptop() -> None:
    tree = laptop(boot_vga=True).without(f"/sys/bus/pci/devices/{INTEGRATED}")
    found = only(display.mux, tree)
    assert (found.verdict.value, "no other screen" in found.title) == ("fail", True)
    assert "if it has that" in found.remedy
    assert "no other screen" not in only(display.mux, laptop(boot_vga=True)).title


def test_a_servers_console_is_neither_blocker_nor_warning() -> None:
    # A stranger in the console's group: with a card to hand over this would block.
    tree = server().device("0000:00:1f.0", class_=0x060100, driver="lpc_ich", group=5)
    findings = [f for f in run_checks(Inventory(tree.host())) if f.subject == CONSOLE]
    assert {f.severity.value for f in findings if f.verdict.value == "fail"} == {"note"}
