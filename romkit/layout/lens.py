"""The single place where construct meets romkit's errors."""

from __future__ import annotations

from typing import Any

from construct import Construct, ConstructError

from romkit.errors import MalformedRom, TruncatedRom


def read(layout: Construct[Any, Any], data: bytes, offset: int, what: str) -> Any:
    """Read one fixed-size structure.

    Args:
        layout: a layout of fixed size.
        data: the whole file.
        offset: bytes from the start of `data`.
        what: the structure's name, for the error message.

    Returns:
        construct's Container; callers turn it into a frozen dataclass at once.

    Raises:
        TruncatedRom: the structure does not fit into `data` at `offset`.
        MalformedRom: a constant of the layout (a signature) is not there.
    """
    size = layout.sizeof()
    if offset < 0 or offset + size > len(data):
        raise TruncatedRom(f"{what} needs {size} bytes, the data ends before", offset)
    chunk = data[offset : offset + size]
    try:
        return layout.parse(chunk)
    except ConstructError as err:
        raise MalformedRom(f"no {what} here: found {chunk[:8].hex(' ')}", offset) from err
