"""The lab itself: commands, streams, limits, and that it is the machine that it says."""

from __future__ import annotations

import errno
import re
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab import frames, machine
from lab.machine import CHECKOUT, Lab, LabError, Running, open_lab
from lab.packages import LabUnavailable
from lab.state import read_errors, read_state
from lab.topology import TOPOLOGIES

any_lab = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
every_lab = pytest.mark.parametrize("lab", list(TOPOLOGIES), indirect=True)


@any_lab
def test_a_command_has_its_streams_and_status(lab: Lab) -> None:
    done = lab.run("sh", "-c", "cat; echo told >&2; exit 3", stdin=b"given")
    assert (done.status, done.stdout, done.stderr) == (3, b"given", b"told\n")


@any_lab
def test_it_runs_this_checkout_with_this_environment(lab: Lab) -> None:
    source = "import romkit, sys; print(romkit.__file__, sys.executable, sys.version, sep='|')"
    module, python, version = lab.run(sys.executable, "-c", source).check().out.split("|")
    assert module == str(CHECKOUT / "romkit/__init__.py")
    assert (python, version) == (sys.executable, sys.version)


@any_lab
def test_commands_are_root_or_whom_one_says(lab: Lab) -> None:
    assert lab.run("id", "-u").out == "0"
    assert lab.run("id", "-u", user=65534).out == "65534"


@any_lab
def test_a_signal_ends_a_command_with_all_that_it_started(lab: Lab) -> None:
    job = lab.start("sh", "-c", "sleep 1000 & echo $!; wait")
    child = job.read_until(b"\n").split()[0].decode()
    job.signal(signal.SIGTERM)
    assert job.wait().status == -signal.SIGTERM
    assert lab.python(f"import os; print(os.path.exists('/proc/{child}'))").out == "False"


@any_lab
def test_a_command_over_its_time_is_ended(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"did not end within 0\.5 s"):
        lab.run("sleep", "1000", limit=0.5)
    assert lab.run("true").status == 0


@any_lab
def test_a_signal_is_not_lost_however_early(lab: Lab) -> None:
    for number in (signal.SIGKILL, signal.SIGINT):
        job = lab.start("sleep", "1000")
        job.signal(number)
        # Python may still be in the middle of becoming the command.
        assert job.wait(60).status in (-number, 1)


@any_lab
def test_a_command_ends_although_its_child_writes_on(lab: Lab) -> None:
    done = lab.sh("yes & head -c 300000 /dev/zero >&2; exit 3", limit=60)
    assert (done.status, len(done.stderr)) == (3, 300000)
    assert lab.run("true", limit=60).status == 0


@any_lab
def test_pipes_of_a_command_that_has_ended_are_not_taken_for_those_of_the_next(lab: Lab) -> None:
    running: list[tuple[int, Running]] = []
    for number in range(60):
        size = 70000 + number
        running.append((size, lab.start_python(f"import os; os.write(1, b'a' * {size})")))
        if number >= 6:
            size, job = running.pop(0)
            assert len(job.wait(60).stdout) == size
    assert [len(job.wait(60).stdout) for _, job in running] == [size for size, _ in running]


@any_lab
def test_large_input_to_a_command_that_ends_early(lab: Lab) -> None:
    assert lab.run("head", "-c", "1", stdin=b"x" * 2_000_000).stdout == b"x"


