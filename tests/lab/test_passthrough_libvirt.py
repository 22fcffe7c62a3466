"""libvirt runs the guest: its own daemon, in a lab, takes our domains and gives the card back."""

from __future__ import annotations

import base64
import contextlib
import re
import sys
from collections.abc import Iterator

import pytest

from lab.initramfs import Cpio, busybox
from lab.job import Running
from lab.libvirt import USER, VIRSH, libvirt_running
from lab.machine import Lab
from lab.topology import AUDIO, GPU

COMMAND = (sys.executable, "-c", "from passthrough.cli import main; main()")
PROFILE = "/run/vm/guest.toml"
#: Ids that the card does not have.
SUBSYSTEM = (0x1025, 0x118B)

_TEXT = """
name = "guest"
[cpu]
cores = 1
[memory]
size = "192M"
[firmware]
kind = "bios"
[hide]
kvm = false
vendor_id = ""
hyperv = []
[gpu]
address = "01:00.0"
subsystem = "1025:118b"
[display]
video = "std"
show = "none"
[input]
tablet = false
[[network]]
kind = "none"
[qemu]
arguments = [{arguments}]
"""

_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys
cd /sys/bus/pci/devices
for d in *; do
  echo device $d $($b cat $d/vendor $d/device $d/subsystem_vendor $d/subsystem_device)
