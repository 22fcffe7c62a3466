"""A guest's kernel reads what we gave it: battery, chassis and VBIOS, under unpatched firmware."""

from __future__ import annotations

import functools
import hashlib
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from lab.kernel import fetch_kernel
from lab.modules import build_module
from lab.packages import LabUnavailable
from oracles.acpi_guest import SOURCE, Answers, boot, initramfs
from oracles.firmware import QEMU, find_ovmf

from romkit.acpi.battery import Battery, State, Unit
from romkit.acpi.errors import TooLarge
from romkit.acpi.path import guest_path, parse_hops
from romkit.acpi.qemu import (
    GuestFile,
    Option,
    battery_files,
    chassis_files,
    qemu_arguments,
    vbios_files,
)
from romkit.acpi.vbios import fw_cfg_tables, rom_tables

OVMF = find_ovmf()

#: A device behind a root port, and one on the root bus.
DEVICES = {
    "q35": (
        "pcie-root-port,id=gpuport,addr=1.0,chassis=1,slot=1",
        "pci-testdev,bus=gpuport,addr=0.0",
    ),
    "pc": ("pci-testdev,addr=3.0",),
}
HOPS = {"q35": "01.0/00.0", "pc": "03.0"}
ADDRESS = {"q35": "pci.0000:01:00.0", "pc": "pci.0000:00:03.0"}


@functools.cache
def missing() -> str | None:
    """Why there can be no guest here; None if there can."""
    if QEMU is None:
        return "QEMU is not installed (Debian, Ubuntu: apt-get install qemu-system-x86)"
    try:
        fetch_kernel()
        build_module(SOURCE)
    except LabUnavailable as reason:
        return str(reason)
    return None


@pytest.fixture(autouse=True)
def _guest() -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


pytestmark = pytest.mark.slow


def image(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def given(files: Sequence[GuestFile], folder: Path) -> list[str]:
    """The files in `folder`, and QEMU's arguments for them."""
    for file in files:
        (folder / file.name).write_bytes(file.data)
    return [part for pair in qemu_arguments(files, str(folder)) for part in pair]


def devices(family: str) -> list[str]:
    return [part for device in DEVICES[family] for part in ("-device", device)]


def rom_sums(answers: Answers) -> dict[str, str]:
    return {k: v.split()[0] for k, v in answers.facts.items() if k.startswith("rom.")}


@pytest.mark.parametrize("firmware", ["SeaBIOS", "OVMF"])
@pytest.mark.parametrize("family", ["q35", "pc"])
def test_a_guest_has_battery_vbios_and_chassis(family: str, firmware: str, tmp_path: Path) -> None:
    if firmware == "OVMF" and OVMF is None:
        pytest.skip("OVMF is not installed (Debian, Ubuntu: apt-get install ovmf)")
    rom = image(256 << 10)
    path = guest_path(parse_hops(HOPS[family]), machine=family, qemu=(7, 2))
    battery = Battery(capacity=48000, percent=73, state=State.DISCHARGING, rate=9000)
    files = [*battery_files(battery), *vbios_files(rom_tables(rom, path)), *chassis_files()]
    answers = boot(
        tmp_path,
        [*devices(family), *given(files, tmp_path)],
        initramfs((path.path, len(rom)), steps=(4096, 1000)),
        machine=family,
        ovmf=OVMF if firmware == "OVMF" else None,
    )
    facts = answers.facts
    assert facts["chassis"] == "10"
    assert facts["AC0.online"] == "1"
    assert (facts["BAT0.type"], facts["BAT0.status"]) == ("Battery", "Discharging")
    # Linux counts in micro-watts.
    assert (facts["BAT0.energy_full"], facts["BAT0.energy_now"]) == ("48000000", "35040000")
    assert (facts["BAT0.capacity"], facts["BAT0.power_now"]) == ("73", "9000000")
    assert facts["BAT0.voltage_now"] == "11400000"
    assert facts[ADDRESS[family]] == path.path
    wanted = hashlib.sha256(rom).hexdigest()
    assert rom_sums(answers) == {"rom.4096": wanted, "rom.1000": wanted}
    assert answers.acpi_errors == []


def test_a_guest_reads_a_rom_of_one_and_a_half_mebibytes(tmp_path: Path) -> None:
    rom = image(1536 << 10)
    path = guest_path(parse_hops(HOPS["q35"]), qemu=(7, 2))
    answers = boot(
        tmp_path,
        [*devices("q35"), *given(vbios_files(rom_tables(rom, path)), tmp_path)],
        initramfs((path.path, len(rom))),
    )
    assert rom_sums(answers) == {"rom.4096": hashlib.sha256(rom).hexdigest()}
    assert answers.acpi_errors == []


def test_a_guest_reads_a_rom_by_fw_cfg(tmp_path: Path) -> None:
    rom = image(40_000)
    path = guest_path(parse_hops(HOPS["q35"]), qemu=(7, 2))
    answers = boot(
        tmp_path,
        [*devices("q35"), *given(vbios_files(fw_cfg_tables(rom, path)), tmp_path)],
        # A page past the end, too: zeros.
        initramfs((path.path, len(rom) + 4096), steps=(4096, 999)),
    )
    wanted = hashlib.sha256(rom + bytes(4096)).hexdigest()
    assert rom_sums(answers) == {"rom.4096": wanted, "rom.999": wanted}
    assert answers.acpi_errors == []


def test_a_machine_without_the_node_gets_one(tmp_path: Path) -> None:
    """pc-q35-6.0 has none behind root ports; the idle battery beside it counts in mAh."""
    rom = image(64 << 10)
    path = guest_path(parse_hops(HOPS["q35"]), machine="pc-q35-6.0")
    assert path.has_node is False
    battery = Battery(capacity=4000, percent=100, unit=Unit.MAH)
    files = [*battery_files(battery), *vbios_files(rom_tables(rom, path))]
    answers = boot(
        tmp_path,
        [*devices("q35"), *given(files, tmp_path)],
        initramfs((path.path, len(rom) + 5000)),
        machine="pc-q35-6.0",
    )
    assert answers.facts[ADDRESS["q35"]] == path.path
    assert (answers.facts["BAT0.status"], answers.facts["BAT0.charge_now"]) == ("Full", "4000000")
    assert rom_sums(answers)["rom.4096"] == hashlib.sha256(rom + bytes(5000)).hexdigest()
    assert answers.acpi_errors == []


#: Machine type, device arguments, and where they are: what `romkit acpi path` says is so.
TOPOLOGIES = [
    ("q35", ("pcie-root-port,id=p0,addr=1.0,chassis=1,slot=1,multifunction=on",
             "pcie-root-port,id=p1,addr=1.1,chassis=2,slot=2,multifunction=on",
             "pci-testdev,bus=p1,addr=0.0"), "01.1/00.0", "0000:02:00.0"),
    ("q35", ("pcie-root-port,id=p,addr=1.0,chassis=1,slot=1",
             "virtio-rng-pci,bus=p,addr=0.0,multifunction=on",
             "virtio-rng-pci,bus=p,addr=0.1,multifunction=on"), "01.0/00.1", "0000:01:00.1"),
    ("pc-q35-6.1", DEVICES["q35"], "01.0/00.0", "0000:01:00.0"),
    ("pc-q35-6.0", DEVICES["q35"], "01.0/00.0", "0000:01:00.0"),
    ("pc-i440fx-6.0", ("pci-testdev,addr=5.0",), "05.0", "0000:00:05.0"),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "arguments", "hops", "address"), TOPOLOGIES)
