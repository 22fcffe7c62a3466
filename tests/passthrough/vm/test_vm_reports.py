"""Line by line: what a field report lists of its machine is in QEMU's command line and in the XML.

The lines are those of the reports that say how the VM is built; what they say of the host and of
the guest's inside is tested where that is done.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from builders.board import mobile
from builders.laptop import acer, clevo
from builders.stand_in import QEMU, start
from builders.vm import CODE, example, machine

from diag.inventory import Inventory
from passthrough.vm.guest import Guest, read_guest
from passthrough.vm.libvirt import build_domain
from passthrough.vm.parse import parse_profile
from passthrough.vm.qemu import build_argv

LAPTOPS = {"acer-nitro-5": (acer, "vbios.rom"),
           "clevo-p650hp6": (clevo, "resources/GP106-mshybrid.rom")}  # fmt: skip
VM = "/home/me/virt"
NAMES = {"qemu": "http://libvirt.org/schemas/domain/qemu/1.0"}

#: libvirt's words for the GPU's place on the host and in the guest.
_AT = "address[@bus='0x01'][@slot='0x00'][@function='0x0']"
_PORT = "controller[@model='pcie-root-port'][@index='1']"


def _property(alias: str, name: str, value: str) -> str:
    device = f"qemu:override/qemu:device[@alias='{alias}']"
    return f"{device}/qemu:frontend/qemu:property[@name='{name}'][@value='{value}']"


def _argument(value: str) -> str:
    return f"qemu:commandline/qemu:arg[@value='{value}']"


#: What a report says; a piece of QEMU's command line; what is found in the domain.
Line = tuple[str, str, str]

ACER: tuple[Line, ...] = (
    ("OVMF", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}", "os/loader[@type='pflash']"),
    ("VBIOS ACPI patch", f"-acpitable file={VM}/acer-nitro-5.vm/vbios00.aml",
     _argument(f"file={VM}/acer-nitro-5.vm/vbios00.aml")),
    ("VBIOS extracted from Windows Registry", f"romfile={VM}/vbios.rom",
     f"devices/hostdev/rom[@file='{VM}/vbios.rom']"),
    ("Battery patch", f"-acpitable file={VM}/acer-nitro-5.vm/battery.aml",
     _argument(f"file={VM}/acer-nitro-5.vm/battery.aml")),
    ("vendor_id = 1234567890a (11 characters)", ",hv_vendor_id=1234567890a,",
     "features/hyperv/vendor_id[@state='on'][@value='1234567890a']"),
    ("KVM state hidden", "-cpu host,kvm=off,", "features/kvm/hidden[@state='on']"),
    ("GVT-g with address 0000:00:02.0", "bus=pcie.0,addr=02.0,display=on",
     "devices/hostdev[@type='mdev']/address[@bus='0x00'][@slot='0x02'][@function='0x0']"),
    ("using ROM from i915ovmfPkg", f"x-igd-opregion=on,romfile={VM}/i915ovmf.rom",
     _property("ua-integrated", "romfile", f"{VM}/i915ovmf.rom")),
    ("dGPU", "vfio-pci,id=gpu,host=0000:01:00.0,",
     f"devices/hostdev[@type='pci']/source/{_AT}"),
    ("with address 0000:01:00.0", "host=0000:01:00.0,bus=pcie.1,addr=00.0,",
     f"devices/hostdev[@type='pci']/{_AT}"),
    ("(bus 01 is behind the first port)", "pcie-root-port,id=pcie.1,bus=pcie.0,addr=01.0,",
     f"devices/{_PORT}/address[@bus='0x00'][@slot='0x01'][@function='0x0']"),
    ("with sub-vendor-id set", "romfile=/home/me/virt/vbios.rom,x-pci-sub-vendor-id=0x1025,",
     _property("ua-gpu", "x-pci-sub-vendor-id", str(0x1025))),
    ("and sub-device-id", "x-pci-sub-vendor-id=0x1025,x-pci-sub-device-id=0x118b",
     _property("ua-gpu", "x-pci-sub-device-id", str(0x118B))),
    ("Audio controller: passed, at 01:00.1", "host=0000:01:00.1,bus=pcie.1,addr=00.1,",
     "devices/hostdev[@type='pci']/address[@bus='0x01'][@slot='0x00'][@function='0x1']"),
    ("disks that use virtio hang: SATA", "ide-hd,id=disk0,bus=ide.0,",
     "devices/disk/target[@bus='sata'][@dev='sda']"),
)  # fmt: skip

CLEVO: tuple[Line, ...] = (
    ("OVMF", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}", "os/loader[@type='pflash']"),
    ("Copy the EFI vars file into the resources/ directory",
     f"if=pflash,unit=1,format=raw,file={VM}/resources/OVMF_VARS.fd", "os/nvram"),
    ("boot-windows.sh install", "ide-cd,id=install,bus=ide.2,drive=drive-install,bootindex=0",
     "devices/disk[@device='cdrom']/boot[@order='1']"),
    ("the Windows installer screen in a spice window", "-spice port=5900,addr=127.0.0.1,",
     "devices/graphics[@type='spice'][@port='5900']"),
    ("virtio drivers from a CD-ROM drive", f"media=cdrom,format=raw,readonly=on,"
     f"file={VM}/resources/virtio-win.iso",
     f"devices/disk[@device='cdrom']/source[@file='{VM}/resources/virtio-win.iso']"),
    ("NVidia drivers in a CD-ROM drive", f"media=cdrom,format=raw,readonly=on,"
     f"file={VM}/resources/drivers.iso",
     f"devices/disk[@device='cdrom']/source[@file='{VM}/resources/drivers.iso']"),
    ("LINUX-VM 128G lvm", "format=raw,cache=none,discard=unmap,file=/dev/mapper/LINUX-VM",
     "devices/disk[@type='block']/source[@dev='/dev/mapper/LINUX-VM']"),
    ("virtio drivers, of the disk", "virtio-blk-pci,id=disk0,",
     "devices/disk/target[@bus='virtio'][@dev='vda']"),
    ("discrete GPU", "vfio-pci,id=gpu,host=0000:01:00.0,",
     f"devices/hostdev[@type='pci']/source/{_AT}"),
    ("the proper PCIE addresses", "host=0000:01:00.0,bus=pcie.1,addr=00.0,",
     f"devices/hostdev[@type='pci']/{_AT}"),
    ("(behind the first port)", "pcie-root-port,id=pcie.1,bus=pcie.0,addr=01.0,",
     f"devices/{_PORT}/address[@bus='0x00'][@slot='0x01'][@function='0x0']"),
    ("Subsystem [1558:65a1], vendor", "x-pci-sub-vendor-id=0x1558,",
     _property("ua-gpu", "x-pci-sub-vendor-id", str(0x1558))),
    ("Subsystem [1558:65a1], device", "x-pci-sub-device-id=0x65a1",
     _property("ua-gpu", "x-pci-sub-device-id", str(0x65A1))),
    ("GP106-mshybrid.rom", f"romfile={VM}/resources/GP106-mshybrid.rom",
     f"devices/hostdev/rom[@bar='on'][@file='{VM}/resources/GP106-mshybrid.rom']"),
    ("Networking: vde2", "-netdev vde,id=netdev-network0,sock=/var/run/vde.ctl",
     _argument("vde,id=netdev-network0,sock=/var/run/vde.ctl")),
    ("isolcpus=1,5,2,6: two cores with two threads", "-smp 4,sockets=1,cores=2,threads=2",
     "cputune/vcpupin[@vcpu='3'][@cpuset='6']"),
    ("RAM: 12GB, so less", "-m size=8192M", "memory[@unit='MiB']"),
    ("Code 43: hide KVM", "-cpu host,kvm=off,", "features/kvm/hidden[@state='on']"),
    ("hacky solution for a muxless laptop: VBIOS",
     f"-acpitable file={VM}/clevo-p650hp6.vm/vbios00.aml",
     _argument(f"file={VM}/clevo-p650hp6.vm/vbios00.aml")),
)  # fmt: skip

LINES = {"acer-nitro-5": ACER, "clevo-p650hp6": CLEVO}


def made(name: str, folder: str = VM) -> Guest:
    """The example on its laptop, for the installation."""
    laptop, rom = LAPTOPS[name]
    tree = machine(laptop()).file(f"{folder}/{rom}", mobile())
    wanted = parse_profile(example(name), file=f"{name}.toml", folder=folder)
    return read_guest(wanted, Inventory(tree.host()), install=True)


@pytest.fixture(scope="module", params=LINES)
def built(request: pytest.FixtureRequest) -> tuple[str, str, Element]:
    """Name, command line and domain."""
    guest = made(request.param)
    argv = "\n".join(f"{option} {value}" for option, value in build_argv(guest).options)
    return request.param, argv, fromstring(build_domain(guest).xml)


def test_each_line_of_a_report_is_in_the_command_line(built: tuple[str, str, Element]) -> None:
    name, argv, _ = built
    assert [line for line in LINES[name] if line[1] not in argv] == []


def test_each_line_of_a_report_is_in_the_domain(built: tuple[str, str, Element]) -> None:
    name, _, xml = built
    assert [line for line in LINES[name] if xml.find(line[2], NAMES) is None] == []


@pytest.mark.skipif(
    shutil.which(QEMU) is None or not Path(CODE).exists(), reason="needs qemu-system-x86 and ovmf"
)
@pytest.mark.parametrize("name", LINES)
def test_the_installed_qemu_takes_a_reports_machine(name: str, tmp_path: Path) -> None:
    guest = made(name, str(tmp_path))
    # The volume is not here; a file as large as it need be is.
    drives = []
    for drive in guest.drives:
        path = tmp_path / "volume" if drive.is_device else Path(drive.path)
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".qcow2":
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
        else:
            path.write_bytes(bytes(1 << 20))
        drives.append(replace(drive, path=str(path)))
    line = build_argv(replace(guest, drives=tuple(drives)))
    for file in line.files:
        Path(file.path).parent.mkdir(exist_ok=True)
        data = Path(file.copy_of).read_bytes() if file.data is None else file.data
        Path(file.path).write_bytes(data)
    for rom in ("i915ovmf.rom", LAPTOPS[name][1]):
        (tmp_path / rom).parent.mkdir(exist_ok=True)
        (tmp_path / rom).write_bytes(mobile())
    ended = start(line, tmp_path)
    assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    # All of it is there: every device that the line names has become one.
    names = {f'id "{part[3:]}"' for _, value in line.options if value.startswith(
        ("vfio-pci", "pcie-root-port", "virtio-", "ide-", "e1000e", "qemu-xhci", "qxl"))
        for part in value.split(",") if part.startswith("id=")}  # fmt: skip
    assert len(names) >= 9
    assert [name for name in sorted(names) if name not in ended.stdout] == []
