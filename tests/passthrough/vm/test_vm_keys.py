"""Every key of a profile has its effect, in QEMU's command line and in libvirt's domain."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import tostring

import pytest
from builders.vm import FOLDER, guest, lines, xml

from passthrough.vm.key import HOST_FILES, INSTALLED, LAUNCHED, keys_of
from passthrough.vm.sections import SECTIONS

GPU = '[gpu]\naddress = "01:00.0"\n'
MDEV = '[integrated]\nmdev = "i915-GVTg_V5_4"\n'
GL = '[display]\ngl = true\nvideo = "none"\n'
DISK = '[[disk]]\npath = "a.qcow2"\n'
ROM = f'{GPU}rom = "vbios.rom"\n'
FW = '[[fw_cfg]]\nname = "opt/a/b"\n'


@dataclass(frozen=True)
class Effect:
    """A profile, and what stands in both forms because of it: texts that are not there without.

    `argv` and `domain` are parts of the command line and of the XML; `without` is the profile to
    compare with; "" for a form means that the key has none there, on purpose.
    """

    text: str
    argv: str
    domain: str
    without: str = ""
    install: bool = False


EFFECTS = {
    "name": Effect("", "guest=win10", "<name>win10</name>", without="-"),
    "machine.type": Effect('[machine]\ntype = "pc-q35-7.2"', "pc-q35-7.2", 'machine="pc-q35-7.2"'),
    "machine.irqchip": Effect(
        '[machine]\nirqchip = "split"', "kernel_irqchip=split", '<ioapic driver="qemu"'
    ),
    "machine.accel": Effect(
        '[machine]\naccel = "tcg"\n[cpu]\nmodel = "max"', "accel=tcg", '<domain type="qemu"'
    ),
    "machine.uuid": Effect(
        '[machine]\nuuid = "3d2f7c7e-51c1-4a53-9b5a-3f5a3c0c6f10"',
        "-uuid 3d2f7c7e-51c1-4a53-9b5a-3f5a3c0c6f10",
        "<uuid>3d2f7c7e-51c1-4a53-9b5a-3f5a3c0c6f10</uuid>",
    ),
    "machine.clock": Effect('[machine]\nclock = "utc"', "base=utc", 'offset="utc"'),
    "cpu.model": Effect(
        '[cpu]\nmodel = "Skylake-Client"', "-cpu Skylake-Client,",
        '<model fallback="forbid">Skylake-Client</model>',
    ),
    "cpu.features": Effect(
        '[cpu]\nfeatures = ["+topoext", "-x2apic"]', "host,+topoext,-x2apic,",
        '<feature policy="force" name="topoext" />',
    ),
    "cpu.sockets": Effect("[cpu]\nsockets = 2", "-smp 4,sockets=2", 'sockets="2"'),
    "cpu.cores": Effect("[cpu]\ncores = 3", "-smp 3,sockets=1,cores=3", 'cores="3"'),
    "cpu.threads": Effect("[cpu]\nthreads = 2", "-smp 4,sockets=1,cores=2,threads=2",
                          'threads="2"'),
    "cpu.pin": Effect('[cpu]\npin = ["1", "5-6"]', "", '<vcpupin vcpu="1" cpuset="5,6" />'),
    "cpu.emulator": Effect('[cpu]\nemulator = "0,4"', "", '<emulatorpin cpuset="0,4" />'),
    "memory.size": Effect('[memory]\nsize = "6G"', "-m size=6144M",
                          '<memory unit="MiB">6144</memory>'),
    "memory.hugepages": Effect(
        '[memory]\nhugepages = "1G"', "hugetlb=on,hugetlbsize=1G,prealloc=on",
        '<page size="1" unit="GiB" />',
    ),
    "memory.lock": Effect("[memory]\nlock = true", "-overcommit mem-lock=on", "<locked />"),
    "firmware.kind": Effect(
        "", "if=pflash,unit=0", 'type="pflash"', without='[firmware]\nkind = "bios"'
    ),
    "firmware.secure_boot": Effect(
        "[firmware]\nsecure_boot = true", "property=secure,value=on", 'secure="yes"'
    ),
    "firmware.code": Effect(
        '[firmware]\ncode = "/home/me/virt/vbios.rom"\ntemplate = "vbios.rom"',
        "readonly=on,file=/home/me/virt/vbios.rom", ">/home/me/virt/vbios.rom</loader>",
    ),
    "firmware.template": Effect(
        '[firmware]\ncode = "/home/me/virt/vbios.rom"\ntemplate = "vbios.rom"', "",
        '<nvram template="/home/me/virt/vbios.rom">',
    ),
    "firmware.vars": Effect(
        '[firmware]\nvars = "my.fd"', "unit=1,format=raw,file=/home/me/virt/my.fd",
        ">/home/me/virt/my.fd</nvram>",
    ),
    "hide.kvm": Effect("", "kvm=off", '<hidden state="on" />', without="[hide]\nkvm = false"),
    "hide.vendor_id": Effect(
        '[hide]\nvendor_id = "AuthenticAMD"', "hv_vendor_id=AuthenticAMD",
        '<vendor_id state="on" value="AuthenticAMD" />',
    ),
    "hide.hyperv": Effect(
        '[hide]\nhyperv = ["vpindex"]', "hv_vpindex=on", '<vpindex state="on" />'
    ),
    "disk.path": Effect(DISK, "file=/home/me/virt/a.qcow2", 'file="/home/me/virt/a.qcow2"'),
    "disk.volume": Effect(
        '[[disk]]\nvolume = "VG-1/root"', "format=raw,cache=none,discard=ignore,"
        "file=/dev/mapper/VG--1-root", '<source dev="/dev/mapper/VG--1-root" />',
    ),
    "disk.format": Effect(
        f'{DISK}format = "raw"', "id=drive-disk0,if=none,format=raw", 'type="raw" cache',
        without=DISK,
    ),
    "disk.bus": Effect(f'{DISK}bus = "nvme"', "nvme,id=disk0", "nvme,id=disk0", without=DISK),
    "disk.cache": Effect(f'{DISK}cache = "writeback"', "cache=writeback", 'cache="writeback"',
                         without=DISK),
    "disk.discard": Effect(f"{DISK}discard = true", "discard=unmap", 'discard="unmap"',
                           without=DISK),
    "disk.read_only": Effect(f"{DISK}read_only = true", "discard=ignore,readonly=on",
                             "<readonly />", without=DISK),
    "disk.serial": Effect(f'{DISK}serial = "S1"', "serial=S1", "<serial>S1</serial>",
                          without=DISK),
    "media.install": Effect(
        '[media]\ninstall = "w.iso"', "ide-cd,id=install,bus=ide.0,drive=drive-install,bootindex=0",
        'file="/home/me/virt/w.iso"', install=True, without="-",
    ),
    "media.drivers": Effect('[media]\ndrivers = ["d.iso"]', "ide-cd,id=drivers0",
                            'file="/home/me/virt/d.iso"'),
    "gpu.address": Effect(
        GPU, "vfio-pci,id=gpu,host=0000:01:00.0,bus=pcie.1,addr=00.0", '<alias name="ua-gpu" />'
    ),
    "gpu.rom": Effect(ROM, "romfile=/home/me/virt/vbios.rom",
                      '<rom bar="on" file="/home/me/virt/vbios.rom" />', without=GPU),
    "gpu.rom_bar": Effect(f"{GPU}rom_bar = false", "rombar=0", '<rom bar="off" />', without=GPU),
    "gpu.subsystem": Effect(
        f'{GPU}subsystem = "1025:118b"',
        "x-pci-sub-vendor-id=0x1025,x-pci-sub-device-id=0x118b",
        'name="x-pci-sub-device-id" type="unsigned" value="4491"', without=GPU,
    ),
    "gpu.guest_address": Effect(
        f'{GPU}guest_address = "00:05.0"', "host=0000:01:00.0,bus=pcie.0,addr=05.0",
        'bus="0x00" slot="0x05" function="0x0" multifunction="on"', without=GPU,
    ),
    "gpu.port": Effect(
        f'{GPU}port = "00:06.0"', "id=pcie.1,bus=pcie.0,addr=06.0",
        'slot="0x06"', without=GPU,
    ),
    "gpu.hotplug": Effect(f"{GPU}hotplug = true", "slot=1,hotplug=on", 'hotplug="on"',
                          without=GPU),
    "gpu.audio": Effect(GPU, "id=gpu-audio,host=0000:01:00.1,bus=pcie.1,addr=00.1",
                        '<alias name="ua-gpu-audio" />', without=f'{GPU}audio = "none"'),
    "gpu.audio_address": Effect(
        f'{GPU}audio_address = "02:00.1"', "id=gpu-audio,host=0000:02:00.1,bus=pcie.1,addr=00.1",
        '<address domain="0x0000" bus="0x02" slot="0x00" function="0x1" />', without=GPU,
    ),
    "gpu.x_vga": Effect(
        f'{GPU}x_vga = true\n[firmware]\nkind = "bios"', "x-vga=on",
        'name="x-vga" type="bool" value="true"', without=GPU,
    ),
    "integrated.mdev": Effect(MDEV, "sysfsdev=/sys/bus/mdev/devices/", 'type="mdev"'),
    "integrated.uuid": Effect(
        f'{MDEV}uuid = "8a1c8f0e-4a64-4a0e-a1d5-6f6c0b0f5d31"',
        "devices/8a1c8f0e-4a64-4a0e-a1d5-6f6c0b0f5d31,",
        'uuid="8a1c8f0e-4a64-4a0e-a1d5-6f6c0b0f5d31"', without=MDEV,
    ),
    "integrated.rom": Effect(f'{MDEV}rom = "i.rom"', "romfile=/home/me/virt/i.rom",
                             'name="romfile" type="string" value="/home/me/virt/i.rom"',
                             without=MDEV),
    "integrated.opregion": Effect(MDEV, "x-igd-opregion=on", 'name="x-igd-opregion"',
                                  without=f"{MDEV}opregion = false"),
    "integrated.display": Effect(MDEV, "display=on", 'display="on"',
                                 without=f"{MDEV}display = false"),
    "integrated.ramfb": Effect(f"{MDEV}ramfb = true", "vfio-pci-nohotplug,id=integrated",
                               'ramfb="on"', without=MDEV),
    "integrated.guest_address": Effect(
        f'{MDEV}guest_address = "00:09.0"', "bus=pcie.0,addr=09.0", 'slot="0x09"', without=MDEV
    ),
    "display.video": Effect('[display]\nvideo = "std"', "VGA,id=video", '<model type="vga"'),
    "display.show": Effect('[display]\nshow = "vnc"', "-vnc 127.0.0.1:0", 'type="vnc"'),
    "display.port": Effect("[display]\nport = 5907", "port=5907,addr=127.0.0.1", 'port="5907"'),
    "display.gl": Effect("[display]\ngl = true", "gl=on", '<gl enable="yes" />'),
    "acpi.battery": Effect("[acpi]\nbattery = true", "file=/home/me/virt/win10.vm/battery.aml",
                           "win10.vm/battery.aml"),
    "acpi.vbios": Effect(f"{ROM}[acpi]\nvbios = true", "win10.vm/vbios00.aml",
                         "win10.vm/vbios00.aml", without=ROM),
    "acpi.vbios_by": Effect(
        f'{ROM}[acpi]\nvbios = true\nvbios_by = "fw_cfg"',
        "name=opt/org.dgpukit/vbios,file=/home/me/virt/win10.vm/vbios.rom",
        "name=opt/org.dgpukit/vbios,file=/home/me/virt/win10.vm/vbios.rom",
        without=f"{ROM}[acpi]\nvbios = true",
    ),
    "acpi.vbios_rom": Effect(
        f'{GPU}[acpi]\nvbios = true\nvbios_rom = "vbios.rom"', "vbios00.aml", "vbios00.aml",
        without=GPU,
    ),
    "acpi.chassis": Effect('[acpi]\nchassis = "notebook"', "file=/home/me/virt/win10.vm/chassis",
                           "win10.vm/chassis.bin"),
    "acpi.tables": Effect('[acpi]\ntables = ["t.aml"]', "-acpitable file=/home/me/virt/t.aml",
                          'value="file=/home/me/virt/t.aml"'),
    "network.kind": Effect(
        '[[network]]\nkind = "vde"', "vde,id=netdev-network0,sock=/var/run/vde.ctl",
        "vde,id=netdev-network0,sock=/var/run/vde.ctl",
    ),
    "network.model": Effect('[[network]]\nmodel = "e1000e"', "e1000e,id=network0",
                            '<model type="e1000e" />'),
    "network.mac": Effect('[[network]]\nmac = "52:54:00:AA:BB:CC"', "mac=52:54:00:aa:bb:cc",
                          'address="52:54:00:aa:bb:cc"'),
    "network.forward": Effect(
        '[[network]]\nforward = ["tcp:3390:3389"]', "hostfwd=tcp:127.0.0.1:3390-:3389",
        "hostfwd=tcp:127.0.0.1:3390-:3389",
    ),
    "network.interface": Effect(
        '[[network]]\nkind = "tap"\ninterface = "tap7"', "ifname=tap7,script=no,downscript=no",
        '<target dev="tap7" managed="no" />',
    ),
    "network.socket": Effect('[[network]]\nkind = "vde"\nsocket = "/run/v"', "sock=/run/v",
                             "sock=/run/v"),
    "looking_glass.size": Effect('[looking_glass]\nsize = "64M"', "share=on,mem-path=/dev/shm/"
                                 "looking-glass,size=64M", '<size unit="M">64</size>'),
    "looking_glass.path": Effect(
        '[looking_glass]\nsize = "64M"\npath = "/dev/shm/lg"', "mem-path=/dev/shm/lg,",
        '<shmem name="lg">',
    ),
    "input.tablet": Effect("", "usb-tablet", '<input type="tablet" bus="usb" />',
                           without="[input]\ntablet = false"),
    "input.evdev": Effect(
        '[input]\nevdev = ["/dev/input/by-id/a-event-kbd"]',
        "evdev=/dev/input/by-id/a-event-kbd,grab_all=on,repeat=on",
        '<source dev="/dev/input/by-id/a-event-kbd" grab="all" repeat="on" />',
    ),
    "input.usb": Effect('[input]\nusb = ["046d:C52B"]', "vendorid=0x046d,productid=0xc52b",
                        '<product id="0xc52b" />'),
    "tpm.kind": Effect('[tpm]\nkind = "emulator"', "emulator,id=tpm-backend,chardev=tpm",
                       '<backend type="emulator" version="2.0" persistent_state="yes" />'),
    "tpm.version": Effect(
        '[tpm]\nkind = "emulator"\nversion = "1.2"\nmodel = "tis"', "", 'version="1.2"'
    ),
    "tpm.model": Effect('[tpm]\nkind = "emulator"\nmodel = "tis"', "tpm-tis,id=tpm",
                        '<tpm model="tpm-tis">'),
    **{
        f"smbios.{key}": Effect(f'[smbios]\n{key} = "A, b"', f"type={kind},{field}=A,, b",
                                f'<entry name="{field}">A, b</entry>')
        for key, kind, field in (
            ("manufacturer", 1, "manufacturer"), ("product", 1, "product"),
            ("version", 1, "version"), ("serial", 1, "serial"), ("sku", 1, "sku"),
            ("family", 1, "family"), ("bios_vendor", 0, "vendor"),
            ("bios_version", 0, "version"), ("board_manufacturer", 2, "manufacturer"),
            ("board_product", 2, "product"),
        )
    },
    "fw_cfg.name": Effect(f'{FW}text = "1"', "-fw_cfg name=opt/a/b", '<entry name="opt/a/b">'),
    "fw_cfg.file": Effect(f'{FW}file = "f"', "name=opt/a/b,file=/home/me/virt/f",
                          'file="/home/me/virt/f"'),
    "fw_cfg.text": Effect(f'{FW}text = "1,2"', "name=opt/a/b,string=1,,2",
                          '<entry name="opt/a/b">1,2</entry>'),
    "qemu.arguments": Effect('[qemu]\narguments = ["-device", "virtio-rng-pci"]',
                             "virtio-rng-pci", 'value="virtio-rng-pci"'),
}  # fmt: skip

#: Keys that are no part of the VM: `passthrough launch` follows them.
LAUNCH_ONLY = {"cpu.isolate", "disk.size", "gpu.prepare", "integrated.address"}


def test_every_key_has_an_effect_that_is_tested() -> None:
    every = {"name"} | {
        f"{section}.{key.name}" for section, cls in SECTIONS.items() for key in keys_of(cls)
    }
    marked = {
        f"{section}.{key.name}"
        for section, cls in SECTIONS.items()
        for key in keys_of(cls)
        if key.where in (LAUNCHED, INSTALLED, HOST_FILES)
    }
    assert every == set(EFFECTS) | LAUNCH_ONLY | {"firmware.reset"}
    assert marked >= LAUNCH_ONLY | {"firmware.reset"}


def both(text: str, *, install: bool = False) -> tuple[str, str]:
    return "\n".join(lines(text, install=install)), tostring(xml(text, install=install), "unicode")


@pytest.mark.parametrize("key", EFFECTS)
def test_a_key_has_its_effect(key: str) -> None:
    effect = EFFECTS[key]
    argv, domain = both(effect.text, install=effect.install)
    assert effect.argv in argv
    assert effect.domain in domain
    if effect.without != "-":
        before_argv, before_domain = both(effect.without)
        # What shows the effect must not be there anyway.
        assert not effect.argv or effect.argv not in before_argv
        assert effect.domain not in before_domain


@pytest.mark.parametrize("key", sorted(LAUNCH_ONLY))
def test_what_launch_follows_changes_no_vm(key: str) -> None:
    texts = {
        "cpu.isolate": ('[cpu]\npin = ["1", "2"]\n', "isolate = true"),
        "disk.size": ('[[disk]]\npath = "a.qcow2"\n', 'size = "128G"'),
        "gpu.prepare": (GPU, 'prepare = ["reset"]'),
        "integrated.address": (MDEV, 'address = "00:03.0"'),
    }
    start, more = texts[key]
    assert both(start) == both(start + more)


def test_reset_of_the_variables_is_a_new_copy() -> None:
    kept, anew = guest().files[0], guest("[firmware]\nreset = true").files[0]
    assert (kept.path, kept.copy_of, kept.anew) == (
        f"{FOLDER}/win10.vm/vars.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", False,
    )  # fmt: skip
    assert anew.anew
