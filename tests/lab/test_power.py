"""Power in the lab: what is switched off is off, what is refused is refused, faults happen.

One machine serves all of these tests: each gives the GPU and its audio function back with power,
and without a driver.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator

import pytest

from lab import driver, modules, power
from lab.machine import Lab, open_lab
from lab.packages import LabUnavailable
from lab.topology import AUDIO, GPU, PORT, TOPOLOGIES

PCI = "/sys/bus/pci/devices"
#: What a caller sees who reads config space behind a port without power.
NOBODY = b"\xff" * 4
#: The port's power controller (PCI Express base specification: Slot Control, bit 10).
SLOT_OFF, SLOT_ON = "CAP_EXP+18.w=0400:0400", "CAP_EXP+18.w=0:0400"


class Bench:
    """A machine, and which of the power switches it has now."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._stack = contextlib.ExitStack()
        self._way = ""

    @contextlib.contextmanager
    def use(self, way: str, *, afresh: bool = False) -> Iterator[None]:
        if afresh or way != self._way:
            self.clear()
            self._stack.enter_context(power.POWERS[way](self.lab))
            self._way = way
        try:
            yield
        finally:
            power.restore_power(self.lab)

    def clear(self) -> None:
        self._way = ""
        self._stack.close()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    try:
        with open_lab(TOPOLOGIES["laptop"]) as machine:
            bench = Bench(machine)
            yield bench
            bench.clear()
    except LabUnavailable as reason:
        pytest.skip(str(reason))


# Of the module's scope, so that the tests of one way follow each other.
@pytest.fixture(scope="module", params=list(power.POWERS))
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def powered(bench: Bench, way: str) -> Iterator[Lab]:
    """The machine, with power switches of one of the three ways."""
    try:
        with bench.use(way):
            yield bench.lab
    except LabUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def faulty(bench: Bench) -> Iterator[Lab]:
    """The machine, with the switches that have faults."""
    try:
        with bench.use("module"):
            yield bench.lab
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def config(lab: Lab, address: str = GPU) -> bytes:
    return lab.read_bytes(f"{PCI}/{address}/config")


def settings(lab: Lab) -> bytes:
    """The GPU's config, without the one bit that ON sets in any case: bus master."""
    data = bytearray(config(lab))
    data[4] &= ~4
    return bytes(data)


def has_bars(lab: Lab, address: str) -> bool:
    return config(lab, address)[0x10:0x14] != bytes(4)


def test_the_table_of_the_field_report(powered: Lab) -> None:
    assert power.walk_table(powered) == power.TABLE


def test_off_is_off_and_on_brings_the_gpu_back(powered: Lab, way: str) -> None:
    before, state = settings(powered), powered.read(f"{PCI}/{GPU}/power_state")
    powered.write(power.BBSWITCH, "OFF\n")
    assert config(powered) == b"\xff" * len(before)
    assert config(powered, AUDIO)[:4] == NOBODY
    assert powered.read(f"{PCI}/{GPU}/vendor") == "0x1234"  # what the kernel remembers
    # Without a module nobody tells the kernel.
    off, on = (state, state) if way == "plain" else ("D3cold", "D0")
    assert powered.read(f"{PCI}/{GPU}/power_state") == off
    powered.write(power.BBSWITCH, "ON\n")
    assert settings(powered) == before
    assert powered.read(f"{PCI}/{GPU}/power_state") == on


def test_a_rescan_does_not_bring_back_a_gpu_without_power(powered: Lab) -> None:
    powered.write(power.BBSWITCH, "OFF")
    powered.write("/sys/bus/pci/rescan", "1")
    assert config(powered)[:4] == NOBODY
    assert power.power_state(powered) == "OFF/ON"


def test_what_is_lost_with_power_is_lost(powered: Lab) -> None:
    """The switch saves the GPU's config only: audio has BARs again when it is found again."""
    assert has_bars(powered, AUDIO)
    powered.write(power.BBSWITCH, "OFF")
    powered.write(power.BBSWITCH, "ON")
    assert (has_bars(powered, GPU), has_bars(powered, AUDIO)) == (True, False)
    powered.write(power.NVHDA, "OFF")
    assert AUDIO not in powered.devices()
    powered.write(power.NVHDA, "ON")
    assert has_bars(powered, AUDIO)


