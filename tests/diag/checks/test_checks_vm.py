"""Checks of a VM's description, and the checklist for Code 43 that they are part of."""

from __future__ import annotations

import pytest
from builders.asked import ask, only, said, verdicts
from builders.host import HostTree
from builders.laptop import AUDIO, GPU, RESOURCE, acer, clevo, laptop
from builders.rom import nvgi, nvidia_mobile

from diag.checks import vm, vm_rom
from diag.checks.vm import VM_CHECKS
from diag.code43 import CODE43_CHECKS, code43
from diag.inventory import Inventory
from romkit.acpi.battery import battery_table
from romkit.rom import parse_rom

ROM = nvidia_mobile()
_IDS = parse_rom(ROM).images[0].pcir
#: The ROM is for this card.
IDS = {"vendor": _IDS.vendor_id, "device": _IDS.device_id}

QEMU = (
    "qemu-system-x86_64 -machine q35,kernel_irqchip=on "
    "-cpu host,kvm=off,hv_vendor_id=1234567890a,hv_relaxed,hv_time "
    "-device pcie-root-port,id=p,bus=pcie.0,addr=1.0,chassis=1,hotplug=off "
    "-device vfio-pci,host=0000:01:00.0,bus=p,addr=00.0,multifunction=on,romfile=/vm/dgpu.rom "
    "-device vfio-pci,host=0000:01:00.1,bus=p,addr=00.1 -acpitable file=/vm/battery.aml"
)
LIBVIRT = """<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<os><type machine='pc-q35-7.2'>hvm</type></os><features>
<hyperv><relaxed state='on'/><vendor_id state='on' value='1234567890a'/></hyperv>
<kvm><hidden state='on'/></kvm><ioapic driver='kvm'/></features>
<devices><controller type='pci' index='1' model='pcie-root-port'><target hotplug='off'/>
<address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x0'/></controller>
<hostdev mode='subsystem' type='pci'>
<source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
<rom file='/vm/dgpu.rom'/>
<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></hostdev></devices>
<qemu:commandline><qemu:arg value='-acpitable'/><qemu:arg value='file=/vm/battery.aml'/>
</qemu:commandline></domain>"""


def host(**gpu: object) -> HostTree:
    tree = laptop(**{**IDS, **gpu})
    return tree.file("/vm/dgpu.rom", ROM).file("/vm/battery.aml", bytes(battery_table()))


@pytest.mark.parametrize("text", [QEMU, LIBVIRT], ids=["qemu", "libvirt"])
@pytest.mark.parametrize("check", VM_CHECKS, ids=lambda check: check.slug)
def test_a_vm_in_order_passes_everything(check: vm.Check, text: str) -> None:
    found = ask(check, host(), vm=text)
    assert {f.verdict.value for f in found} == {"pass"}


@pytest.mark.parametrize("check", VM_CHECKS, ids=lambda check: check.slug)
def test_without_a_description_nothing_is_asked(check: vm.Check) -> None:
    assert ask(check, host()) == []


@pytest.mark.parametrize("check", VM_CHECKS, ids=lambda check: check.slug)
def test_a_description_that_is_none_is_no_answer(check: vm.Check) -> None:
    assert verdicts(check, host(), vm="<domain") == [("", "unknown")]


