"""`passthrough rom dump` on the real kernel."""

from __future__ import annotations

import errno
import json
import sys

import pytest

from lab.machine import CHECKOUT, Lab
from lab.sample import sample_rom
from lab.topology import PORT

laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
PCI = "/sys/bus/pci/devices"
OUT = "/tmp/dumped.rom"


def is_shut(lab: Lab) -> bool:
    """Whether the ROM can no longer be read, and nobody has the function enabled."""
    device = f"{PCI}/{lab.topology.gpu}"
    try:
        lab.read_bytes(f"{device}/rom")
    except OSError as error:
        return error.errno in (errno.EIO, errno.EINVAL) and lab.read(f"{device}/enable") == "0"
    return False


@laptop
def test_the_rom_is_what_the_card_has(lab: Lab) -> None:
    done = lab.run("passthrough", "rom", "dump", lab.topology.gpu, "-o", OUT, "--json").check()
    said = json.loads(done.out)
    assert (said["via"], said["bytes"]) == ("bar", len(sample_rom()))
    assert lab.read_bytes(OUT) == sample_rom()
    assert is_shut(lab)
    # What is there is never written over, and the card is not touched for it.
    again = lab.run("passthrough", "rom", "dump", lab.topology.gpu, "-o", OUT)
    assert again.status == 3
    assert "exists already" in again.err
    lab.run("rm", OUT).check()


@laptop
@pytest.mark.trial
def test_a_dump_that_fails_or_is_killed_anywhere_leaves_the_rom_shut(lab: Lab) -> None:
    program = CHECKOUT / "tests/lab/trial.py"
    addresses = [lab.topology.gpu, str(lab.topology.audio), PORT]
    said = json.loads(lab.run(sys.executable, program, *addresses, "read rom").check().out)
    assert said["wrong"] == []
    assert is_shut(lab)


@pytest.mark.parametrize("lab", ["desktop"], indirect=True)
def test_the_copy_of_a_boot_display_is_refused_with_the_reason(lab: Lab) -> None:
    done = lab.run("passthrough", "rom", "dump", lab.topology.gpu, "-o", OUT, "--via", "bar")
    assert done.status == 1
    assert "0xC0000" in done.out
    assert lab.sh(f"test -e {OUT}").status == 1
    found = lab.run("passthrough", "rom", "dump", lab.topology.gpu, "-o", OUT)
    assert found.status == 1
    assert "no ROM of 0000:01:00.0 can be read here" in found.err
