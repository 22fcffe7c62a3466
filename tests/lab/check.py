"""What ``make lab-check`` shows: the facts that all else stands on, from inside each topology."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable

from lab import faults, vfio
from lab.machine import QEMU, Lab, LabError, open_lab
from lab.nested import boot_nested
from lab.packages import LabUnavailable
from lab.power import TABLE, plain_power, real_power, restore_power, walk_table
from lab.sample import AS_SAMPLE, sample_rom
from lab.topology import TOPOLOGIES

PCI = "/sys/bus/pci/devices"


class CheckFailed(Exception):
    """The lab is not what the checks expect."""


def _want(what: bool, message: str) -> None:
    if not what:
        raise CheckFailed(message)


def functions(lab: Lab) -> list[str]:
    """The GPU and, where there is one, its audio function."""
    return [address for address in (lab.topology.gpu, lab.topology.audio) if address is not None]


def bind_all(lab: Lab) -> None:
    """Give all functions of the GPU to vfio-pci."""
    for address in functions(lab):
        vfio.bind(lab, address)


def show_groups(lab: Lab) -> str:
    """The IOMMU groups of the GPU and what is beside it."""
    groups = lab.groups()
    concerned = {address for group in lab.topology.groups for address in group}
    _want({g for g in groups if g & concerned} == set(lab.topology.groups), f"groups: {groups}")
    found = [group for group in groups if lab.topology.gpu in group]
    return " ".join(sorted(found[0])) if found else "none"


def show_bind(lab: Lab) -> str:
    """Both functions on vfio-pci, and the group opened."""
    bind_all(lab)
    drivers = {lab.driver(address) for address in functions(lab)}
    if not lab.groups():
        _want(drivers <= {None, "snd_hda_intel"}, f"bound without an IOMMU: {drivers}")
        return "refused, as there is no IOMMU group"
    _want(drivers == {"vfio-pci"}, f"drivers: {drivers}")
    opened = vfio.open_device(lab, lab.topology.gpu)
    _want(opened.opened, f"open: {opened}")
    return f"{' '.join(functions(lab))} → vfio-pci, viable, opened"


def read_rom(lab: Lab) -> bytes:
    """The GPU's ROM as sysfs gives it."""
    device = f"{PCI}/{lab.topology.gpu}"
    driven = lab.driver(lab.topology.gpu) is not None
    if not driven:  # a driver has enabled it, and nobody else may
        lab.write(f"{device}/enable", "1\n")
    lab.write(f"{device}/rom", "1\n")
    read = lab.read_bytes(f"{device}/rom")
    lab.write(f"{device}/rom", "0\n")
    if not driven:
        lab.write(f"{device}/enable", "0\n")
    return read


def show_rom(lab: Lab) -> str:
    """The ROM read back through sysfs."""
    if lab.topology.boot_vga == lab.topology.gpu:
        return "left out: sysfs shows the shadow of a boot display"
    read, given = read_rom(lab), sample_rom()
    _want(read[: len(given)] == given, "the ROM is another one")
    return f"{len(given)} bytes, the same, sha256 {hashlib.sha256(given).hexdigest()[:12]}"


def show_rescan(lab: Lab) -> str:
    """Remove and find again."""
    for address in reversed(functions(lab)):
        lab.write(f"{PCI}/{address}/remove", "1\n")
    _want(not set(functions(lab)) & set(lab.devices()), "still there after remove")
    started = time.monotonic()
    lab.write("/sys/bus/pci/rescan", "1\n")
    _want(set(functions(lab)) <= set(lab.devices()), "not found again")
    return f"found again after {time.monotonic() - started:.2f} s"


def ports_of(lab: Lab) -> list[str]:
    """What is between the GPU and the root: the root port or bridge first, a switch's port last."""
    link = f"{PCI}/{lab.topology.gpu}"
    place = lab.python(f"import os; print(os.path.realpath({link!r}))").check().out
    return place.split("/")[4:-1]


