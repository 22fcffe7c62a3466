"""Captures of the labs as fixtures: ``cd tests && python -m lab.captures`` takes them anew.

They hold no code of the firmware and none of this machine's settings: only what the lab's kernel
says of the lab. So they are small, and the same wherever they are taken.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from diag.capture import Capture, archive_capture, parse_capture
from lab.machine import Lab, open_lab
from lab.topology import TOPOLOGIES

FIXTURES = Path(__file__).parent.parent / "fixtures/captures"

#: The lab's kernel speaks through these; all else is the machine that runs the lab.
_OF_THE_LAB = ("/sys/", "/proc/")
#: Firmware's code, processes, and what differs from one run to the next.
_NOT_KEPT = re.compile(
    r"/sys/firmware/acpi/tables/(?:dynamic/)?(?:DSDT|SSDT)|/proc/(?:\d+|self)(?:/|$)|/proc/(?:interrupts|meminfo)$"
    r"|/sys/module/[^/]+/refcnt$|/proc/modules$|/runtime_usage$|/sys/module/[^/]+/srcversion$"
)
#: What programs of the lab's kernel say.
_COMMANDS = (("dmesg",), ("uname", "-r"))


def take(lab: Lab) -> Capture:
    """A capture that `diag capture` has taken in a lab, as root."""
    lab.run("diag", "capture", "-o", "/tmp/lab.tar.xz", "--force").check()
    return parse_capture(lab.read_bytes("/tmp/lab.tar.xz"))


def trimmed(capture: Capture) -> Capture:
    """What a fixture keeps of it."""

    def kept(path: str) -> bool:
        return path.startswith(_OF_THE_LAB) and not _NOT_KEPT.match(path)

    return replace(
        capture,
        files={path: data for path, data in capture.files.items() if kept(path)},
        links={path: to for path, to in capture.links.items() if kept(path)},
        folders=frozenset(filter(kept, capture.folders)),
        refused={path: number for path, number in capture.refused.items() if kept(path)},
        closed={path: number for path, number in capture.closed.items() if kept(path)},
        transcripts=tuple(said for said in capture.transcripts if said.argv in _COMMANDS),
        taken="2024-01-01T00:00:00Z",
    )


def main() -> None:
    """Boot every lab and write its capture, or those that are named."""
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or TOPOLOGIES:
        with open_lab(TOPOLOGIES[name], coldplug=True) as lab:
            data = archive_capture(trimmed(take(lab)))
        (FIXTURES / f"{name}.tar.xz").write_bytes(data)
        print(f"{name}: {len(data)} bytes", flush=True)


if __name__ == "__main__":
    main()
