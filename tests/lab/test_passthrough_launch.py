"""`passthrough launch` and `stop`: a guest gets the card and the host gets it back, whatever
happens between."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
from collections.abc import Iterator

import pytest

from lab.faults import group_busy
from lab.initramfs import Cpio, busybox
from lab.job import Running
from lab.machine import CHECKOUT, Lab
from lab.topology import AUDIO, GPU, PORT

COMMAND = (sys.executable, "-c", "from passthrough.cli import main; main()")
NOBODY = 65534
#: Ids that the card does not have.
SUBSYSTEM = (0x1025, 0x118B)

_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys
cd /sys/bus/pci/devices
for d in *; do
  ids=$($b cat $d/vendor $d/device $d/subsystem_vendor $d/subsystem_device)
  echo device $d $ids
done
$b poweroff -f
"""

PROFILE = """
name = "guest"
[machine]
accel = "kvm"
[cpu]
model = "host"
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


def _initramfs() -> bytes:
    archive = Cpio()
    for name in ("bin", "dev"):
        archive.folder(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox(), 0o755)
    archive.file("init", _INIT.encode(), 0o755)
    return bytes(archive)


@contextlib.contextmanager
def host_with_driver(lab: Lab) -> Iterator[None]:
    """The audio function has its host's driver; a folder for the guest's owner is there."""
    lab.sh("modprobe snd-hda-intel && modprobe kvm_amd").check()
    driver = "/sys/bus/pci/drivers/snd_hda_intel"
    lab.sh(f"[ -e {driver}/{AUDIO} ] || echo {AUDIO} > {driver}/bind").check()
    # As udev does it, with a group that nobody is in.
    lab.sh("chgrp 4242 /dev/kvm; chmod 660 /dev/kvm").check()
    lab.sh(f"mkdir -p /run/vm; chown {NOBODY} /run/vm; cp {lab.kernel.image} /run/vm/linux").check()
    packed = base64.b64encode(_initramfs())
    lab.run("sh", "-c", "base64 -d > /run/vm/init.cpio", stdin=packed).check()
    try:
        yield
    finally:
        lab.sh(f"rm -r /run/vm; echo {AUDIO} > {driver}/unbind; modprobe -r snd-hda-intel kvm_amd")


def write_profile(lab: Lab, *arguments: str) -> None:
    words = ", ".join(f'"{word}"' for word in arguments)
    text = PROFILE.format(arguments=words)
    lab.run("sh", "-c", "cat > /run/vm/guest.toml", stdin=text.encode()).check()


def start(lab: Lab, *more: str) -> Running:
    """Launch the guest; what it says comes on its standard output."""
    words = ["launch", "/run/vm/guest.toml", "--user", "nobody", *more]
    job = lab.start("sh", "-c", 'exec "$@" 2>&1', "sh", *COMMAND, *words)
    job.close_stdin()
    return job


def qemu_pid(lab: Lab) -> int:
    return int(lab.sh("pgrep -x qemu-system-x86 || pgrep -f ^qemu-system-x86").check().out)


def drivers(lab: Lab) -> tuple[str | None, str | None]:
    return lab.driver(GPU), lab.driver(AUDIO)


def ids_of(lab: Lab, address: str) -> tuple[int, ...]:
    folder = f"/sys/bus/pci/devices/{address}"
    return tuple(int(lab.read(f"{folder}/{name}"), 16) for name in ("vendor", "device"))


def nothing_left(lab: Lab) -> None:
    """Sockets, nodes, runs: all is as before."""
    assert lab.sh("pgrep -f ^qemu-system").status == 1
    assert "guest-guest" not in lab.sh("ls /run/dgpukit").out.split()
    assert lab.sh("ls /dev/vfio 2>/dev/null | grep -v vfio").out == ""
    said = lab.run(*COMMAND, "recover", "--dry-run").check().out
    assert "nothing" in said


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_guest_sees_its_card_and_the_host_gets_it_back(lab: Lab) -> None:
    with host_with_driver(lab):
        before = drivers(lab)
        assert before[1] == "snd_hda_intel"
        write_profile(
            lab, "-kernel", "/run/vm/linux", "-initrd", "/run/vm/init.cpio", "-append",
            "console=ttyS0 panic=-1 quiet", "-serial", "file:/run/vm/console", "-no-reboot",
        )  # fmt: skip
        job = start(lab)
        job.read_until(b"guest runs", 120)
        status = lab.read(f"/proc/{qemu_pid(lab)}/status")
        assert re.search(rf"^Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}$", status, re.M)
        assert re.search(r"^CapEff:\t0+$", status, re.M)
        assert drivers(lab) == ("vfio-pci", "vfio-pci")
        done = job.wait(300)
        assert (done.status, done.out.splitlines()[-1]) == (
            0, "launch guest: the guest has shut down; all is given back",
        )  # fmt: skip
        console = lab.read("/run/vm/console").replace("\r", "")
        lines = [line.split() for line in console.splitlines() if line.startswith("device ")]
        seen = {words[1]: tuple(int(word, 16) for word in words[2:]) for words in lines}
        real = [ids_of(lab, address) for address in (GPU, AUDIO)]
        assert seen["0000:01:00.0"] == (*real[0], *SUBSYSTEM)
        assert seen["0000:01:00.1"] == (*real[1], *SUBSYSTEM)
        assert drivers(lab) == before
        nothing_left(lab)


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
@pytest.mark.trial
def test_the_host_comes_back_from_whatever_ends_a_guest(lab: Lab) -> None:
    """A guest whose processor never runs: it is killed, its tool is killed, it does not listen."""
    with host_with_driver(lab):
        before = drivers(lab)
        write_profile(lab, "-S")

        job = start(lab)
        job.read_until(b"guest runs", 120)
        again = lab.run(*COMMAND, "launch", "/run/vm/guest.toml", "--user", "nobody")
        assert (again.status, "guest runs already" in again.err) == (1, True)
        lab.run("kill", "-9", str(qemu_pid(lab))).check()
        done = job.wait(60)
        assert done.status == 1
        assert "QEMU was ended by SIGKILL" in done.out
        assert "all is given back" in done.out
        assert drivers(lab) == before
        nothing_left(lab)

        job = start(lab, "--patience", "1")
        job.read_until(b"guest runs", 120)
        lab.run("kill", "-9", str(job.pid)).check()
        job.wait(20)
        assert drivers(lab) == ("vfio-pci", "vfio-pci")  # nobody has given them back
        again = lab.run(*COMMAND, "launch", "/run/vm/guest.toml", "--user", "nobody")
        assert (again.status, "passthrough recover" in again.err) == (5, True)
        # The guest is asked, and ended; then comes what it has had.
        lab.run(*COMMAND, "recover", limit=100).check()
        assert drivers(lab) == before
        nothing_left(lab)

        # Ctrl-C asks; the guest does not listen, and after its time it is switched off.
        job = start(lab, "--patience", "1")
        job.read_until(b"guest runs", 120)
        lab.run("kill", "-INT", str(job.pid)).check()
        done = job.wait(60)
        assert (done.status, "was switched off" in done.out) == (0, True), done.out
        assert drivers(lab) == before

        # A second one does not wait; neither does `stop --now`, which is a first and a second.
        job = start(lab, "--patience", "500")
        job.read_until(b"guest runs", 120)
        stopped = lab.run(*COMMAND, "stop", "guest", "--now", limit=100).check()
        assert "all is back" in stopped.out
        assert job.wait(60).status == 0
        assert drivers(lab) == before
        nothing_left(lab)


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_what_stands_in_the_way_is_said_and_nothing_stays(lab: Lab) -> None:
    with host_with_driver(lab):
        before = drivers(lab)
        # QEMU itself refuses: its words are ours.
        write_profile(lab, "-S", "-device", "no-such-device")
        done = start(lab).wait(100)
        assert done.status in (3, 4), done.out
        assert "no-such-device" in done.out
        assert drivers(lab) == before
        nothing_left(lab)
    with contextlib.ExitStack() as stack:
        from lab import vfio

        for address in (GPU, AUDIO):
            vfio.bind(lab, address)
        stack.enter_context(host_with_folder(lab))
        stack.enter_context(group_busy(lab, GPU))
        write_profile(lab, "-S")
        done = start(lab).wait(100)
        assert (done.status, "uses it: /dev/vfio/" in done.out) == (1, True), done.out


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
@pytest.mark.trial
def test_what_a_session_makes_is_undone_wherever_it_fails(lab: Lab) -> None:
    lab.sh("modprobe tun").check()
    try:
        program = CHECKOUT / "tests/lab/trial.py"
        done = lab.run(sys.executable, program, GPU, AUDIO, PORT, "session", limit=300).check()
        said = json.loads(done.out)
        assert said["wrong"] == []
        assert said["trials"] == 63
        left = lab.sh("pgrep -x sleep; ls -d /run/trial /sys/class/net/trial0").out
        assert left == ""
    finally:
        lab.sh("rm -f /run/trial.log; modprobe -r tun")


@contextlib.contextmanager
def host_with_folder(lab: Lab) -> Iterator[None]:
    lab.sh(f"modprobe kvm_amd; mkdir -p /run/vm; chown {NOBODY} /run/vm").check()
    yield
    lab.sh("rm -r /run/vm; modprobe -r kvm_amd")
