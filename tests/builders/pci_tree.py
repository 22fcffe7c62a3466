"""Made-up PCI hierarchies: functions with the config that decides about ACS."""

from __future__ import annotations

from builders.config_space import Function, config_space
from builders.host import HostTree

#: PCI Express types (Base Specification 7.5.3.2).
ENDPOINT, ROOT, UPSTREAM, DOWN, TO_PCI, INTEGRATED = 0, 4, 5, 6, 7, 9
#: No PCI Express capability.
CONVENTIONAL = None
#: Source validation, request and completion redirect, upstream forwarding.
FULL = 0x1D

IDS = {ROOT: 0x0C01, UPSTREAM: 0x8232, DOWN: 0x8233, TO_PCI: 0x244E, ENDPOINT: 0x1C20}


def config(
    kind: int | None,
    *,
    vendor: int = 0x1AF4,
    device: int = 0x1111,
    class_code: int = 0x0300,
    acs: tuple[int, int] | None = None,
    several: bool = False,
    size: int | None = None,
) -> bytes:
    """A configuration space of a type, with ACS (able, on) or without it."""
    bridge = class_code == 0x0604
    function = Function(
        vendor=vendor, device=device, class_code=class_code, bridge=bridge, subsystem=None,
        acs=acs, link=None if kind is None else (3, 16),
    )  # fmt: skip
    data = bytearray(config_space(function))
    if kind is not None:
        slot = 0x100 if kind in (ROOT, DOWN) else 0
        data[0x7A:0x7C] = (2 | kind << 4 | slot).to_bytes(2, "little")
    data[0x0E] |= 0x80 if several else 0
    return bytes(data[: size or (4096 if kind is not None else 256)])


def add(
    tree: HostTree,
    address: str,
    kind: int | None,
    parent: str | None = None,
    *,
    group: int | None = None,
    class_code: int | None = None,
    vendor: int = 0x1AF4,
    device: int = 0x1111,
    acs: tuple[int, int] | None = None,
    several: bool = False,
    size: int | None = None,
    driver: str | None = None,
    power_state: str | None = "D0",
) -> HostTree:
    """Add a function; a port is a PCI bridge, everything else a display."""
    if class_code is None:
        class_code = 0x0604 if kind in (ROOT, UPSTREAM, DOWN, TO_PCI) else 0x0300
    data = config(
        kind, vendor=vendor, device=device, class_code=class_code, acs=acs, several=several,
        size=size,
    )  # fmt: skip
    return tree.device(
        address, vendor=vendor, device=device, class_=class_code << 8, parent=parent, group=group,
        driver=driver, config=data, power_state=power_state,
    )  # fmt: skip
