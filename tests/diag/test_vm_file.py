"""Descriptions of VMs: libvirt's XML and QEMU's command line say the same in different words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.demand import NotAVm
from diag.pci import PciAddress
from diag.qemu_line import whole_number
from diag.vm_file import parse_vm_file

LIBVIRT = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>win10</name>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <features>
    <hyperv>
      <relaxed state='on'/><vapic state='off'/><vendor_id state='on' value='1234567890a'/>
    </hyperv>
    <kvm><hidden state='on'/></kvm>
    <ioapic driver='kvm'/>
  </features>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'>
      <target chassis='1' port='0x8' hotplug='off'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x0'/>
    </controller>
    <hostdev mode='subsystem' type='pci' managed='no'>
      <source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
      <rom bar='on' file='/var/lib/dgpu.rom'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0' multifunction='on'/>
    </hostdev>
    <hostdev mode='subsystem' type='mdev' model='vfio-pci' display='on'>
      <source><address uuid='af5972fb-5530-41a7-0000-fd836204445b'/></source>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </hostdev>
    <video><model type='qxl'/></video>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-acpitable'/><qemu:arg value='file=/var/lib/ssdt.aml'/>
    <qemu:arg value='-fw_cfg'/>
    <qemu:arg value='name=opt/com.lion328/nvidia-rom,file=/var/lib/dgpu.rom'/>
  </qemu:commandline>
  <qemu:override>
    <qemu:device alias='hostdev0'><qemu:frontend>
      <qemu:property name='x-pci-sub-vendor-id' type='unsigned' value='4133'/>
      <qemu:property name='x-pci-sub-device-id' type='unsigned' value='4491'/>
    </qemu:frontend></qemu:device>
  </qemu:override>
</domain>
"""
QEMU = """#!/bin/sh
# starts the guest
exec qemu-system-x86_64 -machine q35,kernel_irqchip=on,vmport=off -accel kvm \\
  -cpu host,kvm=off,hv_vendor_id=1234567890a,hv_relaxed \\
  -device pcie-root-port,id=late,bus=pcie.0,addr=1c.0,chassis=2 \\
  -device pcie-root-port,id=gpuport,bus=pcie.0,addr=1.0,chassis=1,slot=1,hotplug=off \\
  -device vfio-pci,host=0000:01:00.0,bus=gpuport,addr=00.0,\\
multifunction=on,romfile=/var/lib/dgpu.rom,\\
x-pci-sub-vendor-id=0x1025,x-pci-sub-device-id=0x118b \\
  -device vfio-pci,bus=pcie.0,addr=02.0,sysfsdev=/sys/bus/mdev/devices/af5972fb \\
  -device qxl -acpitable file=/var/lib/ssdt.aml \\
  -fw_cfg name=opt/com.lion328/nvidia-rom,file=/var/lib/dgpu.rom
"""


@pytest.mark.parametrize("text", [LIBVIRT, QEMU], ids=["libvirt", "qemu"])
def test_both_forms_say_the_same(text: str) -> None:
    vm = parse_vm_file(text)
    assert vm.is_q35
    assert (vm.kvm_hidden, vm.vendor_id, vm.hyperv, vm.irqchip) == (
        True, "1234567890a", ("relaxed",), "kvm",
    )  # fmt: skip
    gpu, mediated = vm.hostdevs
    assert gpu.source == PciAddress.parse("0000:01:00.0")
    # The port in slot 1 leads to bus 1, whatever comes first on the line (facts of firmware).
    assert (str(gpu.place), str(gpu.port), gpu.hotplug) == ("0000:01:00.0", "0000:00:01.0", False)
    assert gpu.rom_file == "/var/lib/dgpu.rom"
    # 4133 and 4491 in libvirt's decimal are 0x1025 and 0x118b.
    assert gpu.subsystem == (0x1025, 0x118B)
    assert (mediated.mdev, mediated.source, str(mediated.place)) == (True, None, "0000:00:02.0")
    assert vm.acpi_tables == ("/var/lib/ssdt.aml",)
    assert vm.fw_cfg == (("opt/com.lion328/nvidia-rom", "/var/lib/dgpu.rom"),)
    assert vm.videos == ("qxl",)
    assert vm.libvirt == text.startswith("<")


@pytest.mark.parametrize(("rom", "bar", "file"), [
    ("<rom bar='off'/>", False, None),
    ("<rom enabled='no'/>", False, None),
    ("<rom file='/a.rom'/>", True, "/a.rom"),
    ("", None, None),
])  # fmt: skip
def test_the_rom_of_libvirt(rom: str, bar: bool | None, file: str | None) -> None:
    text = LIBVIRT.replace("<rom bar='on' file='/var/lib/dgpu.rom'/>", rom)
    gpu = parse_vm_file(text).hostdevs[0]
    assert (gpu.rom_bar, gpu.rom_file) == (bar, file)


def test_all_that_the_host_can_do_of_hyper_v() -> None:
    """libvirt 8.0: mode='passthrough' needs no list of features; nor does QEMU's hv_passthrough."""
    whole = LIBVIRT.replace("<hyperv>", "<hyperv mode='passthrough'>")
    assert parse_vm_file(whole.replace("<relaxed state='on'/>", "")).hyperv == ("passthrough",)
    assert parse_vm_file(QEMU.replace("hv_relaxed", "hv_passthrough")).hyperv == ("passthrough",)


