"""romkit: PCI option ROMs and video BIOSes as values. Bytes in, values out, bytes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romkit.checks import DeviceId, verify
    from romkit.errors import MalformedRom, NotARom, RecipeError, RomError, TruncatedRom
    from romkit.finding import Evidence, Finding, Severity, Verdict
    from romkit.header import CodeType
    from romkit.image import OptionRom
    from romkit.rom import Rom, parse_rom

__all__ = [
    "CodeType",
    "DeviceId",
    "Evidence",
    "Finding",
    "MalformedRom",
    "NotARom",
    "OptionRom",
    "RecipeError",
    "Rom",
    "RomError",
    "Severity",
    "TruncatedRom",
    "Verdict",
    "parse_rom",
    "verify",
]

_HOME = {
    "CodeType": "header",
    "DeviceId": "checks",
    "Evidence": "finding",
    "Finding": "finding",
    "MalformedRom": "errors",
    "NotARom": "errors",
    "OptionRom": "image",
    "RecipeError": "errors",
    "Rom": "rom",
    "RomError": "errors",
    "Severity": "finding",
    "TruncatedRom": "errors",
    "Verdict": "finding",
    "parse_rom": "rom",
    "verify": "checks",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that `import romkit` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'romkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"romkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
