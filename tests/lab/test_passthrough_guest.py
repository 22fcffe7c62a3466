"""What a guest gets of its host besides a card: CPUs of its own, huge pages, a TPM; and that the
host has them again, whatever ends the guest."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator

import pytest

from lab.conftest import missing
from lab.launching import OWNER, ROOM, Commands, commands_of, linux_guest, put
from lab.machine import CHECKOUT, Lab, open_lab
from lab.topology import AUDIO, GPU, PORT, TOPOLOGIES

#: What the guest says of itself. What a TPM's register holds only the TPM can say.
_TASK = r"""
echo tpm $($b cat /sys/class/tpm/tpm0/tpm_version_major)
echo register $($b cat /sys/class/tpm/tpm0/pcr-sha256/0)
"""
PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"
CGROUP = "/sys/fs/cgroup"
OWN = f"{CGROUP}/dgpukit.guest"


@pytest.fixture(scope="module")
def host() -> Iterator[Lab]:
    """A host with two CPUs and control groups, as without systemd."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with open_lab(TOPOLOGIES["no-iommu"], processors=2) as lab:
        lab.sh(f"modprobe kvm_amd && mount -t cgroup2 none {CGROUP}").check()
        lab.sh(f"chmod 666 /dev/kvm; mkdir -p {ROOM}; chown {OWNER[1]} {ROOM}").check()
        yield lab


@pytest.fixture(scope="module")
def commands(host: Lab) -> Iterator[Commands]:
    with commands_of(host) as running:
        yield running


def resources(lab: Lab) -> list[str]:
    """What the host has for everybody: pages, CPUs of the first program, groups, programs."""
    said = lab.sh(
        f"cat {PAGES}/nr_hugepages; grep Cpus_allowed_list /proc/1/status; ls -d {CGROUP}/*/;"
        f" cat {CGROUP}/cgroup.subtree_control; pgrep -x swtpm; pgrep -f ^qemu-system"
    )
    return said.out.split()


def qemu(lab: Lab) -> int:
    return int(lab.sh("pgrep -f ^qemu-system").check().out)


PROFILE = """
name = "guest"
[machine]
accel = "kvm"
[cpu]
model = "host"
cores = 1
pin = ["1"]
isolate = true
[memory]
size = "{size}"
hugepages = "2M"
[firmware]
kind = "bios"
[hide]
kvm = false
vendor_id = ""
hyperv = []
[tpm]
kind = "emulator"
[display]
video = "none"
show = "none"
[input]
tablet = false
[[network]]
kind = "none"
[qemu]
arguments = [{arguments}]
"""


def profile(lab: Lab, *arguments: str, size: str = "192M") -> None:
    words = ", ".join(f'"{word}"' for word in arguments)
    put(lab, f"{ROOM}/guest.toml", PROFILE.format(size=size, arguments=words).encode())


needs_swtpm = pytest.mark.skipif(shutil.which("swtpm") is None, reason="needs swtpm")


@needs_swtpm
def test_a_guest_has_its_cpus_pages_and_tpm_while_it_runs(host: Lab, commands: Commands) -> None:
    before = resources(host)
    put(host, f"{ROOM}/init.cpio", linux_guest(host.kernel, _TASK))
    # Where its owner may read it; and packed: started by its PVH note under a SeaBIOS with a TPM,
    # a kernel finds ACPI's tables overwritten.
    packed = host.kernel.tree / f"boot/vmlinuz-{host.kernel.version}"
    host.run("cp", packed, f"{ROOM}/linux").check()
    profile(
        host, "-kernel", f"{ROOM}/linux", "-initrd", f"{ROOM}/init.cpio", "-append",
        "console=ttyS0 panic=-1 quiet", "-serial", f"file:{ROOM}/console", "-no-reboot",
    )  # fmt: skip
    guest = commands.launch()
    guest.running(400)

    # 192 MiB are 96 pages, and QEMU has taken them.
    said = host.sh(f"cat {PAGES}/nr_hugepages {PAGES}/free_hugepages").out.split()
    assert said == ["96", "0"]
    # The kernel keeps everybody else off CPU 1.
    assert host.read(f"{OWN}/cpuset.cpus.partition") == "root"
    assert host.sh("grep Cpus_allowed_list /proc/1/status").out.split()[1] == "0"
    threads = host.sh(f"cd /proc/{qemu(host)}/task; grep -H . */comm; grep Cpus_allowed_l */status")
    names = dict(re.findall(r"^(\d+)/comm:(.*)$", threads.out, re.MULTILINE))
    cpus = dict(re.findall(r"^(\d+)/status:Cpus_allowed_list:\s+(\S+)$", threads.out, re.MULTILINE))
    guests = [thread for thread, name in names.items() if name.startswith("CPU ")]
    assert [cpus[thread] for thread in guests] == ["1"]
    assert {cpus[thread] for thread in cpus if thread not in guests} == {"0"}
    assert host.read(f"{OWN}/cgroup.threads").split() == guests

    done = guest.wait(400)
    assert done.status == 0, done.text
    console = host.read(f"{ROOM}/console")
    assert re.search(r"^tpm 2\r?$", console, re.MULTILINE)
    assert re.search(r"^register [0-9A-F]{64}\r?$", console, re.MULTILINE)
    assert resources(host) == before


@pytest.mark.trial
@needs_swtpm
def test_a_killed_session_gives_them_back_by_recover(host: Lab, commands: Commands) -> None:
    before = resources(host)
    profile(host, "-S")
    guest = commands.launch("--patience", "0")
    pid = guest.running(400)
    assert host.sh("pgrep -x swtpm").status == 0
    host.run("kill", "-9", str(pid)).check()
    assert guest.wait(200).status == -9
    assert host.read(f"{PAGES}/nr_hugepages") == "96"  # nobody has given them back
    told = commands.run("recover")
    assert told.status == 0, told.text
    assert resources(host) == before

    # QEMU itself is killed: its TPM goes with it, and all the rest at once.
    guest = commands.launch()
    guest.running(400)
    host.run("kill", "-9", str(qemu(host))).check()
    done = guest.wait(200)
    assert (done.status, "all is given back" in done.text) == (1, True), done.text
    assert resources(host) == before


@pytest.mark.trial
def test_a_host_is_not_starved_by_a_guest(host: Lab, commands: Commands) -> None:
    before = resources(host)
    profile(host, "-S", size="4G")
    done = commands.launch().wait(200)
    assert (done.status, "4 GiB of huge pages are missing" in done.text) == (1, True), done.text
    assert resources(host) == before


@pytest.mark.trial
def test_what_is_taken_for_a_guest_comes_back_wherever_it_fails(host: Lab) -> None:
    program = CHECKOUT / "tests/lab/trial.py"
    done = host.run(sys.executable, program, GPU, AUDIO, PORT, "resources", limit=300).check()
    said = json.loads(done.out)
    assert said["wrong"] == []
    assert said["trials"] == 36
    assert host.sh("rm /run/trial.log; pgrep -x sleep").status == 1
