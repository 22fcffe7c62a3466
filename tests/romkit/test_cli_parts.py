"""`split` and `join`: parts on a disk."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from builders.pe import GOP_GUID, build_pe
from builders.rom import image, pcir
from romkit_command import run


def test_split_and_join_are_inverse(wrapped: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "joined.rom"
    done = run("split", wrapped, "-d", parts)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(list(parts.iterdir()))
    assert run("join", parts, "-o", out).stdout == b"6144 bytes, unchanged\n"
    assert out.read_bytes() == wrapped.read_bytes()
    # Again, into the same directory: nothing is lost, nothing is refused.
    assert run("split", wrapped, "-d", parts).returncode == 0


def test_split_does_not_overwrite_another_roms_parts(
    wrapped: Path, mobile: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    run("split", wrapped, "-d", parts)
    before = {p.name: p.read_bytes() for p in parts.iterdir()}
    done = run("split", mobile, "-d", parts)
    assert done.returncode == 3
    assert b"exists already" in done.stderr
    assert {p.name: p.read_bytes() for p in parts.iterdir()} == before


def test_parts_go_into_a_directory(wrapped: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"precious")
    done = run("split", wrapped, "-d", file, "--force")
    assert done.returncode == 3
    assert f"{file}: is no directory".encode() in done.stderr
    assert file.read_bytes() == b"precious"


def test_join_makes_a_rom_from_an_image_and_a_driver(tmp_path: Path) -> None:
    legacy, driver, out = (tmp_path / n for n in ("a.rom", "b.efi", "out.rom"))
    legacy.write_bytes(image(pcir(vendor=0x1002)))
    driver.write_bytes(build_pe(GOP_GUID))
    done = run("join", legacy, driver, "-o", out)
    assert done.returncode == 0
    (record,) = json.loads(run("parse", "--json", out).stdout)
    assert [i["code_type"] for i in record["images"]] == [0, 3]
    assert [i["last"] for i in record["images"]] == [False, True]
    assert record["images"][1]["vendor"] == "1002"


def test_join_takes_a_device_list(tmp_path: Path) -> None:
    driver, out = tmp_path / "b.efi", tmp_path / "out.rom"
    driver.write_bytes(build_pe(GOP_GUID))
    lost = run("join", driver, "-o", out)
    assert b"`--device 10de:1c8d`" in lost.stderr
    assert run("join", driver, "-o", out, "--device-list", "1c20").returncode == 2
    ids = ("--device", "10de:1c8d", "--device-list", "1c20,1c60")
    assert run("join", driver, "-o", out, *ids).returncode == 0
    (found,) = json.loads(run("find", out, "--json").stdout)
    assert found["ids"] == ["10de:1c8d", "10de:1c20", "10de:1c60"]


def test_split_never_replaces_its_input(wrapped: Path, mobile: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    assert run("split", wrapped, "-d", parts).returncode == 0
    given = sorted(parts.glob("*.rom"))[0]
    given.write_bytes(mobile.read_bytes())
    before = {p.name: p.read_bytes() for p in parts.iterdir()}
    done = run("split", given, "-d", parts, "--force")
    assert done.returncode == 3
    assert b"is an input, which is never changed" in done.stderr
    assert {p.name: p.read_bytes() for p in parts.iterdir()} == before


def test_parts_are_written_together_or_not_at_all(
    wrapped: Path, mobile: Path, tmp_path: Path
) -> None:
    """The disk is full after the first small parts: none of them may be there."""
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
    )
    parts, fresh = tmp_path / "parts", tmp_path / "fresh"
    assert run("split", mobile, "-d", parts).returncode == 0
    before = {p.name: p.read_bytes() for p in parts.iterdir()}
    small = tmp_path / "small.rom"
    small.write_bytes(image(pcir(vendor=0x1002, blocks=1), blocks=1) + bytes(700))
    for folder, source in ((parts, wrapped), (fresh, small)):
        failed = run("split", source, "-d", folder, "--force", preamble=limit)
        assert failed.returncode == 3
        assert b"cannot be written" in failed.stderr
    assert {p.name: p.read_bytes() for p in parts.iterdir()} == before
    assert list(fresh.iterdir()) == []


def test_the_manifest_comes_last(mobile: Path, tmp_path: Path) -> None:
    """What is interrupted between two names has none that vouches for the others."""
    broken = (
        "from pathlib import Path\n"
        "real = Path.hardlink_to\n"
        "def hardlink_to(self, target):\n"
        "    if self.name.startswith('manifest'):\n"
        "        raise OSError(28, 'No space left on device')\n"
        "    real(self, target)\n"
        "Path.hardlink_to = hardlink_to\n"
    )
    parts = tmp_path / "parts"
    failed = run("split", mobile, "-d", parts, preamble=broken)
    assert failed.returncode == 3
    assert b"manifest.toml: cannot be written" in failed.stderr
    assert not [p.name for p in parts.iterdir() if p.name.startswith((".", "manifest"))]
    joined = run("join", parts, "-o", tmp_path / "out.rom")
    assert joined.returncode == 3
    assert b"manifest.toml is missing" in joined.stderr


def test_join_refuses_the_parts_of_another_rom(mobile: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out.rom"
    assert run("split", mobile, "-d", parts).returncode == 0
    part = sorted(parts.glob("*.rom"))[0]
    other = bytearray(part.read_bytes())
    other[0x100] ^= 1
    part.write_bytes(other)
    refused = run("join", parts, "-o", out, "--force")
    assert refused.returncode == 3
    assert b"changed since the split" in refused.stderr
    assert b"--changed" in refused.stderr
    assert not out.exists()
    assert run("join", parts, "-o", out, "--changed").returncode == 0
    assert out.read_bytes()[: len(other)] == other


def test_join_reads_only_what_the_manifest_names(wrapped: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out.rom"
    assert run("split", wrapped, "-d", parts).returncode == 0
    with (parts / "notes.img").open("wb") as stream:
        stream.truncate(300 << 20)
    (parts / "loop").symlink_to("loop")
    assert run("join", parts, "-o", out).returncode == 0
    assert out.read_bytes() == wrapped.read_bytes()
    (parts / "manifest.toml").unlink()
    refused = run("join", parts, "-o", tmp_path / "none.rom")
    assert refused.returncode == 3
    assert b"manifest.toml is missing" in refused.stderr


def test_split_says_as_json_what_it_wrote(wrapped: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    records = json.loads(run("split", wrapped, "-d", parts, "--json").stdout)
    assert [r["kind"] for r in records] == ["container", "image", "image", "image", "manifest"]
    assert [r["offset"] for r in records][:2] == [0, 0xA00]
    for record in records:
        data = Path(record["file"]).read_bytes()
        assert (record["size"], record["sha256"]) == (len(data), sha256(data).hexdigest())
    refused = run("split", tmp_path / "absent", "-d", parts, "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["file"].endswith("absent")
