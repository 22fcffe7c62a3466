"""A domain that runs: what libvirt says of it, and how it is ended, with and without a daemon.

The texts are those of libvirt 9.0.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.host import HostTree
from builders.vm import guest, machine

from diag.host import Host
from passthrough.engine import execute, find_kept, find_pending, recover, take_back
from passthrough.errors import StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.programs import Running
from passthrough.session import run_session
from passthrough.step import step_of
from passthrough.steps import KINDS, RunDomain
from passthrough.vm.libvirt import build_domain
from passthrough.vm.libvirt_daemon import (
    LibvirtError,
    end_domain,
    find_domain,
    read_last_run,
    trouble,
    virsh,
)
from passthrough.vm.libvirt_findings import domain_findings, domain_notes
from passthrough.vm.monitor import Ending
from romkit.finding import Verdict

LIST = ("virsh", "-q", "-c", "qemu:///system", "list", "--all", "--uuid", "--name")
OURS = guest().profile.uuid
OTHER = "6d0b0b60-1111-4222-8333-444444444444"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "error: failed to connect to the hypervisor\nerror: Failed to connect socket to "
            "'/var/run/libvirt/libvirt-sock': No such file or directory\n",
            "libvirt's daemon does not answer: Failed to connect socket", "systemctl start",
        ),
        (
            "error: failed to connect to the hypervisor\nerror: Failed to connect socket to "
            "'/var/run/libvirt/libvirt-sock': Permission denied\n",
            "Failed to connect socket", "sudo",
        ),
        (
            "error: Disconnected from qemu:///system due to end of file\n"
            "error: internal error: client socket is closed\n", "does not answer", "systemctl",
        ),
        (
            "error: failed to connect to the hypervisor\nerror: authentication unavailable: no "
            "polkit agent available to authenticate action 'org.libvirt.unix.manage'\n",
            "authentication unavailable", "sudo",
        ),
        (
            "error: Failed to create domain from /run/x.xml\nerror: Cannot access storage file "
            "'/home/me/d.qcow2' (as uid:64055, gid:64055): Permission denied\n",
            "Cannot access storage file '/home/me/d.qcow2'", "libvirt-qemu",
        ),
        (
            "error: Failed to create domain from /run/x.xml\nerror: Cannot get interface MTU on "
            "'virbr0': No such device\n", "Cannot get interface MTU", "virsh net-start default",
        ),
        (
            "error: Failed to start domain 'guest'\nerror: unsupported configuration: host "
            "doesn't support passthrough of host PCI devices\n", "unsupported", "diag iommu",
        ),
        ("", "without a word", ""),
    ],
)  # fmt: skip
def test_what_libvirt_refuses_is_told_in_its_words_with_what_helps(
    said: str, message: str, hint: str
) -> None:
    error = trouble(said)
    assert message in error.message
    assert hint in error.hint
    assert "Failed to create domain" not in error.message


_LOG = """2026-11-21 14:03:31.117+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-msg timestamp=on
2026-11-21T14:03:46.310833Z qemu-system-x86_64: terminating on signal 15 from pid 121 (libvirtd)
2026-11-21 14:03:46.510+0000: shutting down, reason=destroyed
2026-11-21 14:04:01.117+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-msg timestamp=on
"""


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ("", "", ""),  # that of the run before is not its own
        ("2026-11-21 14:04:06.033+0000: shutting down, reason=shutdown\n", "shutdown", ""),
        (
            "2026-11-21T14:04:05.1Z qemu-system-x86_64: vfio: Unable to power on device, stuck in "
            "D3\n2026-11-21 14:04:06.033+0000: shutting down, reason=crashed\n",
            "crashed", "vfio: Unable to power on device, stuck in D3",
        ),
    ],
)  # fmt: skip
def test_the_end_of_the_last_run_is_in_its_log(more: str, reason: str, words: str) -> None:
    host = HostTree().file("/var/log/libvirt/qemu/win10.log", _LOG + more).host()
    run = read_last_run(host, "win10")
    assert (run.reason, run.words) == (reason, words)
    assert read_last_run(host, "never").reason == ""


# Before it starts.


def blocking(tree: HostTree, text: str = "") -> list[str]:
    made = guest(text)
    found = domain_findings(tree.host(), made, build_domain(made))
    return [f"{finding.title} | {finding.remedy}" for finding in found if finding.blocks]


def with_virsh() -> HostTree:
    return machine().file("/usr/bin/virsh")


def test_where_libvirt_is_in_order_nothing_is_found() -> None:
    assert blocking(with_virsh()) == []
    assert blocking(with_virsh().said(*LIST, out=f"{OTHER} win7\n\n")) == []
    assert blocking(with_virsh().said(*LIST, out=f"{OURS} win10\n\n")) == []


@pytest.mark.parametrize(
    ("tree", "text", "says"),
    [
        (machine(), "", "virsh is not installed | install libvirt-clients"),
        (with_virsh(), '[tpm]\nkind = "emulator"', "install swtpm-tools"),
        (
            with_virsh().file("/sys/module/apparmor/parameters/enabled", "Y\n")
            .file("/etc/libvirt/qemu.conf", "#security_driver = [ \"none\" ]\n"),
            "[acpi]\nbattery = true", "AppArmor will refuse /home/me/virt/win10.vm/battery.aml",
        ),
        (with_virsh().said(*LIST, out=f"{OTHER} win10\n"), "", f'machine.uuid = "{OTHER}"'),
        (with_virsh().said(*LIST, out=f"{OURS} win7\n"), "", "this UUID, with the name win7"),
        (
            with_virsh().said(*LIST, out=f"{OURS} win10\n")
            .said(*LIST[:4], "domstate", OURS, out="running\n"),
            "", "runs already, and not by us | virsh shutdown win10",
        ),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_of_a_domain(tree: HostTree, text: str, says: str) -> None:
    (found,) = blocking(tree, text)
    assert says in found


def test_a_libvirt_that_confines_nobody_needs_no_rules() -> None:
    tree = with_virsh().file("/sys/module/apparmor/parameters/enabled", "Y\n")
    tree.file("/etc/libvirt/qemu.conf", 'security_driver = "none"\n')
    assert blocking(tree, "[acpi]\nbattery = true") == []


def test_a_daemon_that_does_not_let_us_ask_is_neither_good_nor_bad() -> None:
    said = "error: failed to connect to the hypervisor\nerror: authentication unavailable: x\n"
    made = guest()
    tree = with_virsh().said(*LIST, err=said, status=1)
    (found,) = domain_findings(tree.host(), made, build_domain(made))
    assert found.verdict is Verdict.UNKNOWN
    assert "sudo" in found.remedy
    gone = "error: x\nerror: Failed to connect socket to '/run/libvirt/x': Connection refused\n"
    (why,) = blocking(with_virsh().said(*LIST, err=gone, status=1))
    assert "systemctl start libvirtd" in why


def test_what_is_otherwise_with_libvirt_is_noted() -> None:
    tree = with_virsh().file("/etc/libvirt/qemu/win10.xml", "<domain/>")
    notes = " ".join(domain_notes(tree.host(), guest('[tpm]\nkind = "emulator"')))
    assert "definition of win10 stays" in notes
    assert "TPM" in notes


# While it runs: a program with the command line of a domain's QEMU, and a virsh that starts it.

_PROGRAM = "import signal,sys,time; signal.signal(15, {term}); print(flush=True); time.sleep(1000)"
_VIRSH = """#!{python}
import os, pathlib, signal, subprocess, sys
words = sys.argv[4:]
folder = pathlib.Path({folder!r})
with (folder / "asked").open("a") as asked:
    asked.write(" ".join(words) + "\\n")
