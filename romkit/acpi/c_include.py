"""A table as C, for those who compile it into a firmware."""

from __future__ import annotations

import re

from romkit.acpi.errors import AcpiError

_COLUMNS = 12
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def c_include(data: bytes, name: str) -> str:
    """An array of bytes, and its length beside it.

    Args:
        data: a table, or anything else.
        name: of the array.

    Raises:
        AcpiError: that is no name in C.
    """
    if not _NAME.fullmatch(name):
        raise AcpiError(f"{name!r} is no name in C", hint="letters, digits and _")
    rows = (data[at : at + _COLUMNS] for at in range(0, len(data), _COLUMNS))
    text = ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
    return (
        f"static const unsigned char {name}[] = {{\n{text}\n}};\n"
        f"static const unsigned int {name}_len = {len(data)};\n"
    )


def c_name(text: str) -> str:
    """A name in C that looks like `text`."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if _NAME.fullmatch(name) else f"_{name}"
