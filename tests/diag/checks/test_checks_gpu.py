"""Checks of the GPU: what each says of a laptop in order, of one that is not, and of no answer."""

from __future__ import annotations

import errno

import pytest
from builders.asked import ask, only, said, verdicts
from builders.host import HostTree
from builders.laptop import AUDIO, DISCRETE, GPU, HYBRID, INTEGRATED, PORT, RESOURCE, laptop

from diag.checks import display, gpu
from diag.checks.drivers import DRIVER_CHECKS
from diag.checks.gpu import GPU_CHECKS
from diag.checks.power import POWER_CHECKS
from diag.checks.rom import ROM_CHECKS
from romkit.finding import Verdict

MUX = "/sys/devices/platform/asus-nb-wmi/gpu_mux_mode"
DISABLE = "/sys/devices/platform/asus-nb-wmi/dgpu_disable"
IOMEM = """c0000000-cfffffff : PCI Bus 0000:01
  c0000000-cfffffff : 0000:01:00.0
    c0000000-c07effff : {holder}"""


@pytest.mark.parametrize("check", GPU_CHECKS, ids=lambda check: check.slug)
def test_a_laptop_in_order_fails_nothing(check: gpu.Check) -> None:
    assert {f.verdict.value for f in ask(check, laptop())} <= {"pass"}


@pytest.mark.parametrize("check", GPU_CHECKS, ids=lambda check: check.slug)
def test_a_machine_without_pci_is_asked_nothing_but_whether_there_is_a_gpu(
    check: gpu.Check,
) -> None:
    found = ask(check, HostTree())
    assert [f.check for f in found] == (["gpu.present"] if check is gpu.present else [])


# Is there one?


def test_no_gpu_is_one_note() -> None:
    found = only(gpu.present, HostTree())
    assert (found.verdict.value, found.severity.value) == ("fail", "note")
    assert "nothing to pass through" in found.title


def test_the_processors_own_gpu_is_not_one_to_hand_over() -> None:
    intel = HostTree().device(INTEGRATED, class_=0x030000)
    assert "only the processor's own GPU" in only(gpu.present, intel).title


def test_the_gpu_of_an_amd_processor_is_told_by_what_shares_its_slot() -> None:
    """It is behind a port like a card of its own, but beside the security processor."""
    amd = HostTree().device(PORT, class_=0x060400)
    amd.device("0000:05:00.0", vendor=0x1002, device=0x1638, parent=PORT)
    assert only(gpu.present, amd).verdict.value == "pass"
    amd.device("0000:05:00.2", vendor=0x1022, device=0x15DF, class_=0x108000, parent=PORT)
    assert only(gpu.present, amd).verdict.value == "fail"


def test_a_gpu_that_the_firmware_took_away_blocks() -> None:
    away = HostTree().file(DISABLE, "1")
    found = only(gpu.disabled, away)
    assert found.blocks
    assert f"echo 0 > {DISABLE}" in found.remedy
    assert verdicts(gpu.disabled, away.file(DISABLE, "0")) == [("machine", "pass")]
    assert verdicts(gpu.disabled, away.refused(DISABLE)) == [("", "unknown")]


# Display.


@pytest.mark.parametrize(("mode", "verdict"), [("1", "pass"), ("0", "fail")])
def test_the_mux_of_an_asus(mode: str, verdict: str) -> None:
    """sysfs-platform-asus-wmi: 0 is the discrete GPU, 1 is Optimus."""
    assert verdicts(display.mux, laptop().file(MUX, mode)) == [("machine", verdict)]


def test_the_mux_that_cannot_be_read_is_unknown() -> None:
    assert verdicts(display.mux, laptop().refused(MUX, errno.EIO)) == [("", "unknown")]


@pytest.mark.parametrize(("ids", "mode", "verdict"), [
    (HYBRID, "mshybrid", "pass"), (DISCRETE, "discrete", "fail"),
])  # fmt: skip
def test_the_subsystem_id_of_a_clevo_tells_its_mode(
    ids: tuple[int, int], mode: str, verdict: str
) -> None:
    found = only(display.mux, laptop(subsystem=ids))
    assert found.verdict.value == verdict
    assert f"{mode} mode" in said(found)
    assert f"{mode} mode" in only(gpu.subsystem, laptop(subsystem=ids)).title


