"""A VM that somebody has becomes a profile: what it says is kept, what it cannot say is told."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest
from builders.vm import FOLDER, argv, guest
from builders.vm_choices import profiles
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.demand import NotAVm
from diag.pci import PciAddress
from passthrough.vm.imported import import_vm
from passthrough.vm.libvirt import build_domain
from passthrough.vm.profile import Profile
from passthrough.vm.shell_text import expanded

#: What people post: a script in the manner of the guides of that time.
SCRIPT = r"""#!/bin/bash
# start the VM
DISK=/dev/mapper/LINUX-VM
OPTS=""
qemu-system-x86_64 \
  -name "win10" -enable-kvm -machine q35,accel=kvm,kernel_irqchip=on \
  -m 8G -smp 4,sockets=1,cores=2,threads=2 \
  -cpu host,kvm=off,hv_vendor_id=1234567890a,hv_relaxed,hv_time,-x2apic \
  -drive if=pflash,format=raw,readonly=on,file=/usr/share/ovmf/x64/OVMF_CODE.fd \
  -drive if=pflash,format=raw,unit=1,file=/home/me/virt/resources/OVMF_VARS.fd \
  -device ioh3420,bus=pcie.0,addr=1c.0,multifunction=on,port=1,chassis=1,id=root.1 \
  -device vfio-pci,host=01:00.0,bus=root.1,addr=00.0,multifunction=on,\
x-pci-sub-device-id=0x65a1,x-pci-sub-vendor-id=0x1558,romfile=/home/me/virt/GP106.rom \
  -device virtio-blk-pci,drive=hd \
  -drive id=hd,if=none,file=/dev/mapper/LINUX-VM,format=raw,cache=none \
  -drive file=/home/me/virt/virtio-win.iso,media=cdrom \
  -netdev vde,id=n0,sock=/var/run/vde.ctl -device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56 \
  -acpitable file=/home/me/virt/ssdt1.dat \
  -vga qxl -spice port=5901,addr=127.0.0.1,disable-ticketing=on \
  -object input-linux,id=kbd,evdev=/dev/input/by-id/usb-kbd \
  -device usb-host,vendorid=0x046d,productid=0xc52b -usb \
  -rtc base=localtime -boot d -monitor stdio -soundhw hda
