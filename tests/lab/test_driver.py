"""The stand-in for NVIDIA's driver does what makes the real one hard to leave."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lab import driver, modules
from lab.machine import Lab, Running
from lab.packages import LabUnavailable
from lab.topology import GPU

pytestmark = [
    pytest.mark.parametrize("lab", ["laptop"], indirect=True),
    pytest.mark.usefixtures("installed"),
]

PCI = "/sys/bus/pci/devices"
UNBIND = f"{PCI}/{GPU}/driver/unbind"
NO_DEVICES = (6, "No devices were found")


@pytest.fixture
def installed(lab: Lab) -> Iterator[None]:
    try:
        with driver.driver_installed(lab):
            yield
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def load(lab: Lab, *words: str) -> None:
    lab.run("modprobe", *words).check()


def smi(lab: Lab, *words: str, user: int | None = None) -> tuple[int, str]:
    done = lab.run("nvidia-smi", *words, user=user)
    return done.status, done.out


def hold(lab: Lab) -> Running:
    """Somebody has the GPU open."""
    source = f"import os, time; os.open({driver.NODE!r}, os.O_RDWR); print('held', flush=True)"
    holder = lab.start_python(f"{source}\ntime.sleep(3600)")
    holder.read_until(b"held\n")
    return holder


def kill(job: Running) -> None:
    job.signal(signal.SIGKILL)
    job.wait()


def start_unbind(lab: Lab) -> Running:
    """Somebody unbinds the GPU; returns once that write is in the kernel and waits there."""
    writer = lab.start_python(f"import os; os.write(os.open({UNBIND!r}, os.O_WRONLY), b'{GPU}')")
    # D: asleep, and no signal wakes it.
    source = f"""
