r"""A VBIOS for a guest by ``_ROM``, under unpatched firmware.

Mobile NVIDIA GPUs have no ROM of their own: the host's firmware hands it out by ``_ROM`` at the
device (ACPI 6.0, B.3.3), and so the drivers in a guest ask there too. Two ways to it:

- `rom_tables`: the ROM itself in several SSDTs. QEMU takes 65535 bytes a table and 2 MiB in all,
  which is enough for about 1.8 MiB of ROM. A call costs microseconds.
- `fw_cfg_tables`: one small SSDT that reads a file which QEMU serves (``-fw_cfg``). No limit, but
  the first call reads the whole file a byte at a time: 11 s for 256 KiB under emulation, measured.

An answer has exactly the length that was asked for, 4096 bytes at most, with zeros past the end of
the ROM: NVIDIA's open module refuses shorter ones, and 4096 is the most that drivers may ask.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from romkit.acpi.aml import (
    CondRefOf,
    DefinitionBlock,
    Device,
    External,
    If,
    LNot,
    Name,
    ObjectKind,
    Scope,
    Term,
)
from romkit.acpi.errors import AcpiError, TooLarge
from romkit.acpi.path import ROOT, GuestPath
from romkit.acpi.rom_method import CHUNK, FW_CFG_NAME, WINDOW, rom_of_chunks, rom_of_fw_cfg
from romkit.rom import Rom

__all__ = [
    "CHUNK",
    "FW_CFG_NAME",
    "OLD_SEABIOS_MAX",
    "TABLE_MAX",
    "TOTAL_MAX",
    "WINDOW",
    "RomTables",
    "choice_notes",
    "fw_cfg_tables",
    "largest_rom",
    "node_table",
    "rom_tables",
    "rom_to_serve",
]

#: What QEMU takes in one table (hw/acpi/core.c), header and all.
TABLE_MAX = 0xFFFF

#: What QEMU takes in all (ACPI_BUILD_TABLE_MAX_SIZE), less room for its own tables. Beyond it,
#: QEMU aborts with a failed assertion.
TOTAL_MAX = (2 << 20) - (64 << 10)

#: SeaBIOS 1.14 takes 246 KB and fails at 308 KB; 1.16 takes 1.7 MB.
OLD_SEABIOS_MAX = 246_000


@dataclass(frozen=True, slots=True)
class RomTables:
    """What gives a guest its VBIOS.

    Attributes:
        path: the device.
        rom: the bytes that ``_ROM`` returns.
        tables: the SSDTs, in the order in which QEMU should get them.
        by_fw_cfg: whether QEMU has to serve `rom` as `FW_CFG_NAME`, too.
        notes: what else there is to know.
    """

    path: GuestPath
    rom: bytes
    tables: tuple[DefinitionBlock, ...]
    by_fw_cfg: bool
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of `rom`, to compare with what the guest reads."""
        return hashlib.sha256(self.rom).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(len(bytes(table)) for table in self.tables)


def rom_to_serve(rom: Rom, *, entry: int | None = None) -> bytes:
    """The ROM as ``_ROM`` should return it: what surrounds it cut off, and nothing wrong with it.

    Args:
        rom: a dump, flash or VFCT.
        entry: of a VFCT, the one whose ROM is wanted, from 0 on; None takes the first that can be
            read, and `choice_notes` says so.

    Raises:
        AcpiError: something that drivers stumble over; the hint says what helps against it.
        EditRefused: it cannot be stripped, or there is no such entry.
    """
    from romkit.checks import verify
    from romkit.edit import strip
    from romkit.finding import blocking

    stripped = strip(rom, entry=entry).data
    wrong = blocking(verify(stripped))
    if wrong:
        # Each has its own cure, which is not always `romkit fix`; the same one is said once.
        cures = dict.fromkeys(finding.remedy for finding in wrong if finding.remedy)
        raise AcpiError(
            "no ROM to give to a driver: " + "; ".join(finding.title for finding in wrong),
            hint="; ".join([*cures, "`romkit verify` says more"]),
        )
    return stripped


def choice_notes(rom: Rom, entry: int | None = None) -> tuple[str, ...]:
    """Which of several ROMs `rom_to_serve` takes, and which it leaves; empty where there is one."""
    from romkit.entries import vfct_entries

    entries = vfct_entries(rom)
    if len(entries) < 2:
        return ()
    taken = [own for own in entries if own.number == entry or (entry is None and own.rom is rom)]
    others = [own for own in entries if own not in taken]
    listed = ", ".join(own.title for own in others)
    return tuple(f"the ROM of {own.title}; there is also {listed}" for own in taken)


def rom_tables(rom: bytes, path: GuestPath, *, node: bool | None = None) -> RomTables:
    """``_ROM`` with the ROM in tables of its own.

    Args:
        rom: what it returns; see `rom_to_serve`.
        path: the device in the guest.
        node: put the table of `node_table` in front; None does so unless QEMU is known to make
            the device's node.

    Raises:
        TooLarge: more than QEMU takes.
        AcpiError: an empty ROM, or a node is wanted for a device that cannot have one.
    """
    if not rom:
        raise AcpiError("no ROM to give to a driver: it is empty", hint="a dump with bytes in it")
    if len(rom) > TOTAL_MAX:
        raise _too_large(len(rom), path, node)
    padded = rom + bytes(WINDOW)
    tables: list[DefinitionBlock] = []
    names: list[str] = []
    for start in range(0, len(rom), CHUNK):
        names.append(f"VR{len(names):02X}")
        part = Name(names[-1], padded[start : start + CHUNK + WINDOW])
        tables.append(_in_device(path, f"VBIOS{len(names) - 1:02X}", [part]))
    tables.append(_in_device(path, "VBIOSROM", [rom_of_chunks(len(rom), names)], *names))
    tables = [*_nodes(path, node), *tables]
    result = RomTables(path, rom, tuple(tables), False, ())
    size = result.size
    if size > TOTAL_MAX:
        raise _too_large(len(rom), path, node)
    return RomTables(path, rom, tuple(tables), False, _notes(path, node, size))


