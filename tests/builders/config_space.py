"""Made-up configuration spaces and the hex dumps that `lspci -F` reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """A function that does not exist, in the specification's words."""

    address: str = "01:00.0"
    vendor: int = 0x10DE
    device: int = 0x1C20
    class_code: int = 0x0300
    prog_if: int = 0
    revision: int = 0xA1
    subsystem: tuple[int, int] | None = (0x1558, 0x65A1)
    bridge: bool = False
    #: Secondary bus of a bridge.
    below: int = 0
    #: D0 to D3, or None without the capability.
    power: int | None = 0
    #: Speed code and width, or None without PCI Express.
    link: tuple[int, int] | None = (3, 16)
    acs: tuple[int, int] | None = None


def config_space(f: Function, size: int = 4096) -> bytes:
    """The bytes, as PCI Local Bus 3.0 and PCI Express Base 3.0 lay them out."""
    data = bytearray(4096)

    def put(offset: int, value: int, width: int = 2) -> None:
        data[offset : offset + width] = value.to_bytes(width, "little")

    put(0, f.vendor)
    put(2, f.device)
    put(8, f.revision, 1)
    put(9, f.prog_if, 1)
    put(0x0A, f.class_code)
    put(0x0E, 1 if f.bridge else 0, 1)
    capabilities: list[tuple[int, int]] = []
    if f.power is not None:
        capabilities.append((0x60, 0x01))
        put(0x62, 3)
        put(0x64, f.power)
    if f.link is not None:
        capabilities.append((0x78, 0x10))
        put(0x7A, 0x0042 if f.bridge else 0x0002)  # root port or endpoint, version 2
        put(0x78 + 12, f.link[0] | f.link[1] << 4, 4)
        put(0x78 + 18, f.link[0] | f.link[1] << 4)
    if f.bridge:
        put(0x19, f.below, 1)
        put(0x1A, f.below, 1)
        if f.subsystem:
            capabilities.append((0xC0, 0x0D))
            put(0xC4, f.subsystem[0])
            put(0xC6, f.subsystem[1])
    elif f.subsystem:
        put(0x2C, f.subsystem[0])
        put(0x2E, f.subsystem[1])
    if capabilities:
        put(6, 0x0010)
        put(0x34, capabilities[0][0], 1)
        ends = [place for place, _ in capabilities[1:]] + [0]
        for (place, kind), after in zip(capabilities, ends, strict=True):
            put(place, kind, 1)
            put(place + 1, after, 1)
    if f.acs is not None and f.link is not None:
        # Advanced Error Reporting first: its text speaks of ACS violations too.
        put(0x100, 0x0001 | 1 << 16 | 0x150 << 20, 4)
        put(0x150, 0x000D | 1 << 16, 4)
        put(0x154, f.acs[0])
        put(0x156, f.acs[1])
    return bytes(data[:size])


def dump(f: Function, size: int = 4096) -> str:
    """The dump as `lspci -xxxx` prints it."""
    data = config_space(f, size)
    rows = [f"{at:02x}: {data[at : at + 16].hex(' ')}" for at in range(0, size, 16)]
    return "\n".join([f"{f.address} device", *rows, ""])
