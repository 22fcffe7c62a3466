"""Archives that no honest tool makes are refused, whatever is wrong with them."""

from __future__ import annotations

import io
import json
import lzma
import subprocess
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.host import HostTree
from hypothesis import given
from hypothesis import strategies as st

from diag.capture import archive_capture, open_capture, parse_capture, read_capture
from diag.capture.archive import MAX_MEMBERS, MAX_UNPACKED, pack, unpack
from diag.errors import BadCapture, DiagError

Entry = tuple[tarfile.TarInfo, bytes]


def honest() -> bytes:
    tree = HostTree().kernel().cmdline("quiet").device("0000:01:00.0", group=1)
    return archive_capture(read_capture(tree.host(), taken="2024-05-01T12:00:00Z"))


HONEST = honest()


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **values: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in values.items():
        setattr(info, key, value)
    return info, data


def archive(*more: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """The honest capture with further members."""
    stream = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(HONEST)) as old,
        tarfile.open(fileobj=stream, mode="w", format=form) as tar,
    ):
        for member in old:
            tar.addfile(member, old.extractfile(member) if member.isfile() else None)
        for info, data in more:
            tar.addfile(info, io.BytesIO(data))
    return lzma.compress(stream.getvalue(), preset=0)


def manifest(**changes: object) -> bytes:
    """The honest capture with another manifest."""
    with tarfile.open(fileobj=io.BytesIO(HONEST)) as old:
        member = old.extractfile("manifest.json")
        assert member is not None
        about = json.load(member) | changes
    return pack({"manifest.json": json.dumps(about).encode(), "commands.json": b"[]"})


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_honest_archive_of_any_format_is_read(form: int) -> None:
    name = "root/sys/devices/" + "pci0000:00/" * 7 + "vendor"
    longer = "root/sys/" + "a" * 90 + "/" + "b" * 60
    data = archive(entry(name, b"0x10de\n"), entry(longer, b"x"), form=form)
    host = open_capture(data)
    assert host.text(f"/{name.removeprefix('root/')}") == "0x10de"
    assert host.text(f"/{longer.removeprefix('root/')}") == "x"


def test_names_too_long_for_a_header_come_back() -> None:
    name, target = f"root/sys/{'a/' * 150}b", "c/" * 100 + "d"
    members = {member.name: member for member in unpack(pack({name: b"1", "root/link": target}))}
    assert members[name].data == b"1"
    assert members["root/link"].target == target


