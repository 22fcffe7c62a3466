"""Guests for `passthrough launch`: a Linux that does a task, and boot sectors that do one thing.

A boot sector is up at once, where a nested Linux takes many seconds.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from lab.initramfs import Cpio, busybox, module_bytes, module_files
from lab.kernel import Kernel
from lab.machine import CHECKOUT, Lab, LabError, Running
from lab.topology import AUDIO

#: What a Linux guest runs before its task: folders, modules, and a function for tasks.
_INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module"; done < /insmod

# Says `ready`, then waits for the ACPI power button (linux/input-event-codes.h: EV_KEY = 1,
# KEY_POWER = 116). Events from before the node was opened are nobody's.
until_power_button() {
    for name in /sys/class/input/input*/name; do
        [ "$($b cat "$name")" = "Power Button" ] || continue
        node=$(echo "${name%/name}"/event*)
        exec 3< "/dev/input/${node##*/}"
    done
    echo ready
    while true; do
        set -- $($b dd bs=24 count=1 <&3 2>/dev/null | $b hexdump -v -e '12/2 "%u "')
        [ "$9.${10}.${11}" = 1.116.1 ] && break
        [ $# = 12 ] || break
    done
    echo heard "$9 ${10}"
}

. /task
$b poweroff -f
"""

#: What `until_power_button` needs.
BUTTON = ("button", "evdev")


def linux_guest(kernel: Kernel, task: str, *modules: str, **files: bytes) -> bytes:
    """An initramfs for `kernel` that loads modules, runs a shell script and switches itself off.

    Args:
        kernel: whose modules they are.
        task: lines for busybox's shell; ``$b`` is busybox.
        modules: names of modules of the kernel's.
        files: what else is in its root folder, by name.
    """
    archive = Cpio()
    for name in ("bin", "dev", "modules"):
        archive.folder(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox(), 0o755)
    archive.file("init", _INIT.encode(), 0o755)
    archive.file("task", task.encode())
    names = []
    for path in module_files(kernel, *modules) if modules else ():
        names.append(path.name.removesuffix(".xz"))
        archive.file(f"modules/{names[-1]}", module_bytes(path))
    archive.file("insmod", "".join(f"{name}\n" for name in names).encode())
    for name, data in files.items():
        archive.file(name, data)
    return bytes(archive)


def _boot_sector(code: str) -> bytes:
    """512 bytes that a BIOS starts at 0000:7c00. Comments in the code begin with a #."""
    plain = "".join(line.partition("#")[0] for line in code.splitlines())
    return bytes.fromhex(plain).ljust(510, b"\0") + b"\x55\xaa"


# ACPI 6.5, 4.8.3: PM1_STS and PM1_EN have the power button in bit 8; PM1_CNT has SLP_EN in bit 13.
# SeaBIOS puts the block to 0x600 on Q35 (src/fw/dev-q35.h), and QEMU's S5 is SLP_TYP 0.

_SWITCH_OFF = """
    ba 0406   # mov dx, 0x604
    b8 0020   # mov ax, 0x2000
    ef        # out dx, ax
    f4 eb fd  # hlt, for ever
"""

#: A guest that shuts down after two seconds: somebody has to have seen it run.
ENDS = _boot_sector(
    """
    b9 2400   # mov cx, 36
    fb        # sti: the BIOS's clock wakes it, 18.2 times a second
    f4        # hlt
    e2 fd     # loop to hlt
    """
    + _SWITCH_OFF
)

#: A guest that says "r" to its serial port, and shuts down when its power button is pressed.
LISTENS = _boot_sector(
    """
    ba 0206   # mov dx, 0x602
    b8 0001   # mov ax, 0x100
    ef        # out dx, ax
    ba f803   # mov dx, 0x3f8
    b0 72     # mov al, 'r'
    ee        # out dx, al
    ba 0006   # mov dx, 0x600
    fb f4     # sti; hlt: the BIOS's clock wakes it
    ed        # in ax, dx
    f6 c4 01  # test ah, 1
    74 f8     # jz to sti
    """
    + _SWITCH_OFF
)

#: Seconds that a command may take: a guest's patience, on a machine with much else to do.
LIMIT = 300.0

#: The user who has QEMU, without a group that matters.
OWNER = ("nobody", 65534)
#: Where the guests' files are in the lab: its owner's.
ROOM = "/run/vm"

_PROFILE = """
name = "{name}"
[machine]
accel = "kvm"
[cpu]
model = "host"
cores = 1
[memory]
size = "192M"
[hide]
kvm = false
vendor_id = ""
hyperv = []
[display]
video = "std"
show = "none"
[input]
tablet = false
{more}
"""
#: QEMU's arguments for `console`.
SERIAL = ("-serial", f"file:{ROOM}/console")

#: Sections that a guest has unless its test says otherwise.
USUAL = {
    "firmware": 'kind = "bios"',
    "gpu": 'address = "01:00.0"\nsubsystem = "1025:118b"',
    "network": 'kind = "none"',
}


def write_profile(lab: Lab, name: str = "guest", **sections: str) -> None:
    """Write ``ROOM/NAME.toml``: a small guest with the card, and these sections, by their names."""
    text = "".join(
        f"{_header(key)}\n{body}\n" for key, body in {**USUAL, **sections}.items() if body
    )
    put(lab, f"{ROOM}/{name}.toml", _PROFILE.format(name=name, more=text).encode())