@pytest.mark.parametrize(("check", "old", "new", "words"), [
    (vm.gets_gpu, "host=0000:01:00.0", "host=0000:0a:00.0", "0000:0a:00.0, which is not here"),
    (vm.hidden, "kvm=off,", "", "KVM is not hidden"),
    (vm.hidden, "hv_vendor_id=1234567890a,", "", "no Hyper-V vendor id"),
    (vm.vendor_id, "1234567890a", "1234567890abc", "13 characters"),
    (vm.vendor_id, "1234567890a", "12,,34", "a comma"),
    (vm.vendor_id, "1234567890a", "", "empty"),
    (vm.vendor_id, ",hv_relaxed,hv_time", "", "stands alone"),
    (vm.irqchip, "kernel_irqchip=on", "kernel_irqchip=split", "QEMU's (split)"),
    (vm_rom.vm_rom, "romfile=/vm/dgpu.rom", "rombar=0", "gets no ROM"),
    (vm_rom.rom_file, "/vm/dgpu.rom", "/vm/gone.rom", "is not there"),
    (vm_rom.rom_file, "/vm/dgpu.rom", "/vm/battery.aml", "is no ROM"),
    (vm.vm_subsystem, "romfile", "x-pci-sub-device-id=0x65a2,romfile", "1558:65a2"),
    (vm.place, "bus=p,addr=00.0", "bus=pcie.0,addr=05.0", "behind no root port"),
    (vm.place, "bus=pcie.0,addr=1.0", "bus=pcie.0,addr=2.0", "behind 0000:00:02.0"),
    (vm.port_hotplug, ",hotplug=off", "", "has hot-plug"),
    (vm.vm_audio, "bus=p,addr=00.1", "bus=pcie.0,addr=06.0", "not beside the GPU"),
    (vm.battery, "-acpitable file=/vm/battery.aml", "", "no battery"),
    (vm.battery, "/vm/battery.aml", "/vm/dgpu.rom", "no battery"),
    (vm.display, "-acpitable", "-device qxl -device vfio-pci,sysfsdev=/sys/bus/mdev/devices/u "
     "-acpitable", "2 displays"),
])  # fmt: skip
def test_one_thing_wrong(check: vm.Check, old: str, new: str, words: str) -> None:
    text = QEMU.replace(old, new)
    assert text != QEMU
    (found,) = [f for f in ask(check, host(), vm=text) if f.verdict.value != "pass"]
    assert found.verdict.value == "fail"
    assert words in said(found)
    assert found.remedy


@pytest.mark.parametrize(("check", "old", "new"), [
    (vm.irqchip, ",kernel_irqchip=on", ""),
    (vm.place, "bus=pcie.0,addr=1.0,", ""),
    (vm.vm_audio, "bus=pcie.0,addr=1.0,", ""),
    (vm_rom.rom_file, "/vm/dgpu.rom", "dgpu.rom"),
    (vm_rom.rom_file, "/vm/dgpu.rom", "/vm/secret.rom"),
])  # fmt: skip
def test_what_the_description_does_not_say_is_unknown(check: vm.Check, old: str, new: str) -> None:
    tree = host().refused("/vm/secret.rom")
    found = only(check, tree, vm=QEMU.replace(old, new))
    assert found.verdict.value == "unknown"


def test_another_cards_rom_blocks() -> None:
    found = only(vm_rom.rom_file, host(device=0x1C20), vm=QEMU)
    assert found.blocks
    assert "another card's ROM" in found.title


def test_a_rom_in_its_container_shows_the_guest_nothing() -> None:
    tree = host().file("/vm/dgpu.rom", nvgi(1, ROM))
    found = only(vm_rom.rom_file, tree, vm=QEMU)
    assert (found.blocks, "romkit strip" in found.remedy) == (True, True)


def test_the_rom_that_a_table_hands_out_is_looked_at_too() -> None:
    text = QEMU.replace("romfile=/vm/dgpu.rom", "rombar=0")
    text += " -fw_cfg name=opt/com.lion328/nvidia-rom,file=/vm/other.rom"
    assert only(vm_rom.vm_rom, host(), vm=text).verdict.value == "pass"
    found = only(vm_rom.rom_file, host(), vm=text)
    assert "/vm/other.rom is not there" in found.title


def test_a_muxless_card_with_neither_a_file_nor_a_table() -> None:
    text = QEMU.replace(",romfile=/vm/dgpu.rom", "")
    no_rom = "\n".join([*RESOURCE.splitlines()[:6], "0x0 0x0 0x0"])
    bare = host(class_=0x030200, boot_vga=None, attributes={"resource": no_rom})
    assert "_ROM" in only(vm_rom.vm_rom, bare, vm=text).title
    # A card with a ROM BAR of its own shows that one.
    assert only(vm_rom.vm_rom, host(), vm=text).verdict.value == "pass"


