"""How programs that change the host are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.host import Host
from passthrough.errors import PassthroughError
from passthrough.machine import Machine


@pytest.mark.parametrize("path", [None, "", ":/usr/bin", "."])
def test_no_program_is_run_from_the_current_folder(
    path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would run as root, and anybody may have put it there."""
    for name in ("uname", "planted"):
        (tmp_path / name).write_text("#!/bin/sh\necho planted\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path)
    machine = Machine(Host(tmp_path))
    with pytest.raises(PassthroughError, match="planted is not installed"):
        machine.run("planted")
    assert machine.run("uname").out == "Linux\n"
