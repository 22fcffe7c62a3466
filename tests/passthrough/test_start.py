"""What a command that only looks at plans and journals does not have to load."""

from __future__ import annotations

import subprocess
import sys


def test_the_kinds_of_steps_load_nothing_that_only_a_guest_needs() -> None:
    """`status`, `history` and `detach` read journals, which may name any step."""
    heavy = {"asyncio", "ssl", "concurrent.futures", "qemu.qmp", "pyudev", "construct"}
    source = "import sys, passthrough.steps, passthrough.engine; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True)
    loaded = set(done.stdout.decode().split())
    assert "passthrough.steps.program" in loaded
    assert loaded & heavy == set()
