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

#: Bytes asked for at once, at most. acpi_call prints six characters a byte into 256 (1.2.2, that of
#: Debian) or 4096, and cuts off what is more: the first answer shows how much it can.
_PIECE = 512
#: Bytes. Nobody's _ROM has to answer more at once (ACPI 6.5, B.3.3), and some keep their ROM so.
_WINDOW = 4096
#: Bytes of padding behind the last image after which nothing more is expected.
_PADDING = 16 << 10
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
    ids = None if gpu.ids is None else (gpu.ids.vendor, gpu.ids.device)
    place = (gpu.address.bus, gpu.address.device, gpu.address.function)
    same = [e.header for e in entries if (e.header.vendor_id, e.header.device_id) == ids]
    # Of two cards of one kind each has its own; the bus of a single one may have been renumbered.
    here = [h for h in same if (h.pci_bus, h.pci_device, h.pci_function) == place]
    for own in here or (same if len(same) == 1 else ()):
        return data[own.rom_offset : own.rom_offset + own.image_length]
    found = ", ".join(entry.title for entry in entries) or "nothing"
    raise Refused(f"{VFCT} has no ROM for {gpu.ids} at {gpu.address}", hint=f"it has: {found}")


def read_method(machine: Machine, gpu: PciDevice) -> bytes:
    """The ROM that the firmware's method ``_ROM`` hands out (ACPI 6.5, B.3.3).

    Raises:
        Refused: there is no such method, or it gives nothing.
        NeedsRoot: acpi_call wants root.
    """
    with machine.exchange(ACPI_CALL) as ask:

        def read(at: int, size: int) -> bytes | None:
            return _buffer(ask(f"{gpu.acpi_path}._ROM {at:#x} {size:#x}"))

        first = read(0, _PIECE)
        return collect(read, len(first) if first else _PIECE)


def _buffer(said: str) -> bytes | None:
    """What a method gives; None for anything but a buffer.

    Raises:
        Refused: there is no such method.
    """
    if said.startswith("Error") and "AE_NOT_FOUND" in said:
        raise Refused("the firmware has no method _ROM for it", hint=f"--via {Via.BAR}")
    return parse_result(said)


def parse_result(said: str) -> bytes | None:
    """A buffer as acpi_call prints it: ``{0x55, 0xaa}``; None for what is no buffer.

    Of one that did not fit there is the beginning, with a comma behind it: ``{0x55, 0xaa,``.
    """
    if not said.startswith("{") or said[-1] not in "},":
        return None
    words = said[1:-1].replace(",", " ").split()
    try:
        return bytes(int(word, 16) for word in words)
    except ValueError:
        return None


def collect(read: Callable[[int, int], bytes | None], most: int = _PIECE) -> bytes:
    """All pieces of a ROM, until one is short, or the ROM's own images end.

    Args:
        read: gives at most so many bytes from an offset on, None where there is nothing.
        most: bytes that it can give at once.

    Raises:
        Refused: there is nothing at all.
    """
    whole = bytearray()
    wanted = _LARGEST
    while len(whole) < wanted:
        size = min(most, _WINDOW - len(whole) % _WINDOW)
        piece = read(len(whole), size)
        if not piece:
            break
        whole += piece
        if len(piece) < size:
            break
        # Some methods give the last piece, or zeros, for ever.
        if len(whole) % _PADDING == 0 and _complete(bytes(whole)):
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
    return rom.tail is not None and rom.tail.size >= _PADDING and not rom.tail.live
