"""What a session makes besides the card: mediated devices, a network, a TPM; and its plan."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders.host import HostTree

from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.engine import execute, find_kept, find_pending, take_back
from passthrough.errors import StepFailed
from passthrough.journal import Places, hold
from passthrough.launch import plan_launch
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.programs import find_running, find_user
from passthrough.step import step_of
from passthrough.steps import KINDS, CreateMdev, MakeFolder, RunProgram
from passthrough.vm.guest import read_guest
from passthrough.vm.mdev import mdev_findings
from passthrough.vm.network import bridge_findings, vde_findings, vde_steps
from passthrough.vm.parse import parse_profile
from passthrough.vm.qemu import build_argv
from passthrough.vm.tpm import tpm_steps

IGD, GPU, AUDIO, PORT = "0000:00:02.0", "0000:01:00.0", "0000:01:00.1", "0000:00:01.0"
UUID = "8a1c8f0e-4a64-4a0e-a1d5-6f6c0b0f5d31"
TYPE = "i915-GVTg_V5_4"
TYPES = f"/sys/devices/pci0000:00/{IGD}/mdev_supported_types"
CPU = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: {}\nmodel name\t: A CPU\n"


def intel(model: int = 0x9E) -> HostTree:
    tree = HostTree().kernel().cmdline("quiet").file("/proc/cpuinfo", CPU.format(model))
    return tree.device(IGD, device=0x3E9B, driver="i915", boot_vga=True)


def offering(left: int = 1, *types: str) -> HostTree:
    tree = intel()
    for name in types or (TYPE, "i915-GVTg_V5_8"):
        tree.file(f"{TYPES}/{name}/available_instances", str(left))
    return tree


def mdev(tree: HostTree, kind: str = TYPE) -> list[str]:
    found = mdev_findings(Inventory(tree.host()), PciAddress.parse(IGD), kind, UUID)
    return [f"{finding.title} | {finding.remedy}" for finding in found if finding.blocks]


def test_a_mediated_device_that_can_be_made_has_no_findings() -> None:
    assert mdev(offering()) == []
    there = offering(0).link(f"/sys/bus/mdev/devices/{UUID}/mdev_type", f"{TYPES}/{TYPE}")
    assert mdev(there) == []  # it is there already


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (offering(1, "i915-GVTg_V5_8"), "take one of: i915-GVTg_V5_8"),
        (offering(0), f"has no {TYPE} left"),
        (intel(), "enable_gvt=1"),
        (intel(0x7E), "Broadwell to Comet Lake"),
        (HostTree().kernel(), f"there is no {IGD}"),
        (
            offering().link(f"/sys/bus/mdev/devices/{UUID}/mdev_type", f"{TYPES}/i915-GVTg_V5_8"),
            "is a i915-GVTg_V5_8 already",
        ),
    ],
)
def test_why_there_is_no_mediated_device(tree: HostTree, says: str) -> None:
    (why,) = mdev(tree)
    assert says in why


class Files(Machine):
    """The kernel's side of mediated devices, in a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(Host(root))
        self.root = root

    def write(self, path: str, text: str, *, limit: float | None = None) -> None:
        del limit
        devices = self.root / "sys/bus/mdev/devices"
        if path.endswith("/create"):
            place = devices / text
            place.mkdir(parents=True)
            (place / "mdev_type").symlink_to(f"../../../../..{path.removesuffix('/create')}")
        else:
            shutil.rmtree(devices / path.split("/")[-2])


def test_a_mediated_device_is_made_and_removed(tmp_path: Path) -> None:
    machine, step = Files(tmp_path), CreateMdev(IGD, TYPE, UUID)
    before = step.observe(machine.host)
    assert before is None
    step.apply(machine)
    assert step.verify(machine.host) == ""
    step.apply(machine)  # it is there: nothing to do
    step.restore(machine, before)
    assert step.observe(machine.host) is None


def test_a_bridge_must_be_one_and_be_allowed() -> None:
    tree = HostTree()
    assert [f.title for f in bridge_findings(tree.host(), "br0")] == ["there is no bridge br0"]
    tree.file("/sys/class/net/eth0/address", "")
    assert [f.title for f in bridge_findings(tree.host(), "eth0")] == ["eth0 is no bridge"]
    tree.file("/sys/class/net/br0/bridge/bridge_id", "")
    (helper,) = bridge_findings(tree.host(), "br0")
    assert helper.remedy == "add to /etc/qemu/bridge.conf: allow br0"
    tree.file("/etc/qemu/bridge.conf", "# mine\nallow br0\n")
    assert list(bridge_findings(tree.host(), "br0")) == []


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "run", tmp_path / "lib")