while open('/proc/{writer.pid}/stat').read().rsplit(')')[1].split()[0] != 'D':
    pass"""
    lab.python(source, limit=30).check()
    return writer


def nodes(lab: Lab) -> list[str]:
    return lab.sh("ls /dev | grep ^nvidia").out.split()


def test_it_takes_the_discrete_gpu_alone(lab: Lab) -> None:
    assert nodes(lab) == []
    load(lab, "nvidia")
    assert lab.driver(GPU) == "nvidia"
    assert lab.driver(lab.topology.boot_vga) is None
    assert nodes(lab) == ["nvidia0", "nvidiactl"]
    lab.write(UNBIND, GPU)
    assert nodes(lab) == ["nvidiactl"]


def test_an_unbind_waits_for_whoever_has_the_gpu_open(lab: Lab) -> None:
    load(lab, "nvidia")
    lab.run("dmesg", "--clear").check()
    holder = hold(lab)
    writer = start_unbind(lab)
    warning = f"NVRM: Attempting to remove device {GPU} with non-zero usage count!"
    assert warning in lab.dmesg()
    writer.signal(signal.SIGKILL)
    assert lab.run("true").status == 0
    assert writer.poll() is None
    kill(holder)
    writer.wait()
    assert lab.driver(GPU) is None


def test_modules_go_in_their_order_and_when_nobody_uses_them(lab: Lab) -> None:
    load(lab, "nvidia-drm")
    assert "in use by: nvidia_modeset" in lab.run("rmmod", "nvidia").err
    assert "in use by: nvidia_drm" in lab.run("rmmod", "nvidia_modeset").err
    lab.run("rmmod", "nvidia_drm", "nvidia_modeset").check()
    holder = hold(lab)
    assert "in use" in lab.run("rmmod", "nvidia").err
    kill(holder)
    lab.run("rmmod", "nvidia").check()


def test_mode_setting_uses_the_gpu_without_a_file(lab: Lab) -> None:
    load(lab, "nvidia-drm", "modeset=1")
    assert smi(lab, "-r")[0] == 255
    writer = start_unbind(lab)
    lab.run("rmmod", "nvidia_drm").check()
    writer.wait().check()
    assert lab.driver(GPU) is None


def test_the_faults_of_the_driver(lab: Lab) -> None:
    load(lab, "nvidia", "fail_probe=1")
    assert lab.driver(GPU) is None
    lab.write(f"{driver.KNOBS}/fail_probe", "0")
    lab.write("/sys/bus/pci/drivers_probe", GPU)
    assert lab.driver(GPU) == "nvidia"
    lab.write(f"{driver.KNOBS}/hang_remove", "1")
    writer = start_unbind(lab)
    writer.signal(signal.SIGKILL)
    assert lab.run("true").status == 0
    assert writer.poll() is None
    lab.write(f"{driver.KNOBS}/hang_remove", "0")
    writer.wait()
    assert lab.driver(GPU) is None


def test_it_takes_the_address_that_it_is_given(lab: Lab) -> None:
    integrated = lab.topology.boot_vga
    load(lab, "nvidia", f"gpu={integrated}")
    assert lab.driver(integrated) == "nvidia"
    assert lab.driver(GPU) is None


def test_nvidia_smi_without_a_driver_or_a_gpu(lab: Lab) -> None:
    status, said = smi(lab, "-L")
    assert (status, "couldn't communicate with the NVIDIA driver" in said) == (9, True)
    load(lab, "nvidia", "fail_probe=1")
    assert smi(lab, "-L") == NO_DEVICES


def test_nvidia_smi_names_the_gpu(lab: Lab) -> None:
    load(lab, "nvidia")
    name = smi(lab, "-L", "-i", "00000000:01:00.0")
    assert (name[0], name[1].startswith("GPU 0: ")) == (0, True)
    assert smi(lab, "-L", "-i", "0000:01:00.0") == name
    fields = "--query-gpu=index,pci.bus_id,persistence_mode"
    line = "0, 00000000:01:00.0, Disabled"
    assert smi(lab, fields, "--format=csv,noheader") == (0, line)
    assert smi(lab, "-L", "-i", "0000:02:00.0") == NO_DEVICES
    assert smi(lab, "--no-such-option")[0] == 2


def test_a_reset_needs_root_and_nobody_else(lab: Lab) -> None:
    load(lab, "nvidia")
    done = (0, "GPU 00000000:01:00.0 was successfully reset.")
    assert smi(lab, "--gpu-reset", "-i", "00000000:01:00.0") == done
    assert lab.read(f"{driver.KNOBS}/resets") == "1"
    assert smi(lab, "-r", "-i", "0", user=65534)[0] == 4
    holder = hold(lab)
    status, said = smi(lab, "-r", "-i", "0")
    assert status == 255
    assert "GPU 00000000:01:00.0: In use by another client" in said
    kill(holder)
    assert lab.read(f"{driver.KNOBS}/resets") == "1"


def test_persistence_mode_stands_against_a_reset(lab: Lab) -> None:
    load(lab, "nvidia")
    assert smi(lab, "-pm", "1", "-i", "0")[0] == 0
    assert smi(lab, "-r", "-i", "0")[0] == 255
    assert smi(lab, "-pm", "0", "-i", "0") == (
        0,
        "Disabled persistence mode for GPU 00000000:01:00.0.\nAll done.",
    )
    assert smi(lab, "-r", "-i", "0")[0] == 0


def test_the_persistence_daemon_has_the_gpu_until_it_ends(lab: Lab) -> None:
    assert lab.run("nvidia-persistenced").status == 1
    load(lab, "nvidia")
    lab.run("nvidia-persistenced").check()
    pid = lab.read("/run/nvidia-persistenced/nvidia-persistenced.pid")
    assert lab.read(f"/proc/{pid}/comm") == "nvidia-persiste"
    assert smi(lab, "-r")[0] == 255
    lab.sh(f"kill {pid}; while test -d /proc/{pid}; do :; done", limit=30).check()
    assert smi(lab, "-r")[0] == 0


def test_modprobe_knows_all_modules(lab: Lab) -> None:
    said = lab.sh("modprobe --show-depends nvidia-drm; modinfo -F name bbswitch nvhda").check().out
    order = [line.rsplit("/", 1)[1].split()[0] for line in said.splitlines() if "insmod" in line]
    assert order == ["nvidia.ko", "nvidia-modeset.ko", "nvidia-drm.ko"]
    assert said.splitlines()[-2:] == ["bbswitch", "nvhda"]
    assert modules.module_tree().is_dir()
