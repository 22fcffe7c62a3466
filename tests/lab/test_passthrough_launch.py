"""`passthrough launch` and `stop`: a guest gets the card and the host gets it back, whatever
happens between."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from builders.rom import image, pcir
from oracles.acpi_guest import SOURCE as ACPI_ROM

from lab import launching, vfio
from lab.faults import full_disk, group_busy
from lab.launching import (
    ENDS,
    LISTENS,
    OWNER,
    ROOM,
    SERIAL,
    Commands,
    boots,
    console,
    put,
    write_profile,
)  # fmt: skip
from lab.machine import CHECKOUT, QEMU, Lab
from lab.modules import build_module
from lab.sample import sample_rom
from lab.state import read_state
from lab.topology import AUDIO, GPU, PORT

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
#: Ids that the card does not have.
SUBSYSTEM = (0x1025, 0x118B)
RUNS = "/run/dgpukit"
PCI = "/sys/bus/pci"

#: A guest's Linux tells what it sees of its card and its machine, and waits for its power button.
TASK = """
for d in /sys/bus/pci/devices/*; do
    ids=$($b cat $d/vendor $d/device $d/subsystem_vendor $d/subsystem_device)
    echo device ${d##*/} $ids $($b cat $d/firmware_node/path 2>/dev/null)
done
for f in type status capacity energy_full model_name; do
    echo battery $f $($b cat /sys/class/power_supply/BAT0/$f)
done
echo chassis $($b cat /sys/class/dmi/id/chassis_type)
$b insmod /acpi_rom.ko path=$($b cat /sys/bus/pci/devices/0000:01:00.0/firmware_node/path) size=SIZE
echo method $($b sha256sum < /sys/kernel/acpi_rom)
cd /sys/bus/pci/devices/0000:01:00.0; echo 1 > rom
echo bar $($b head -c SIZE rom | $b sha256sum)
until_power_button
"""


def cards_rom() -> bytes:
    """A ROM that says it is the lab's card's."""
    code = random.Random(8).randbytes(60 << 9)
    return image(pcir(vendor=0x1234, device=0x1111, blocks=64), blocks=64, body={0x100: code})


@contextlib.contextmanager
def sessions(lab: Lab) -> Iterator[Commands]:
    """Commands on a host in use; the host is as it was after them, without their traces."""
    with launching.host_in_use(lab), launching.commands_of(lab) as passthrough:
        yield passthrough
    lab.sh(f"rm -rf {RUNS}").check()


def state_of(lab: Lab) -> dict[str, object]:
    """The lab's, without what a run leaves on purpose: its journal and QEMU's words.

    Mounts do not count either: faults are made of them.
    """
    state: dict[str, Any] = read_state(lab)
    del state["mounts"]
    kept = re.compile(rf"{ROOM}.*|{RUNS}(/lock|/[0-9]+\.journal|/guest-\w+-qemu\.log)?")
    state["run"] = [path for path in state["run"] if not kept.fullmatch(path)]
    # What passes a command's words on may be about to end, and the kernel asks for modules.
    others = re.compile(r".*/commands\.py|/sbin/modprobe\0-q\0--", re.DOTALL)
    state["command lines"] = [line for line in state["command lines"] if not others.match(line)]
    # KVM tells what its guest asks for.
    state["errors"] = [line for line in state.get("errors", ()) if "] kvm [" not in line]
    return state


def drivers(lab: Lab) -> tuple[str | None, str | None]:
    return lab.driver(GPU), lab.driver(AUDIO)


def qemu_pid(lab: Lab) -> int:
    return int(lab.sh("pgrep -f ^qemu-system-x86").check().out)


def given_back(lab: Lab, passthrough: Commands, before: dict[str, object]) -> None:
    """Nothing of a guest is left, and all that it had is the host's again."""
    assert state_of(lab) == before
    assert lab.sh("ls /dev/vfio 2>/dev/null | grep -v vfio").out == ""
    assert "nothing" in passthrough.run("recover", "--dry-run").text


