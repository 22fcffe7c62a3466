"""The door to a machine: the same answers from a directory and from a capture in memory."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.apart import Apart
from diag.capture.walk import Walk
from diag.errors import Unreadable
from diag.host import MAX_LINKS, Host, Transcript
from diag.tree import Kind, MemoryTree

FILES = {"/sys/kernel/x": b"one\n", "/etc/os-release": b"ID=debian\n", "/empty/file": b""}
LINKS = {
    "/sys/up": "../etc/os-release",  # climbs out of its folder, not out of the root
    "/sys/root": "/sys/kernel",
    "/sys/driver": "../../../bus/pci/drivers/vfio-pci",
    "/loop/a": "b",
    "/loop/b": "/loop/a",
    "/escape": "../../../../../../etc/os-release",
}

Make = Callable[[], Host]


@pytest.fixture(params=["directory", "memory"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    if request.param == "memory":
        return Host(tree=MemoryTree(FILES, LINKS, {}))
    for path, data in FILES.items():
        place = tmp_path / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for path, target in LINKS.items():
        place = tmp_path / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    return Host(tmp_path)


def test_a_file_is_text_and_bytes(host: Host) -> None:
    assert host.text("/sys/kernel/x") == "one"
    assert host.data("/sys/kernel/x") == b"one\n"
    assert host.data("/sys/kernel/x", limit=2) == b"on"
    assert host.text("/empty/file") == ""


@pytest.mark.parametrize("path", ["/none", "/none/below", "/sys/kernel/x/below", "/sys/driver"])
def test_what_is_absent_is_none(host: Host, path: str) -> None:
    assert (host.text(path), host.data(path), host.exists(path)) == (None, None, False)
    assert host.names(path) is None


def test_links_are_followed_inside_the_root(host: Host) -> None:
    assert host.text("/sys/up") == "ID=debian"
    assert host.text("/sys/root/x") == "one"
    assert host.text("/escape") == "ID=debian"
    assert host.names("/sys/root") == ("x",)


def test_a_link_has_the_name_of_where_it_leads_even_if_nothing_is_there(host: Host) -> None:
    assert host.link("/sys/driver") == "vfio-pci"
    assert host.link("/sys/kernel/x") is None
    assert host.link("/sys/none") is None


def test_links_in_a_circle_are_unreadable_and_not_absent(host: Host) -> None:
    with pytest.raises(Unreadable, match="circle"):
        host.text("/loop/a")


def test_a_chain_of_links_as_long_as_the_kernel_allows(tmp_path: Path) -> None:
    links = {f"/l{n}": f"l{n + 1}" for n in range(MAX_LINKS)}
    files = {f"/l{MAX_LINKS}": b"end"}
    assert Host(tree=MemoryTree(files, links, {})).text("/l0") == "end"
    longer = {**links, "/first": "l0"}
    with pytest.raises(Unreadable):
        Host(tree=MemoryTree(files, longer, {})).text("/first")


def test_a_folder_is_no_file(host: Host) -> None:
    with pytest.raises(Unreadable, match="directory"):
        host.text("/sys/kernel")


def test_what_a_capture_was_refused_is_unreadable_as_it_was_then() -> None:
    host = Host(tree=MemoryTree({}, {}, {"/sys/rom": errno.EACCES, "/sys/bad": errno.EIO}))
    with pytest.raises(Unreadable) as refused:
        host.data("/sys/rom")
    assert (refused.value.needs_root, refused.value.path) == (True, "/sys/rom")
    assert "root" in refused.value.hint
    with pytest.raises(Unreadable) as broken:
        host.data("/sys/bad")
    assert broken.value.needs_root is False
    assert host.exists("/sys/rom") is True


@pytest.mark.skipif(os.geteuid() == 0, reason="root is refused nothing")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(Unreadable) as refused:
        Host(tmp_path).text("/secret")
    assert refused.value.needs_root


def test_a_fifo_does_not_hold_it_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Host(tmp_path).data("/pipe") == b""


def test_it_has_no_way_to_write() -> None:
    verbs = {name for name in dir(Host) if not name.startswith("_")}
    assert verbs == {
        "chase", "data", "devices", "exists", "has_program", "link", "links", "names",
        "properties", "run",
        "text", "tree", "uevents",
    }  # fmt: skip


def test_programs_run_only_on_the_live_machine(tmp_path: Path) -> None:
    assert Host(tmp_path).run("true") is None
    said = Transcript(("lspci",), 0, "00:00.0 Host bridge\n")
    captured = Host(tree=MemoryTree({}, {}, {}), transcripts={("lspci",): said})
    assert captured.run("lspci") == said
    live = Host().run("sh", "-c", "echo $LC_ALL; echo told >&2; exit 3")
    assert live is not None
    assert (live.status, live.out, live.err) == (3, "C\n", "told\n")
    assert Host().run("no-such-program-anywhere") is None


@pytest.mark.parametrize("path", [None, "", ":/usr/bin", "/usr/bin::.", "bin:/usr/bin"])
def test_no_program_is_run_from_the_current_folder(
    path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path / "uname", tmp_path / "planted", tmp_path / "bin/uname"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("#!/bin/sh\necho planted\n")
        place.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path)
    assert Host().run("planted") is None
    said = Host().run("uname")
    assert said is not None
    assert said.out == "Linux\n"
    # Nor does a program that it runs.
    assert (said := Host().run("sh", "-c", "planted")) is not None
    assert said.status == 127


def test_where_links_lead_is_told_without_looking_there() -> None:
    looked: list[str] = []

    class Watched(MemoryTree):
        def kind(self, path: str) -> Kind:
            looked.append(path)
            return super().kind(path)

    links = {"/proc/7/fd/3": "/net/dead/file", "/proc/7/fd/4": "../../../dev/null"}
    host = Host(tree=Watched({"/proc/7/fd/5": b""}, links, {}))
    assert host.links("/proc/7/fd") == {"3": "/net/dead/file", "4": "/dev/null"}
    assert not [path for path in looked if path.startswith(("/net", "/dev"))]
    assert host.links("/none") == {}


def never_answered(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on the kernel does not answer when an attribute of this name is read."""
    ours, read = os.getpid(), os.read

    def waiting(fd: int, size: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink().name == name:
            assert os.getpid() != ours, "it would block"
            signal.alarm(10)  # nobody is left behind by a test
            signal.pause()
        return read(fd, size)

    monkeypatch.setattr("diag.host._MAY_BLOCK", (name,))
    monkeypatch.setattr("diag.apart.PATIENCE", 0.05)
    monkeypatch.setattr("diag.host.os.read", waiting)
    # The process that reads what may block is a new one, which knows of this.
    monkeypatch.setattr("diag.host.apart", Apart())


def test_an_attribute_that_blocks_holds_neither_reading_nor_a_capture_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_answered(monkeypatch, "osrelease")
    path, host = "/proc/sys/kernel/osrelease", Host()
    with pytest.raises(Unreadable, match="not answered") as live:
        host.text(path)
    walk = Walk(host.tree)
    for _, place in walk.matches(path):
        walk.take(place)
    assert walk.files == {}
    # Who reads the capture is told the same.
    captured = Host(tree=MemoryTree(walk.files, walk.links, walk.refused))
    with pytest.raises(Unreadable) as then:
        captured.text(path)
    assert (then.value.why, then.value.hint) == (live.value.why, live.value.hint)


parts = st.sampled_from(["a", "b", "c", "..", ".", "", "d/e"])
paths = st.lists(parts, min_size=1, max_size=6).map(lambda found: "/" + "/".join(found))


@given(paths, st.dictionaries(st.sampled_from(["/a", "/a/b", "/c", "/d/e"]), paths, max_size=4))
def test_no_path_and_no_link_leaves_the_root_or_hangs(path: str, links: dict[str, str]) -> None:
    host = Host(tree=MemoryTree({"/b": b"inside"}, links, {}))
    try:
        place = host.chase(path)
    except Unreadable:
        return
    assert place.startswith("/")
    assert ".." not in place.split("/")
    assert "//" not in place
