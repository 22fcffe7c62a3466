"""A GPU's ROM, from where the machine has it: the ROM BAR, AMD's VFCT, or an ACPI method _ROM."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from diag.device import DEVICES
from diag.power import GpuPower, read_power
from diag.vbios import VFCT
from passthrough.errors import Refused
from passthrough.plan import Plan
from passthrough.steps import ReadRom, SetPowerControl
from romkit.finding import Evidence, Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diag.device import PciDevice
    from diag.host import Host
    from diag.inventory import Inventory
    from passthrough.machine import Machine
    from passthrough.step import Step
    from romkit.checks import DeviceId

#: acpi_call's file: a method's name and arguments are written, its result is read.
ACPI_CALL = "/proc/acpi/call"

#: Bytes asked for at once. acpi_call prints six characters a byte into 4096 (acpi_call.c).
_PIECE = 512
#: Bytes. No VBIOS has more; a method that never ends is left here.
_LARGEST = 2 << 20

#: Lines of the file ``resource``: six BARs, then the ROM.
_ROM_LINE = 6
#: include/linux/ioport.h, IORESOURCE_ROM_SHADOW: what is shown is a copy in memory at 0xC0000.
_SHADOW = 1 << 1


class Via(StrEnum):
    """Where a ROM is read from."""

    AUTO = "auto"
    BAR = "bar"
    ACPI = "acpi"
    VFCT = "vfct"


@dataclass(frozen=True, slots=True)
class Dump:
    """A ROM that was read.

    Attributes:
        via: where it was read.
        data: its bytes, without what only fills the BAR.
        findings: what the checks say of it.
    """

    via: Via
    data: bytes
    findings: tuple[Finding, ...]

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """Why it is no whole ROM. That it names another card does not count: this card has it."""
        return tuple(f for f in self.findings if f.blocks and not f.check.startswith("device."))


def shadow_of(host: Host, gpu: PciDevice) -> Evidence | None:
    """What shows that sysfs gives not the ROM but the firmware's changed copy; None if it does not.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    path = f"{DEVICES}/{gpu.address}/resource"
    lines = (host.text(path) or "").splitlines()
    line = lines[_ROM_LINE].strip() if len(lines) > _ROM_LINE else ""
    found = re.fullmatch(r"0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+)", line)
    if found is None or not int(found[2], 16) & _SHADOW:
        return None
    return Evidence(path, line)


def choose_via(inventory: Inventory, gpu: PciDevice) -> Via:
    """The best source for a card: its BAR, else VFCT, else _ROM.

    Raises:
        Refused: there is none; says why not for each.
        Unreadable: sysfs cannot be read.
    """
    reasons = []
    for via in (Via.BAR, Via.VFCT, Via.ACPI):
        blocking = tuple(_obstacles(inventory, gpu, via))
        if not blocking:
            return via
        reasons.append(f"{via}: {blocking[0].title}")
    raise Refused(
        f"no ROM of {gpu.address} can be read here: {'; '.join(reasons)}",
        hint="take it from a BIOS update or from Windows' registry: romkit find",
    )


def plan_dump(inventory: Inventory, gpu: PciDevice, via: Via) -> Plan:
    """A plan that reads a ROM; what its steps have read is in `Machine.taken`.

    VFCT and _ROM need no step: nothing of the host is changed for them.

    Raises:
        Unreadable: sysfs cannot be read.
    """
    address = str(gpu.address)
    findings = tuple(_obstacles(inventory, gpu, via))
    title = f"read the ROM of {address} ({via})"
    if via is Via.VFCT:
        return Plan(title, (), findings, (f"it is read from {VFCT}",))
    if via is Via.ACPI:
        return Plan(title, (), findings, (f"{gpu.acpi_path}._ROM is called by {ACPI_CALL}",))
    steps: list[Step] = [ReadRom(address)]
    if gpu.asleep and gpu.power_control == "auto":
        # A card in D3 decodes nothing: its ROM would read as ones.
        steps = [SetPowerControl(address, "on"), *steps, SetPowerControl(address, "auto")]
    return Plan(title, tuple(steps), findings)


def _obstacles(inventory: Inventory, gpu: PciDevice, via: Via) -> Iterator[Finding]:
    host = inventory.host
    folder = f"{DEVICES}/{gpu.address}"
    if via is Via.VFCT:
        if not host.exists(VFCT):
            yield _blocks(gpu, "rom.no-vfct", "the firmware has no VFCT table (AMD's have)",
                          Evidence(VFCT, "not there"))  # fmt: skip
        return
    if via is Via.ACPI:
        if gpu.acpi_path is None:
            yield _blocks(gpu, "rom.no-acpi", "the firmware's tables do not name this card")
        elif not host.exists(ACPI_CALL):
            yield _blocks(gpu, "rom.no-acpi-call", "acpi_call is not loaded",
                          Evidence(ACPI_CALL, "not there"),
                          remedy="install acpi_call, then: modprobe acpi_call")  # fmt: skip
        return
    power = read_power(inventory, gpu)
    if power.power in (GpuPower.OFF, GpuPower.GONE):
        yield _blocks(gpu, "rom.no-power", f"the card is {power.power.value}", *power.evidence,
                      remedy="passthrough power on")  # fmt: skip
    if not host.exists(f"{folder}/rom"):
        yield _blocks(gpu, "rom.no-bar", "it has no ROM BAR, as most mobile cards",
                      Evidence(f"{folder}/rom", "not there"), remedy="--via acpi")  # fmt: skip
    shadow = shadow_of(host, gpu)
    if shadow is not None:
        yield _blocks(
            gpu, "rom.shadow", "the firmware has booted with this card: what the kernel shows is "
            "the copy at 0xC0000, which the card's own code has changed", shadow,
            remedy="let the firmware boot with another display, or --via vfct, --via acpi",
        )  # fmt: skip


