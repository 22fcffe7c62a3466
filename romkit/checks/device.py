"""Findings about a ROM against the device that it is to be used for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from romkit.checks.structure import PCI_SPEC, name_of, passed
from romkit.entries import Entry, vfct_entries
from romkit.finding import Evidence, Finding, Severity, Verdict
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom

#: Where a ROM states a subsystem, and (vendor, device).
Statement: TypeAlias = tuple[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class DeviceId:
    """A device as config space shows it.

    Attributes:
        vendor_id: 16 bits.
        device_id: 16 bits.
        subsystem: (vendor, device), or None where it is not known.
        class_code: 24 bits, or None where it is not known.
    """

    vendor_id: int
    device_id: int
    subsystem: tuple[int, int] | None = None
    class_code: int | None = None

    @classmethod
    def parse(
        cls, ids: str, subsystem: str | None = None, class_code: str | None = None
    ) -> DeviceId:
        """Read ``10de:1c8d``, ``1025:118b`` and ``0300`` or ``030000`` as lspci prints them.

        Each number may start with ``0x``.

        Raises:
            ValueError: something else.
        """
        sub = _pair(subsystem, "a subsystem") if subsystem else None
        code = None
        if class_code:
            digits = class_code.lower().removeprefix("0x")
            if len(digits) not in (4, 6) or not _is_hex(digits):
                raise ValueError(f"a class is 4 or 6 hex digits like 0300, not {class_code!r}")
            code = int(digits.ljust(6, "0"), 16)
        return cls(*_pair(ids, "a device"), subsystem=sub, class_code=code)

    def __str__(self) -> str:
        return f"{self.vendor_id:04x}:{self.device_id:04x}"


def against_device(rom: Rom, device: DeviceId) -> Iterator[Finding]:
    """Ids, subsystem and class of a ROM against a device's."""
    yield from min((_against(*own, device) for own in _alternatives(rom)), key=_misses)


def _alternatives(rom: Rom) -> Iterator[tuple[str, Rom, tuple[Statement, ...]]]:
    """The ROMs in a file, of which one has to be the device's: all that a VFCT holds."""
    entries = [e for e in vfct_entries(rom) if e.rom is not None]
    if not entries:
        yield "the ROM", rom, subsystems(rom)
    for entry in entries:
        if entry.rom is not None:
            stated = (*_stated_by_images(entry.rom), *_stated_by_header(entry))
            yield f"the ROM of {entry.title}", entry.rom, stated


def _against(
    which: str, rom: Rom, stated: tuple[Statement, ...], device: DeviceId
) -> tuple[Finding, ...]:
    images = [i for i in rom.images if i.code_type in (CodeType.PCAT, CodeType.EFI)]
    return (
        *_ids(which, rom, images, device),
        *_subsystem(which, stated, device),
        *_class(which, rom, images, device),
    )


def _misses(findings: tuple[Finding, ...]) -> tuple[bool, ...]:
    """For choosing the best: the ids count before the subsystem, that before the class."""
    return tuple(f.verdict is not Verdict.PASS for f in findings)


def _ids(which: str, rom: Rom, images: list[OptionRom], device: DeviceId) -> Iterator[Finding]:
    # Bare GOP files carry no ids at all: nothing to compare.
    named = [i for i in images if (i.pcir.vendor_id, i.pcir.device_id) != (0, 0)]
    if not named:
        yield Finding(
            check="device.id",
            verdict=Verdict.UNKNOWN,
            severity=Severity.BLOCKER,
            subject=str(device),
            title=f"{which} does not say which device it is for",
            source=PCI_SPEC,
        )
        return
    wrong = [i for i in named if not _serves(i, device)]
    if not wrong:
        yield passed("device.id", str(device), f"{which} is for this device")
        return
    legacy_ok = any(i.code_type == CodeType.PCAT and i not in wrong for i in named)
    yield Finding(
        check="device.id",
        verdict=Verdict.FAIL,
        severity=Severity.WARNING if legacy_ok else Severity.BLOCKER,
        subject=str(device),
        title=(
            "an image in the ROM is for another device"
            if legacy_ok
            else f"another card's ROM: it is for {_id(wrong[0])}, the device is {device}"
        ),
        evidence=tuple(Evidence(name_of(rom, i), _id(i)) for i in named),
        remedy="use the ROM of this very card: from its vendor, its BIOS update, or a dump",
        source=PCI_SPEC,
    )


