"""What is written: whole or not at all, and over nothing that matters."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import typer
from romkit_command import RECIPE, ROMKIT, run, unprivileged

from romkit.cli.files import write_output


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.write_bytes(b"precious")
    done = run("build", RECIPE, "-o", out)
    assert done.returncode == 3
    assert b"exists already" in done.stderr
    assert out.read_bytes() == b"precious"
    assert run("build", RECIPE, "-o", out, "--force").returncode == 0
    assert out.read_bytes() != b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["precious"]


def test_force_through_a_link_writes_the_file_it_leads_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    assert run("build", RECIPE, "-o", link, "--force").returncode == 0
    assert link.is_symlink()
    assert real.read_bytes() != b"old"


def test_output_follows_the_umask(tmp_path: Path) -> None:
    out = tmp_path / "built.rom"
    old = os.umask(0o027)
    try:
        run("build", RECIPE, "-o", out)
    finally:
        os.umask(old)
    assert out.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """A limit on file size is what a full disk looks like to one process."""
    out = tmp_path / "built.rom"
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    )
    done = run("build", RECIPE, "-o", out, preamble=limit)
    assert done.returncode == 3
    assert b"cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_directory_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    done = run("build", RECIPE, "-o", "/proc/self/built.rom")
    assert done.returncode == 3
    assert b"cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    """It comes when the bytes are written, but the file has not its name yet."""
    number = getattr(signal, name)
    sent = (
        "import os, signal\n"
        f"signal.signal({number}, signal.SIG_DFL)\n"
        f"os.fsync = lambda descriptor: os.kill(os.getpid(), {number})\n"
    )
    done = run("build", RECIPE, "-o", tmp_path / "built.rom", preamble=sent)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_respected(tmp_path: Path) -> None:
    ignored = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    done = run("build", RECIPE, "-o", tmp_path / "built.rom", preamble=ignored)
    assert done.returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["built.rom"]


def test_an_output_that_may_not_be_read_is_no_wrong_usage(tmp_path: Path) -> None:
    out = tmp_path / "out.rom"
    out.write_bytes(b"precious")
    out.chmod(0)
    command = [*unprivileged(), *ROMKIT, "build", str(RECIPE), "-o", str(out)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 3
    forced = subprocess.run([*command, "--force"], capture_output=True, check=False)
    assert forced.returncode == 0, forced.stderr


def test_force_keeps_the_mode_and_owner_of_what_it_replaces(tmp_path: Path) -> None:
    out = tmp_path / "out.rom"
    out.write_bytes(b"old")
    out.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(out, 65534, 65534)
    before = out.stat()
    assert run("build", RECIPE, "-o", out, "--force").returncode == 0
    after = out.stat()
    assert after.st_size > 3
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_block_device_is_never_written(
    tmp_path: Path, force: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "disk"
    device.write_bytes(b"precious")
    real = Path.stat

    def block(self: Path, **options: bool) -> os.stat_result:
        status = real(self, **options)
        if self.name != "disk":
            return status
        return os.stat_result([stat.S_IFBLK | 0o600, *status[1:]])

    monkeypatch.setattr(Path, "stat", block)
    with pytest.raises(typer.Exit) as ended:
        write_output(device, b"ROM", force=bool(force))
    assert ended.value.exit_code == 3
    assert device.read_bytes() == b"precious"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([*ROMKIT, "build", str(RECIPE), "-o", str(pipe)]) as process:
        data = pipe.read_bytes()
    assert process.returncode == 0
    assert data == run("build", RECIPE, "-o", "-").stdout
    assert pipe.is_fifo()


@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "standard input"])
def test_an_input_is_never_an_output(tmp_path: Path, kind: str) -> None:
    given, out = tmp_path / "in.toml", tmp_path / "out"
    given.write_bytes(RECIPE.read_bytes())
    if kind == "symbolic link":
        out.symlink_to(given)
    elif kind == "hard link":
        out.hardlink_to(given)
    else:
        out = given
    with given.open("rb") as stream:
        done = subprocess.run(
            [*ROMKIT, "build", *([given, "-"][kind == "standard input"],), "-o", out, "--force"],
            stdin=stream,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 3
    assert b"is an input, which is never changed" in done.stderr
    assert given.read_bytes() == RECIPE.read_bytes()


@pytest.mark.parametrize(
    "command", [["map", "ROM", "--svg", "ROM"], ["recipe", "ROM", "-o", "ROM"]]
)
def test_a_picture_or_a_recipe_does_not_replace_its_rom(rom: Path, command: list[str]) -> None:
    before = rom.read_bytes()
    done = run(*(rom if a == "ROM" else a for a in command), "--force")
    assert done.returncode == 3
    assert rom.read_bytes() == before


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    out = tmp_path / ("n" * 254)
    assert run("build", RECIPE, "-o", out).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_links(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    out = tmp_path / "out"
    write_output(out, b"ROM", force=False)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("out", b"ROM")]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    done = run("build", RECIPE, "-o", tmp_path / "nodir/deep/out.rom")
    assert done.returncode == 3
    errors = done.stderr.decode()
    assert f"cannot be written: there is no directory {tmp_path}/nodir\n" in errors
    assert f"  try: mkdir -p {tmp_path}/nodir/deep\n" in errors