"""


def test_a_script_as_people_post_it() -> None:
    made = import_vm(SCRIPT, folder="/home/me/virt")
    vm = made.profile
    assert vm.name == "win10"
    assert (vm.cpu.model, vm.cpu.cores, vm.cpu.threads) == ("host", 2, 2)
    assert vm.cpu.features == ("-x2apic",)
    assert vm.memory.size == 8 << 30
    assert (vm.hide.kvm, vm.hide.vendor_id, vm.hide.hyperv) == (
        True, "1234567890a", ("relaxed", "time"),
    )  # fmt: skip
    assert vm.firmware.vars == "/home/me/virt/resources/OVMF_VARS.fd"
    assert vm.gpu.address == PciAddress(0, 1, 0, 0)
    assert vm.gpu.port == PciAddress(0, 0, 0x1C, 0)
    assert vm.gpu.subsystem == (0x1558, 0x65A1)
    assert vm.gpu.rom == "/home/me/virt/GP106.rom"
    assert vm.gpu.audio == "vfio-pci"
    assert [(disk.path, disk.bus, disk.format) for disk in vm.disk] == [
        ("/dev/mapper/LINUX-VM", "virtio", "raw")
    ]
    assert vm.media.drivers == ("/home/me/virt/virtio-win.iso",)
    assert [(net.kind, net.mac) for net in vm.network] == [("vde", "52:54:00:12:34:56")]
    assert vm.acpi.tables == ("/home/me/virt/ssdt1.dat",)
    assert (vm.display.video, vm.display.show, vm.display.port) == ("qxl", "spice", 5901)
    assert vm.input.evdev == ("/dev/input/by-id/usb-kbd",)
    assert vm.input.usb == ("046d:c52b",)
    assert not vm.input.tablet
    left = " ".join(made.left)
    assert "-soundhw hda" in left
    assert "-monitor stdio" in left
    assert "OVMF_CODE.fd" in left


def test_variables_of_a_script_are_followed() -> None:
    script = (
        'VM=/home/me/virt\nDISK="$VM/win10.qcow2"\nexport MEM=6G # enough\nA=1\nA=2\n'
        "qemu-system-x86_64 -m $MEM -drive file=${DISK},if=virtio -cdrom $HOME/$A.iso\n"
    )
    made = import_vm(script)
    assert made.profile.memory.size == 6 << 30
    assert made.profile.disk[0].path == "/home/me/virt/win10.qcow2"
    # What only the shell knows stays, and is told.
    assert made.profile.media.drivers == ("$HOME/$A.iso",)
    assert {"$HOME: what it stands for is not known", "$A: what it stands for is not known"} <= set(
        made.left
    )


def test_variables_that_name_themselves_come_to_an_end() -> None:
    made = import_vm("A=$A$A$A$A\nB=$B\nqemu-system-x86_64 -m 1G -cdrom $A$B -device e1000e")
    assert made.profile.memory.size == 1 << 30


def test_a_script_that_grows_without_end_is_not_followed() -> None:
    text = f"A='{'x' * 60_000}'\n" + "$A" * 60_000
    assert expanded(text) == text


DOMAIN = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>win11</name><memory unit='KiB'>8388608</memory>
  <memoryBacking><hugepages/></memoryBacking>
  <vcpu placement='static'>4</vcpu>
  <cputune><vcpupin vcpu='10' cpuset='3'/><vcpupin vcpu='0' cpuset='1'/>
  <vcpupin vcpu='1' cpuset='5'/><vcpupin vcpu='2' cpuset='2'/></cputune>
  <os><type arch='x86_64' machine='pc-q35-6.2'>hvm</type>
    <loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.ms.fd</loader>
    <nvram>/var/lib/libvirt/qemu/nvram/win11_VARS.fd</nvram></os>
  <features><hyperv mode='custom'><relaxed state='on'/><vendor_id state='on' value='x'/>
    <evmcs state='on'/></hyperv><kvm><hidden state='on'/></kvm><ioapic driver='kvm'/></features>
  <cpu mode='host-model'/><clock offset='localtime'>
    <timer name='hypervclock' present='yes'/></clock>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='writeback'/>
      <source file='/var/lib/libvirt/images/win11.qcow2'/><target dev='sda' bus='sata'/></disk>
    <disk type='network' device='disk'><source protocol='nbd'/><target dev='vdb'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:07'/><source network='default'/>
      <model type='e1000e'/></interface>
    <hostdev mode='subsystem' type='pci' managed='yes'><source>
      <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
      <rom file='/usr/share/vgabios/gpu.rom'/></hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'><source>
      <address domain='0x0000' bus='0x01' slot='0x00' function='0x1'/></source></hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'><source>
      <address domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></source></hostdev>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <graphics type='spice' autoport='yes'/><sound model='ich9'/>
    <shmem name='looking-glass'><model type='ivshmem-plain'/><size unit='M'>64</size></shmem>
  </devices>
  <qemu:commandline><qemu:arg value='-acpitable'/><qemu:arg value='file=/a/ssdt.aml'/>
  </qemu:commandline>
</domain>"""


def test_a_domain_as_virsh_prints_it() -> None:
    made = import_vm(DOMAIN)
    vm = made.profile
    assert vm.name == "win11"
    assert vm.machine.type == "pc-q35-6.2"
    assert vm.memory.size == 8 << 30
    assert vm.memory.hugepages == "2M"
    assert vm.cpus == 4
    assert vm.cpu.pin == ((1,), (5,), (2,), (3,))
    assert vm.firmware.secure_boot
    assert vm.firmware.vars == "/var/lib/libvirt/qemu/nvram/win11_VARS.fd"
    assert set(vm.hide.hyperv) == {"relaxed", "time"}
    assert [(disk.path, disk.bus, disk.cache) for disk in vm.disk] == [
        ("/var/lib/libvirt/images/win11.qcow2", "sata", "writeback")
    ]
    assert [(net.kind, net.model) for net in vm.network] == [("user", "e1000e")]
    assert vm.gpu.rom == "/usr/share/vgabios/gpu.rom"
    assert vm.gpu.audio_address == PciAddress(0, 1, 0, 1)
    assert vm.tpm.kind == "emulator"
    assert vm.looking_glass.size == 64 << 20
    assert vm.acpi.tables == ("/a/ssdt.aml",)
    left = " ".join(made.left)
    for word in ("evmcs", "neither a file nor a device", "network default", "0000:04:00.0",
                 "<sound>"):  # fmt: skip
        assert word in left


