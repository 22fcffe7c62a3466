"""Two guests on one VDE switch, by `passthrough launch` itself; no hardware, no network."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lab.kernel import fetch_kernel
from lab.launching import BUTTON, linux_guest
from lab.machine import qemu_path
from lab.packages import LabUnavailable

pytestmark = pytest.mark.slow

ROOT = os.geteuid() == 0
#: Who has the guests. In a namespace of an ordinary user there is nobody but root.
OWNER = "nobody" if ROOT else "root"
#: Namespaces: what is written to /run there is not this machine's, and nobody outlives the test.
APART = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
APART += [] if ROOT else ["--map-root-user"]

PROFILE = """
name = "{name}"
[machine]
accel = "tcg"
[cpu]
model = "qemu64"
cores = 1
[memory]
size = "192M"
[firmware]
kind = "bios"
[hide]
kvm = false
vendor_id = ""
hyperv = []
[display]
video = "none"
show = "none"
[input]
tablet = false
[[network]]
kind = "vde"
socket = "/run/vm/switch"
[qemu]
arguments = [
    "-kernel", "/run/vm/linux", "-initrd", "/run/vm/{name}.cpio", "-no-reboot",
    "-append", "console=ttyS0 panic=-1 quiet", "-serial", "file:/run/vm/{name}.console",
]
"""

_UP = "$b ip link set eth0 up; $b ip addr add 10.0.2.{}/24 dev eth0\n"
#: The first answers whoever asks, until its power button is pressed.
FIRST = _UP.format(21) + "until_power_button\n"
#: The second asks the first, and slirp's router, until both have answered.
SECOND = (
    _UP.format(22)
    + """
for who in 10.0.2.21 10.0.2.2; do
    until $b ping -c 1 -W 1 $who > /said; do :; done
    $b grep 'bytes from' /said
done
"""
)

#: Runs in the namespace; its argument is the folder with what the guests need.
_SCRIPT = r"""
import json, os, shutil, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"], check=True)
shutil.copytree(sys.argv[1], "/run/vm")
owner = sys.argv[2]
shutil.chown("/run/vm", owner)
passthrough = [sys.executable, "-c", "from passthrough.cli import main; main()"]

def launch(name):
    words = ["launch", f"/run/vm/{name}.toml", "--user", owner]
    return subprocess.Popen(
        [*passthrough, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )

def running(program):
    said = subprocess.run(["pgrep", "-c", "-f", f"^{program} .*/run/vm/switch"],
                          capture_output=True, text=True)
    return int(said.stdout)

def programs():
    return [running(name) for name in ("vde_switch", "slirpvde", "qemu-system-x86_64")]

told = {}
first = launch("first")
said = [first.stdout.readline()]
while "runs;" not in said[-1]:
    if not said[-1]:
        sys.exit("".join(said))
    said.append(first.stdout.readline())
told["with one"] = programs()
second = launch("second")
told["second"] = [second.communicate(timeout=100)[0], second.returncode]
told["after the second"] = programs()
stop = subprocess.run([*passthrough, "stop", "first"], capture_output=True, text=True, timeout=100)
told["stop"] = [stop.stdout + stop.stderr, stop.returncode]
said += first.communicate(timeout=100)[0]
told["first"] = ["".join(said), first.returncode]
told["left"] = programs()
told["run"] = sorted(os.listdir("/run/vm")) + sorted(os.listdir("/run/dgpukit"))
for name in ("first", "second"):
    told[f"{name}.console"] = open(f"/run/vm/{name}.console", errors="replace").read()
print(json.dumps(told))
"""


@functools.cache
def missing() -> str | None:
    """What there is not of what the guests need."""
    if shutil.which("vde_switch") is None:
        return "needs vde2 (vde_switch, slirpvde)"
    tried = subprocess.run([*APART, "true"], capture_output=True, check=False, timeout=20)
    if tried.returncode != 0:
        return "needs the right to make namespaces (unshare)"
    try:
        qemu_path()
        fetch_kernel()
    except LabUnavailable as reason:
        return str(reason)
    return None


def test_two_guests_on_a_switch_of_the_first_reach_each_other(tmp_path: Path) -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    kernel = fetch_kernel()
    folder = tmp_path / "vm"
    folder.mkdir()
    shutil.copy(kernel.image, folder / "linux")
    for name, task in (("first", FIRST), ("second", SECOND)):
        (folder / f"{name}.toml").write_text(PROFILE.format(name=name), encoding="utf-8")
        packed = linux_guest(kernel, task, "virtio_pci", "virtio_net", *BUTTON)
        (folder / f"{name}.cpio").write_bytes(packed)
    done = subprocess.run(
        [*APART, sys.executable, "-c", _SCRIPT, str(folder), OWNER], capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)

    # The first guest's session has started the switch and its router; the second uses them.
    assert told["with one"] == [1, 1, 1]
    assert told["after the second"] == [1, 1, 1]
    answers = re.findall(r"64 bytes from (\S+):", told["second.console"])
    assert answers == ["10.0.2.21", "10.0.2.2"], told
    said, status = told["second"]
    assert (status, "launch second: the guest has shut down; all is given back" in said) == (
        0, True,
    ), said  # fmt: skip

    # `stop` presses the power button, which the guest's kernel hears as a key.
    assert "heard 1 116" in told["first.console"]
    assert told["stop"] == ["stop first: it has ended; all is back\n", 0]
    said, status = told["first"]
    assert (status, "launch first: the guest has shut down; all is given back" in said) == (
        0, True,
    ), said  # fmt: skip
    assert told["left"] == [0, 0, 0]
    assert "switch" not in told["run"]
    assert not [name for name in told["run"] if name in ("guest-first", "guest-second")]