def show_dead(lab: Lab) -> str:
    """A device off the bus, and its recovery by removing the port and a rescan."""
    device, port = f"{PCI}/{lab.topology.gpu}", ports_of(lab)[0]
    with faults.off_the_bus(lab, port):
        _want(lab.read_bytes(f"{device}/config")[:4] == b"\xff" * 4, "the device still answers")
        for address in (*reversed(functions(lab)), port):
            lab.write(f"{PCI}/{address}/remove", "1\n")
        lab.write("/sys/bus/pci/rescan", "1\n")
    _want(lab.read_bytes(f"{device}/config")[:4] != b"\xff" * 4, "it did not come back")
    return "config reads ff; back after removing the port and a rescan"


def show_qemu(lab: Lab) -> str:
    """QEMU opens the group; no guest code runs."""
    if not lab.groups():
        return NO_GROUP
    bind_all(lab)
    command = [QEMU, "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "q35"]
    command += ["-m", "64", "-qmp", "stdio"]
    for address in functions(lab):
        command += ["-device", f"vfio-pci,host={address}"]
    qemu = lab.start(*command)
    qemu.send(b'{"execute": "qmp_capabilities"}\n')
    qemu.read_until(b'"return"')  # it answers when its devices are made
    qemu.send(b'{"execute": "quit"}\n')
    _want(qemu.wait().status == 0, "QEMU failed")
    return "opened"


def show_nested(lab: Lab) -> str:
    """A guest's guest sees the GPU."""
    if not lab.groups():
        return NO_GROUP
    bind_all(lab)
    device = f"vfio-pci,host={lab.topology.gpu},bus=gpuport,addr=0.0"
    started = time.monotonic()
    seen = boot_nested(lab, f"{device},{AS_SAMPLE}")
    _want("0000:01:00.0" in seen.devices, seen.console)
    vendor, product, _ = seen.devices["0000:01:00.0"]
    took = time.monotonic() - started
    told = f"01:00.0 [{vendor:04x}:{product:04x}]"
    if lab.topology.boot_vga == lab.topology.gpu:
        return f"{told}, {took:.0f} s"
    rom = sample_rom() + bytes((seen.rom_size or 0) - len(sample_rom()))
    _want(seen.rom_sha256 == hashlib.sha256(rom).hexdigest(), "the guest reads another ROM")
    return f"{told} with the same ROM, {took:.0f} s"


def show_power(lab: Lab) -> str:
    """The sixteen rows of the power table: Debian's bbswitch where the firmware is for it, else the
    files of a program.
    """
    if lab.topology.audio is None:
        return "left out: no audio function"
    optimus = lab.topology.optimus
    with real_power(lab) if optimus else plain_power(lab, ports_of(lab)[-1]):
        rows = walk_table(lab)
        restore_power(lab)
    wrong = [row for row, wanted in zip(rows, TABLE, strict=True) if row != wanted]
    _want(not wrong, f"rows that differ: {wrong}")
    by = "Debian's bbswitch" if optimus else "a stand-in (no firmware for bbswitch here)"
    return f"{len(rows)} of {len(TABLE)} rows as in the field report, {by}"


#: Shown one after the other in one lab: groups and ROM before anything is bound.
SHOWN: tuple[Callable[[Lab], str], ...] = (
    show_groups, show_bind, show_rom, show_rescan, show_qemu,
)  # fmt: skip
#: Each in a lab of its own.
APART: tuple[Callable[[Lab], str], ...] = (show_power, show_dead, show_nested)
NO_GROUP = "left out: no IOMMU group"


def _show(lab: Lab, check: Callable[[Lab], str]) -> bool:
    name = check.__name__.removeprefix("show_")
    try:
        print(f"  {name:8} {check(lab)}", flush=True)
    except (CheckFailed, LabError, LabUnavailable, OSError) as error:
        print(f"  {name:8} FAILED: {error}", flush=True)
        return False
    return True


def check_all() -> int:
    """Show all facts in all topologies; the exit status."""
    fine = True
    for topology in TOPOLOGIES.values():
        rom = None if topology.boot_vga == topology.gpu else sample_rom()
        with open_lab(topology, rom=rom) as lab:
            up = f"up in {lab.boot_seconds:.1f} s{', from a snapshot' if lab.restored else ''}"
            print(f"{topology.name}: {topology.about} ({up})", flush=True)
            for check in SHOWN:
                fine = _show(lab, check) and fine
        for check in APART:
            with open_lab(topology, rom=rom) as lab:
                fine = _show(lab, check) and fine
    print("all as expected" if fine else "something is not as expected", file=sys.stderr)
    return 0 if fine else 1