done
$b poweroff -f
"""


def _initramfs() -> bytes:
    archive = Cpio()
    for name in ("bin", "dev"):
        archive.folder(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox(), 0o755)
    archive.file("init", _INIT.encode(), 0o755)
    return bytes(archive)


@contextlib.contextmanager
def host(lab: Lab) -> Iterator[None]:
    """The audio function has its host's driver, libvirt's daemon runs."""
    lab.sh("modprobe snd-hda-intel; modprobe kvm_amd; mkdir -m 777 /run/vm").check()
    lab.sh("chmod 666 /dev/kvm").check()  # as udev does it
    driver = "/sys/bus/pci/drivers/snd_hda_intel"
    lab.sh(f"[ -e {driver}/{AUDIO} ] || echo {AUDIO} > {driver}/bind").check()
    try:
        with libvirt_running(lab):
            yield
    finally:
        lab.sh(f"rm -r /run/vm; echo {AUDIO} > {driver}/unbind; modprobe -r snd-hda-intel kvm_amd")


def write_profile(lab: Lab, *arguments: str) -> None:
    words = ", ".join(f'"{word}"' for word in arguments)
    text = _TEXT.format(arguments=words)
    lab.run("sh", "-c", f"cat > {PROFILE}", stdin=text.encode()).check()


def start(lab: Lab, *more: str) -> Running:
    """Launch the guest; what it says comes on its standard output."""
    words = ["launch", PROFILE, "--libvirt", "--user", "nobody", *more]
    job = lab.start("sh", "-c", 'exec "$@" 2>&1', "sh", *COMMAND, *words)
    job.close_stdin()
    return job


def qemu(lab: Lab) -> str:
    """The number of the process that libvirt has started."""
    return lab.sh("pgrep -f ^/usr/bin/qemu-system").check().out


def drivers(lab: Lab) -> tuple[str | None, str | None]:
    return lab.driver(GPU), lab.driver(AUDIO)


def nothing_left(lab: Lab) -> None:
    """Domains, programs, nodes, runs: all is as before."""
    assert lab.run(*VIRSH, "list", "--all", "--name").check().out.strip() == ""
    assert lab.sh("pgrep -f '^/usr/bin/qemu-system|^virsh'").status == 1
    assert "guest-guest" not in lab.sh("ls /run/dgpukit").out.split()
    assert lab.sh("ls /dev/vfio 2>/dev/null | grep -v vfio").out == ""
    assert "nothing" in lab.run(*COMMAND, "recover", "--dry-run").check().out


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_libvirt_takes_a_card_that_we_have_detached(lab: Lab) -> None:
    """define, start paused, destroy, reattach; libvirt itself never binds or unbinds a driver."""
    with host(lab):
        before = drivers(lab)
        write_profile(lab)
        domain = lab.run(*COMMAND, "vm", "xml", PROFILE).check().stdout
        lab.run("sh", "-c", "cat > /run/vm/guest.xml", stdin=domain).check()
        lab.run(*VIRSH, "define", "--validate", "/run/vm/guest.xml").check()
        lab.run(*COMMAND, "detach", "gpu").check()
        lab.run(*VIRSH, "start", "guest", "--paused").check()
        assert drivers(lab) == ("vfio-pci", "vfio-pci")
        line = lab.read(f"/proc/{qemu(lab)}/cmdline").split("\0")
        devices = [word for word in line if '"driver":"vfio-pci"' in word]
        assert [re.findall(r'"host":"([^"]+)"', device) for device in devices] == [[GPU], [AUDIO]]
        for device in devices:
            ids = re.findall(r'"x-pci-sub-(?:vendor|device)-id":(\d+)', device)
            assert tuple(map(int, ids)) == SUBSYSTEM
        lab.run(*VIRSH, "destroy", "guest").check()
        assert drivers(lab) == ("vfio-pci", "vfio-pci")  # managed would have given them back
        lab.run(*VIRSH, "undefine", "guest").check()
        lab.run(*COMMAND, "reattach").check()
        assert drivers(lab) == before
        nothing_left(lab)


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
@pytest.mark.trial
def test_a_guest_of_libvirts_sees_its_card_and_the_host_gets_it_back(lab: Lab) -> None:
    with host(lab):
        before = drivers(lab)
        lab.sh(f"cp {lab.kernel.image} /run/vm/linux").check()
        packed = base64.b64encode(_initramfs())
        lab.run("sh", "-c", "base64 -d > /run/vm/init.cpio", stdin=packed).check()
        write_profile(
            lab, "-kernel", "/run/vm/linux", "-initrd", "/run/vm/init.cpio", "-append",
            "console=ttyS0 panic=-1 quiet", "-serial", "file:/run/vm/console",
        )  # fmt: skip
        job = start(lab)
        job.read_until(b"guest runs", 200)
        # Everybody sees it, and it is nobody's that could do harm.
        assert lab.run(*VIRSH, "list", "--name").check().out.split() == ["guest"]
        status = lab.read(f"/proc/{qemu(lab)}/status")
        assert re.search(rf"^Uid:\t{USER}\t{USER}\t{USER}\t{USER}$", status, re.M)
        assert drivers(lab) == ("vfio-pci", "vfio-pci")
        done = job.wait(300)
        assert (done.status, done.out.splitlines()[-1]) == (
            0, "launch guest: the guest has shut down; all is given back",
        ), done.out  # fmt: skip
        console = lab.read("/run/vm/console").replace("\r", "")
        lines = [line.split() for line in console.splitlines() if line.startswith("device ")]
        seen = {words[1]: tuple(int(word, 16) for word in words[2:]) for words in lines}
        assert seen["0000:01:00.0"][2:] == seen["0000:01:00.1"][2:] == SUBSYSTEM
        assert drivers(lab) == before
        nothing_left(lab)


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
@pytest.mark.trial
def test_the_host_comes_back_from_whatever_ends_a_domain(lab: Lab) -> None:
    """A guest that does not listen: there is nothing that it could boot."""
    with host(lab):
        before = drivers(lab)
        write_profile(lab)

        # QEMU dies.
        job = start(lab)
        job.read_until(b"guest runs", 200)
        again = lab.run(*COMMAND, "launch", PROFILE, "--libvirt", "--user", "nobody")
        assert (again.status, "guest runs already" in again.err) == (1, True), again.err
        assert "launch guest" in lab.run(*COMMAND, "status").check().out
        lab.run("kill", "-9", qemu(lab)).check()
        done = job.wait(100)
        assert (done.status, "QEMU ended by itself (crashed)" in done.out) == (1, True), done.out
        assert drivers(lab) == before
        nothing_left(lab)

        # Somebody switches it off in virt-manager.
        job = start(lab)
        job.read_until(b"guest runs", 200)
        lab.run(*VIRSH, "destroy", "guest").check()
        done = job.wait(100)
        assert (done.status, "was switched off" in done.out) == (0, True), done.out
        assert drivers(lab) == before

        # We die; the guest goes on, and whoever comes next is told.
        job = start(lab, "--patience", "1")
        job.read_until(b"guest runs", 200)
        lab.run("kill", "-9", str(job.pid)).check()
        job.wait(20)
        assert lab.run(*VIRSH, "list", "--name").check().out.split() == ["guest"]
        again = lab.run(*COMMAND, "launch", PROFILE, "--libvirt", "--user", "nobody")
        assert (again.status, "passthrough recover" in again.err) == (5, True), again.err
        lab.run(*COMMAND, "recover").check()
        assert drivers(lab) == before
        nothing_left(lab)

        # Ctrl-C asks; after its time the guest is switched off. A second one does not wait.
        job = start(lab, "--patience", "1")
        job.read_until(b"guest runs", 200)
        lab.run("kill", "-INT", str(job.pid)).check()
        done = job.wait(100)
        assert (done.status, "was switched off" in done.out) == (0, True), done.out
        job = start(lab, "--patience", "500")
        job.read_until(b"guest runs", 200)
        stopped = lab.run(*COMMAND, "stop", "guest", "--now").check()
        assert "all is back" in stopped.out
        assert job.wait(100).status == 0
        assert drivers(lab) == before
        nothing_left(lab)


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
@pytest.mark.trial
def test_a_domain_is_ended_without_its_daemon(lab: Lab) -> None:
    with host(lab):
        before = drivers(lab)
        write_profile(lab)
        job = start(lab, "--patience", "1")
        job.read_until(b"guest runs", 200)
        lab.sh("kill -9 $(cat /run/libvirtd.pid)").check()
        lab.run("kill", "-INT", str(job.pid)).check()
        done = job.wait(100)
        assert (done.status, "was switched off" in done.out) == (0, True), done.out
        assert drivers(lab) == before
        refused = start(lab).wait(100)
        assert (refused.status, "systemctl start" in refused.out) == (1, True), refused.out