def test_off_is_refused_in_the_log_alone_while_a_driver_has_the_gpu(powered: Lab) -> None:
    powered.run("modprobe", "vfio-pci").check()
    powered.write(f"{PCI}/{GPU}/driver_override", "vfio-pci")
    powered.write("/sys/bus/pci/drivers_probe", GPU)
    powered.run("dmesg", "--clear").check()
    powered.write(power.BBSWITCH, "OFF")
    state, log = power.power_state(powered), powered.dmesg()
    powered.write(f"{PCI}/{GPU}/driver/unbind", GPU)
    powered.write(f"{PCI}/{GPU}/driver_override", "\n")
    assert state == "ON/ON"
    assert f"bbswitch: device {GPU} is in use by driver 'vfio-pci', refusing OFF" in log


def test_other_words_are_accepted_and_do_nothing(powered: Lab) -> None:
    words = ["off", "on", "Off", " OFF", "OF", "0", "1", "\n", "nonsense!!"]
    source = f"""
import os
for path in ({power.BBSWITCH!r}, {power.NVHDA!r}):
    for word in {words!r}:
        print(os.write(os.open(path, os.O_WRONLY), word.encode()))"""
    lengths = [int(line) for line in powered.python(source).check().out.split()]
    # No more than seven bytes are taken at a time.
    assert lengths == [min(len(word), 7) for word in words] * 2
    assert power.power_state(powered) == "ON/ON"


def test_words_are_known_by_how_they_begin(powered: Lab) -> None:
    powered.write(power.NVHDA, "OFFICE")
    assert power.power_state(powered) == "ON/OFF"
    powered.write(power.NVHDA, "ONE")
    assert power.power_state(powered) == "ON/ON"


def test_both_files_name_the_gpu(powered: Lab) -> None:
    for path in (power.BBSWITCH, power.NVHDA):
        assert powered.read_bytes(path) == f"{GPU} ON\n".encode()
        assert powered.sh(f"stat -c %a {path}").out == "664"


def test_a_removed_gpu_is_unknown_until_the_switch_is_loaded_again(bench: Bench) -> None:
    lab = bench.lab
    try:
        with bench.use("module", afresh=True):
            for address in (AUDIO, GPU):
                lab.write(f"{PCI}/{address}/remove", "1")
            lab.write("/sys/bus/pci/rescan", "1")
            assert {GPU, AUDIO} <= set(lab.devices())
            lab.write(power.NVHDA, "ON")
            assert power.power_state(lab) == "OFF/OFF"
            assert f"{GPU} was removed" in lab.dmesg()
        with bench.use("module", afresh=True):
            assert power.power_state(lab) == "ON/ON"
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def test_a_gpu_removed_without_power_stays_away(faulty: Lab, bench: Bench) -> None:
    """The field report: a rescan finds only what is in D0."""
    faulty.write(power.BBSWITCH, "OFF")
    for address in (AUDIO, GPU):
        faulty.write(f"{PCI}/{address}/remove", "1")
    faulty.write("/sys/bus/pci/rescan", "1")
    assert GPU not in faulty.devices()
    faulty.run("setpci", "-s", PORT, SLOT_ON).check()
    faulty.write("/sys/bus/pci/rescan", "1")
    assert {GPU, AUDIO} <= set(faulty.devices())
    bench.clear()  # it knows the removed one only
    with bench.use("module"):
        assert power.power_state(faulty) == "ON/ON"


@pytest.mark.parametrize("path", [power.BBSWITCH, power.NVHDA])
def test_the_faults_of_the_switches(faulty: Lab, path: str) -> None:
    with power.knob(faulty, "fail", errno.EIO):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            faulty.write(path, "OFF")
        assert power.power_state(faulty) == "ON/ON"
    with power.knob(faulty, "ignore", 1):
        faulty.write(path, "OFF")
        assert power.power_state(faulty) == "ON/ON"
    with power.knob(faulty, "delay_ms", 600):
        started = time.monotonic()
        faulty.write(path, "OFF")
        assert time.monotonic() - started >= 0.6
    assert "OFF" in power.power_state(faulty)