def test_the_guest_has_the_path_that_romkit_says(
    machine: str, arguments: tuple[str, ...], hops: str, address: str, tmp_path: Path
) -> None:
    path = guest_path(parse_hops(hops), machine=machine, qemu=(7, 2))
    options = [part for device in arguments for part in ("-device", device)]
    seen = boot(tmp_path, options, initramfs(), machine=machine).facts[f"pci.{address}"]
    assert path.has_node is not None
    assert seen == (path.path if path.has_node else "-")


def test_a_guest_without_our_tables_has_none_of_this(tmp_path: Path) -> None:
    """That is: the tests before prove something."""
    answers = boot(tmp_path, devices("q35"), initramfs())
    assert answers.facts["chassis"] == "1"
    assert not any(name.startswith(("BAT0", "AC0")) for name in answers.facts)


def test_an_empty_bay_shows_no_battery(tmp_path: Path) -> None:
    files = battery_files(Battery(present=False))
    answers = boot(tmp_path, [*devices("q35"), *given(files, tmp_path)], initramfs())
    assert not any(name.startswith("BAT0") for name in answers.facts)
    assert "battery absent" in answers.console
    assert answers.acpi_errors == []


def test_qemu_takes_as_much_as_we_allow(tmp_path: Path) -> None:
    """And aborts with more."""
    path = guest_path(parse_hops(HOPS["q35"]), qemu=(7, 2))
    size, files = 1900 << 10, []
    while not files:
        size -= 1024
        try:
            files = list(vbios_files(rom_tables(bytes(size), path)))
        except TooLarge:
            continue
    assert size > 1700 << 10
    assert started(given(files, tmp_path), tmp_path) == 0
    # 192 KiB more: what was left for QEMU's own tables is used up.
    more = [GuestFile(f"more{number}.aml", files[0].data, Option.ACPITABLE) for number in range(3)]
    assert started(given([*files, *more], tmp_path), tmp_path) != 0


def started(arguments: list[str], folder: Path) -> int:
    """The status of a QEMU that builds its tables and is told to quit before it runs."""
    command = [str(QEMU), "-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S"]
    done = subprocess.run(
        [*command, "-monitor", "stdio", *arguments],
        input=b"quit\n",
        capture_output=True,
        check=False,
        cwd=folder,
        timeout=60,
    )
    return done.returncode