def test_a_laptop_that_booted_with_the_discrete_gpu_is_in_discrete_mode() -> None:
    found = only(display.mux, laptop(boot_vga=True))
    assert "discrete mode" in found.title
    assert ask(display.mux, laptop(boot_vga=True).without("/sys/class/power_supply")) == []


@pytest.mark.parametrize(("chassis", "asked"), [("10", 1), ("3", 0), ("junk", 0)])
def test_a_laptop_without_its_battery_is_known_by_its_chassis(chassis: str, asked: int) -> None:
    """SMBIOS 7.4.1: 10 is a notebook, 3 a desktop."""
    tree = laptop(boot_vga=True).without("/sys/class/power_supply")
    tree.file("/sys/class/dmi/id/chassis_type", chassis)
    assert len(ask(display.mux, tree)) == asked


def test_a_3d_controller_needs_more() -> None:
    no_rom = "\n".join([*RESOURCE.splitlines()[:6], "0x0 0x0 0x0"])
    tree = laptop(class_=0x030200, boot_vga=None, attributes={"resource": no_rom})
    found = only(display.muxless, tree)
    for word in ("_ROM", "battery", "another display"):
        assert word in found.title
    # The integrated GPU that could show its picture is evidence.
    assert any(INTEGRATED in evidence.where for evidence in found.evidence)


@pytest.mark.parametrize("holder", ["efifb", "vesafb", "simpledrm", "BOOTFB"])
def test_a_boot_framebuffer_holds_the_bars(holder: str) -> None:
    tree = laptop(boot_vga=True).file("/proc/iomem", IOMEM.format(holder=holder))
    found = only(display.boot_display, tree)
    assert (found.verdict.value, holder in found.title) == ("fail", True)
    assert "initcall_blacklist=sysfb_init" in found.remedy


def test_the_driver_of_the_gpu_is_no_boot_framebuffer() -> None:
    tree = laptop(boot_vga=True).file("/proc/iomem", IOMEM.format(holder="nvidia"))
    tree.file("/proc/fb", "0 nvidia-drmdrmfb")
    assert verdicts(display.boot_display, tree) == [(GPU, "pass")]


def test_a_framebuffer_elsewhere_does_not_hold_it() -> None:
    elsewhere = IOMEM.format(holder="efifb").replace("c0", "a0").replace("cf", "af")
    tree = laptop(boot_vga=True).file("/proc/iomem", elsewhere)
    assert verdicts(display.boot_display, tree) == [(GPU, "pass")]


def test_an_ordinary_user_sees_the_framebuffer_but_not_whose_memory_it_has() -> None:
    zeros = "00000000-00000000 : PCI Bus 0000:01\n  00000000-00000000 : 0000:01:00.0"
    tree = laptop(boot_vga=True).file("/proc/iomem", zeros)
    found = only(display.boot_display, tree)
    assert (found.verdict.value, found.remedy) == ("unknown", "run it again as root")
    assert verdicts(display.boot_display, tree.file("/proc/fb", "0 EFI VGA")) == [(GPU, "fail")]


# Ids, reset, twins.


def test_the_subsystem_ids_are_given_in_both_notations() -> None:
    # 0x1025 = 4133 and 0x118b = 4491: libvirt takes decimal numbers.
    title = only(gpu.subsystem, laptop(subsystem=(0x1025, 0x118B))).title
    assert "1025:118b" in title
    assert "4133 and 4491" in title
    assert verdicts(gpu.subsystem, laptop(subsystem=None)) == [(GPU, "fail")]


def test_a_gpu_without_reset() -> None:
    assert verdicts(gpu.reset, laptop(reset_method=None)) == [(GPU, "fail")]
    old = laptop()
    place = old.place(GPU)
    # Before 5.15 there is no reset_method, but still a reset.
    assert "too old to say" in only(gpu.reset, old.without(f"{place}/reset_method")).title
    assert verdicts(gpu.reset, old.refused(f"{place}/reset_method")) == [("", "unknown")]


def test_a_bus_reset_needs_the_audio_function_out_of_the_way() -> None:
    found = only(gpu.reset_alone, laptop(reset_method="bus"))
    assert found.verdict.value == "fail"
    assert f"remove {AUDIO} first" in found.remedy
    alone = laptop(reset_method="bus")
    alone.without(f"/sys/bus/pci/devices/{AUDIO}").without(alone.place(AUDIO))
    assert verdicts(gpu.reset_alone, alone) == [(GPU, "pass")]


