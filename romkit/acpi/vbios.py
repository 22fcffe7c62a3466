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
    Access,
    Arg,
    Bits,
    Buffer,
    Call,
    CondRefOf,
    CopyObject,
    Decrement,
    DefinitionBlock,
    DerefOf,
    Device,
    Divide,
    External,
    Field,
    If,
    Increment,
    Index,
    LEqual,
    LGreater,
    LLess,
    LNot,
    LNotEqual,
    Local,
    Method,
    Mid,
    Name,
    ObjectKind,
    ObjectType,
    Offset,
    OperationRegion,
    Or,
    Ref,
    Return,
    Scope,
    ShiftLeft,
    Space,
    Store,
    Term,
    ToString,
    While,
)
from romkit.acpi.errors import AcpiError, TooLarge
from romkit.acpi.path import ROOT, GuestPath
from romkit.rom import Rom

#: The longest answer of one call.
WINDOW = 0x1000

#: Bytes of the ROM in one table; each has WINDOW more, so that no request needs two tables.
CHUNK = 0xE000

#: What QEMU takes in one table (hw/acpi/core.c), header and all.
TABLE_MAX = 0xFFFF

#: What QEMU takes in all (ACPI_BUILD_TABLE_MAX_SIZE), less room for its own tables. Beyond it,
#: QEMU aborts with a failed assertion.
TOTAL_MAX = (2 << 20) - (64 << 10)

#: SeaBIOS 1.14 takes 246 KB and fails at 308 KB; 1.16 takes 1.7 MB.
OLD_SEABIOS_MAX = 246_000

#: The name under which QEMU serves the file to the guest.
FW_CFG_NAME = "opt/org.dgpukit/vbios"

_FW_CFG_PORT = 0x510
_FW_CFG_SIGNATURE = 0x0000
_FW_CFG_DIRECTORY = 0x0019
_FW_CFG_ENTRY = 64


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


def rom_to_serve(rom: Rom) -> bytes:
    """The ROM as ``_ROM`` should return it: what surrounds it cut off, and nothing wrong with it.

    Raises:
        AcpiError: something that drivers stumble over.
        EditRefused: it cannot be stripped.
    """
    from romkit.checks import verify
    from romkit.edit import strip
    from romkit.finding import blocking

    stripped = strip(rom).data
    wrong = blocking(verify(stripped))
    if wrong:
        raise AcpiError(
            "no ROM to give to a driver: " + "; ".join(finding.title for finding in wrong),
            hint="`romkit verify` says more, `romkit fix` mends it, --as-is takes it so",
        )
    return stripped


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
        raise AcpiError("no ROM to give to a driver: it is empty")
    if len(rom) > TOTAL_MAX:
        raise _too_large(len(rom), len(rom))
    padded = rom + bytes(WINDOW)
    tables: list[DefinitionBlock] = []
    names: list[str] = []
    for start in range(0, len(rom), CHUNK):
        names.append(f"VR{len(names):02X}")
        part = Name(names[-1], padded[start : start + CHUNK + WINDOW])
        tables.append(_in_device(path, f"VBIOS{len(names) - 1:02X}", [part]))
    tables.append(_in_device(path, "VBIOSROM", [_rom_of_chunks(len(rom), names)], *names))
    tables = [*_nodes(path, node), *tables]
    result = RomTables(path, rom, tuple(tables), False, ())
    size = result.size
    if size > TOTAL_MAX:
        raise _too_large(len(rom), size)
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
        raise AcpiError("no ROM to give to a driver: it is empty")
    table = _in_device(path, "VBIOSFWC", _fw_cfg_terms(len(rom)))
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
    if path.has_node is False and node is not False:
        notes.append(f"QEMU makes no node {path}: the first table does")
    elif path.has_node is None:
        notes.append(f"whether the guest has {path}: see firmware_node/path of the device there")
    if size > OLD_SEABIOS_MAX:
        notes.append("SeaBIOS before 1.16 has no room for so much, and the guest loses all ACPI")
    if size > 64 << 10:
        notes.append("QEMU warns that migration may not work: with a GPU it does not anyway")
    return tuple(notes)


def _too_large(rom: int, tables: int) -> TooLarge:
    return TooLarge(
        f"a ROM of {rom:#x} bytes needs tables of {tables:#x}: QEMU takes {TOTAL_MAX:#x}, "
        "and aborts with more",
        hint="--fw-cfg, which has no limit; or `romkit strip --images legacy`",
    )