def _header(key: str) -> str:
    return f"[[{key}]]" if key in ("disk", "network") else f"[{key}]"


def put(lab: Lab, path: str, data: bytes) -> None:
    """Write a file of the lab."""
    lab.run("sh", "-c", f"base64 -d > {path}", stdin=base64.b64encode(data)).check()


@dataclass(frozen=True, slots=True)
class Told:
    """A command that has ended.

    Attributes:
        status: its exit status; negative for a signal.
        text: what it said, output and errors as they came.
    """

    status: int
    text: str


class Command:
    """A command of passthrough in the lab."""

    def __init__(self, server: Running, number: int) -> None:
        self._server = server
        self._number = number

    def _lines(self, mark: str) -> list[str]:
        said = self._server.read_until(b"").decode(errors="replace")
        return re.findall(rf"^{self._number}{mark} ?(.*)$", said, re.MULTILINE)

    def running(self, limit: float = LIMIT) -> int:
        """Wait until its guest runs; its process number.

        Raises:
            LabError: it does not run.
        """
        self._server.read_until(f"\n{self._number}> .".encode(), limit)
        if self._lines("<"):
            raise LabError(f"there is no guest: {self.wait()}")
        return int(self._lines(">")[0])

    def wait(self, limit: float = LIMIT) -> Told:
        """Wait for its end.

        Raises:
            LabError: it has not ended after `limit` seconds.
        """
        self._server.read_until(f"\n{self._number}< .".encode(), limit)
        return Told(int(self._lines("<")[0]), "\n".join(self._lines(r"\|")))


class Commands:
    """Runs commands of passthrough in a lab, as root. `commands_of` makes one."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._count = 0

    def start(self, *words: str) -> Command:
        """Start one."""
        self._server.send(json.dumps(words).encode() + b"\n")
        self._count += 1
        return Command(self._server, self._count - 1)

    def run(self, *words: str, limit: float = LIMIT) -> Told:
        """Run one to its end."""
        return self.start(*words).wait(limit)

    def launch(self, *words: str, name: str = "guest") -> Command:
        """Launch a guest whose profile `write_profile` has written."""
        return self.start("launch", f"{ROOM}/{name}.toml", "--user", OWNER[0], *words)


@contextlib.contextmanager
def commands_of(lab: Lab) -> Iterator[Commands]:
    """One start of Python for all commands of a test."""
    server = lab.start(sys.executable, CHECKOUT / "tests/lab/commands.py")
    try:
        yield Commands(server)
    finally:
        server.close_stdin()
        server.wait()


@contextlib.contextmanager
def host_in_use(lab: Lab) -> Iterator[None]:
    """A host whose sound driver has the card's audio function; ROOM is there, the owner's."""
    loaded = {line.split()[0] for line in lab.read("/proc/modules").splitlines()}
    # The codec's driver too: the kernel fetches it when it likes.
    lab.sh("modprobe -a snd-hda-intel snd-hda-codec-generic kvm_amd").check()
    driver = "/sys/bus/pci/drivers/snd_hda_intel"
    lab.sh(f"[ -e {driver}/{AUDIO} ] || echo {AUDIO} > {driver}/bind").check()
    # As udev does it, with a group that nobody is in.
    lab.sh("chgrp 4242 /dev/kvm; chmod 660 /dev/kvm").check()
    lab.sh(f"mkdir -p {ROOM}; chown {OWNER[1]} {ROOM}").check()
    try:
        yield
    finally:
        lab.sh(f"rm -r {ROOM}; echo {AUDIO} > {driver}/unbind")
        unload_but(lab, loaded)


def unload_but(lab: Lab, modules: set[str]) -> None:
    """Unload all but these modules, as far as nobody uses them. modprobe -r leaves many."""
    while True:
        lines = [line.split() for line in lab.read("/proc/modules").splitlines()]
        idle = [words[0] for words in lines if words[2] == "0" and words[0] not in modules]
        if not idle or lab.run("rmmod", *idle).status != 0:
            return


def boots(lab: Lab, sector: bytes, *arguments: str, name: str = "guest", **sections: str) -> None:
    """Write a profile of a guest that starts from a boot sector, with arguments for QEMU."""
    put(lab, f"{ROOM}/{name}.img", sector)
    # SeaBIOS does not read a disk of one sector.
    lab.sh(f"cd {ROOM}; truncate -s 1M {name}.img; chown {OWNER[1]} {name}.img").check()
    disk = f'path = "{name}.img"\nformat = "raw"\nbus = "sata"\ncache = "writeback"'
    own = {"disk": disk, "qemu": f"arguments = {json.dumps(arguments)}"}
    write_profile(lab, name, **{**own, **sections})


@contextlib.contextmanager
def console(lab: Lab) -> Iterator[Running]:
    """What a guest with `SERIAL` among its arguments says to its serial port, once."""
    lab.sh(f"mkfifo -m 666 {ROOM}/console").check()
    reader = lab.start("cat", f"{ROOM}/console")
    try:
        yield reader
    finally:
        reader.signal(9)
        lab.sh(f"rm {ROOM}/console").check()
