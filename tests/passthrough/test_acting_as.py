"""What root does for a user is done with the user's rights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from passthrough.programs import acting_as


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has groups to lay down")
def test_a_user_has_none_of_roots_groups(tmp_path: Path) -> None:
    """sudo leaves root's group to a program that goes on as the user."""
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o640)
    (tmp_path / "open").write_text("everybody's")
    tmp_path.chmod(0o755)
    folder = os.open(tmp_path, os.O_PATH)  # what is above it may be root's only
    before = os.getgroups()
    os.setgroups([0])
    try:
        with acting_as((65534, 65534)):
            os.close(os.open("open", os.O_RDONLY, dir_fd=folder))
            with pytest.raises(PermissionError):
                os.open("secret", os.O_RDONLY, dir_fd=folder)
        assert (os.geteuid(), os.getgroups()) == (0, [0])
    finally:
        os.setgroups(before)
        os.close(folder)
