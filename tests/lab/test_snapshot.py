"""A lab that starts from a snapshot is the machine that a booted one is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lab import snapshot
from lab.check import read_rom
from lab.conftest import missing
from lab.machine import Lab, open_lab
from lab.sample import sample_rom
from lab.topology import TOPOLOGIES

_FACTS = """
import hashlib, json, os, pathlib, re
def text(path):
    try:
        return pathlib.Path(path).read_bytes().decode('latin-1')
    except OSError as error:
        return error.errno
def link(path):
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else None
names = ('config', 'resource', 'reset_method', 'power_state', 'boot_vga', 'enable', 'irq')
print(json.dumps({
    'devices': {device.name: {
        **{name: text(device / name) for name in names},
        **{name: link(device / name) for name in ('driver', 'iommu_group')},
    } for device in pathlib.Path('/sys/bus/pci/devices').iterdir()},
    'tables': {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path('/sys/firmware/acpi/tables').rglob('*') if path.is_file()},
    'acpi': sorted(os.listdir('/sys/bus/acpi/devices')),
    'addresses': [text('/proc/iomem'), text('/proc/ioports')],
    'interrupts': re.findall(r'^ *(\\w+):[ 0-9]*(.*)$', text('/proc/interrupts'), re.M),
    'processor': [line for line in text('/proc/cpuinfo').splitlines()
        if not line.startswith(('cpu MHz', 'bogomips'))],
    'memory': text('/proc/meminfo').split()[1],
    'modules': [line.split()[0] for line in open('/proc/modules')],
    'mounts': text('/proc/mounts'),
    'clock': text('/sys/devices/system/clocksource/clocksource0/current_clocksource'),
    'command line': text('/proc/cmdline'),
    'errors': [line for line in os.popen('dmesg --level=warn+').read().splitlines()
        if 'lab:' in line],
}))
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for snapshots that has none yet."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setattr(snapshot, "snapshots", lambda: tmp_path)
    return tmp_path


def facts(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.python(_FACTS).check().out)
    return {**found, "rom": read_rom(lab)}


def clocks(lab: Lab) -> tuple[float, float, float, float]:
    """Our clock, the lab's (wall and since its start), and ours again."""
    before = time.time()
    asked = lab.python("import time; print(time.time(), time.monotonic())").check().out
    wall, monotonic = map(float, asked.split())
    return before, wall, monotonic, time.time()


def noise(lab: Lab) -> tuple[str, str]:
    source = "import os, sys; sys.stdout.write(os.urandom(16).hex())"
    return lab.python(source).out, lab.read("/proc/sys/kernel/random/boot_id")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.trial) for name in TOPOLOGIES],
)
def test_it_is_the_machine_that_was_booted(name: str, room: Path) -> None:
    topology = TOPOLOGIES[name]
    rom = None if topology.boot_vga == topology.gpu else sample_rom()
    with open_lab(topology, rom=rom) as lab:
        assert not lab.restored
        booted, first = facts(lab), noise(lab)
    kept = list(room.iterdir())
    if name == "amd":  # QEMU cannot save its IOMMU
        assert kept == []
        return
    with open_lab(topology, rom=rom) as lab:
        assert lab.restored
        assert facts(lab) == booted
        # Random numbers are its own.
        second = noise(lab)
        assert not set(first) & set(second)
        # Its clocks are right and go on as ours do.
        start, end = clocks(lab), clocks(lab)
        for before, wall, _, after in (start, end):
            assert before - 2 < wall < after + 2
        for then, now in ((start[1], end[1]), (start[2], end[2])):
            assert end[0] - start[3] - 0.1 <= now - then <= end[3] - start[0] + 0.1
    with open_lab(topology, rom=rom) as lab:
        assert not {*first, *second} & set(noise(lab))
    (path,) = kept
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole // 2)
    with open_lab(topology, rom=rom) as lab:
        assert not lab.restored
        assert facts(lab) == booted
    # A new one has taken the place of the broken one.
    assert path.stat().st_size > 0.9 * whole


def test_another_machine_is_another_snapshot(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"one")
    path = snapshot.snapshot_path(["qemu", "-m", "1"], [kernel], [b""])
    assert path == snapshot.snapshot_path(["qemu", "-m", "1"], [kernel], [b""])
    others = {
        snapshot.snapshot_path(["qemu", "-m", "2"], [kernel], [b""]),
        snapshot.snapshot_path(["qemu", "-m 1"], [kernel], [b""]),
        snapshot.snapshot_path(["qemu", "-m", "1"], [kernel], [b"rom"]),
    }
    kernel.write_bytes(b"three")
    others.add(snapshot.snapshot_path(["qemu", "-m", "1"], [kernel], [b""]))
    assert len(others - {path}) == 4


def test_those_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "snapshots", lambda: tmp_path)
    monkeypatch.setattr(snapshot, "ROOM", 20 << 10)
    now = time.time()
    for age in range(4):
        path = tmp_path / str(age)
        path.write_bytes(bytes(8 << 10))
        os.utime(path, (now - age, now - age))
    snapshot.make_room()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    os.utime(tmp_path / "1", (now - 90000, now - 90000))
    snapshot.make_room()
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
