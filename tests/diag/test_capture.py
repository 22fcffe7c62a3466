"""`diag capture`: what it takes, and that a capture answers as the machine did."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from builders.captured import AUDIO, GPU, PORT, TAKEN, laptop, reopened
from builders.config_space import Function, config_space
from builders.known import known
from hypothesis import given
from hypothesis import strategies as st

from diag.capture import archive_capture, open_capture, parse_capture, read_capture
from diag.capture.allowed import ALLOWED, Take
from diag.checks.qemu import installed
from diag.errors import Unreadable
from diag.holders import read_holders
from diag.host import Host
from diag.inventory import Inventory
from diag.render.capture import capture_summary
from diag.tree import MemoryTree
from romkit.finding import Verdict
from romkit.render.style import Style

DIAG = [sys.executable, "-c", "from diag.cli import main; main()"]


def run(*args: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DIAG, *map(str, args)], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


# A capture answers as the machine did.


@pytest.mark.parametrize("asleep", [False, True])
def test_a_capture_knows_what_the_machine_knows(asleep: bool) -> None:
    tree = laptop(asleep=asleep)
    assert len(Inventory(tree.host()).devices) == 3
    assert known(reopened(tree.host())) == known(tree.host())


def test_this_machine_a_capture_of_it_and_its_capture_again_are_equal() -> None:
    capture = read_capture(Host(), taken=TAKEN)
    first = known(capture.host())
    again = read_capture(parse_capture(archive_capture(capture)).host(), taken=TAKEN)
    assert known(again.host()) == first
    assert (again.files, again.links, again.refused) == (
        capture.files, capture.links, capture.refused,
    )  # fmt: skip
    live = Inventory(Host())
    assert [repr(d.address) for d in live.devices] == [d[0] for d in first[0]]


def test_an_unpacked_directory_gives_the_same_capture(tmp_path: Path) -> None:
    tree = laptop()
    from_memory = read_capture(tree.host(), taken=TAKEN)
    from_folder = read_capture(Host(tree.write(tmp_path)), taken=TAKEN)
    assert from_folder.files == from_memory.files
    assert from_folder.links == from_memory.links


def test_the_same_machine_gives_the_same_bytes() -> None:
    assert archive_capture(read_capture(laptop().host(), taken=TAKEN)) == archive_capture(
        read_capture(laptop().host(), taken=TAKEN)
    )


_NAMES = (
    "vendor class power_state resource label driver iommu_group enable config reset msi_irqs/32"
)
NAMES = st.sampled_from(_NAMES.split())
CONTENT = st.binary(max_size=40) | st.sampled_from([b"D0\n", b"0x10de\n", b""])
ADDRESSES = st.sampled_from([GPU, AUDIO, PORT, "10000:e1:00.0"])


@given(
    files=st.dictionaries(st.tuples(ADDRESSES, NAMES), CONTENT, max_size=12),
    refused=st.dictionaries(
        st.tuples(ADDRESSES, NAMES), st.sampled_from([errno.EACCES, errno.EINVAL, errno.EIO])
    ),
    links=st.dictionaries(
        ADDRESSES,
        st.sampled_from(
            ["../../../devices/a", "/sys/devices/a", GPU, AUDIO, "../../../../..", "."]
        ),
    ),
    modules=st.dictionaries(st.sampled_from(["kvm", "vfio", "i915"]), CONTENT),
)
def test_any_tree_answers_the_same_when_reopened(
    files: dict[tuple[str, str], bytes],
    refused: dict[tuple[str, str], int],
    links: dict[str, str],
    modules: dict[str, bytes],
) -> None:
    folder = "/sys/bus/pci/devices"
    contents = {f"{folder}/{a}/{n}": d for (a, n), d in files.items() if a not in links}
    contents |= {f"/sys/module/{name}/parameters/p": data for name, data in modules.items()}
    if links:
        contents["/sys/devices/a/vendor"] = b"0x8086\n"
    no = {f"{folder}/{a}/{n}": e for (a, n), e in refused.items() if a not in links}
    no = {path: number for path, number in no.items() if path not in contents}
    there = {f"{folder}/{address}": target for address, target in links.items()}
    before = Host(tree=MemoryTree(contents, there, no))
    after = reopened(before)
    paths = {
        *(contents.keys() - {"/sys/devices/a/vendor"}),
        *no,
        *there,
        folder,
        "/sys/module",
        "/etc/none",
    }
    paths |= {f"{folder}/{a}/{n}" for a in links for n in ("vendor", "class", "..")}
    for path in paths:
        for ask in ("exists", "link", "names", "chase"):
            if ask == "names" and path not in (folder, "/sys/module"):
                continue  # others are listed as far as they are taken
            assert answer(after, ask, path) == answer(before, ask, path), (ask, path)
        if path.rpartition("/")[2] in ("driver", "iommu_group", "reset") or "*" in path:
            continue  # only that they are there is taken
        was = answer(before, "data", path)
        if path.endswith("/config") and before_sleeps(before, path):
            continue
        assert answer(after, "data", path) == was, path


def before_sleeps(host: Host, path: str) -> bool:
    state = answer(host, "text", f"{path.rpartition('/')[0]}/power_state")
    return state in ("D1", "D2", "D3hot", "D3cold")


def answer(host: Host, ask: str, path: str) -> object:
    try:
        return getattr(host, ask)(path)
    except Unreadable as error:
        return (error.path, error.why, error.needs_root)


def test_every_path_that_diag_asks_for_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check whose question a capture cannot answer would find another machine in it."""
    from fnmatch import fnmatchcase

    asked: set[tuple[str, str]] = set()
    for name in ("data", "names", "exists", "link"):
        original = getattr(Host, name)

        def noting(self: Host, path: str, *args: object, ask: str = name, call=original) -> object:
            asked.add((ask, path.rstrip("/")))
            return call(self, path, *args)

        monkeypatch.setattr(Host, name, noting)
    for host in (laptop().host(), laptop(asleep=True).host(), Host()):
        inventory = Inventory(host)
        known(host)
        for part in (name for name in dir(type(inventory)) if not name.startswith("_")):
            try:
                getattr(inventory, part)
            except Unreadable:
                continue
    release = Host().text("/proc/sys/kernel/osrelease") or ""

    def fits(pattern: str, path: str) -> bool:
        for version in (release, "6.1.0-18-amd64"):
            wanted, parts = pattern.format(release=version).split("/"), path.split("/")
            if len(wanted) >= len(parts) and all(map(fnmatchcase, parts, wanted)):
                return True
        return False

    wrong = []
    for ask, path in asked:
        patterns = [a for a in ALLOWED if fits(a.pattern, f"{path}/*" if ask == "names" else path)]
        if ask == "data":
            depth = path.count("/")
            exact = [a for a in patterns if a.pattern.count("/") == depth]
            patterns = [a for a in exact if a.take is not Take.PRESENCE]
        # Processes are taken by a rule of their own.
        if not patterns and not path.startswith("/proc/") and path != "/proc":
            # The lists of what redaction looks for, and the pieces of chosen parents.
            wrong.append((ask, path))
    assert wrong == []


