"""The engine on the real kernel."""

from __future__ import annotations

import json
import sys

import pytest

from lab.machine import CHECKOUT, Lab
from lab.topology import PORT

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)


@laptop
@pytest.mark.parametrize("plan", [pytest.param("handover", marks=pytest.mark.trial), "again"])
def test_a_plan_that_fails_or_is_killed_anywhere_leaves_the_host_as_it_was(
    lab: Lab, plan: str
) -> None:
    lab.run("modprobe", "-a", "bochs", "snd-hda-intel").check()
    program = CHECKOUT / "tests/lab/trial.py"
    addresses = [lab.topology.gpu, str(lab.topology.audio), PORT]
    done = lab.run(sys.executable, program, *addresses, plan, limit=300).check()
    said = json.loads(done.out)
    assert said["wrong"] == []
    assert said["trials"] >= 45