def _in_device(path: GuestPath, name: str, terms: list[Term], *others: str) -> DefinitionBlock:
    outside: list[Term] = [External(str(path), ObjectKind.DeviceObj)]
    outside += [External(f"{path}.{other}", ObjectKind.BuffObj) for other in others]
    return DefinitionBlock(name, [*outside, Scope(str(path), terms)])


def _rom_of_chunks(size: int, names: list[str]) -> Method:
    start, length, within, chunk = Local(0), Local(1), Local(2), Local(3)
    pick = [
        If(LEqual(chunk, number), [Return(Mid(Ref(name), within, length))])
        for number, name in enumerate(names)
    ]
    return _rom_method([If(LLess(start, size), [Divide(start, CHUNK, within, chunk), *pick])])


def _rom_method(terms: list[Term]) -> Method:
    """``_ROM`` (offset, length): Local0 is the offset, Local1 the length; zeros if nothing else."""
    start, length = Local(0), Local(1)
    return Method(
        "_ROM",
        2,
        [
            Store(Arg(0), start),
            Store(Arg(1), length),
            If(LGreater(length, WINDOW), [Store(WINDOW, length)]),
            *terms,
            Return(Buffer(size=length)),
        ],
        serialized=True,
    )


def _fw_cfg_terms(size: int) -> list[Term]:
    """QEMU, docs/specs/fw_cfg.rst: a selector of 16 bits, then bytes one at a time."""
    start, length = Local(0), Local(1)
    rom = [
        If(
            LLess(start, size),
            [
                If(LNotEqual(ObjectType("VROM"), 3), [Call("VFND")]),
                If(
                    LEqual(ObjectType("VROM"), 3),
                    [Return(Mid(Ref("VROM"), start, length))],
                ),
            ],
        )
    ]
    return [
        OperationRegion("VFWC", Space.SystemIO, _FW_CFG_PORT, 2),
        Field("VFWC", Access.WordAcc, [Bits("VSEL", 16)]),
        Field("VFWC", Access.ByteAcc, [Offset(1), Bits("VDAT", 8)]),
        Name("VROM", 0),
        _fw_cfg_read(),
        _fw_cfg_find(size),
        _rom_method(list(rom)),
    ]


def _fw_cfg_read() -> Method:
    """VGET (count, size): so many bytes from the device in a buffer of that size."""
    data, done = Local(0), Local(1)
    return Method(
        "VGET",
        2,
        [
            Store(Buffer(size=Arg(1)), data),
            Store(0, done),
            While(
                LLess(done, Arg(0)),
                [Store(Ref("VDAT"), Index(data, done)), Increment(done)],
            ),
            Return(data),
        ],
        serialized=True,
    )


def _fw_cfg_find(size: int) -> Method:
    """VFND (): find the file in the directory and keep it in VROM, zeros behind it."""
    entries, entry, found = Local(0), Local(1), Local(2)

    def number(buffer: Local, at: int) -> Or:
        """Two bytes, the higher first."""
        high, low = (DerefOf(Index(buffer, at + n)) for n in (0, 1))
        return Or(ShiftLeft(high, 8), low)

    return Method(
        "VFND",
        0,
        [
            Store(_FW_CFG_SIGNATURE, Ref("VSEL")),
            If(LNotEqual(Call("VGET", (4, 4)), b"QEMU"), [Return(0)]),
            Store(_FW_CFG_DIRECTORY, Ref("VSEL")),
            Store(Call("VGET", (4, 4)), entry),
            # The number of entries has four bytes, of which two are plenty.
            Store(number(entry, 2), entries),
            While(
                entries,
                [
                    Store(Call("VGET", (_FW_CFG_ENTRY, _FW_CFG_ENTRY)), entry),
                    # Size, selector, reserved; then the name, closed by NUL.
                    Store(Mid(entry, 8, 56), found),
                    If(
                        LEqual(ToString(found, 56), FW_CFG_NAME),
                        [
                            Store(number(entry, 4), Ref("VSEL")),
                            CopyObject(Call("VGET", (size, size + WINDOW)), Ref("VROM")),
                            Return(1),
                        ],
                    ),
                    Decrement(entries),
                ],
            ),
            Return(0),
        ],
        serialized=True,
    )
