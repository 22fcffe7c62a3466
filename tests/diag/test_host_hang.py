"""What hangs does not hold diag up, nor does it hold on to what is ours."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from diag import host as host_module
from diag.apart import Apart
from diag.errors import Unreadable
from diag.host import Host


def test_a_program_that_cannot_be_killed_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nvidia-smi that sleeps in a driver, deaf to SIGKILL."""
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(host_module, "RUN_LIMIT", 0.1)

    def kill(program: subprocess.Popen[bytes]) -> None:
        started.append(program)

    monkeypatch.setattr(subprocess.Popen, "kill", kill)
    begun = time.monotonic()
    with pytest.raises(Unreadable, match=r"did not end within 0\.1 s"):
        Host().run("sleep", "30")
    assert time.monotonic() - begun < 10
    (program,) = started
    assert program.poll() is None
    program.terminate()
    program.wait()


def held(pid: int) -> list[str]:
    return sorted(str(file.readlink()) for file in Path("/proc", str(pid), "fd").iterdir())


def test_one_process_reads_what_may_block_and_is_replaced_where_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = Apart()
    file, fifo = tmp_path / "file", tmp_path / "fifo"
    file.write_text("what it says")
    os.mkfifo(fifo)
    ours = os.open(file, os.O_RDONLY)
    try:
        assert apart.read(str(file), 4) == b"what"
        before = set(children())
        assert apart.read(str(file), 100) == b"what it says"
        assert set(children()) == before
        # Nothing of ours stays open in it, which could outlive us.
        assert any(held(pid)[:3] == ["/dev/null"] * 3 and len(held(pid)) == 4 for pid in before)
        with pytest.raises(FileNotFoundError):
            apart.read(str(tmp_path / "absent"), 4)
        monkeypatch.setattr("diag.apart.PATIENCE", 0.1)
        with pytest.raises(TimeoutError):
            apart.read(str(fifo), 4)
        assert apart.read(str(file), 4) == b"what"
    finally:
        os.close(ours)
        os.close(os.open(fifo, os.O_RDWR))
        apart._drop()


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