@contextlib.contextmanager
def plugged(folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """A cable into the switch: each frame has its length in two bytes before it (vde_plug(1))."""
    with subprocess.Popen(
        ["vde_plug", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as it:
        yield it
        it.kill()


def ask(cable: subprocess.Popen[bytes], frame: bytes) -> None:
    assert cable.stdin is not None
    cable.stdin.write(len(frame).to_bytes(2, "big") + frame)
    cable.stdin.flush()


def hear(cable: subprocess.Popen[bytes], wanted: Callable[[bytes], bool]) -> bytes:
    assert cable.stdout is not None
    while not wanted(frame := cable.stdout.read(int.from_bytes(cable.stdout.read(2), "big"))):
        assert frame, "the cable is cut"
    return frame


def arp(mac: bytes) -> bytes:
    """Ethernet's frame of a question (RFC 826), from 10.0.2.15."""
    head = b"\xff" * 6 + mac + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1"
    return head + mac + bytes((10, 0, 2, 15)) + bytes(6) + bytes((10, 0, 2, 2)) + bytes(18)


@pytest.mark.skipif(shutil.which("vde_switch") is None, reason="needs vde2 (vde_switch)")
def test_a_switch_and_its_router_run_for_a_session(tmp_path: Path, places: Places) -> None:
    name, folder = f"vde{tmp_path.name}", str(tmp_path / "switch")
    steps = tuple(vde_steps(Host(), name, folder, find_user().uid, str(tmp_path / "log")))
    plan = Plan("a network", steps, keeps=True)
    machine = Machine(Host())
    execute(plan, machine, places)
    try:
        assert find_running(f"{name}/vde_switch")
        assert find_running(f"{name}/slirpvde")
        with plugged(folder) as one, plugged(folder) as other:
            # Who has 10.0.2.2, slirp's router? It answers whoever asks.
            for cable, mac in ((other, b"\x52\x54\0\0\0\2"), (one, b"\x52\x54\0\0\0\1")):
                ask(cable, arp(mac))
                answer = hear(cable, lambda frame: frame[20:22] == b"\0\2")
                assert answer[28:32] == bytes((10, 0, 2, 2))
            # And everybody on the switch has heard the question of the last.
            assert hear(other, lambda frame: frame[6:12] == b"\x52\x54\0\0\0\1")
        # One that runs is used as it is.
        assert list(vde_steps(Host(), name, folder, 0, "log")) == []
    finally:
        left = take_back(find_kept(places)[0], machine, places)
    assert left == ()
    assert find_running(f"{name}/vde_switch") == find_running(f"{name}/slirpvde") == ()
    missing = [f.title for f in vde_findings(HostTree().host(), "/run/x")]
    assert len(missing) == 2
    assert "vde_switch is not installed" in missing[0]


@pytest.mark.skipif(shutil.which("swtpm") is None, reason="needs swtpm")
def test_a_tpm_listens_before_qemu_asks(tmp_path: Path, places: Places) -> None:
    name, path = f"tpm{tmp_path.name}", str(tmp_path / "swtpm.sock")
    steps = tpm_steps(name, path, str(tmp_path), find_user().uid, str(tmp_path / "log"))
    plan = Plan("a TPM", steps, keeps=True)
    machine = Machine(Host())
    execute(plan, machine, places)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(path)
            # CMD_GET_CAPABILITY, big-endian 1 (swtpm, man 3 swtpm_ioctls).
            client.sendall((1).to_bytes(4, "big"))
            assert len(client.recv(64)) >= 8
    finally:
        assert take_back(find_kept(places)[0], machine, places) == ()
    assert find_running(f"{name}/swtpm") == ()


def test_a_program_that_ends_at_once_is_told_in_its_own_words(
    tmp_path: Path, places: Places
) -> None:
    step = RunProgram("x/y", ("/bin/sh", "-c", "echo it is too cold >&2; exit 3"), 0,
                      str(tmp_path / "log"), ready=str(tmp_path / "never"))  # fmt: skip
    plan = Plan("it", (MakeFolder(str(tmp_path / "folder"), find_user().uid), step))
    with pytest.raises(StepFailed, match="it is too cold") as failed:
        execute(plan, Machine(Host()), places)
    assert failed.value.restored
    assert not (tmp_path / "folder").exists()
    absent = RunProgram("x/z", (str(tmp_path / "no-program"),), 0, str(tmp_path / "log"))
    with pytest.raises(StepFailed, match="is not installed"):
        execute(Plan("it", (absent,)), Machine(Host()), places)


def test_a_run_that_nobody_holds_is_pending(tmp_path: Path, places: Places) -> None:
    plan = Plan(
        "launch it", (MakeFolder(str(tmp_path / "folder"), find_user().uid),), keeps=True, held=True
    )
    execute(plan, Machine(Host()), places)
    (entry,) = find_kept(places)
    with hold(entry.path):
        assert find_pending(places) == ()
    assert [e.path for e in find_pending(places)] == [entry.path]
    assert take_back(entry, Machine(Host()), places) == ()
    assert find_pending(places) == find_kept(places) == ()


PROFILE = f"""
name = "win10"
[memory]
size = "4G"
hugepages = "2M"
[firmware]
kind = "bios"
[gpu]
address = "01:00.0"
[integrated]
mdev = "{TYPE}"
[tpm]
kind = "emulator"
[[network]]
kind = "vde"
socket = "/run/vde"
[display]
video = "none"
show = "none"
"""


def host() -> HostTree:
    tree = offering().file("/dev/kvm").module("vfio_pci")
    tree.device(PORT, class_=0x060400, driver="pcieport", group=1)
    tree.device(GPU, vendor=0x10DE, device=0x1C20, group=1, parent=PORT, driver="nouveau")
    tree.device(AUDIO, vendor=0x10DE, device=0x10F1, class_=0x040300, group=1, parent=PORT,
                driver="snd_hda_intel")  # fmt: skip
    for program in ("qemu-system-x86_64", "swtpm", "vde_switch", "slirpvde"):
        tree.file(f"/usr/bin/{program}")
    pages = "/sys/kernel/mm/hugepages/hugepages-2048kB"
    tree.file(f"{pages}/nr_hugepages", "100").file(f"{pages}/free_hugepages", "48")
    return tree.file("/proc/1/comm", "init").folder("/proc/1/fd")


def launch_plan(tree: HostTree) -> Plan:
    machine = Inventory(tree.host())
    guest = read_guest(parse_profile(PROFILE, folder="/home/me"), machine)
    return plan_launch(machine, guest, build_argv(guest), find_user("nobody"))


def test_a_launch_is_one_plan_in_the_order_in_which_things_need_each_other() -> None:
    plan = launch_plan(host())
    assert [f.title for f in plan.blockers] == []
    kinds = [step.kind for step in plan.steps]
    names = [step.name for step in plan.steps]
    first = [kinds.index(kind) for kind in ("bind", "confirm", "folder", "mdev", "program")]
    assert first == sorted(first)
    programs = [name.split()[1] for name in names if name.startswith("start ")]
    assert programs == ["vde_switch", "slirpvde", "swtpm", "qemu-system-x86_64"]
    # 4 GiB are 2048 pages; 52 of the 100 are taken.
    assert "set 2100 huge pages of 2M apart" in names
    assert sum(kind == "owner" for kind in kinds) == 2  # the GPU's group, the mediated device's
    assert plan.keeps
    assert plan.held
    for step in plan.steps:  # recover can make each of them again
        assert step_of(step.as_json(), KINDS) == step


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("/dev/kvm", "there is no /dev/kvm"),
        ("/usr/bin/swtpm", "swtpm is not installed"),
        ("/usr/bin/slirpvde", "slirpvde is not installed"),
        ("/usr/bin/qemu-system-x86_64", "qemu-system-x86_64 is not installed"),
        (TYPES, "offers no mediated devices"),
    ],
)
def test_what_a_guest_lacks_is_found_before_anything_is_touched(missing: str, says: str) -> None:
    plan = launch_plan(host().without(missing))
    assert [f.title for f in plan.blockers if says in f.title]