@laptop
def test_a_guest_sees_its_card_and_hears_stop(lab: Lab) -> None:
    rom = cards_rom()
    with sessions(lab) as passthrough:
        packed = launching.linux_guest(
            lab.kernel, TASK.replace("SIZE", str(len(rom))), "ac", "battery", *launching.BUTTON,
            **{"acpi_rom.ko": build_module(ACPI_ROM).read_bytes()},
        )  # fmt: skip
        put(lab, f"{ROOM}/init.cpio", packed)
        put(lab, f"{ROOM}/card.rom", rom)
        lab.sh(f"cp {lab.kernel.image} {ROOM}/linux").check()
        words = (
            "-kernel", f"{ROOM}/linux", "-initrd", f"{ROOM}/init.cpio", "-no-reboot",
            "-append", "console=ttyS0 panic=-1 quiet", *SERIAL,
        )  # fmt: skip
        write_profile(
            lab, gpu=f'{launching.USUAL["gpu"]}\nrom = "{ROOM}/card.rom"',
            acpi='battery = true\nvbios = true\nchassis = "notebook"',
            qemu=f"arguments = {json.dumps(words)}",
        )  # fmt: skip
        before, had = state_of(lab), drivers(lab)
        assert had[1] == "snd_hda_intel"

        with console(lab) as printed:
            job = passthrough.launch()
            job.running()
            status = lab.read(f"/proc/{qemu_pid(lab)}/status")
            numbers = "\t".join([str(OWNER[1])] * 4)
            assert f"\nUid:\t{numbers}\n" in status
            assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
            assert drivers(lab) == ("vfio-pci", "vfio-pci")
            printed.read_until(b"\nready", 300)

            stopped = passthrough.run("stop", "guest")
            assert (stopped.status, stopped.text) == (0, "stop guest: it has ended; all is back")
            told = job.wait()
            assert told.status == 0
            assert "launch guest: the guest has shut down; all is given back" in told.text
            said = printed.wait().out.replace("\r", "")
        assert "\nheard 1 116" in said  # EV_KEY, KEY_POWER
        given_back(lab, passthrough, before)
    seen = {words[1]: words[2:] for words in map(str.split, re.findall("^device .*", said, re.M))}
    ids = [f"{number:#06x}" for number in SUBSYSTEM]
    gpu = seen["0000:01:00.0"]
    assert gpu == ["0x1234", "0x1111", *ids, r"\_SB_.PCI0.S08_.S00_"]
    assert seen["0000:01:00.1"][:4] == ["0x8086", "0x293e", *ids]
    facts = dict(line.split(" ", 2)[1:] for line in re.findall("^battery .*", said, re.M))
    assert facts["type"] == "Battery"
    assert facts["capacity"] == "100"
    assert "\nchassis 10\n" in said
    wanted = hashlib.sha256(rom).hexdigest()
    assert f"\nmethod {wanted} -\n" in said
    assert f"\nbar {wanted} -\n" in said


@pytest.mark.trial
@laptop
def test_the_host_comes_back_from_whatever_ends_a_guest(lab: Lab) -> None:
    with sessions(lab) as passthrough:
        boots(lab, ENDS)
        before = state_of(lab)

        # It shuts down by itself.
        told = passthrough.launch().wait()
        assert (told.status, told.text.splitlines()[-1]) == (
            0, "launch guest: the guest has shut down; all is given back",
        )  # fmt: skip
        given_back(lab, passthrough, before)

        # Its processor stands still: it does not hear, and after its time it is switched off.
        boots(lab, LISTENS, "-S")
        boots(lab, LISTENS, name="other")
        job = passthrough.launch("--patience", "1")
        pid = job.running()
        again = passthrough.launch().wait()
        assert (again.status, "guest runs already" in again.text) == (1, True)
        assert "try: passthrough stop guest" in again.text
        other = passthrough.launch(name="other").wait()  # it wants the same card
        assert (other.status, "qemu-system-x86" in other.text) == (1, True), other
        lab.run("kill", "-INT", str(pid)).check()
        told = job.wait()
        assert (told.status, told.text.splitlines()[-1]) == (
            0,
            "launch guest: the guest did not shut down, and was switched off; all is given back",
        )
        given_back(lab, passthrough, before)

        # QEMU is killed.
        boots(lab, LISTENS)
        job = passthrough.launch()
        job.running()
        lab.run("kill", "-9", str(qemu_pid(lab))).check()
        told = job.wait()
        assert told.status == 1
        assert "QEMU was ended by SIGKILL" in told.text
        assert "all is given back" in told.text
        given_back(lab, passthrough, before)

        # The tool is killed: nobody gives back what the guest has, until `recover`.
        job = passthrough.launch("--patience", "1")
        lab.run("kill", "-9", str(job.running())).check()
        assert job.wait().status == -signal.SIGKILL
        assert drivers(lab) == ("vfio-pci", "vfio-pci")
        again = passthrough.launch().wait()
        assert (again.status, "passthrough recover" in again.text) == (5, True)
        assert passthrough.run("recover").status == 0
        given_back(lab, passthrough, before)


@laptop
@pytest.mark.trial
def test_ctrl_c_asks_and_a_second_one_ends(lab: Lab) -> None:
    with sessions(lab) as passthrough:
        boots(lab, LISTENS, *SERIAL)
        before = state_of(lab)
        for signals, how in (
            (["-INT"], "the guest has shut down"), (["-HUP"], "the guest has shut down"),
            (["-TERM"], "the guest has shut down"),
        ):  # fmt: skip
            with console(lab) as printed:
                job = passthrough.launch()
                pid = job.running()
                printed.read_until(b"r")
                for number in signals:
                    lab.run("kill", number, str(pid)).check()
                told = job.wait()
            assert (told.status, told.text.splitlines()[-1]) == (
                0, f"launch guest: {how}; all is given back",
            )  # fmt: skip
            given_back(lab, passthrough, before)
        boots(lab, LISTENS, "-S")
        job = passthrough.launch("--patience", "1000")
        for _ in range(2):
            lab.run("kill", "-INT", str(job.running())).check()
        told = job.wait()
        assert (told.status, "was switched off" in told.text) == (0, True), told
        # `stop --now` is a first and a second one.
        job = passthrough.launch("--patience", "1000")
        job.running()
        assert passthrough.run("stop", "guest", "--now").text.endswith("all is back")
        assert job.wait().status == 0
        # QEMU itself stands still: its monitor does not answer, and no signal but one reaches it.
        job = passthrough.launch("--patience", "1000")
        pid = job.running()
        lab.run("kill", "-STOP", str(qemu_pid(lab))).check()
        lab.run("kill", "-INT", str(pid)).check()
        told = job.wait()
        assert (told.status, "did not answer, and was killed" in told.text) == (0, True), told
        given_back(lab, passthrough, before)