def test_tar_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "capture.tar.xz"
    path.write_bytes(HONEST)
    subprocess.run(["tar", "xJf", path], cwd=tmp_path, check=True)
    assert (tmp_path / "root/proc/cmdline").read_text() == "quiet\n"
    link = tmp_path / "root/sys/bus/pci/devices/0000:01:00.0"
    assert link.resolve().is_relative_to(tmp_path / "root")


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000000"}
HOSTILE: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: archive(entry("/etc/passwd", b"x")),
    "absolute below root": lambda: archive(entry("root//etc/passwd", b"x")),
    "up": lambda: archive(entry("root/../../etc/passwd", b"x")),
    "elsewhere": lambda: archive(entry("etc/passwd", b"x")),
    "absolute link": lambda: archive(entry("root/l", kind=tarfile.SYMTYPE, linkname="/etc")),
    "link out": lambda: archive(entry("root/a/l", kind=tarfile.SYMTYPE, linkname="../../x")),
    "link out and in": lambda: archive(
        entry("root/l", kind=tarfile.SYMTYPE, linkname="x/../../root/y")
    ),
    "link at the top": lambda: archive(entry("l", kind=tarfile.SYMTYPE, linkname="root")),
    "empty link": lambda: archive(entry("root/l", kind=tarfile.SYMTYPE, linkname="")),
    "below a link": lambda: archive(
        entry("root/l", kind=tarfile.SYMTYPE, linkname="proc"), entry("root/l/x", b"x")
    ),
    "below a file": lambda: archive(entry("root/proc/cmdline/x", b"x")),
    "hard link": lambda: archive(entry("root/h", kind=tarfile.LNKTYPE, linkname="root/proc/x")),
    "device": lambda: archive(entry("root/d", kind=tarfile.CHRTYPE)),
    "block device": lambda: archive(entry("root/d", kind=tarfile.BLKTYPE)),
    "fifo": lambda: archive(entry("root/f", kind=tarfile.FIFOTYPE)),
    "gnu sparse": lambda: archive(entry("root/s", kind=tarfile.GNUTYPE_SPARSE)),
    "pax sparse": lambda: archive(entry("root/s", b"x" * 512, pax_headers=SPARSE)),
    "pax size": lambda: archive(entry("root/s", b"x", pax_headers={"size": "99999999999"})),
    "pax charset": lambda: archive(entry("root/s", b"x", pax_headers={"hdrcharset": "BINARY"})),
    "unknown kind": lambda: archive(entry("root/s", kind=b"Z")),
    "folder with content": lambda: archive(entry("root/s", b"x" * 512, kind=tarfile.DIRTYPE)),
    "twice": lambda: archive(entry("root/proc/cmdline", b"another")),
    "file and folder": lambda: archive(entry("root/proc/cmdline", kind=tarfile.DIRTYPE)),
    "two manifests": lambda: archive(entry("manifest.json", b"{}")),
    "control characters": lambda: archive(entry("root/\x1b[2J", b"x")),
    "no text": lambda: archive(entry("root/\udcff", b"x"), form=tarfile.GNU_FORMAT),
    "no manifest": lambda: pack({"root/proc/cmdline": b"x"}),
    "nothing in it": lambda: pack({}),
    "no tar": lambda: lzma.compress(b"x" * 10240),
    "no xz": lambda: b"x" * 1000,
    "gzip": lambda: b"\x1f\x8b\x08" + bytes(100),
    "empty": lambda: b"",
    "cut off": lambda: HONEST[: len(HONEST) // 2],
    "without its end": lambda: HONEST[:-1],
    "more behind it": lambda: HONEST + b"more",
    "two archives": lambda: HONEST + HONEST,
    "data behind the end": lambda: lzma.compress(lzma.decompress(HONEST) + b"more" * 128),
    "no json": lambda: pack({"manifest.json": b"{"}),
    "deep json": lambda: pack({"manifest.json": b"[" * 100_000}),
    "long number": lambda: pack({"manifest.json": b"1" * 100_000}),
    "other json": lambda: pack({"manifest.json": b"[]"}),
    "another format": lambda: manifest(format="something"),
    "newer": lambda: manifest(version=99),
    "no date": lambda: manifest(taken=None),
    "refused up": lambda: manifest(refused={"/a/../../b": {"errno": 13}}),
    "refused number": lambda: manifest(refused={"/a": {"errno": "13"}}),
    "refused huge": lambda: manifest(refused={"/a": {"errno": 10**30}}),
    "refused below refused": lambda: manifest(not_taken=["/a", "/a/b"]),
    "relative": lambda: manifest(not_taken=["a"]),
    "no list": lambda: manifest(not_taken={"/a": 1}),
    "no command": lambda: pack(
        {"manifest.json": _manifest_bytes(), "commands.json": b'[{"argv": "uname"}]'}
    ),
}


def _manifest_bytes() -> bytes:
    return next(m.data for m in unpack(HONEST) if m.name == "manifest.json" and m.data)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused(kind: str) -> None:
    with pytest.raises(BadCapture) as refused:
        parse_capture(HOSTILE[kind]())
    assert refused.value.message


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    """One GiB of zeros in some 150 KiB: as one member, and as the content of many."""
    one, many = tarfile.TarInfo("root/proc/zero"), io.BytesIO()
    one.size = 1 << 30
    with tarfile.open(fileobj=many, mode="w") as tar:
        for number in range(5):
            part = tarfile.TarInfo(f"root/proc/{number}")
            part.size = 16 << 20
            tar.addfile(part, io.BytesIO(bytes(part.size)))
    packer = lzma.LZMACompressor(preset=0)
    header = one.tobuf()
    single = packer.compress(header) + packer.compress(bytes(80 << 20)) + packer.flush()
    for bomb in (single, lzma.compress(many.getvalue(), preset=0)):
        assert len(bomb) < 100_000
        tracemalloc.start()
        started = time.monotonic()
        with pytest.raises(BadCapture):
            parse_capture(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * MAX_UNPACKED
        assert time.monotonic() - started < 20


def test_too_many_members_are_refused() -> None:
    block = entry("root/f")[0].tobuf()
    data = lzma.compress(block * (2 * MAX_MEMBERS + 1), preset=0)
    with pytest.raises(BadCapture):
        parse_capture(data)


def test_a_dictionary_that_wants_gigabytes_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    try:
        data = lzma.compress(lzma.decompress(HONEST), filters=filters)
    except MemoryError:
        pytest.skip("no memory to make such an archive")
    with pytest.raises(BadCapture):
        parse_capture(data)


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_capture_or_refused(data: bytes) -> None:
    for whole in (data, lzma.compress(data, preset=0)):
        with pytest.raises(DiagError):
            parse_capture(whole)


@given(st.integers(0, 1 << 20), st.integers(0, 255), st.booleans())
def test_a_changed_byte_is_read_or_refused(place: int, value: int, inside: bool) -> None:
    data = bytearray(lzma.decompress(HONEST) if inside else HONEST)
    data[place % len(data)] = value
    try:
        capture = parse_capture(lzma.compress(bytes(data), preset=0) if inside else bytes(data))
    except BadCapture:
        return
    assert capture.files
