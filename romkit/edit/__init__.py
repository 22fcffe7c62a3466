"""Editing ROMs: every function takes a `Rom` and gives an `Edit`, or raises `EditRefused`.

::

    strip  split  join        the ROM alone; its parts, and back
    patch  fix                ids; what is wrong
    gop_list  gop_extract  gop_insert  gop_update  gop_remove

An `Edit` holds the new bytes and every range that was touched, with a reason. Nothing is handed
out that was not read again, verified, and found no worse than its input (`romkit.edit.proof`).
"""

from __future__ import annotations

from romkit.edit.donor import read_donor
from romkit.edit.edit import Change, Edit, untouched
from romkit.edit.fix import FAULTS, fix
from romkit.edit.gop import (
    GopEntry,
    gop_extract,
    gop_insert,
    gop_list,
    gop_remove,
    gop_update,
)
from romkit.edit.join import PieceRefused, join, join_images
from romkit.edit.patch import patch
from romkit.edit.split import Part, split
from romkit.edit.strip import strip
from romkit.edit.wrap import EfiIds, wrap_driver
from romkit.errors import EditRefused

__all__ = [
    "FAULTS",
    "Change",
    "Edit",
    "EditRefused",
    "EfiIds",
    "GopEntry",
    "Part",
    "PieceRefused",
    "fix",
    "gop_extract",
    "gop_insert",
    "gop_list",
    "gop_remove",
    "gop_update",
    "join",
    "join_images",
    "patch",
    "read_donor",
    "split",
    "strip",
    "untouched",
    "wrap_driver",
]