@contextlib.contextmanager
def over(lab: Lab, path: str, *options: str) -> Iterator[None]:
    """Something else is mounted over a path of the lab."""
    lab.run("mount", *options, path).check()
    try:
        yield
    finally:
        lab.run("umount", path).check()


@contextlib.contextmanager
def read_only(lab: Lab, node: str) -> Iterator[str]:
    """The kernel refuses every write to a node."""
    with over(lab, node, "--bind", node):
        lab.run("mount", "-o", "remount,bind,ro", node).check()
        yield node


@pytest.mark.trial
@laptop
def test_what_stands_in_the_way_is_said_and_nothing_stays(lab: Lab) -> None:
    """What is wrong, where and why, what to do, and which status; the host is as it was."""

    def refused(status: int, *said: str) -> None:
        told = passthrough.launch().wait()
        assert told.status == status, told
        assert [text for text in said if text not in told.text] == [], told
        assert state_of(lab) == before

    with sessions(lab) as passthrough:
        boots(lab, ENDS)
        put(lab, f"{ROOM}/other.rom", sample_rom())
        lab.run("modprobe", "vfio-pci").check()
        before = state_of(lab)

        # No firmware: its descriptors are not there. The card is not even switched on before.
        card = f'{launching.USUAL["gpu"]}\nprepare = ["power"]'
        boots(lab, ENDS, firmware='kind = "uefi"', gpu=card)
        with over(lab, "/usr/share/qemu/firmware", "-t", "tmpfs", "none"):
            refused(3, "guest.toml:", "firmware.kind", "no UEFI firmware", "try: install OVMF")

        # A full disk: the firmware's variables cannot be copied, then the journal not begun.
        with full_disk(lab, f"{ROOM}/full"):
            boots(lab, ENDS, firmware=f'kind = "uefi"\nvars = "{ROOM}/full/vars.fd"')
            lab.sh(f"chown {OWNER[1]} {ROOM}/full").check()
            refused(3, f"{ROOM}/full/vars.fd", "no space left", "try: make room")
        boots(lab, ENDS)
        lab.sh(f"rm -rf {RUNS}").check()
        with full_disk(lab, RUNS):
            told = passthrough.launch().wait()
            assert told.status == 3, told
            assert f"{RUNS}/" in told.text
            assert "no space left" in told.text
            assert "without a journal nothing is touched" in told.text
            assert drivers(lab)[1] == "snd_hda_intel"
        lab.sh(f"rm -rf {RUNS}").check()

        # Another card's ROM.
        boots(lab, ENDS, gpu=f'{launching.USUAL["gpu"]}\nrom = "{ROOM}/other.rom"')
        refused(1, f"{ROOM}/other.rom", "10de:1c8d", "1234:1111")

        # QEMU itself refuses, when the card is detached already: its words are ours.
        boots(lab, ENDS, "-append", "quiet")
        refused(4, "-append only allowed with -kernel", "everything was put back", "qemu.log")

        # There is no program where QEMU should be.
        boots(lab, ENDS)
        with over(lab, f"/usr/bin/{QEMU}", "--bind", "/dev/null"):
            refused(4, f"{QEMU} cannot be started: permission denied", "everything was put back")

        # The kernel refuses to take a function from its driver.
        boots(lab, ENDS)
        with read_only(lab, f"{PCI}/drivers/snd_hda_intel/unbind") as node:
            refused(4, node, "read-only file system", "everything was put back")

        # It takes it, and lets nobody have it, not even who had it: `recover` does, when it can.
        with read_only(lab, f"{PCI}/drivers_probe") as node:
            told = passthrough.launch().wait()
            assert told.status == 5, told
            for said in (node, "read-only file system", "this machine is changed", "recover"):
                assert said in told.text, told
        assert passthrough.run("recover").status == 0
        given_back(lab, passthrough, before)

        # Somebody has the group: a program by VFIO, without being a guest of ours.
        for address in (GPU, AUDIO):
            vfio.bind(lab, address)
        before = state_of(lab)
        with group_busy(lab, GPU):
            told = passthrough.launch().wait()
            assert (told.status, "uses it: /dev/vfio/" in told.text) == (1, True), told
        assert state_of(lab) == before
        for address in (GPU, AUDIO):
            lab.write(f"{PCI}/drivers/vfio-pci/unbind", f"{address}\n")
            lab.write(f"{PCI}/devices/{address}/driver_override", "\n")


@laptop
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
