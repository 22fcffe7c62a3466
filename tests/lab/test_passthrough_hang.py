"""A driver that does not let go, through our own commands, on the real kernel."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator

import pytest

from lab import driver
from lab.machine import Done, Lab, Running
from lab.packages import LabUnavailable

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
PCI = "/sys/bus/pci/devices"

#: Opens a device by VFIO as vfio.py does, and keeps the device's own file alone: in /proc nothing
#: names the card then, as with a program that was handed the file by another one.
_HOLD = """
import fcntl, os, signal, struct
number = os.path.basename(os.readlink('/sys/bus/pci/devices/{address}/iommu_group'))
group = os.open(f'/dev/vfio/{{number}}', os.O_RDWR)
container = os.open('/dev/vfio/vfio', os.O_RDWR)
fcntl.ioctl(group, 0x3B68, struct.pack('i', container))
fcntl.ioctl(container, 0x3B66, 1)
device = fcntl.ioctl(group, 0x3B6A, bytearray(b'{address}\\0'))
os.close(group)
os.close(container)
print('held', flush=True)
signal.pause()
"""


@contextlib.contextmanager
def hidden_user(lab: Lab, address: str) -> Iterator[Running]:
    """A program has a device open in a way that nobody can find out before."""
    holder = lab.start_python(_HOLD.format(address=address))
    holder.read_until(b"held\n")
    try:
        yield holder
    finally:
        holder.signal(signal.SIGKILL)
        holder.wait()


def timed(lab: Lab, *words: str) -> tuple[Done, float]:
    started = time.monotonic()
    done = lab.run("passthrough", *words, limit=200)
    return done, time.monotonic() - started


def recovered(lab: Lab) -> None:
    """What waits in the kernel goes on when it can; then all is put back."""
    lab.sh("while passthrough recover 2>&1 | grep -q 'still waits'; do :; done", limit=60).check()
    done = lab.run("passthrough", "recover").check()
    assert "nothing to recover" in done.out


@laptop
def test_an_unbind_that_hangs_is_told_and_taken_back_when_it_ends(lab: Lab) -> None:
    gpu = lab.topology.gpu
    lab.run("modprobe", "vfio-pci").check()
    lab.write(f"{PCI}/{gpu}/driver_override", "vfio-pci\n")
    lab.write("/sys/bus/pci/drivers_probe", f"{gpu}\n")
    with hidden_user(lab, gpu):
        done, seconds = timed(lab, "reset", gpu, "--short")
        assert done.status == 5, done.err
        first, *rest = done.err.splitlines()
        assert first.startswith("passthrough: still waiting for /sys/bus/pci/drivers/vfio-pci/unbi")
        assert "sleeps in vfio_unregister_group_dev" in first
        said = "\n".join(rest)
        assert "the write has not returned after 15 s" in said
        assert "its write still waits in the kernel" in said
        assert "end what uses the device" in said
        assert "passthrough recover" in said
        assert seconds < 60
        # What is asked meanwhile is answered, and nothing else is begun.
        again, seconds = timed(lab, "recover")
        assert (again.status, "still waits in the kernel" in again.out) == (5, True)
        assert seconds < 30
        other, _ = timed(lab, "detach", gpu)
        assert (other.status, "passthrough recover" in other.err) == (5, True)
    recovered(lab)
    assert lab.driver(gpu) == "vfio-pci"
    assert lab.read(f"{PCI}/{gpu}/driver_override") == "vfio-pci"


@laptop
@pytest.mark.trial
def test_a_module_that_does_not_unload_is_told_and_taken_back_when_it_does(lab: Lab) -> None:
    gpu = lab.topology.gpu
    try:
        with driver.driver_installed(lab):
            lab.run("modprobe", "-a", "nvidia", "snd-hda-intel").check()
            lab.write(f"{driver.KNOBS}/hang_remove", "1")
            done, seconds = timed(lab, "detach", gpu, "--json")
            lab.write(f"{driver.KNOBS}/hang_remove", "0")
            assert done.status == 5, done.err
            assert json.loads(done.out)["status"] == 5
            assert "still waiting for modprobe -r nvidia" in done.err
            assert "has not ended within 20 s" in done.err
            assert "it sleeps in msleep" in done.err
            assert seconds < 90
            recovered(lab)
            assert lab.driver(gpu) == "nvidia"
            assert lab.driver(str(lab.topology.audio)) == "snd_hda_intel"
            assert lab.read(f"{PCI}/{gpu}/driver_override") == "(null)"
    except LabUnavailable as reason:
        pytest.skip(str(reason))
