"""One structure of a legacy image, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romkit.errors import RomError
from romkit.layout.lens import read

if TYPE_CHECKING:
    from construct import Construct


def read_part(layout: Construct[Any, Any], image: bytes, offset: int) -> Any:
    """The structure at `offset`, or None where the image ends before or a constant is not there.

    Vendor structures are reached through pointers that may say anything: one that leads nowhere
    costs the reading that depends on it, not the whole report.
    """
    try:
        return read(layout, image, offset, "vendor structure")
    except RomError:
        return None
