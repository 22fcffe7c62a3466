"""A guest inside the lab that is given the GPU: what it sees is what a user's guest would see."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from lab.initramfs import Cpio, busybox
from lab.machine import QEMU, Lab

#: Tells what is on the bus, reads the GPU's ROM, and ends the machine.
_INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys
for d in /sys/bus/pci/devices/*; do
  echo "device ${d##*/} $($b cat $d/vendor) $($b cat $d/device) $($b cat $d/subsystem_vendor)"
done
rom=/sys/bus/pci/devices/0000:01:00.0/rom
echo 1 > $rom; set -- $($b sha256sum $rom); echo "rom $1 $($b wc -c < $rom)"
$b poweroff -f
"""

#: What the guest's kernel can be on: KVM (under TCG its emulated SVM, by kvm_amd), or TCG again.
KVM, TCG = "kvm", "tcg"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a nested guest saw.

    Attributes:
        devices: address → (vendor, device, subsystem vendor), as numbers.
        rom_sha256: of the GPU's ROM as the guest's kernel reads it.
        rom_size: its length, bytes.
        console: everything that the guest printed.
    """

    devices: dict[str, tuple[int, int, int]]
    rom_sha256: str | None
    rom_size: int | None
    console: str


def _nested_initramfs() -> bytes:
    archive = Cpio()
    for name in ("bin", "dev"):
        archive.folder(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox(), 0o755)
    archive.file("init", _INIT.encode(), 0o755)
    return bytes(archive)


def boot_nested(lab: Lab, *devices: str, accelerator: str = KVM, limit: float = 300) -> Seen:
    """Boot a guest in the lab with these ``-device`` arguments behind a root port ``gpuport``.

    Raises:
        LabError: it does not end within `limit` seconds.
    """
    if accelerator == KVM:
        lab.sh("modprobe kvm_amd || modprobe kvm_intel").check()
    lab.run(
        "sh", "-c", "base64 -d > /tmp/nested.cpio", stdin=base64.b64encode(_nested_initramfs())
    ).check()
    command = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    command += ["-machine", "q35", "-accel", accelerator, "-m", "192"]
    command += ["-cpu", "host" if accelerator == KVM else "max,la57=off"]
    command += ["-kernel", str(lab.kernel.image), "-initrd", "/tmp/nested.cpio"]
    command += ["-append", "console=ttyS0 panic=-1 quiet", "-serial", "stdio"]
    command += ["-device", "pcie-root-port,id=gpuport,bus=pcie.0,addr=0x1,chassis=1,slot=1"]
    # The firmware boots with this one and leaves the GPU's ROM alone, instead of starting it.
    command += ["-device", "VGA,bus=pcie.0,addr=0x2"]
    for device in devices:
        command += ["-device", device]
    said = lab.run(*command, limit=limit)
    console = said.out.replace("\r", "") + said.err
    found = re.findall(r"^device (\S+) 0x(\w+) 0x(\w+) 0x(\w+)$", console, re.MULTILINE)
    rom = re.search(r"^rom (\w+) (\d+)$", console, re.MULTILINE)
    return Seen(
        {slot: (int(ven, 16), int(dev, 16), int(sub, 16)) for slot, ven, dev, sub in found},
        rom[1] if rom else None,
        int(rom[2]) if rom else None,
        console,
    )