def test_decimal_numbers_that_were_meant_to_be_hexadecimal() -> None:
    """0x1558 is 5464 and 0x65a1 is 26017; 1558 as it stands is 0x0616."""
    override = """<qemu:override><qemu:device alias='hostdev0'><qemu:frontend>
<qemu:property name='x-pci-sub-vendor-id' type='unsigned' value='1558'/>
</qemu:frontend></qemu:device></qemu:override></domain>"""
    found = only(vm.vm_subsystem, host(), vm=LIBVIRT.replace("</domain>", override))
    assert (found.verdict.value, "0616:65a1" in found.title) == ("fail", True)
    assert "write 5464 and 26017" in found.remedy
    right = override.replace("1558", "5464")
    text = LIBVIRT.replace("</domain>", right)
    assert only(vm.vm_subsystem, host(), vm=text).verdict.value == "pass"
    junk = LIBVIRT.replace("</domain>", override.replace("1558", "0x1558"))
    assert "no decimal number" in only(vm.vm_subsystem, host(), vm=junk).title


def test_a_card_without_subsystem_ids_needs_them_from_the_vm() -> None:
    assert verdicts(vm.vm_subsystem, host(subsystem=None), vm=QEMU) == [(GPU, "fail")]
    text = QEMU.replace("romfile", "x-pci-sub-vendor-id=0x1025,x-pci-sub-device-id=0x118b,romfile")
    found = only(vm.vm_subsystem, host(subsystem=None), vm=text)
    assert (found.verdict.value, found.title) == ("pass", "the guest sees 1025:118b")


def test_the_audio_function_may_stay_behind() -> None:
    text = QEMU.replace("-device vfio-pci,host=0000:01:00.1,bus=p,addr=00.1", "")
    found = only(vm.vm_audio, host(), vm=text)
    assert (found.subject, found.verdict.value) == (AUDIO, "pass")


def test_cards_before_kepler_have_no_newer_driver() -> None:
    text = QEMU.replace("kvm=off,", "")
    assert "this card's drivers" in only(vm.hidden, host(device=0x1140), vm=text).title
    assert "drivers before R465" in only(vm.hidden, host(device=0x1C20), vm=text).title


def test_an_amd_card_is_not_asked_what_nvidias_driver_wants() -> None:
    for check in (vm.hidden, vm.port_hotplug, vm.battery):
        assert ask(check, host(vendor=0x1002), vm=QEMU) == []


# The checklist.


def points(tree: HostTree, text: str | None = None) -> dict[str, str]:
    found = code43(Inventory(tree.host(), vm_text=text))
    order = {"pass": 0, "unknown": 1, "fail": 2}
    worst: dict[str, str] = {}
    for finding in found:
        verdict = finding.verdict.value
        if order[verdict] >= order[worst.get(finding.check, "pass")]:
            worst[finding.check] = verdict
    return worst


def test_each_item_is_there_once() -> None:
    slugs = [check.slug for check in CODE43_CHECKS]
    assert len(set(slugs)) == len(slugs)


def test_the_checklist_for_the_clevo() -> None:
    """Its GPU is alone with its port, and off: that comes before anything in the VM."""
    found = points(clevo())
    assert (found["iommu.group"], found["power.state"], found["power.switches"]) == (
        "pass", "fail", "fail",
    )  # fmt: skip
    # A GTX 1060 is of Pascal: drivers since R465 do not refuse.
    assert (found["driver.vm-rule"], found["gpu.mux"]) == ("pass", "pass")
    assert not any(name.startswith("vm.") for name in found)


def test_the_checklist_for_the_acer() -> None:
    found = points(acer())
    assert found["gpu.muxless"] == "fail"
    # NVIDIA's driver has it, which the notes say it must have had.
    assert found["code43.started"] == "pass"
    assert points(laptop())["code43.started"] == "unknown"
    assert found["audio.driver"] == "fail"


def test_the_checklist_weighs_the_vm_too() -> None:
    found = points(host(), QEMU.replace("kvm=off,", ""))
    assert (found["vm.hidden"], found["vm.irqchip"], found["vm.rom-file"]) == (
        "fail", "pass", "pass",
    )  # fmt: skip
    assert points(host(), QEMU)["vm.hidden"] == "pass"
