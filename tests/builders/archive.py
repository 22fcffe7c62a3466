"""ZIP archives in memory, by Python's own writer. Nothing here uses romkit."""

from __future__ import annotations

import io
import zipfile


def zipped(method: int, **members: bytes) -> bytes:
    """A ZIP with these members as ``folder/NAME.rom``, and the folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.mkdir("folder")
        for name, data in members.items():
            archive.writestr(f"folder/{name}.rom", data)
    return out.getvalue()
