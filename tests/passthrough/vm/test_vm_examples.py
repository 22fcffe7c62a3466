"""The two laptops of the field reports: what their owners list is in what we build."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from builders.board import mobile
from builders.laptop import acer, clevo
from builders.vm import FOLDER, example, machine

from diag.inventory import Inventory
from passthrough.vm.guest import Guest, read_guest
from passthrough.vm.libvirt import build_domain
from passthrough.vm.parse import parse_profile
from passthrough.vm.qemu import build_argv

GOLDEN = Path(__file__).parents[2] / "fixtures" / "vm"
LAPTOPS = {"acer-nitro-5": (acer, "vbios.rom"),
           "clevo-p650hp6": (clevo, "resources/GP106-mshybrid.rom")}  # fmt: skip


def made(name: str) -> Guest:
    """The example on its laptop, for the installation, so that everything is in it."""
    laptop, rom = LAPTOPS[name]
    tree = machine(laptop()).file(f"{FOLDER}/{rom}", mobile())
    wanted = parse_profile(example(name), file=f"{name}.toml", folder=FOLDER)
    return read_guest(wanted, Inventory(tree.host()), install=True)


def rows(name: str) -> list[str]:
    return [f"{option} {value}" for option, value in build_argv(made(name)).options]


def domain(name: str) -> Element:
    return fromstring(build_domain(made(name)).xml)


@pytest.mark.parametrize("name", LAPTOPS)
def test_an_example_is_built_as_it_was(name: str) -> None:
    """The goldens were read against the reports by hand; see the tests below for what counts."""
    assert f"{build_argv(made(name))}\n" == (GOLDEN / f"{name}.argv").read_text()
    assert build_domain(made(name)).xml == (GOLDEN / f"{name}.xml").read_text()


@pytest.mark.skipif(shutil.which("virt-xml-validate") is None, reason="needs libvirt-clients")
@pytest.mark.parametrize("name", LAPTOPS)
def test_libvirt_takes_an_example(name: str) -> None:
    file = GOLDEN / f"{name}.xml"
    define = ("virsh", "-c", "test:///default", "define", "--validate", str(file))
    for argv in (("virt-xml-validate", str(file), "domain"), define):
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", LAPTOPS)
def test_what_both_reports_need(name: str) -> None:
    argv = "\n".join(rows(name))
    # Hidden from the guest, with a vendor id of 11 characters.
    assert "kvm=off,hv_vendor_id=1234567890a," in argv
    assert "kernel_irqchip=on" in argv
    # The dGPU at 01:00.0: the only device behind the only root port, at 00:01.0, hotplug off.
    assert "pcie-root-port,id=pcie.1,bus=pcie.0,addr=01.0,chassis=1,slot=1,hotplug=off" in argv
    assert "vfio-pci,id=gpu,host=0000:01:00.0,bus=pcie.1,addr=00.0" in argv
    # The battery and the VBIOS by ACPI, under firmware as it is installed.
    assert "battery.aml" in argv
    assert "vbios00.aml" in argv
    assert "file=/usr/share/OVMF/OVMF_CODE_4M.fd" in argv
    xml = domain(name)
    assert xml.find("features/kvm/hidden") is not None
    vendor = xml.find("features/hyperv/vendor_id")
    assert vendor is not None
    assert vendor.get("value") == "1234567890a"
    # The installation starts from its medium.
    assert [element.get("order") for element in xml.iter("boot")].count("1") == 1


def test_the_acers_own() -> None:
    argv = "\n".join(rows("acer-nitro-5"))
    assert "x-pci-sub-vendor-id=0x1025,x-pci-sub-device-id=0x118b" in argv
    assert "romfile=/home/me/virt/vbios.rom" in argv
    # GVT-g at 00:02.0 with i915ovmf's ROM.
    (mdev,) = [row for row in rows("acer-nitro-5") if "/mdev/" in row]
    assert "bus=pcie.0,addr=02.0" in mdev
    assert "romfile=/home/me/virt/i915ovmf.rom" in mdev
    assert "x-igd-opregion=on" in mdev
    # No virtio disk: such guests hung at the firmware's logo after a crash.
    assert "virtio-blk" not in argv
    profile = made("acer-nitro-5").profile
    assert profile.gpu.prepare == ("power", "reset", "refresh")
    assert profile.memory.size < 16 << 30
    assert profile.cpus <= 4


def test_the_clevos_own() -> None:
    argv = "\n".join(rows("clevo-p650hp6"))
    # mshybrid mode: 1558:65a1, and no audio function in the group.
    assert "x-pci-sub-vendor-id=0x1558,x-pci-sub-device-id=0x65a1" in argv
    assert "gpu-audio" not in argv
    # The volume LINUX-VM as a whole, vde, SPICE, drivers in a CD-ROM drive.
    assert "format=raw,cache=none,discard=unmap,file=/dev/mapper/LINUX-VM" in argv
    assert "vde,id=netdev-network0,sock=/var/run/vde.ctl" in argv
    assert "-spice port=5900" in argv
    assert argv.count("ide-cd") == 3
    assert "unit=1,format=raw,file=/home/me/virt/resources/OVMF_VARS.fd" in argv
    profile = made("clevo-p650hp6").profile
    # isolcpus=1,5,2,6
    assert sorted(cpu for pin in profile.cpu.pin for cpu in pin) == [1, 2, 5, 6]
    assert profile.memory.size < 12 << 30
    pins = [pin.get("cpuset") for pin in domain("clevo-p650hp6").iter("vcpupin")]
    assert pins == ["1", "5", "2", "6"]