def test_twin_cards_are_both_taken_by_their_ids() -> None:
    tree = laptop()
    tree.device("0000:00:01.1", class_=0x060400).device(
        "0000:02:00.0", vendor=0x10DE, device=0x1C20, parent="0000:00:01.1"
    )
    found = {f.subject: f for f in ask(gpu.twins, tree)}
    assert {subject: f.verdict.value for subject, f in found.items()} == {
        GPU: "fail", "0000:02:00.0": "fail",
    }  # fmt: skip
    assert "driver_override" in found[GPU].remedy
    # Its audio function alone is enough to be taken with it.
    tree.device("0000:02:00.0", vendor=0x10DE, device=0x1C8D, parent="0000:00:01.1")
    assert {f.verdict.value for f in ask(gpu.twins, tree)} == {"pass"}
    tree.device(
        "0000:02:00.1", vendor=0x10DE, device=0x10F1, class_=0x040300, parent="0000:00:01.1"
    )
    assert {f.verdict.value for f in ask(gpu.twins, tree)} == {"fail"}


# BARs and link.


def test_a_bar_without_an_address() -> None:
    lost = RESOURCE.replace(
        "0x00000000c0000000 0x00000000cfffffff", "0x0000000000000000 0x000000000fffffff"
    )
    found = only(gpu.bars, laptop(attributes={"resource": lost}))
    assert found.title == "BAR 1 (256 MiB) has no address"
    refused = laptop()
    refused.refused(f"{refused.place(GPU)}/resource")
    assert verdicts(gpu.bars, refused) == [("", "unknown")]


def test_a_bar_of_8_gib_needs_room_in_the_guest() -> None:
    large = RESOURCE.replace(
        "0x00000000c0000000 0x00000000cfffffff", "0x0000004000000000 0x00000041ffffffff"
    )
    # Bits 8 and 13: 2^8 and 2^13 MiB (sysfs-bus-pci, resourceN_resize).
    attributes = {"resource": large, "resource1_resize": "0000000000002100"}
    found = only(gpu.large_bars, laptop(attributes=attributes))
    assert "BAR 1 has 8 GiB" in found.title
    assert "above 4 GiB" in said(found)
    assert "256 MiB 8 GiB" in said(found)
    assert "X-PciMmio64Mb" in found.remedy


def test_lost_lanes() -> None:
    def with_lanes(now: str, most: str, **gpu_values: str) -> HostTree:
        attributes = {"current_link_speed": "2.5 GT/s PCIe", "current_link_width": now}
        attributes |= {"max_link_speed": "8.0 GT/s PCIe", "max_link_width": most}
        return laptop(attributes=attributes, **gpu_values)

    # A low speed is an idle card's, and no fault.
    assert verdicts(gpu.link, with_lanes("16", "16")) == [(GPU, "pass")]
    assert only(gpu.link, with_lanes("8", "16")).title == "the link has 8 of 16 lanes"
    asleep = with_lanes("8", "16", power_state="D3hot", runtime_status="suspended")
    assert verdicts(gpu.link, asleep) == [(GPU, "unknown")]


def test_what_is_asked_of_a_laptop_in_order_is_answered() -> None:
    """That nothing fails would be true of checks that never answer, too."""
    groups = (GPU_CHECKS, POWER_CHECKS, DRIVER_CHECKS, ROM_CHECKS)
    passed = {
        finding.check
        for checks in groups
        for check in checks
        for finding in ask(check, laptop())
        if finding.verdict is Verdict.PASS
    }
    # The rest asks about what this laptop has not: ASUS firmware, bbswitch, nvhda, a VFCT.
    assert passed == {
        *(f"gpu.{name}" for name in ("present", "mux", "muxless", "boot-display", "subsystem")),
        *(f"gpu.{name}" for name in ("reset", "reset-alone", "twins", "bars", "large-bars")),
        *(f"power.{name}" for name in ("state", "audio", "switches", "port", "idle", "d3cold")),
        *(f"driver.{name}" for name in ("gpu", "takers", "holders", "nvidia-programs")),
        *("driver.nouveau", "driver.vm-rule", "audio.there", "audio.driver", "audio.reset"),
        *("rom.source", "rom.shadow", "rom.readable"),
    }