@any_lab
def test_large_streams_arrive_whole(lab: Lab) -> None:
    data = bytes(range(256)) * (frames.CHUNK // 256) * 17
    assert lab.run("cat", stdin=data).stdout == data


@any_lab
def test_commands_run_side_by_side(lab: Lab) -> None:
    first, second = lab.start("cat"), lab.start("cat")
    second.send(b"second\n")
    second.read_until(b"second\n")
    first.send(b"first\n")
    first.read_until(b"first\n")
    for job in (first, second):
        job.close_stdin()
        assert job.wait().status == 0


@any_lab
def test_errors_of_files_keep_their_number(lab: Lab) -> None:
    with pytest.raises(FileNotFoundError):
        lab.read("/sys/none")
    with pytest.raises(OSError) as refused:  # noqa: PT011 (the number is what is asked)
        lab.write("/sys/bus/pci/rescan", "junk\n")
    assert refused.value.errno == errno.EINVAL


@any_lab
def test_an_unknown_command_says_so(lab: Lab) -> None:
    done = lab.run("no-such-command")
    assert (done.status, "no-such-command" in done.err) == (127, True)


@any_lab
def test_what_it_writes_stays_inside(lab: Lab) -> None:
    lab.sh(f"echo inside > {CHECKOUT}/written-by-the-lab").check()
    assert lab.run("cat", CHECKOUT / "written-by-the-lab").out == "inside"
    assert not (CHECKOUT / "written-by-the-lab").exists()
    lab.run("rm", CHECKOUT / "written-by-the-lab").check()


@any_lab
@pytest.mark.parametrize(
    "argv", [("diag", "--version"), ("passthrough", "nonsense"), ("romkit", "info", "/none")]
)
def test_a_forked_program_does_what_an_executed_one_does(lab: Lab, argv: tuple[str, ...]) -> None:
    """`warm.py`: our commands start in a fork of the agent."""
    script = lab.run("which", argv[0]).check().out
    executed = lab.run(sys.executable, script, *argv[1:])
    assert (executed.status == 0) == (argv[1] == "--version")
    for forked in (lab.run(*argv), lab.run(script, *argv[1:])):
        assert (forked.status, forked.out, forked.err) == (
            executed.status, executed.out, executed.err,
        )  # fmt: skip


@any_lab
def test_a_forked_program_is_a_process_like_an_executed_one(lab: Lab) -> None:
    """Its name, folder, user, environment, streams, its end by a signal."""
    source = """import atexit, json, os, sys
atexit.register(print, 'end')
told = [open('/proc/self/comm').read(), sys.argv, sys.path[0], os.getcwd(), os.getuid(),
        os.environ.get('GIVEN'), sys.stdin.read(),
        [[s.encoding, s.errors, s.line_buffering, s.isatty()]
            for s in (sys.stdin, sys.stdout, sys.stderr)],
        __name__, __file__, sys.executable, sys.prefix, sys.flags.isolated,
        sorted(os.listdir('/proc/self/fd'))]
print(json.dumps(told))
if len(sys.argv) > 1:
    import time
    time.sleep(1000)
sys.exit('left')
"""
    folder = "/tmp/programs"
    lab.run("mkdir", folder).check()
    for name in ("diag", "plain"):
        text = f"#!{sys.executable}\n{source}".encode()
        lab.run("sh", "-c", f"cat > {folder}/{name}; chmod 755 {folder}/{name}", stdin=text).check()
    said = {}
    for name in ("diag", "plain"):
        done = lab.run(f"{folder}/{name}", stdin=b"\xfc", env={"GIVEN": "this"}, cwd="/tmp")
        assert (done.status, done.err, done.out.endswith("\nend")) == (1, "left", True)
        said[name] = done.out.replace("plain", "diag")
        job = lab.start(f"{folder}/{name}", "stay")
        job.close_stdin()
        job.signal(signal.SIGTERM)
        assert job.wait(60).status == -signal.SIGTERM
    assert said["diag"] == said["plain"]
    lab.run("rm", "-r", folder).check()


@any_lab
def test_what_a_test_leaves_is_seen(lab: Lab) -> None:
    state = read_state(lab)
    knob = "/sys/module/overlay/parameters/redirect_max"
    lab.write(knob, "255")
    assert read_state(lab) != state
    lab.write(knob, "256")
    assert read_state(lab) == state
    errors = read_errors(lab)
    lab.run("tee", "/dev/kmsg", stdin=b"<4>a warning\n").check()
    assert read_errors(lab) == errors
    lab.run("tee", "/dev/kmsg", stdin=b"<3>an error\n").check()
    assert [line.split("] ")[1] for line in read_errors(lab)[len(errors) :]] == ["an error"]


@every_lab
def test_the_kernel_groups_its_devices_as_the_topology_says(lab: Lab) -> None:
    wanted = set(lab.topology.groups)
    concerned = {address for group in wanted for address in group}
    assert {group for group in lab.groups() if group & concerned} == wanted
    if not wanted:
        assert lab.groups() == set()


@every_lab
def test_the_firmware_has_booted_with_the_display_that_the_topology_names(lab: Lab) -> None:
    shown = {}
    for address in lab.devices():
        try:
            shown[address] = lab.read(f"/sys/bus/pci/devices/{address}/boot_vga")
        except FileNotFoundError:  # not a VGA controller
            continue
    assert [address for address, flag in shown.items() if flag == "1"] == [lab.topology.boot_vga]


@any_lab
def test_two_labs_do_not_meet(lab: Lab) -> None:
    with open_lab(TOPOLOGIES["no-iommu"]) as other:
        other.sh("echo other > /run/mark").check()
        with pytest.raises(FileNotFoundError):
            lab.read("/run/mark")
        assert (len(other.groups()), lab.alive) == (0, True)


@pytest.mark.usefixtures("lab")
@any_lab
def test_a_failed_boot_shows_the_console() -> None:
    broken = replace(TOPOLOGIES["no-iommu"], append="rdinit=/nothing panic=-1")
    with pytest.raises(LabError, match="Kernel panic"), open_lab(broken):
        pass


@pytest.mark.usefixtures("lab")
@any_lab
def test_a_machine_that_qemu_refuses_says_why() -> None:
    broken = replace(TOPOLOGIES["no-iommu"], devices=("no-such-device",))
    with pytest.raises(LabError, match="no-such-device"), open_lab(broken):
        pass


@pytest.mark.usefixtures("lab")
@any_lab
def test_a_module_that_cannot_be_loaded_is_named() -> None:
    with (
        pytest.raises(LabError, match=r"modprobe no-such-module: .*not found"),
        open_lab(TOPOLOGIES["no-iommu"], modules=["overlay", "no-such-module"]),
    ):
        pass


@pytest.mark.usefixtures("lab")
@any_lab
@pytest.mark.parametrize(
    ("word", "other", "said"),
    [
        ("mount_tag=root", "mount_tag=other", "cannot have this machine's /: mount root on /ro"),
        ("virtio-9p-pci", "virtio-9p-none", "needs a QEMU with 9p, and this one says"),
    ],
)
def test_without_9p_there_is_no_lab(
    word: str, other: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = machine.command_line

    def without(*asked: object) -> list[str]:
        return [part.replace(word, other) for part in plain(*asked)]  # type: ignore[arg-type]

    monkeypatch.setattr(machine, "command_line", without)
    with (
        pytest.raises(LabUnavailable, match=re.escape(said)) as reason,
        open_lab(TOPOLOGIES["no-iommu"]),
    ):
        pass
    assert "\n" not in str(reason.value)


def test_what_a_killed_run_has_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "lab-left").mkdir()
    for name in ("lock", "console"):
        (tmp_path / "lab-left" / name).touch()
    with machine.own_folder() as first:
        assert list(tmp_path.iterdir()) == [first]
        with machine.own_folder() as second:
            assert set(tmp_path.iterdir()) == {first, second}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("lab")
@any_lab
def test_a_lab_that_everybody_forgot_ends() -> None:
    with open_lab(TOPOLOGIES["no-iommu"], life=2) as short:
        with pytest.raises(LabError):
            short.run("sleep", "1000", limit=60)
        assert not short.alive
