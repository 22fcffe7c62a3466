"""Driver discs: read back by another program, and by the one that would merge them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import string
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passthrough.vm.guest_kit import guest_kit
from passthrough.vm.media import File, MediaError, check_names, open_disc, write_disc

ISOINFO = shutil.which("isoinfo")
needs_isoinfo = pytest.mark.skipif(ISOINFO is None, reason="needs genisoimage (isoinfo)")

LONG = "A driver with a long name, spaces and ümläuts, as shipped.inf"
TREE = {
    "setup.exe": b"MZ" + bytes(70_000),
    f"Display.Driver/{LONG}": b"[Version]\r\n",
    "a/b/c/d/e/f/g/h/i/deep.sys": b"deep",
    "empty.txt": b"",
    "same name here 1.dll": b"one",
    "same name here 2.dll": b"two",
}


def disc(tree: dict[str, bytes], date: float = 1_700_000_000) -> bytes:
    out = io.BytesIO()
    write_disc({name: File(data, len(data)) for name, data in tree.items()}, out, date=date)
    return out.getvalue()


def read_back(data: bytes) -> dict[str, bytes]:
    with open_disc(io.BytesIO(data), "it") as files:
        return {name: file.source.read() for name, file in files.items()}  # type: ignore[union-attr]  # each has one


@needs_isoinfo
def test_another_program_reads_the_same_names_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "drivers.iso"
    path.write_bytes(disc(TREE))

    def isoinfo(*argv: str) -> bytes:
        whole = [str(ISOINFO), *argv, "-i", str(path)]
        return subprocess.run(whole, check=True, capture_output=True).stdout

    listing = isoinfo("-J", "-j", "iso8859-1", "-f")
    names = {line.decode("iso8859-1") for line in listing.splitlines()}
    for name, data in TREE.items():
        assert f"/{name}" in names
        if name.isascii():
            assert isoinfo("-J", "-x", f"/{name}") == data
    # The plain tree has them all too, under short names.
    plain = isoinfo("-f").decode().split()
    assert len([name for name in plain if name.endswith(";1")]) == len(TREE)
    assert len(set(plain)) == len(plain)
    assert path.read_bytes()[20 * 2048 + 1 :][:5] in (b"NSR02", b"NSR03")  # ECMA-167 3/9.1: UDF


def test_the_clock_has_no_part_in_a_disc() -> None:
    first = disc(TREE)
    zone = os.environ.get("TZ")
    try:
        os.environ["TZ"] = "Asia/Kathmandu"
        import time

        time.tzset()
        assert disc(dict(reversed(TREE.items()))) == first
    finally:
        os.environ.pop("TZ") if zone is None else os.environ.update(TZ=zone)
        time.tzset()
    assert disc(TREE, date=1_600_000_000) != first


part = st.text(string.ascii_letters + string.digits + " _-.äß漢", min_size=1, max_size=20).filter(
    lambda text: text.strip(". ") == text
)
trees = st.dictionaries(
    st.lists(part, min_size=1, max_size=10).map("/".join), st.binary(max_size=5000), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(trees)
def test_what_is_written_is_read_back(tree: dict[str, bytes]) -> None:
    try:
        check_names(tree)
    except MediaError:
        return
    assert read_back(disc(tree)) == tree


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a:b.inf"], "':'"),
        (["x" * 65], "64 characters"),
        (["漢" * 30], "64 characters"),
        (["Setup.exe", "setup.EXE"], "the same name"),
        (["Dir/a", "dir/b"], "the same name"),
        (["dot."], "cannot have"),
        (["a//b"], "cannot have"),
        (["a", "a/b"], "both a file and a directory"),
        (["/".join(["folder"] * 40)], "longer than Windows"),
        (["bad\udcff"], "not in UTF-8"),
    ],
)
def test_names_that_windows_cannot_have_are_refused(names: list[str], says: str) -> None:
    with pytest.raises(MediaError, match=re.escape(says)):
        check_names(dict.fromkeys(names))


@pytest.mark.parametrize("data", [b"", b"MZ" * 5000, bytes(40 * 2048)])
def test_what_is_no_disc_is_refused(data: bytes) -> None:
    with pytest.raises(MediaError, match="not a disc"), open_disc(io.BytesIO(data), "x"):
        pass


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_damaged_disc_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(disc({"a/b.inf": b"text"}))
    for _ in range(5):
        whole[data.draw(st.integers(16 * 2048, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MediaError):
        read_back(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def test_the_answer_file_names_the_virtio_drivers_that_are_there() -> None:
    names = [
        "virtio/viostor/w10/amd64/viostor.inf", "virtio/NetKVM/w10/amd64/netkvm.inf",
        "virtio/viostor/w10/x86/viostor.inf", "virtio/viostor/w7/amd64/viostor.inf",
        "virtio/qxl/w10/amd64/qxl.inf",
    ]  # fmt: skip
    kit = guest_kit(names)
    root = ET.fromstring(kit["autounattend.xml"])
    space = {"u": "urn:schemas-microsoft-com:unattend"}
    paths = {path.text for path in root.iterfind(".//u:Path", space)}
    assert {p[2:] for p in paths if p and p[0] == "D"} == {
        r"\virtio\viostor\w10\amd64", r"\virtio\NetKVM\w10\amd64",
    }  # fmt: skip
    # It answers nothing but where drivers are: no disk is touched by it.
    assert {c.get("name") for c in root.iterfind(".//u:component", space)} == {
        "Microsoft-Windows-PnpCustomizationsWinPE"
    }
    assert "autounattend.xml" not in guest_kit(["readme.txt"])
    assert b"\r\n" in kit["CHECKLIST.txt"]


def run_command(*argv: str) -> subprocess.CompletedProcess[str]:
    import sys

    code = "from passthrough.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "media", "drivers", *argv],
                          capture_output=True, text=True, check=False)  # fmt: skip


def test_the_command_merges_directories_and_virtio(tmp_path: Path) -> None:
    drivers, out = tmp_path / "nvidia", tmp_path / "out.iso"
    (drivers / "Display.Driver").mkdir(parents=True)
    (drivers / "Display.Driver" / LONG).write_bytes(b"text")
    virtio = tmp_path / "virtio.iso"
    virtio.write_bytes(disc({"viostor/w10/amd64/viostor.inf": b"virtio"}))
    argv = [str(drivers), "--virtio", str(virtio), "-o", str(out)]
    done = run_command(*argv)
    assert (done.returncode, done.stderr) == (0, "")
    files = read_back(out.read_bytes())
    assert files[f"nvidia/Display.Driver/{LONG}"] == b"text"
    assert files["virtio/viostor/w10/amd64/viostor.inf"] == b"virtio"
    assert "autounattend.xml" in files

    before = hashlib.sha256(out.read_bytes()).digest()
    again = run_command(*argv)
    assert again.returncode == 3
    assert "exists already" in again.stderr
    assert run_command(*argv, "--force").returncode == 0
    assert hashlib.sha256(out.read_bytes()).digest() == before  # the same files, the same disc
    bad = run_command(str(tmp_path / "absent"), "-o", str(tmp_path / "x.iso"))
    assert bad.returncode == 3
    assert "absent: no such file or directory" in bad.stderr
    taken = run_command(str(drivers), "--virtio", str(virtio), "-o", str(virtio), "--force")
    assert "is an input" in taken.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"nvidia", "out.iso", "virtio.iso"}  # nothing half made is left


def test_no_input_is_overwritten_and_nothing_is_left_out_silently(tmp_path: Path) -> None:
    drivers, out = tmp_path / "nvidia", tmp_path / "out.iso"
    drivers.mkdir()
    empty = run_command(str(drivers), "-o", str(out))
    assert empty.returncode == 3
    assert f"{drivers}: there is no file in it" in empty.stderr
    (drivers / "a.inf").write_bytes(b"text")
    for name in ("a.inf", "../link"):  # by its name, and by another
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(drivers / "a.inf")
        refused = run_command(str(drivers), "-o", str(drivers / name), "--force")
        assert refused.returncode == 3
        assert "is an input" in refused.stderr
        assert (drivers / "a.inf").read_bytes() == b"text"
    (drivers / "loop").symlink_to(drivers)
    (drivers / "gone").symlink_to("nowhere")
    os.mkfifo(drivers / "pipe")
    done = run_command(str(drivers), "-o", str(out))
    assert done.returncode == 0
    assert sorted(done.stderr.splitlines()) == [
        f"left out: {drivers}/gone: a link that leads nowhere",
        f"left out: {drivers}/loop: a link to a directory",
        f"left out: {drivers}/pipe: no file",
    ]
    lost = run_command(str(drivers), "-o", str(tmp_path / "no/such/out.iso"))
    assert lost.returncode == 3
    assert lost.stderr.splitlines() == [
        f"passthrough: {tmp_path}/no/such/out.iso: there is no directory {tmp_path}/no/such",
        "  try: check the name",
    ]