#: What neither form says: where the tables come from, and what only `launch` follows. The type of
#: a mediated device stands in neither, `install` is there for an installation only.
UNSAID = {
    "firmware": {"code", "template", "reset", "secure_boot"},
    "media": {"install"},
    "gpu": {"subsystem", "audio", "audio_address", "prepare", "port"},
    "integrated": {"mdev", "uuid", "address"},
    "acpi": {"vbios_rom", "chassis"},
    "cpu": {"pin", "emulator", "isolate"},
    "disk": {"path", "format"},
    "network": {"mac"},
    "looking_glass": {"path"},
    "machine": {"uuid"},
    "qemu": {"arguments"},
    "tpm": {"version"},
}


def kept(vm: Profile, *unsaid: str) -> dict[str, object]:
    """What an import has to keep of a profile."""
    result: dict[str, object] = {}
    for section in ("machine", "cpu", "memory", "hide", "integrated", "display", "input", "tpm",
                    "smbios", "fw_cfg", "disk", "network"):  # fmt: skip
        values = getattr(vm, section) if section != "network" else vm.networks
        for number, value in enumerate(values if isinstance(values, tuple) else [values]):
            for item in fields(value):
                key = f"{section}.{item.name}"
                if item.name not in UNSAID.get(section, ()) and key not in unsaid:
                    result[f"{section}{number}.{item.name}"] = getattr(value, item.name)
    hyperv = result.pop("hide0.hyperv", ())
    result["hyperv"] = set(hyperv) if isinstance(hyperv, tuple) else hyperv
    return result


@settings(deadline=None, max_examples=60)
@given(text=profiles())
def test_a_command_line_comes_back_as_its_profile(text: str) -> None:
    before = guest(text)
    after = import_vm(str(argv(text)), folder=FOLDER)
    assert kept(after.profile) == kept(_seen(before.profile))
    if before.gpu is not None:
        assert after.profile.gpu.address == before.gpu.source
        assert after.profile.gpu.guest_address == before.gpu.place
        assert after.profile.gpu.rom == before.gpu.rom
        assert after.profile.gpu.rom_bar == before.gpu.rom_bar
    assert [d.path for d in after.profile.disk] == [d.path for d in before.drives if d.disk]


@settings(deadline=None, max_examples=60)
@given(text=profiles())
def test_a_domain_comes_back_as_its_profile(text: str) -> None:
    before = guest(text)
    after = import_vm(build_domain(before).xml, folder=FOLDER)
    # libvirt names SPICE's socket itself, and a disk of NVMe stands behind the others.
    assert kept(after.profile, "disk.bus", "disk.cache", "disk.discard", "disk.serial",
                "disk.read_only", "network.model", "network.kind", "network.forward",
                "network.interface", "input.usb") == kept(
        _seen(before.profile), "disk.bus", "disk.cache", "disk.discard", "disk.serial",
        "disk.read_only", "network.model", "network.kind", "network.forward",
        "network.interface", "input.usb")  # fmt: skip
    assert {d.path for d in after.profile.disk} == {d.path for d in before.drives if d.disk}
    assert set(after.profile.input.usb) == set(before.profile.input.usb)
    assert {(n.kind, n.model, n.interface) for n in after.profile.networks} == {
        (n.kind, n.model, n.interface) for n in before.profile.networks if n.kind != "none"
    } | {("none", "virtio", "") for _ in range(not before.cards)}


