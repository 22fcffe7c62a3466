"""What a value in a profile may be: each kind reads it, and says what is allowed.

A kind's function takes what TOML has and returns our value, or raises `Wrong`.
"""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from diag.pci import PciAddress
from romkit.render.text import human_size

T = TypeVar("T")


class Wrong(Exception):
    """A value that is not of its kind; the message says why."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of value.

    Attributes:
        allowed: what is allowed, in a few words.
        read: makes our value of TOML's.
    """

    allowed: str
    read: Callable[[object], T]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"{_shown(value)} is no text")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        raise Wrong("text with a line end or another control character")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def matching(pattern: str, allowed: str, *, empty: bool = False) -> Kind[str]:
    """Text of a form; empty text too where `empty`."""
    form = re.compile(pattern, re.ASCII)

    def read(value: object) -> str:
        text = _text(value)
        if not (form.fullmatch(text) or (empty and not text)):
            raise Wrong(f"{_shown(value)} does not fit")
        return text

    return Kind(allowed, read)


def choice(*words: str) -> Kind[str]:
    """One of some words."""

    def read(value: object) -> str:
        if value not in words:
            raise Wrong(f"{_shown(value)} is none of them")
        return str(value)

    return Kind(", ".join(f"`{word}`" for word in words), read)


def number(low: int, high: int) -> Kind[int]:
    """A whole number."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong(f"{_shown(value)} is no whole number")
        if not low <= value <= high:
            raise Wrong(f"{value} is out of range")
        return value

    return Kind(f"a whole number from {low} to {high}", read)


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(low: int, high: int, *, of_two: bool = False, empty: bool = False) -> Kind[int]:
    """Bytes, with K, M, G or T of 1024; a power of two where `of_two`; "" for 0 where `empty`."""

    def read(value: object) -> int:
        if empty and value == "":
            return 0
        found = re.fullmatch(r"(\d{1,7})([KMGT])(?:iB|B)?", _text(value).strip(), re.ASCII)
        if found is None:
            raise Wrong(f"{_shown(value)} is no size")
        bytes_ = int(found[1]) * _UNITS[found[2]]
        if not low <= bytes_ <= high:
            raise Wrong(f"{_shown(value)} is out of range")
        if of_two and bytes_ & (bytes_ - 1):
            raise Wrong(f"{_shown(value)} is no power of two")
        return bytes_

    power = ", a power of two" if of_two else ""
    allowed = f'a size like "8G" or "512M", from {human_size(low)} to {human_size(high)}{power}'
    return Kind(allowed, read)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{_shown(value)} is neither")
    return value


def _address(value: object) -> PciAddress | None:
    if value == "":
        return None
    try:
        return PciAddress.parse(_text(value))
    except ValueError:
        raise Wrong(f"{_shown(value)} is no PCI address") from None


def _place(value: object) -> PciAddress:
    found = _address(value)
    if found is None or found.domain:
        raise Wrong(f"{_shown(value)} is no place in the guest")
    return found


def _ids(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{4}):(?:0x)?([0-9a-fA-F]{4})", _text(value), re.ASCII)
    if found is None:
        raise Wrong(f"{_shown(value)} is no pair of ids")
    return int(found[1], 16), int(found[2], 16)


def _subsystem(value: object) -> tuple[int, int] | str:
    return str(value) if value in ("host", "none") else _ids(value)


def _cpus(value: object) -> tuple[int, ...]:
    """``0-3,6``, as the kernel writes lists of CPUs."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found: list[int] = []
    text = _text(value)
    for part in text.split(",") if text else ():
        ends = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part, re.ASCII)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise Wrong(f"{_shown(value)} is no list of CPUs")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    if len(set(found)) != len(found):
        raise Wrong(f"{_shown(value)} names a CPU twice")
    return tuple(found)


def _uuid(value: object) -> str:
    text = _text(value)
    try:
        return str(uuids.UUID(text)) if text else ""
    except ValueError:
        raise Wrong(f"{_shown(value)} is no UUID") from None


def _vendor_id(value: object) -> str:
    text = _text(value)
    if len(text) > 12:
        raise Wrong(f"{_shown(value)} has {len(text)} characters, and QEMU cuts it to 12")
    if "," in text:
        raise Wrong(f"{_shown(value)} has a comma, which ends the option in QEMU")
    if not re.fullmatch(r"[\x20-\x7e]*", text) or text != text.strip():
        raise Wrong(f"{_shown(value)} is not plain ASCII without space around it")
    return text


def _usb(value: object) -> str:
    text = _text(value)
    if re.fullmatch(r"\d{1,3}-\d{1,2}(?:\.\d{1,2}){0,5}", text, re.ASCII):
        return text
    vendor, product = _ids(text)
    return f"{vendor:04x}:{product:04x}"


def list_of(kind: Kind[T], *, distinct: bool = True) -> Kind[tuple[T, ...]]:
    """Several values of one kind, none of them twice unless told."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Wrong(f"{_shown(value)} is no list")
        found: list[T] = []
        for item in value:
            made = kind.read(item)
            if distinct and made in found:
                raise Wrong(f"{_shown(item)} stands there twice")
            found.append(made)
        return tuple(found)

    return Kind(f"a list, each: {kind.allowed}", read)


FLAG: Kind[bool] = Kind("true or false", _flag)
TEXT: Kind[str] = Kind("text on one line", _text)
NAME = matching(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}",
                "letters, digits and _ . + -, starting with a letter or digit")  # fmt: skip
WORD = matching(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", "a word of letters, digits and _ . + -")
PATH = matching(r"[^\x00\n]{1,4000}", "a path, from the profile's folder on", empty=True)
ADDRESS: Kind[PciAddress | None] = Kind('an address like "01:00.0"', _address)
PLACE: Kind[PciAddress] = Kind('a place in the guest like "01:00.0"', _place)
SUBSYSTEM: Kind[tuple[int, int] | str] = Kind(
    '"host", "none", or ids in hexadecimal like "1025:118b"', _subsystem
)
CPUS: Kind[tuple[int, ...]] = Kind('CPUs like "1,5" or "0-3"', _cpus)
UUID: Kind[str] = Kind("a UUID", _uuid)
VENDOR_ID: Kind[str] = Kind("up to 12 characters of plain ASCII, no comma", _vendor_id)
MAC = matching(r"[0-9a-fA-F][02468aceACE](?::[0-9a-fA-F]{2}){5}",
               'a MAC address of one machine, like "52:54:00:12:34:56"', empty=True)  # fmt: skip
CPU_FEATURE = matching(
    r"[+-][a-z0-9][a-z0-9_.-]{0,40}", 'a feature like "+topoext" or "-hypervisor"'
)
FORWARD = matching(r"(?:tcp|udp):\d{1,5}:\d{1,5}", 'PROTOCOL:HOST:GUEST like "tcp:3389:3389"')
USB: Kind[str] = Kind('ids like "046d:c52b", or bus and port like "1-2"', _usb)
FW_CFG_NAME = matching(
    r"opt/[!-+\--~]{1,51}", 'a name that starts with "opt/", up to 55 characters'
)
INTERFACE = matching(r"[A-Za-z0-9_.-]{1,15}", "the name of a network interface", empty=True)
VOLUME = matching(r"[A-Za-z0-9+_.-]{1,127}(?:/[A-Za-z0-9+_.-]{1,127})?",
                  'an LVM volume: "GROUP/VOLUME", or as lsblk shows it, "GROUP-VOLUME"',
                  empty=True)  # fmt: skip


def is_kind(value: Any) -> bool:
    """Whether something is a kind."""
    return isinstance(value, Kind)