def _blocks(
    gpu: PciDevice, check: str, title: str, *evidence: Evidence, remedy: str = ""
) -> Finding:
    return Finding(
        check, Verdict.FAIL, Severity.BLOCKER, str(gpu.address), title, evidence, remedy,
        "Linux, drivers/pci/rom.c",
    )  # fmt: skip


# What was read.


def finish(gpu: PciDevice, via: Via, data: bytes) -> Dump:
    """A dump without its padding, checked by itself and against the card.

    Raises:
        Refused: it is empty: all ones or zeros.
    """
    from romkit.checks import verify

    if not data.strip(b"\xff") or not data.strip(b"\0"):
        what = f"{data[0]:02x}" if data else "nothing"
        raise Refused(
            f"the ROM of {gpu.address} reads as {what} only",
            hint="the card sleeps or has none there; try another --via",
        )
    data = without_padding(data)
    return Dump(via, data, verify(data, _device_id(gpu)))


def _device_id(gpu: PciDevice) -> DeviceId | None:
    from romkit.checks import DeviceId

    if gpu.ids is None:
        return None
    board = gpu.subsystem
    code = None
    if gpu.class_code is not None:
        code = gpu.class_code.code << 8 | (gpu.prog_if or 0)
    return DeviceId(
        gpu.ids.vendor, gpu.ids.device,
        None if board is None else (board.vendor, board.device), code,
    )  # fmt: skip


def without_padding(data: bytes) -> bytes:
    """A ROM without the padding that fills its BAR up to a power of two."""
    from romkit.errors import RomError
    from romkit.rom import parse_rom
    from romkit.tail import TailKind

    try:
        rom = parse_rom(data)
    except RomError:
        return data
    parts = tuple(rom.tail) if rom.tail is not None else ()
    end = len(data)
    for part in reversed(parts):
        if part.kind is not TailKind.PADDING:
            break
        end = part.offset
    return data[:end]


def read_vfct(host: Host, gpu: PciDevice) -> bytes:
    """The ROM that the firmware's VFCT table has for a card.

    Raises:
        Refused: it has none, or cannot be read as one.
        Unreadable: only root may read it.
    """
    from romkit.entries import vfct_entries
    from romkit.errors import RomError
    from romkit.rom import parse_rom

    data = host.data(VFCT)
    if data is None:
        raise Refused(f"{VFCT} is not there", hint="AMD's cards have it only")
    try:
        entries = vfct_entries(parse_rom(data))
    except RomError as error:
        raise Refused(f"{VFCT}: {error.message}", hint=error.hint) from None
    for entry in entries:
        own = entry.header
        same = gpu.ids is not None and (own.vendor_id, own.device_id) == (
            gpu.ids.vendor, gpu.ids.device,
        )  # fmt: skip
        if same:
            return data[own.rom_offset : own.rom_offset + own.image_length]
    found = ", ".join(entry.title for entry in entries) or "nothing"
    raise Refused(f"{VFCT} has no ROM for {gpu.ids}", hint=f"it has: {found}")


def read_method(machine: Machine, gpu: PciDevice) -> bytes:
    """The ROM that the firmware's method ``_ROM`` hands out (ACPI 6.5, B.3.3).

    Raises:
        Refused: there is no such method, or it gives nothing.
        NeedsRoot: acpi_call wants root.
    """
    return collect(lambda at, size: _call(machine, f"{gpu.acpi_path}._ROM {at:#x} {size:#x}"))


def _call(machine: Machine, words: str) -> bytes | None:
    machine.write(ACPI_CALL, words)
    said = (machine.host.text(ACPI_CALL) or "").strip()
    if said.startswith("Error"):
        if "AE_NOT_FOUND" in said:
            name = words.split(maxsplit=1)[0]
            raise Refused(f"{name}: the firmware has no such method", hint=f"--via {Via.BAR}")
        return None
    return parse_result(said)


def parse_result(said: str) -> bytes | None:
    """A buffer as acpi_call prints it: ``{0x55, 0xaa}``; None for what is no buffer."""
    if not (said.startswith("{") and said.endswith("}")):
        return None
    words = said[1:-1].replace(",", " ").split()
    try:
        return bytes(int(word, 16) for word in words)
    except ValueError:
        return None


def collect(read: Callable[[int, int], bytes | None]) -> bytes:
    """All pieces of a ROM, until one is short, or the ROM's own images end.

    Args:
        read: gives at most so many bytes from an offset on, None where there is nothing.

    Raises:
        Refused: there is nothing at all.
    """
    whole = bytearray()
    wanted = _LARGEST
    while len(whole) < wanted:
        piece = read(len(whole), _PIECE)
        if not piece:
            break
        whole += piece
        if len(piece) < _PIECE:
            break
        # Some methods give the last piece, or zeros, for ever.
        if len(whole) % (1 << 16) == 0 and _complete(bytes(whole)):
            break
    if not whole:
        raise Refused("the method _ROM gives nothing", hint=f"--via {Via.BAR}, or --via {Via.VFCT}")
    return bytes(whole)


def _complete(data: bytes) -> bool:
    """Whether all images are there, with more behind them."""
    from romkit.errors import RomError
    from romkit.rom import parse_rom

    try:
        rom = parse_rom(data)
    except RomError:
        return False
    return rom.tail is not None and rom.tail.size >= 1 << 16 and not rom.tail.live