def pid():
    return int((folder / "pid").read_text())
if words[0] in {refused!r}:
    sys.exit("error: Failed\\nerror: Requested operation is not valid: not now")
elif words[0] == "create":
    program = subprocess.Popen({argv!r}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    program.stdout.readline()
    (folder / "pid").write_text(str(program.pid))
elif words[0] == "shutdown":
    os.kill(pid(), signal.SIGTERM)
elif words[0] == "destroy":
    os.kill(pid(), signal.SIGKILL)
elif words[0] == "event":
    print("event 'io-error' for domain 'it': /dev/x (virtio-disk0) pause", flush=True)
    signal.pause()
elif words[0] == "domstate":
    sys.exit("error: failed to get domain 'it'")
"""


class Stage:
    """A libvirt of our own: what it refuses, what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uuid = str(uuids.uuid4())
        self.root = folder / "root"
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "usr/bin/virsh").touch()
        self.machine = Machine(Host(self.root))
        self.places = Places(folder / "run", folder / "lib")
        self.play()

    def play(self, *refused: str, term: str = "signal.SIG_DFL") -> None:
        """Refuse these commands; the program takes SIGTERM so."""
        argv = [sys.executable, "-c", _PROGRAM.format(term=term), "-uuid", self.uuid,
                "chardev=charmonitor"]  # fmt: skip
        path = self.folder / "bin" / "virsh"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_VIRSH.format(
            python=sys.executable, folder=str(self.folder), refused=refused, argv=argv
        ))  # fmt: skip
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def log(self, reason: str) -> None:
        place = self.root / "var/log/libvirt/qemu"
        place.mkdir(parents=True, exist_ok=True)
        said = f"2026: starting up libvirt\n2026: shutting down, reason={reason}\n"
        (place / "it.log").write_text(said)

    @property
    def asked(self) -> list[str]:
        return [line.split()[0] for line in (self.folder / "asked").read_text().splitlines()]

    def step(self, patience: float = 20) -> RunDomain:
        return RunDomain("it", self.uuid, str(self.folder / "it.xml"), "<domain/>\n", patience)

    def plan(self, patience: float = 20) -> Plan:
        return Plan("launch it", (self.step(patience),), keeps=True, held=True)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    yield made
    pid = find_domain(made.uuid)
    if pid is not None:
        os.kill(pid, 9)