def test_a_switch_that_hangs_can_be_killed_and_has_done_nothing(faulty: Lab) -> None:
    with power.knob(faulty, "delay_ms", 3_600_000):
        write = f"import os; os.write(os.open({power.BBSWITCH!r}, os.O_WRONLY), b'OFF')"
        writer = faulty.start_python(write)
        # 1 is write(2) on x86-64; the file says "running" while it is not asleep.
        source = f"""
while open('/proc/{writer.pid}/syscall').read().split()[0] != '1':
    pass"""
        faulty.python(source, limit=30).check()
        assert writer.poll() is None
        writer.signal(signal.SIGKILL)
        assert writer.wait().status == -signal.SIGKILL
    assert power.power_state(faulty) == "ON/ON"


def test_the_firmware_has_a_battery_and_a_charger(bench: Bench) -> None:
    bench.lab.run("modprobe", "-a", "battery", "ac").check()
    supplies = "/sys/class/power_supply"
    assert bench.lab.read(f"{supplies}/BAT0/type") == "Battery"
    assert bench.lab.read(f"{supplies}/BAT0/capacity") == "100"
    assert bench.lab.read(f"{supplies}/AC0/online") == "1"


def test_a_gpu_that_loses_power_under_its_driver_is_lost(bench: Bench) -> None:
    lab = bench.lab
    try:
        with driver.driver_installed(lab):
            lab.run("modprobe", "nvidia").check()
            before = config(lab)
            lab.run("setpci", "-s", PORT, SLOT_OFF).check()
            done = lab.run("nvidia-smi", "-r", "-i", "0")
            lab.run("setpci", "-s", PORT, SLOT_ON).check()
            assert (done.status, "GPU is lost" in done.out) == (15, True)
            assert config(lab)[:0x10] != before[:0x10]
    except LabUnavailable as reason:
        pytest.skip(str(reason))
    finally:
        for address in (AUDIO, GPU):
            lab.write(f"{PCI}/{address}/remove", "1")
        lab.write("/sys/bus/pci/rescan", "1")


def test_the_reset_procedure_of_the_field_report(bench: Bench) -> None:
    """The Acer report's twelve steps, both switches unloaded before anything is removed."""
    lab = bench.lab
    try:
        with driver.driver_installed(lab):
            with bench.use("real", afresh=True):
                for path, word in (
                    (power.BBSWITCH, "OFF"),
                    (power.NVHDA, "OFF"),
                    (power.BBSWITCH, "ON"),
                    (power.NVHDA, "ON"),
                ):
                    lab.write(path, word)
                assert power.power_state(lab) == "ON/ON"
            bench.clear()
            lab.write(f"{PCI}/{AUDIO}/remove", "1")
            lab.write(f"{PCI}/{GPU}/reset", "1")
            lab.write(f"{PCI}/{GPU}/remove", "1")
            lab.write(f"{PCI}/{PORT}/remove", "1")
            assert {PORT, GPU, AUDIO}.isdisjoint(lab.devices())
            lab.write("/sys/bus/pci/rescan", "1")
            assert {PORT, GPU, AUDIO} <= set(lab.devices())
            lab.run("modprobe", "nvidia").check()
            assert lab.driver(GPU) == "nvidia"
            lab.run("nvidia-smi", "-r").check()
            assert lab.read(f"{driver.KNOBS}/resets") == "1"
            assert has_bars(lab, GPU)
            assert has_bars(lab, AUDIO)
    except LabUnavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("lab", ["desktop"], indirect=True)
@pytest.mark.parametrize("way", ["module", "plain"])
def test_any_gpu_behind_a_port_will_do(lab: Lab, way: str) -> None:
    """This port has no power controller: the GPU is cut off by the bus numbers."""
    try:
        with power.POWERS[way](lab):
            before = settings(lab)
            assert power.walk_table(lab) == power.TABLE
            lab.write(power.BBSWITCH, "OFF")
            assert config(lab)[:4] == NOBODY
            power.restore_power(lab)
            assert settings(lab) == before
    except LabUnavailable as reason:
        pytest.skip(str(reason))


def test_modules_need_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules.shutil, "which", lambda name: None)
    with pytest.raises(LabUnavailable, match="need gcc and make: install build-essential"):
        modules.compiler()