def _seen(vm: Profile) -> Profile:
    """A profile as its VM shows it: what is not there has its default values."""
    if not vm.integrated.mdev:
        vm = replace(vm, integrated=type(vm.integrated)())
    else:
        vm = replace(vm, integrated=replace(vm.integrated, rom=vm.path(vm.integrated.rom)))
    if vm.tpm.kind == "none":
        vm = replace(vm, tpm=type(vm.tpm)())
    cards = tuple(n for n in vm.networks if n.kind != "none")
    cards = cards or (replace(vm.networks[0], kind="none", model="virtio"),)
    if vm.display.show == "none":
        vm = replace(vm, display=replace(vm.display, port=5900))
    return replace(vm, network=cards)


@pytest.mark.parametrize("text", ["", "hello", "<xml/>", "ls -l", '<!DOCTYPE a [<!ENTITY b "c">]>'
                                  "<domain>&b;</domain>"])  # fmt: skip
def test_what_is_no_vm_is_refused(text: str) -> None:
    with pytest.raises(NotAVm):
        import_vm(text)


@given(st.data())
@settings(deadline=None)
def test_any_damage_gives_a_profile_or_a_refusal(data: st.DataObject) -> None:
    """Numbers and words of a description replaced by others: never another error."""
    source = data.draw(st.sampled_from((SCRIPT, DOMAIN)))
    words = list(re.finditer(r"[\w.:/-]+", source))
    for _ in range(data.draw(st.integers(1, 5))):
        word = data.draw(st.sampled_from(words))
        junk = data.draw(st.sampled_from(("", "-1", "x", "0x1", "99999999999", "a,b", "é", "none")))
        source = source.replace(word[0], junk, 1)
    try:
        made = import_vm(source)
    except NotAVm:
        return
    assert made.text.startswith("name = ")


def test_what_is_wrong_with_several_disks_leaves_the_others() -> None:
    """As many go as are wrong, and no other in the place of one that has gone."""
    drives = ("file=", "file=a.qcow2", "file=", "file=b.raw")
    line = "qemu-system-x86_64 " + " ".join(f"-drive {drive},if=virtio" for drive in drives)
    made = import_vm(line, name="x", folder="/")
    assert [disk.path for disk in made.profile.disk] == ["a.qcow2", "b.raw"]
    assert [left.partition(".")[0] for left in made.left] == ["disk[1]", "disk[3]"]


def test_a_device_of_the_host_that_cannot_be_named_is_told() -> None:
    """Or the guest would silently be without its card."""
    hostdev = '<hostdev type="{}"><source><address {}/></source></hostdev>'
    devices = (
        hostdev.format("pci", 'domain="zz" bus="0x01" slot="0x00" function="0x0"')
        + hostdev.format("pci", 'bus="0x1ff" slot="0x00"')
        + hostdev.format("scsi", 'bus="0" unit="1"')
    )
    text = f"<domain type='kvm'><name>a</name><devices>{devices}</devices></domain>"
    unread = "<hostdev>: its address on the host cannot be read"
    left = import_vm(text).left
    assert [one for one in left if "hostdev" in one] == [
        unread, "<hostdev type='scsi'>: a profile has no word for it",
    ]  # fmt: skip
    good = text.replace('domain="zz" ', "").replace("0x1ff", "0x02")
    assert unread not in import_vm(good).left


def test_a_number_that_is_none_is_told_and_ends_nothing() -> None:
    endless = "9" * 5000  # more digits than Python reads
    script = f"qemu-system-x86_64 -m {endless} -smp {endless},cores=-2"
    script += f" -spice port={endless} -vnc :{endless}"
    left = import_vm(f"{script} -device vfio-pci,host=zz").left
    assert f"-smp cpus={endless}" in left
    assert "-smp cores=-2" in left
    assert f"-m {endless}" in left
    assert "-device vfio-pci,host=zz: its address on the host cannot be read" in left
    graphics = f"<devices><graphics type='spice' port='{endless}'/></devices>"
    for vcpus in ("-3", endless):
        domain = f"<domain type='kvm'><name>a</name><vcpu>{vcpus}</vcpu>{graphics}</domain>"
        assert f"<vcpu> {vcpus}: no number of CPUs" in import_vm(domain).left
    fine = import_vm("qemu-system-x86_64 -smp 4,cores=2 -device vfio-pci,host=01:00.0").left
    assert not [one for one in fine if "smp" in one or "vfio" in one]