# Sleeping devices.


def test_a_sleeping_device_is_left_alone() -> None:
    tree = laptop(asleep=True)
    tree.file(f"{tree.place(GPU)}/resource1_resize", "0000000000000ff0")
    capture = read_capture(tree.host())
    waking = ("/config", "_link_speed", "_resize")
    assert [path for path in tree.reads if path.endswith(waking)] == []
    assert GPU in capture.asleep
    assert AUDIO in capture.asleep  # awake by itself, below a sleeping port
    read_capture(tree.host(), wake=True)
    assert any(path.endswith(f"{GPU}/config") for path in tree.reads)
    assert any(path.endswith(f"{GPU}/resource1_resize") for path in tree.reads)


def test_switches_whose_reading_wakes_are_taken_with_wake_only() -> None:
    tree = laptop().file("/proc/acpi/bbswitch", "0000:01:00.0 OFF")
    capture = read_capture(tree.host())
    assert "/proc/acpi/bbswitch" not in tree.reads
    assert "/proc/acpi/bbswitch" in capture.left_out
    host = capture.host()
    assert host.exists("/proc/acpi/bbswitch")
    with pytest.raises(Unreadable):
        host.text("/proc/acpi/bbswitch")
    woken = read_capture(tree.host(), wake=True).host()
    assert woken.text("/proc/acpi/bbswitch") == "0000:01:00.0 OFF"


# What is refused.


def test_that_a_program_is_not_there_is_in_a_capture() -> None:
    """Without the folders nobody could tell it from what nobody looked at."""
    read = reopened(laptop().folder("/usr/bin").host())
    (found,) = (f for f in installed.run(Inventory(read)))
    assert found.blocks
    (found,) = (f for f in installed.run(Inventory(reopened(laptop().host()))))
    assert found.verdict is Verdict.UNKNOWN


def test_what_an_ordinary_user_misses_is_said() -> None:
    tree = laptop().refused("/sys/firmware/acpi/tables/DMAR").refused("/proc/iomem")
    tree.device("0000:00:02.0", config=config_space(Function(), 64))
    capture = read_capture(tree.host())
    wanted = {
        "/sys/firmware/acpi/tables/DMAR",
        "/proc/iomem",
        f"{tree.place('0000:00:02.0')}/config",
    }
    assert set(capture.root_would_add) == wanted
    with pytest.raises(Unreadable) as refused:
        open_capture(archive_capture(capture)).text("/proc/iomem")
    assert refused.value.needs_root


