"""Every expectation that was written for a real text, word for word."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from oracles.test_lspci import LSPCI

from diag.config_space import ConfigSpace
from diag.render.reading import devices_text, reading_text
from diag.text.reading import parse_text, read_bytes
from diag.text.record import record
from romkit.render.style import Style

#: What the writer of an expectation says about it, and not about the text.
ABOUT = {"name", "note", "by_hand", "trap"}


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where a reading says something else than expected; keys of its own are not looked at."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for key, value in expected.items()
            if key not in ABOUT
            for line in (
                differences(value, found[key], f"{where}.{key}")
                if key in found
                else [f"{where}.{key} is missing"]
            )
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [
            line
            for i, (left, right) in enumerate(zip(expected, found, strict=True))
            for line in differences(left, right, f"{where}[{i}]")
        ]
    return [] if expected == found else [f"{where}: expected {expected!r}, found {found!r}"]


def test_expectation_is_met(hosttext: Path, text_name: str) -> None:
    expected = json.loads((hosttext / "expected" / f"{text_name}.json").read_text())
    data = (hosttext / "files" / f"{text_name}.txt").read_bytes()
    found = json.loads(json.dumps(record(read_bytes(data))))
    assert differences(expected, found) == []


def test_trap_is_named(hosttext: Path, text_name: str) -> None:
    expected = json.loads((hosttext / "expected" / f"{text_name}.json").read_text())
    if "trap" in expected:
        data = (hosttext / "files" / f"{text_name}.txt").read_bytes()
        # The parameter that the writer of the expectation warns of is in one of our warnings.
        word = expected["trap"].split()[0].rstrip("=")
        assert any(word in trap for trap in record(read_bytes(data))["traps"])


def test_it_can_be_shown(hosttext: Path, text_name: str) -> None:
    reading = read_bytes((hosttext / "files" / f"{text_name}.txt").read_bytes())
    shown = reading_text(text_name, reading, Style(), 120)
    assert all(str(address) in shown for address in reading.gpus)
    assert all(name in shown for line in (reading.log.problems if reading.log else ())
               for name in line.problems)  # fmt: skip
    listed = devices_text(reading, Style(), 120)
    assert all(str(device.address) in listed for device in reading.devices)


@pytest.mark.skipif(LSPCI is None, reason="lspci is not installed (Debian: pciutils)")
def test_lspci_reads_a_real_dump_as_we_do(hosttext: Path, text_name: str) -> None:
    path = hosttext / "files" / f"{text_name}.txt"
    reading = read_bytes(path.read_bytes())
    dumped = {d.address: d.config for d in reading.devices if d.config is not None}
    if not dumped:
        pytest.skip("no hex dump in this text")
    run = subprocess.run(
        [str(LSPCI), "-F", str(path), "-nvvv"], capture_output=True, text=True, check=True
    )
    theirs = {device.address: device for device in parse_text(run.stdout).devices}
    assert set(theirs) == set(dumped)
    for address, device in theirs.items():
        config: ConfigSpace = dumped[address]
        assert (config.ids, config.class_code) == (device.ids, device.class_code)
        assert (config.revision or None) == device.revision
        assert config.subsystem == device.subsystem
        assert config.power_state == device.power_state
