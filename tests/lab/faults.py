"""What goes wrong on real machines, made to happen for certain.

Each is a context manager: the fault is there inside, and taken back at the end where it can be.
`test_faults.py` proves for each that it really happens.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from lab import vfio
from lab.machine import Done, Lab, Running
from lab.packages import LabUnavailable
from lab.topology import PORT

#: An ordinary user of the lab: nobody.
ORDINARY = 65534


@contextlib.contextmanager
def group_busy(lab: Lab, address: str) -> Iterator[Running]:
    """A program has the device at `address` open through VFIO, as a running guest has."""
    holder = vfio.hold_device(lab, address)
    try:
        yield holder
    finally:
        holder.signal(signal.SIGKILL)
        holder.wait()


@contextlib.contextmanager
def group_not_viable(lab: Lab) -> Iterator[None]:
    """The audio function stays with its host driver while the GPU goes to vfio-pci."""
    audio = lab.topology.audio
    assert audio is not None
    vfio.bind(lab, lab.topology.gpu)
    lab.run("modprobe", "snd-hda-intel").check()
    lab.write("/sys/bus/pci/drivers_probe", f"{audio}\n")
    try:
        yield
    finally:
        lab.write(f"/sys/bus/pci/devices/{audio}/driver/unbind", f"{audio}\n")


@contextlib.contextmanager
def write_that_hangs(lab: Lab, address: str) -> Iterator[Running]:
    """Somebody unbinds the device at `address` while a guest has it: that write does not return.

    Yields the writer. It ends when the guest does, that is, at the end of this fault.
    """
    with group_busy(lab, address) as holder:
        unbind = f"/sys/bus/pci/devices/{address}/driver/unbind"
        call = f"import os; os.write(os.open({unbind!r}, os.O_WRONLY), b'{address}\\n')"
        writer = lab.start_python(call)
        await_blocked(lab, writer.pid)
        yield writer
        holder.signal(signal.SIGKILL)
        writer.wait()


def await_blocked(lab: Lab, pid: int) -> None:
    """Wait until the process `pid` of the lab sleeps inside VFIO, where it waits for its user.

    The log says that too, but of every such process since the start.
    """
    source = f"""
import time
while not open('/proc/{pid}/wchan').read().startswith('vfio_'):
    time.sleep(0.01)"""
    lab.python(source).check()


@contextlib.contextmanager
def off_the_bus(lab: Lab, port: str = PORT) -> Iterator[None]:
    """The GPU behind `port` no longer answers: every read of its config gives ones.

    The port is told to forward no bus at all, which is what the host sees of a card without power.
    The way back is not ours but the tool's: remove the functions and the port, then rescan.
    """
    device = f"/sys/bus/pci/devices/{port}/config"
    before = lab.read_bytes(device)[0x18:0x1B]
    lab.run("setpci", "-s", port, "SECONDARY_BUS=0", "SUBORDINATE_BUS=0").check()
    try:
        yield
    finally:
        if port in lab.devices():
            lab.run(
                "setpci", "-s", port, f"PRIMARY_BUS={before[0]:02x}",
                f"SECONDARY_BUS={before[1]:02x}", f"SUBORDINATE_BUS={before[2]:02x}",
            ).check()  # fmt: skip


def pull_out(lab: Lab) -> None:
    """The GPU of the topology `pluggable` disappears, as a card in an external case does."""
    lab.monitor.ask("device_del", id="gpu")
    lab.monitor.await_event("DEVICE_DELETED", device="gpu")


#: Prints the path of every kernel event (netlink, NETLINK_KOBJECT_UEVENT = 15), from "ready" on.
_EVENTS = """
import socket
link = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
link.bind((0, 1))
print('ready', flush=True)
while True:
    print(link.recv(65536).split(b'\\0')[0].decode(), flush=True)
"""


@contextlib.contextmanager
def kernel_events(lab: Lab) -> Iterator[Running]:
    """What the lab's kernel announces, one line each, as ``add@/devices/...``."""
    listener = lab.start_python(_EVENTS)
    listener.read_until(b"ready\n")
    try:
        yield listener
    finally:
        listener.signal(signal.SIGKILL)
        listener.wait()


def push_in(lab: Lab) -> None:
    """The GPU that was pulled out is plugged in again; the kernel has found it on return."""
    with kernel_events(lab) as events:
        lab.monitor.ask("device_add", driver="secondary-vga", id="gpu", bus="gpuport", addr="0.0")
        events.read_until(f"/{lab.topology.gpu}\n".encode())


@contextlib.contextmanager
def read_only_sysfs(lab: Lab) -> Iterator[None]:
    """Every write to /sys gives EROFS, as in many containers."""
    lab.run("mount", "-o", "remount,ro", "/sys").check()
    try:
        yield
    finally:
        lab.run("mount", "-o", "remount,rw", "/sys").check()


@contextlib.contextmanager
def grabbing_drivers(lab: Lab) -> Iterator[None]:
    """The host's drivers are loaded, and take the GPU and its audio at every rescan."""
    modules = ("bochs", "snd-hda-intel")
    lab.run("modprobe", "-a", *modules).check()
    try:
        yield
    finally:
        for address in filter(None, (lab.topology.gpu, lab.topology.audio)):
            if address in lab.devices() and lab.driver(address) is not None:
                lab.write(f"/sys/bus/pci/devices/{address}/driver/unbind", f"{address}\n")


def lock_down(lab: Lab) -> None:
    """The kernel's lockdown, as Secure Boot switches it on. Nothing takes it back but a reboot."""
    lab.sh("mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security")
    lab.write("/sys/kernel/security/lockdown", "integrity")


@contextlib.contextmanager
def full_disk(lab: Lab, folder: str) -> Iterator[None]:
    """Nothing more fits into `folder` of the lab: ENOSPC. It is empty but for what fills it."""
    lab.run("mkdir", "-p", folder).check()
    lab.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "full", folder).check()
    lab.sh(f"head -c 4096 /dev/zero > {folder}/.filled").check()
    try:
        yield
    finally:
        lab.run("umount", folder).check()


def strace_path() -> str:
    """Where strace is, which ends a program at a chosen call.

    Raises:
        LabUnavailable: it is not installed.
    """
    found = shutil.which("strace")
    if found is None:
        raise LabUnavailable("tests that kill a writer at a chosen point need strace: install it")
    return found


def killed_at(lab: Lab, argv: list[str | Path], call: str, path: str, when: int = 1) -> Done:
    """Run `argv`, and SIGKILL it as it enters its `when`-th system call `call` on `path`.

    The call itself is not carried out. Children are followed.
    """
    tracer = [strace_path(), "-f", "-qq", "-o", "/dev/null", "-P", path]
    inject = [f"--inject={call}:signal=KILL:when={when}", "-e", f"trace={call}"]
    return lab.run(*tracer, *inject, *argv)


def refused_at(
    lab: Lab, argv: list[str | Path], call: str, path: str, error: str, when: int = 1
) -> Done:
    """Run `argv`, and let its `when`-th system call `call` on `path` fail with `error`."""
    tracer = [strace_path(), "-f", "-qq", "-o", "/dev/null", "-P", path]
    inject = [f"--inject={call}:error={error}:when={when}", "-e", f"trace={call}"]
    return lab.run(*tracer, *inject, *argv)
