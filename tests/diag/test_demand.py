"""What a VM asks of its host, from libvirt's XML and from QEMU command lines."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.demand import NotAVm
from diag.vm_file import parse_vm_file

XML = """\
<!-- WARNING: THIS IS AN AUTO-GENERATED FILE. -->
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>win10</name>
  <memory unit='KiB'>8388608</memory>
  <memoryBacking><hugepages/></memoryBacking>
  <memtune><hard_limit unit='G'>10</hard_limit></memtune>
  <devices><disk><source file='/vm/disk.qcow2'/></disk></devices>
  <qemu:commandline>
    <qemu:arg value='-acpitable'/>
    <qemu:arg value='file=/vm/ssdt.aml'/>
    <qemu:arg value='-fw_cfg'/>
    <qemu:arg value='name=opt/com.lion328/nvidia-rom,file=/vm/dgpu.rom'/>
  </qemu:commandline>
</domain>
"""

SCRIPT = r"""#!/bin/sh
# starts the VM
exec /usr/bin/qemu-system-x86_64 \
  -name guest=win,debug-threads=on \
  -machine q35,accel=kvm -m 6G \
  -mem-path /dev/hugepages \
  -device vfio-pci,host=01:00.0,romfile=/vm/dgpu.rom \
  -device vfio-pci,sysfsdev=/sys/bus/mdev/devices/x \
  -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd
"""


def test_libvirts_xml() -> None:
    whole = parse_vm_file(XML)
    vm = whole.demand
    assert (vm.name, whole.libvirt, vm.hugepages) == ("win10", True, True)
    assert vm.memory == 8 << 30
    assert vm.hard_limit == 10 << 30
    # libvirt itself knows of the disk.
    assert vm.hidden_files == ("/vm/ssdt.aml", "/vm/dgpu.rom")


def test_a_script_with_qemus_command() -> None:
    whole = parse_vm_file(SCRIPT)
    vm = whole.demand
    assert (vm.name, whole.libvirt, vm.hugepages, vm.memory) == ("win", False, True, 6 << 30)
    assert "/vm/dgpu.rom" in vm.hidden_files
    assert not any(path.startswith("/sys/") for path in vm.hidden_files)


@pytest.mark.parametrize(
    ("option", "size"),
    [("8192", 8 << 30), ("8G", 8 << 30), ("size=2048M,slots=2,maxmem=8G", 2 << 30), ("x", None)],
)
def test_memory_as_qemu_takes_it(option: str, size: int | None) -> None:
    assert parse_vm_file(f"qemu-system-x86_64 -m {option}").demand.memory == size


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("", 1024),
        ("unit='b'", 1),
        ("unit='MB'", 10**6),
        ("unit='MiB'", 1 << 20),
        ("unit='x'", None),
    ],
)
def test_memory_as_libvirt_takes_it(unit: str, size: int | None) -> None:
    assert parse_vm_file(f"<domain><memory {unit}>1</memory></domain>").demand.memory == size


BOMB = '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><domain><name>&b;</name></domain>'


@pytest.mark.parametrize(
    "text", ["", "hello", "<domain><name>", BOMB, "qemu-system-x86_64 'x", "x" * (2 << 20)]
)
def test_what_is_no_vm_is_refused(text: str) -> None:
    with pytest.raises(NotAVm):
        parse_vm_file(text)


@given(st.sampled_from([XML, SCRIPT]), st.data())
def test_a_damaged_description_is_read_or_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.text(max_size=20)) + text[end:]
    with contextlib.suppress(NotAVm):
        parse_vm_file(damaged)