def test_what_many_processes_and_devices_refuse_is_said_in_one_line() -> None:
    tree = laptop()
    for pid in range(1, 40):
        tree.file(f"/proc/{pid}/comm", "secret-program")
        tree.folder(f"/proc/{pid}/fd").refused(f"/proc/{pid}/fd")
    text = capture_summary(read_capture(tree.host()), None, Style(False))
    assert "/proc/*/fd (39)" in text
    assert len(text.splitlines()) < 10


def test_of_processes_only_those_that_hold_a_gpu_are_named() -> None:
    tree = laptop()
    for pid, node in (("7", "/dev/nvidia0"), ("8", "/home/alice/diary"), ("9", "/dev/null")):
        tree.file(f"/proc/{pid}/comm", f"program{pid}").folder(f"/proc/{pid}/fd")
        tree.link(f"/proc/{pid}/fd/3", node)
    host = reopened(tree.host())
    assert read_holders(host, ("/dev/nvidia0",)) == read_holders(tree.host(), ("/dev/nvidia0",))
    assert host.text("/proc/7/comm") == "program7"
    assert not answer(host, "names", "/proc/8/fd")
    with pytest.raises(Unreadable):
        host.text("/proc/8/comm")


def test_a_folder_that_cannot_be_entered_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    class Closed(MemoryTree):
        def kind(self, path: str):  # type: ignore[no-untyped-def]
            if path.startswith("/boot/efi/"):
                raise PermissionError(errno.EACCES, "EACCES", path)
            return super().kind(path)

    host = Host(tree=Closed({}, {}, {}, frozenset({"/boot/efi"})))
    with pytest.raises(Unreadable):
        host.exists("/boot/efi/loader/entries")
    read = reopened(host)
    with pytest.raises(Unreadable) as refused:
        read.exists("/boot/efi/loader/entries")
    assert refused.value.needs_root


# The command.


def test_the_command_writes_one_file_that_the_command_reads(tmp_path: Path) -> None:
    root, path = laptop().write(tmp_path / "root"), tmp_path / "laptop.tar.xz"
    done = run("capture", "-o", path, "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: {path.stat().st_size} bytes\n")
    again = run("capture", "-o", tmp_path / "again.tar.xz", "--root", path)
    assert again.returncode == 0
    assert parse_capture(path.read_bytes()).files == (
        parse_capture((tmp_path / "again.tar.xz").read_bytes()).files
    )


def test_the_command_overwrites_nothing_unless_told(tmp_path: Path) -> None:
    root, path = laptop().write(tmp_path / "root"), tmp_path / "there"
    path.write_text("mine")
    done = run("capture", "-o", path, "--root", root)
    assert done.returncode == 3
    assert "exists already" in done.stderr
    assert path.read_text() == "mine"
    assert run("capture", "-o", path, "--root", root, "--force").returncode == 0
    assert path.read_bytes()[:6] == b"\xfd7zXZ\0"
    missing = run("capture", "-o", tmp_path / "no/where", "--root", root)
    assert (missing.returncode, "mkdir -p" in missing.stderr) == (3, True)
    assert not (tmp_path / "no").exists()


def test_the_list_writes_nothing(tmp_path: Path) -> None:
    root = laptop().write(tmp_path / "root")
    done = run("capture", "--list", "--root", root, cwd=tmp_path)
    assert done.returncode == 0
    assert "/proc/cmdline" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert run("capture", "--root", root).returncode == 2
    assert run("capture", "-o", "x", "--list").returncode == 2


def test_standard_output_takes_the_archive() -> None:
    done = subprocess.run([*DIAG, "capture", "-o", "-"], capture_output=True, check=True)
    assert parse_capture(done.stdout).kernel == os.uname().release
    assert b"files" in done.stderr


def test_what_is_no_capture_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no capture")
    for root in (path, tmp_path / "missing"):
        done = run("capture", "--list", "--root", root)
        assert done.returncode == 3
        assert str(root) in done.stderr
        assert "Traceback" not in done.stderr


def test_the_manifest_is_json_that_names_its_tool() -> None:
    data = archive_capture(read_capture(laptop().host(), taken=TAKEN))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        member = tar.extractfile("manifest.json")
        assert member is not None
        said = json.load(member)
    assert names[:2] == ["manifest.json", "commands.json"]
    assert {name.split("/")[0] for name in names} == {"manifest.json", "commands.json", "root"}
    assert (said["format"], said["taken"]) == ("dgpukit capture", TAKEN)
    assert said["kernel"] == "6.1.0-18-amd64"