def test_a_domain_is_known_by_the_uuid_of_its_qemu(stage: Stage) -> None:
    assert find_domain(stage.uuid) is None
    virsh(stage.machine, "create", "x")
    assert find_domain(stage.uuid.upper()) == int((stage.folder / "pid").read_text())
    # One of our own has the same UUID, and is not libvirt's.
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()", "-uuid", OTHER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as mine:
        assert find_domain(OTHER) is None
        mine.communicate()


@pytest.mark.parametrize(
    ("refused", "term", "patience", "ending", "asked"),
    [
        ((), "signal.SIG_DFL", 20, Ending.ORDERLY, ["shutdown"]),
        ((), "signal.SIG_IGN", 0.1, Ending.QUIT, ["shutdown", "destroy"]),
        ((), "signal.SIG_DFL", 0, Ending.QUIT, ["destroy"]),
        # It is paused: nobody is there who would shut down.
        (("shutdown",), "signal.SIG_DFL", 20, Ending.QUIT, ["shutdown", "destroy"]),
        # There is no daemon any longer.
        (("shutdown", "destroy"), "signal.SIG_DFL", 20, Ending.QUIT, ["shutdown", "destroy"]),
        (("shutdown", "destroy"), "signal.SIG_IGN", 20, Ending.KILLED, ["shutdown", "destroy"]),
    ],
)
def test_a_domain_is_ended_as_gently_as_can_be(
    stage: Stage, refused: tuple[str, ...], term: str, patience: float, ending: Ending,
    asked: list[str],
) -> None:  # fmt: skip
    stage.play(*refused, term=term)
    virsh(stage.machine, "create", "x")
    running = Running(find_domain(stage.uuid) or 0)
    (stage.folder / "asked").unlink()
    job = end_domain(stage.machine, stage.uuid, running, patience=patience, quitting=0.5)
    assert asyncio.run(job) is ending
    assert find_domain(stage.uuid) is None
    assert [word for word in stage.asked if word != "domstate"] == asked
    again = end_domain(stage.machine, stage.uuid, running, patience=patience)
    assert asyncio.run(again) is Ending.GONE
    running.close()


def test_a_domain_that_is_refused_leaves_nothing(stage: Stage) -> None:
    stage.play("create")
    with pytest.raises(StepFailed, match="not valid: not now") as failed:
        execute(stage.plan(), stage.machine, stage.places)
    assert failed.value.restored
    (stage.root / "usr/bin/virsh").unlink()
    with pytest.raises(LibvirtError, match="virsh is not installed"):
        virsh(stage.machine, "list")


def test_a_domain_is_made_of_our_xml_and_validated(stage: Stage) -> None:
    step = stage.step()
    assert step_of(step.as_json(), KINDS) == step
    execute(stage.plan(), stage.machine, stage.places)
    asked = (stage.folder / "asked").read_text()
    assert asked == f"create {step.file} --validate\n"
    assert Path(step.file).read_text() == step.xml
    (entry,) = find_kept(stage.places)
    assert take_back(entry, stage.machine, stage.places) == ()
    assert find_domain(stage.uuid) is None


@pytest.mark.parametrize(
    ("reason", "ending", "crashed"),
    [
        ("shutdown", Ending.ORDERLY, ""),
        ("destroyed", Ending.QUIT, ""),
        ("crashed", Ending.GONE, "QEMU ended by itself (crashed)"),
    ],
)
def test_a_session_tells_what_happens_and_how_it_has_ended(
    stage: Stage, reason: str, ending: Ending, crashed: str
) -> None:
    stage.log(reason)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if "cannot be written" in text:  # what the event was about
            os.kill(int((stage.folder / "pid").read_text()), 9)

    outcome = run_session(
        stage.plan(), "it", stage.machine, stage.places, watch=lambda *_: None,
        undo=lambda *_: None, tell=tell,
    )  # fmt: skip
    assert (outcome.ending, outcome.crashed, outcome.left) == (ending, crashed, ())
    assert told[0].startswith("it runs")
    assert find_kept(stage.places) == ()


@pytest.mark.parametrize("point", ["begin", "effect", "done", "end"])
def test_a_domain_that_outlives_us_is_ended_by_recover(stage: Stage, point: str) -> None:
    """Killed between any two things that we do: libvirt and its QEMU go on without us."""

    def die(now: str, _step: int) -> None:
        if now == point:
            os.kill(os.getpid(), 9)

    pid = os.fork()
    if pid == 0:
        try:
            execute(stage.plan(), stage.machine, stage.places, watch=die)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    assert (find_domain(stage.uuid) is not None) == (point in ("done", "end"))
    assert recover(stage.machine, stage.places) == ()
    assert find_domain(stage.uuid) is None
    assert find_pending(stage.places) == ()