def test_a_hexadecimal_number_in_an_override_is_noticed() -> None:
    vm = parse_vm_file(LIBVIRT.replace("'4133'", "'0x1025'"))
    assert vm.spare == ("x-pci-sub-vendor-id = 0x1025",)
    assert vm.hostdevs[0].subsystem == (None, 0x118B)


def test_an_own_alias_and_the_older_way_to_set() -> None:
    text = LIBVIRT.replace("<rom bar=", "<alias name='ua-gpu'/><rom bar=")
    assert parse_vm_file(text).hostdevs[0].subsystem == (None, None)
    table = "'-acpitable'/><qemu:arg value='file=/var/lib/ssdt.aml'"
    setting = "'-set'/><qemu:arg value='device.ua-gpu.x-pci-sub-vendor-id=0x1025'"
    old = text.replace(table, setting)
    assert old != text
    assert parse_vm_file(old).hostdevs[0].subsystem == (0x1025, None)


def test_options_that_a_script_collects() -> None:
    text = """
OPTS="-machine q35"
OPTS="$OPTS -cpu host,kvm=off"
ARGS=(
  -device vfio-pci,host=01:00.0   # the GPU
  -vga none
)
qemu-system-x86_64 $OPTS "${ARGS[@]}" -m 4G
"""
    vm = parse_vm_file(text)
    assert (vm.machine, vm.kvm_hidden, vm.videos) == ("q35", True, ())
    assert str(vm.hostdevs[0].source) == "0000:01:00.0"


def test_options_of_another_program_are_not_qemus() -> None:
    text = "swtpm socket --tpmstate dir=/x --device vfio-pci,host=09:00.0\nqemu-system-x86_64 -M pc"
    assert parse_vm_file("mount -o ro /x\n" + text.replace("--device", "--ctrl")).hostdevs == ()


def test_the_json_that_libvirt_writes_and_a_processs_own_line() -> None:
    device = '{"driver":"vfio-pci","host":"0000:01:00.0","bus":"pci.1","addr":"0x0"}'
    port = '{"driver":"pcie-root-port","id":"pci.1","bus":"pcie.0","addr":"0x1","hotplug":false}'
    line = "\0".join(["/usr/bin/qemu-system-x86_64", "-device", port, "-device", device, ""])
    gpu = parse_vm_file(line).hostdevs[0]
    assert (str(gpu.place), str(gpu.port), gpu.hotplug) == ("0000:01:00.0", "0000:00:01.0", False)


def test_a_port_without_an_address_makes_no_bus_certain() -> None:
    text = QEMU.replace("bus=pcie.0,addr=1c.0,", "bus=pcie.0,")
    assert parse_vm_file(text).hostdevs[0].place is None


def test_a_comment_is_not_continued() -> None:
    """In a shell a backslash at the end of a comment is part of the comment."""
    text = "# the old card: \\\nqemu-system-x86_64 -device vfio-pci,host=01:00.0\n"
    assert len(parse_vm_file(text).hostdevs) == 1


def test_two_commas_are_one_in_a_value() -> None:
    text = QEMU.replace("1234567890a", "12,,34")
    assert parse_vm_file(text).vendor_id == "12,34"


# Hostile and damaged texts.

BOMB = """<?xml version="1.0"?>
<!DOCTYPE domain [<!ENTITY a "aaaaaaaaaa">{more}]>
<domain><name>&z;</name></domain>""".format(
    more="".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(25)
    )
)  # fmt: skip


def test_entities_are_not_expanded() -> None:
    """Twenty-five entities of ten others each: 10^25 characters."""
    start = time.process_time()
    with pytest.raises(NotAVm, match="document type"):
        parse_vm_file(BOMB)
    assert time.process_time() - start < 1


def test_no_file_is_read_for_an_entity() -> None:
    text = '<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain>&x;</domain>'
    with pytest.raises(NotAVm):
        parse_vm_file(text)


@pytest.mark.parametrize("text", [
    "", "hello", "<domain", "<domain><os></domain>", "<a><b/></a>", "<domainsnapshot/>",
    "qemu 'unclosed", "x" * (1 << 19), "<domain>" + "x" * (1 << 20), "\0\0\0",
], ids=lambda text: text[:12])  # fmt: skip
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(NotAVm):
        parse_vm_file(text)


@given(st.integers(0, len(LIBVIRT)), st.integers(0, 60), st.text(max_size=8))
def test_no_damaged_xml_raises_anything_else(place: int, length: int, put: str) -> None:
    try:
        parse_vm_file(LIBVIRT[:place] + put + LIBVIRT[place + length :])
    except NotAVm:
        return


@given(st.integers(0, len(QEMU)), st.integers(0, 60), st.text(max_size=8))
def test_no_damaged_line_raises_anything_else(place: int, length: int, put: str) -> None:
    try:
        parse_vm_file(QEMU[:place] + put + QEMU[place + length :])
    except NotAVm:
        return


@given(st.text(max_size=300))
def test_no_text_raises_anything_else(text: str) -> None:
    for whole in (text, f"qemu-system-x86_64 -device {text}", f"<domain>{text}</domain>"):
        try:
            parse_vm_file(whole)
        except NotAVm:
            continue


@pytest.mark.parametrize(("text", "number"), [
    ("0x1025", 0x1025), ("4133", 4133), ("0", 0), ("1025h", None), ("-1", None), ("", None),
    ("²", None), ("0x", None),
])  # fmt: skip
def test_numbers_as_qemu_takes_them(text: str, number: int | None) -> None:
    assert whole_number(text) == number
