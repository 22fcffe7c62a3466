"""Checks of the kernel's log: what has already gone wrong since this start."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check, check
from diag.errors import Unreadable
from diag.inventory import Inventory
from diag.logs import DMESG, HostLog
from diag.text.problems import MEANINGS
from romkit.finding import Evidence, Finding, Severity

#: Lines that are shown of each problem; the first and the last.
_SHOWN = 2


@check(
    "logs.failures",
    "Does the kernel's log announce a known failure?",
    Severity.WARNING,
    "messages of drivers/pci, drivers/iommu, drivers/vfio and NVIDIA's driver",
)
def failures(machine: Inventory) -> Iterable[Finding]:
    """Cards that fell off the bus, resets that did not end, faults of the IOMMU: what the kernel
    has said since it started. It may be over by now; the lines have times.
    """
    log = machine.log
    if log is None:
        yield _nobody_asked(failures)
        return
    names = dict.fromkeys(name for line in log.log.problems for name in line.problems)
    for name in names:
        lines = [line for line in log.log.problems if name in line.problems]
        devices = ", ".join(map(str, log.devices(name)[:8]))
        ends = lines if len(lines) <= _SHOWN else [lines[0], lines[-1]]
        times = f" ({len(lines)} times)" if len(lines) > 1 else ""
        title, remedy = _told(name, MEANINGS[name])
        yield failures.failed(
            devices or "machine",
            f"{title}{times}",
            *(Evidence(f"{log.source}: line {line.number}", line.text[:200]) for line in ends),
            remedy=remedy,
        )
    if not names:
        yield failures.passed("machine", "no known failure in the kernel's log", _read(log))


@check(
    "logs.drivers",
    "Does the kernel's log say that a driver refused something?",
    Severity.WARNING,
    "messages of bbswitch, nvhda, i915, vfio-pci and NVIDIA's driver",
)
def drivers(machine: Inventory) -> Iterable[Finding]:
    """bbswitch that refused to switch, an unbind that waits inside the kernel, memory that could
    not be locked, a module without a signature: drivers say so in the log, and nowhere else.
    """
    try:
        log = machine.log
    except Unreadable:
        return  # logs.failures says that the log could not be read
    if log is None:
        return
    found = log.driver_messages
    for message, line in found:
        title, remedy = _told(message.name, message.meaning)
        where = Evidence(log.source, line[:200])
        yield drivers.failed("machine", title, where, remedy=remedy)
    if not found:
        yield drivers.passed("machine", "no driver has refused anything", _read(log))


def _told(name: str, meaning: str) -> tuple[str, str]:
    """What happened, and what to do: the first sentence of a meaning, and the others."""
    first, _, rest = meaning.partition(". ")
    first = first.rstrip(".")
    return f"{name}: {first}", rest or "look at the lines around it in dmesg"


def _read(log: HostLog) -> Evidence:
    since = "from the start of the kernel on" if log.complete else "its start is lost"
    return Evidence(log.source, f"{len(log.lines)} lines, {since}")


def _nobody_asked(own: Check) -> Finding:
    return own.unknown(
        "machine", "the kernel's log is not known here", remedy=f"run: {' '.join(DMESG)}"
    )


LOG_CHECKS: tuple[Check, ...] = (failures, drivers)
