"""Firmware volumes: romkit's walk against uefi-firmware's, on Debian's OVMF.

uefi-firmware is no reader for bytes from anywhere: a variable of size 0 in an NVAR store lets it
grow until memory is full. On firmware that is known to be sound it is a good second opinion.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from romkit.find.stream import Allowance, Stream
from romkit.find.volume import open_volumes

IMAGES = [p for p in sorted(Path("/usr/share/OVMF").glob("OVMF_CODE*.fd")) if not p.is_symlink()]
PE32 = 0x10
RAW = 0x19


def theirs(data: bytes, kind: int) -> set[str]:
    """SHA-256 of the content of every section of a kind."""
    from uefi_firmware import AutoParser

    def below(objects: list[dict[str, Any]]) -> Iterator[str]:
        for one in objects:
            if getattr(one["_self"], "type", None) == kind and "type_name" in one["attrs"]:
                yield sha256(one["content"]).hexdigest()
            yield from below(one["objects"])

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        parsed = AutoParser(data).parse()
        return set(below(parsed.iterate_objects(include_content=True)))


def ours(stream: Stream, name: str) -> set[str]:
    found = set()
    for inner in open_volumes(stream, Allowance()):
        found |= ours(stream.enter(inner), name)
    for region in stream.regions:
        if region.title.startswith(f"{name} section"):
            content = bytes(stream.view[region.start : region.end])
            header = 8 if content[:3] == b"\xff\xff\xff" else 4
            found.add(sha256(content[header:]).hexdigest())
    return found


@pytest.mark.skipif(not IMAGES, reason="no OVMF here (Debian's package ovmf)")
def test_every_section_that_uefi_firmware_sees() -> None:
    for path in IMAGES:
        data = path.read_bytes()
        for name, kind in (("PE32", PE32), ("raw", RAW)):
            expected = theirs(data, kind)
            assert len(expected) > (100 if kind == PE32 else 10)
            assert expected <= ours(Stream(memoryview(data)), name)