def _serves(image: OptionRom, device: DeviceId) -> bool:
    pcir = image.pcir
    return pcir.vendor_id == device.vendor_id and (
        device.device_id == pcir.device_id or device.device_id in image.device_list
    )


def subsystems(rom: Rom) -> tuple[Statement, ...]:
    """Every subsystem that a ROM states: where, and (vendor, device). Zeros mean "none".

    In a VFCT that includes what each entry says of its own device.
    """
    entries = (s for e in vfct_entries(rom) for s in _stated_by_header(e))
    return (*_stated_by_images(rom), *entries)


def _stated_by_header(entry: Entry) -> tuple[Statement, ...]:
    own = entry.header
    return _known((entry.title, (own.subsystem_vendor_id, own.subsystem_id)))


def _known(*stated: Statement) -> tuple[Statement, ...]:
    return tuple(s for s in stated if s[1] not in ((0, 0), (0xFFFF, 0xFFFF)))


def _stated_by_images(rom: Rom) -> tuple[Statement, ...]:
    found: list[Statement] = []
    if rom.container and rom.container.subsystem:
        found.append(("NVGI header", rom.container.subsystem))
    for image in rom.images:
        if image.code_type == CodeType.PCAT and image.npde and image.npde.subsystem:
            found.append((f"NPDE at {image.npde.offset:#x}", image.npde.subsystem))
        if image.nvidia is not None and image.nvidia.subsystem:
            found.append((f"VBIOS at {image.offset:#x}", image.nvidia.subsystem))
        if image.atom is not None:
            found.append((f"ATOM header of the image at {image.offset:#x}", image.atom.subsystem))
    return _known(*found)


def _subsystem(which: str, stated: tuple[Statement, ...], device: DeviceId) -> Iterator[Finding]:
    if device.subsystem is None:
        return
    wanted = device.subsystem
    subject = f"{wanted[0]:04x}:{wanted[1]:04x}"
    if not stated:
        yield Finding(
            check="device.subsystem",
            verdict=Verdict.UNKNOWN,
            severity=Severity.WARNING,
            subject=subject,
            title=f"{which} states no subsystem",
        )
    elif any(ids == wanted for _, ids in stated):
        yield passed("device.subsystem", subject, f"{which} is for this board")
    else:
        yield Finding(
            check="device.subsystem",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING,
            subject=subject,
            title="the same GPU on another maker's board: its outputs, clocks and power limits may "
            "differ, and a laptop's driver may refuse it",
            evidence=tuple(Evidence(where, f"{v:04x}:{d:04x}") for where, (v, d) in stated),
            remedy="prefer the ROM of this very machine",
            source="measured: subsystem ids in NVGI, NPDE and ATOM headers",
        )


def _class(which: str, rom: Rom, images: list[OptionRom], device: DeviceId) -> Iterator[Finding]:
    if device.class_code is None:
        return
    # Base class and sub-class: the programming interface says nothing about the board.
    wanted = device.class_code >> 8
    named = [i for i in images if i.pcir.class_code]
    subject = f"class {wanted:04x}"
    if not named:
        yield Finding(
            check="device.class",
            verdict=Verdict.UNKNOWN,
            severity=Severity.WARNING,
            subject=subject,
            title=f"{which} states no class",
            source=PCI_SPEC,
        )
    elif any(i.pcir.class_code >> 8 == wanted for i in named):
        yield passed("device.class", subject, f"the class of {which} is the device's")
    else:
        yield Finding(
            check="device.class",
            verdict=Verdict.FAIL,
            severity=Severity.WARNING,
            subject=subject,
            title="the ROM's class is not the device's: 0300 drives displays, 0302 is a 3D "
            "controller without any",
            evidence=tuple(Evidence(name_of(rom, i), f"{i.pcir.class_code:06x}") for i in named),
            remedy="check that the ROM is this card's",
            source=PCI_SPEC,
        )


def _id(image: OptionRom) -> str:
    return f"{image.pcir.vendor_id:04x}:{image.pcir.device_id:04x}"


def _pair(text: str, what: str) -> tuple[int, int]:
    # Scripts write 0x10de, as sysfs does.
    left, colon, right = (p.lower().removeprefix("0x") for p in text.strip().partition(":"))
    if not colon or not all(1 <= len(p) <= 4 and _is_hex(p) for p in (left, right)):
        raise ValueError(f"{what} is two hex numbers like 10de:1c8d, not {text!r}")
    return int(left, 16), int(right, 16)


def _is_hex(text: str) -> bool:
    return bool(text) and all(c in "0123456789abcdefABCDEF" for c in text)
