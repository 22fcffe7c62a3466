"""Every fault really happens: one that does nothing would make other tests prove nothing."""

from __future__ import annotations

import errno
import signal

import pytest

from lab import faults, vfio
from lab.machine import QEMU, Lab
from lab.topology import PORT

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
PCI = "/sys/bus/pci/devices"


def qemu_says(lab: Lab) -> str:
    """What a real QEMU has to say when it is given the GPU."""
    command = [QEMU, "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "q35"]
    job = lab.start(*command, "-m", "64", "-device", f"vfio-pci,host={lab.topology.gpu}")
    return job.wait().err


@laptop
def test_a_busy_group_turns_a_guest_away(lab: Lab) -> None:
    vfio.bind(lab, lab.topology.gpu)
    with faults.group_busy(lab, lab.topology.gpu):
        assert vfio.open_device(lab, lab.topology.gpu).error == "EBUSY"
        assert "Device or resource busy" in qemu_says(lab)
    assert vfio.open_device(lab, lab.topology.gpu).opened


@laptop
def test_a_group_with_a_host_driver_is_not_viable(lab: Lab) -> None:
    with faults.group_not_viable(lab):
        assert lab.driver(str(lab.topology.audio)) == "snd_hda_intel"
        opened = vfio.open_device(lab, lab.topology.gpu)
        assert (opened.viable, opened.opened) == (False, False)
        assert "is not viable" in qemu_says(lab)
    assert vfio.open_device(lab, lab.topology.gpu).viable is True


@laptop
def test_an_unbind_hangs_while_a_guest_has_the_device(lab: Lab) -> None:
    vfio.bind(lab, lab.topology.gpu)
    with faults.write_that_hangs(lab, lab.topology.gpu) as writer:
        # Even SIGKILL does not end it: it waits in the kernel.
        writer.signal(signal.SIGKILL)
        assert lab.read(f"/proc/{writer.pid}/wchan").startswith("vfio_")
        assert writer.poll() is None
        assert "released by user" in lab.dmesg() or "Relaying device request" in lab.dmesg()
    assert lab.driver(lab.topology.gpu) is None


@laptop
def test_a_device_off_the_bus_answers_ones_and_a_reset_that_does_nothing(lab: Lab) -> None:
    gpu, audio = lab.topology.gpu, str(lab.topology.audio)
    vendor = lab.read(f"{PCI}/{gpu}/vendor")
    with faults.off_the_bus(lab):
        assert lab.read_bytes(f"{PCI}/{gpu}/config")[:16] == b"\xff" * 16
        # What sysfs remembers is no proof of life.
        assert lab.read(f"{PCI}/{gpu}/vendor") == vendor
        assert "(rev ff)" in lab.run("lspci", "-b", "-s", "01:00.0").out
        assert "Unknown header type 7f" in lab.run("lspci", "-v", "-s", "01:00.0").out
        lab.write(f"{PCI}/{audio}/remove", "1\n")
        lab.write(f"{PCI}/{gpu}/reset", "1\n")
        assert lab.read_bytes(f"{PCI}/{gpu}/config")[:16] == b"\xff" * 16
        for address in (gpu, PORT):
            lab.write(f"{PCI}/{address}/remove", "1\n")
        lab.write("/sys/bus/pci/rescan", "1\n")
        assert lab.read_bytes(f"{PCI}/{gpu}/config")[:2] != b"\xff\xff"
        assert audio in lab.devices()


@laptop
def test_a_device_off_the_bus_comes_back_with_its_port(lab: Lab) -> None:
    before = lab.read_bytes(f"{PCI}/{lab.topology.gpu}/config")[:16]
    with faults.off_the_bus(lab):
        assert lab.read_bytes(f"{PCI}/{lab.topology.gpu}/config")[:16] == b"\xff" * 16
    assert lab.read_bytes(f"{PCI}/{lab.topology.gpu}/config")[:16] == before


@pytest.mark.parametrize("lab", ["pluggable"], indirect=True)
def test_a_gpu_is_pulled_out_and_pushed_in_again(lab: Lab) -> None:
    assert lab.topology.gpu in lab.devices()
    faults.pull_out(lab)
    assert lab.topology.gpu not in lab.devices()
    faults.push_in(lab)
    assert lab.topology.gpu in lab.devices()


@laptop
def test_a_read_only_sysfs_refuses_every_write(lab: Lab) -> None:
    override = f"{PCI}/{lab.topology.gpu}/driver_override"
    with faults.read_only_sysfs(lab), pytest.raises(OSError) as refused:  # noqa: PT011 (the number is asked)
        lab.write(override, "vfio-pci\n")
    assert refused.value.errno == errno.EROFS
    lab.write(override, "\n")


@laptop
def test_an_ordinary_user_is_refused(lab: Lab) -> None:
    path = f"{PCI}/{lab.topology.gpu}/driver_override"
    source = f"""
try:
    open({path!r}, 'w')
except OSError as error:
    print(error.errno)"""
    assert lab.python(source, user=faults.ORDINARY).out == str(errno.EACCES)


@laptop
def test_drivers_grab_the_card_at_a_rescan(lab: Lab) -> None:
    gpu, audio = lab.topology.gpu, str(lab.topology.audio)
    with faults.grabbing_drivers(lab):
        for address in (audio, gpu):
            lab.write(f"{PCI}/{address}/driver_override", "vfio-pci\n")
            lab.write(f"{PCI}/{address}/remove", "1\n")
        lab.write("/sys/bus/pci/rescan", "1\n")
        assert (lab.driver(gpu), lab.driver(audio)) == ("bochs-drm", "snd_hda_intel")


@laptop
def test_lockdown_forbids_what_setpci_does(lab: Lab) -> None:
    faults.lock_down(lab)
    config = f"{PCI}/{PORT}/config"
    with pytest.raises(PermissionError):
        lab.write(config, "x")


@laptop
def test_a_full_disk_takes_nothing_more(lab: Lab) -> None:
    with faults.full_disk(lab, "/run/journal"):
        done = lab.sh("head -c 64 /dev/zero > /run/journal/file")
        assert "No space left on device" in done.err
    assert lab.run("ls", "-A", "/run/journal").out == ""


@laptop
def test_a_writer_is_killed_before_its_chosen_write(lab: Lab) -> None:
    override = f"{PCI}/{lab.topology.gpu}/driver_override"
    write = f"echo one > {override}; echo two > {override}"
    done = faults.killed_at(lab, ["sh", "-c", write], "write", override, when=2)
    assert done.status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert lab.read(override) == "one"


@laptop
def test_a_write_is_refused_at_a_chosen_point(lab: Lab) -> None:
    override = f"{PCI}/{lab.topology.gpu}/driver_override"
    write = f"echo one > {override}; echo two > {override}"
    done = faults.refused_at(lab, ["sh", "-c", write], "write", override, "EIO", when=2)
    assert (done.status != 0, lab.read(override)) == (True, "one")
    assert "I/O error" in done.err


@laptop
def test_the_kernel_announces_what_comes_and_goes(lab: Lab) -> None:
    gpu = lab.topology.gpu
    with faults.kernel_events(lab) as events:
        lab.write(f"{PCI}/{gpu}/remove", "1\n")
        events.read_until(f"remove@/devices/pci0000:00/{PORT}/{gpu}\n".encode())
        lab.write("/sys/bus/pci/rescan", "1\n")
        events.read_until(f"add@/devices/pci0000:00/{PORT}/{gpu}\n".encode())