def fw_cfg_tables(rom: bytes, path: GuestPath, *, node: bool | None = None) -> RomTables:
    """``_ROM`` that reads the ROM from QEMU's fw_cfg device, at the first call.

    A guest that drives the same ports meanwhile (Linux's qemu_fw_cfg) can spoil that one reading.

    Args:
        rom: what QEMU has to serve; its length is part of the table.
        path: the device in the guest.
        node: as for `rom_tables`.

    Raises:
        AcpiError: an empty ROM, or a node is wanted for a device that cannot have one.
    """
    if not rom:
        raise AcpiError("no ROM to give to a driver: it is empty", hint="a dump with bytes in it")
    table = _in_device(path, "VBIOSFWC", rom_of_fw_cfg(len(rom)))
    notes = ["the first call reads the whole ROM a byte at a time, which takes seconds"]
    notes += _notes(path, node, 0)
    return RomTables(path, rom, (*_nodes(path, node), table), True, tuple(notes))


def node_table(path: GuestPath) -> DefinitionBlock:
    r"""A table that makes the nodes which QEMU leaves out, and only those.

    ``Scope`` of a missing device loses the whole table that has it, and so does ``Device`` of one
    that is there (AE_NOT_FOUND, AE_ALREADY_EXISTS): whether it is there is asked in the guest.

    Raises:
        AcpiError: a device on the root bus, or a path that is not QEMU's.
    """
    if len(path.hops) < 2:
        raise AcpiError(
            f"{path}: no node can be made for it", hint="the path that the guest has for the device"
        )
    body: list[Term] = []
    parent = f"{ROOT}.{path.hops[0].name}"
    # A table that defines what it asks for is read by nobody without being told of both.
    body.append(External(parent, ObjectKind.DeviceObj, opcode=True))
    for hop in path.hops[1:]:
        device = Device(hop.name, [Name("_ADR", hop.address)])
        here = f"{parent}.{hop.name}"
        body.append(External(here, ObjectKind.DeviceObj, opcode=True))
        body.append(If(LNot(CondRefOf(here)), [Scope(parent, [device])]))
        parent = here
    return DefinitionBlock("VBIOSDEV", body)


def _nodes(path: GuestPath, node: bool | None) -> list[DefinitionBlock]:
    wanted = _wants_node(path) if node is None else node
    return [node_table(path)] if wanted else []


def _wants_node(path: GuestPath) -> bool:
    return path.has_node is not True and len(path.hops) > 1


def _notes(path: GuestPath, node: bool | None, size: int) -> tuple[str, ...]:
    notes = []
    if path.has_node is False and node is False:
        notes.append(
            f"QEMU makes no node {path} and neither do these tables: unless another table does, "
            "the guest drops them (AE_NOT_FOUND) and has no _ROM"
        )
    elif path.has_node is False:
        notes.append(f"QEMU makes no node {path}: the first table does")
    elif path.has_node is None and node is False:
        notes.append(
            f"if the guest has no node {path}, it drops these tables (AE_NOT_FOUND): see "
            "firmware_node/path of the device there"
        )
    elif path.has_node is None:
        notes.append(f"whether the guest has {path}: see firmware_node/path of the device there")
    if size > OLD_SEABIOS_MAX:
        notes.append("SeaBIOS before 1.16 has no room for so much, and the guest loses all ACPI")
    if size > 64 << 10:
        notes.append("QEMU warns that migration may not work: with a GPU it does not anyway")
    return tuple(notes)


def largest_rom(path: GuestPath, *, node: bool | None = None) -> int:
    """Bytes of the largest ROM that `rom_tables` can give to this device."""

    def method(chunks: int) -> int:
        names = [f"VR{number:02X}" for number in range(chunks)]
        table = _in_device(path, "VBIOSROM", [rom_of_chunks(TOTAL_MAX, names)], *names)
        return len(bytes(table))

    chunk = len(bytes(_in_device(path, "VBIOS00", [Name("VR00", bytes(CHUNK + WINDOW))])))
    room = TOTAL_MAX - sum(len(bytes(table)) for table in _nodes(path, node))
    count = next(n for n in range(1, 256) if n * chunk + method(n) > room)
    # The last one need not be full; how long its length is written is the same.
    last = room - (count - 1) * chunk - method(count) - (chunk - CHUNK)
    return (count - 1) * CHUNK + max(last, 0)


def _too_large(rom: int, path: GuestPath, node: bool | None) -> TooLarge:
    most = largest_rom(path, node=node)
    return TooLarge(
        f"a ROM of {rom} bytes ({rom / (1 << 20):.2f} MiB): the tables that QEMU takes hold "
        f"{most} bytes of it ({most / (1 << 20):.2f} MiB), and with more QEMU aborts",
        hint="serve it by fw_cfg (--fw-cfg), which has no limit; or a part of it: "
        "`romkit strip --images legacy`",
    )


def _in_device(path: GuestPath, name: str, terms: list[Term], *others: str) -> DefinitionBlock:
    outside: list[Term] = [External(str(path), ObjectKind.DeviceObj)]
    outside += [External(f"{path}.{other}", ObjectKind.BuffObj) for other in others]
    return DefinitionBlock(name, [*outside, Scope(str(path), terms)])
