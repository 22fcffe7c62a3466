"""Cards that were detached, as the journals remember them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthrough.detach import title_of
from passthrough.engine import find_kept

if TYPE_CHECKING:
    from diag.device import PciDevice
    from passthrough.journal import Entry, Places


def find_detached(places: Places, gpu: PciDevice) -> Entry | None:
    """The run that has detached a GPU and is still in effect; None if there is none.

    Raises:
        BadJournal: a journal cannot be read.
    """
    return next((e for e in find_kept(places) if e.title == title_of(gpu)), None)
