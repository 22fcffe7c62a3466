"""The terms of ``_ROM``: how it finds what it was asked for, in buffers or at QEMU's fw_cfg."""

from __future__ import annotations

from romkit.acpi.aml import (
    Access,
    Arg,
    Bits,
    Buffer,
    Call,
    CopyObject,
    Decrement,
    DerefOf,
    Divide,
    Field,
    If,
    Increment,
    Index,
    LEqual,
    LGreater,
    LLess,
    LNotEqual,
    Local,
    Method,
    Mid,
    Name,
    ObjectType,
    Offset,
    OperationRegion,
    Or,
    Ref,
    Return,
    ShiftLeft,
    Space,
    Store,
    Term,
    ToString,
    While,
)

#: The longest answer of one call.
WINDOW = 0x1000

#: Bytes of the ROM in one table; each has WINDOW more, so that no request needs two tables.
CHUNK = 0xE000

#: The name under which QEMU serves the file to the guest.
FW_CFG_NAME = "opt/org.dgpukit/vbios"

_FW_CFG_PORT = 0x510
_FW_CFG_SIGNATURE = 0x0000
_FW_CFG_DIRECTORY = 0x0019
_FW_CFG_ENTRY = 64


def rom_of_chunks(size: int, names: list[str]) -> Method:
    """``_ROM`` of so many bytes, which stand in buffers of these names, `CHUNK` in each."""
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


def rom_of_fw_cfg(size: int) -> list[Term]:
    """``_ROM`` that reads a file of so many bytes from QEMU, and what it needs beside it.

    QEMU, docs/specs/fw_cfg.rst: a selector of 16 bits, then bytes one at a time.
    """
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
