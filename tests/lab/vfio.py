"""VFIO's own ioctls, tried inside the lab: the kernel's word on what a group is good for.

The source here runs in the lab by `Lab.python`, without a package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from lab.machine import Lab, Running

#: include/uapi/linux/vfio.h: _IO(';', 100 + n)
_SOURCE = """
import errno, fcntl, json, os, struct, sys
STATUS, SET_CONTAINER, SET_IOMMU, GET_DEVICE = 0x3B67, 0x3B68, 0x3B66, 0x3B6A
address, hold = {address!r}, {hold!r}
said = {{}}
def tell():
    print(json.dumps(said), flush=True)
try:
    number = os.path.basename(os.readlink(f'/sys/bus/pci/devices/{{address}}/iommu_group'))
    group = os.open(f'/dev/vfio/{{number}}', os.O_RDWR)
    status = bytearray(struct.pack('II', 8, 0))
    fcntl.ioctl(group, STATUS, status)
    said['viable'] = bool(struct.unpack('II', status)[1] & 1)
    container = os.open('/dev/vfio/vfio', os.O_RDWR)
    fcntl.ioctl(group, SET_CONTAINER, struct.pack('i', container))
    fcntl.ioctl(container, SET_IOMMU, 1)
    device = fcntl.ioctl(group, GET_DEVICE, address.encode() + b'\\0')
    said['opened'] = True
except OSError as error:
    said['error'] = errno.errorcode[error.errno]
    tell()
    sys.exit(1)
tell()
if hold:
    sys.stdin.read()
    import signal
    signal.pause()
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of opening a device by VFIO.

    Attributes:
        viable: the group's flag; None if the group itself cannot be opened.
        opened: whether a device file was handed out.
        error: the name of the error number that ended it.
    """

    viable: bool | None
    opened: bool
    error: str | None


def open_device(lab: Lab, address: str) -> Opened:
    """Open the device at `address` as a user of VFIO does, and close it again."""
    said = json.loads(lab.python(_SOURCE.format(address=address, hold=False)).out)
    return Opened(said.get("viable"), said.get("opened", False), said.get("error"))


def hold_device(lab: Lab, address: str) -> Running:
    """Open the device at `address` and keep it until the returned program is killed."""
    job = lab.start_python(_SOURCE.format(address=address, hold=True))
    job.read_until(b'"opened": true')
    return job


def bind(lab: Lab, address: str, driver: str = "vfio-pci") -> None:
    """Give the device at `address` to `driver`, by driver_override, unbind and probe.

    Raises:
        OSError: the kernel refuses a write.
    """
    device = f"/sys/bus/pci/devices/{address}"
    if driver == "vfio-pci":
        lab.run("modprobe", "vfio-pci").check()
    lab.write(f"{device}/driver_override", f"{driver}\n")
    if lab.driver(address) is not None:
        lab.write(f"{device}/driver/unbind", f"{address}\n")
    lab.write("/sys/bus/pci/drivers_probe", f"{address}\n")
