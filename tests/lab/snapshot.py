"""Kernels that are up already: a lab's state in a file, from which the next one of its kind starts.

Without KVM a kernel takes three to four seconds to boot, always to the same point. QEMU writes the
machine's state there as for a migration (docs/devel/migration.rst), and later labs go on from it.
What differs from lab to lab comes after that point: this machine's files, the clock, randomness.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from lab.cache import cache_folder
from lab.guest import Lab
from lab.job import LabError
from lab.monitor import Monitor, MonitorError

#: Bytes that all snapshots may take; those that were used longest ago go first.
ROOM = 3 << 30
#: Seconds that one is kept after it was last used.
KEPT = 86400.0
#: Seconds that writing one may take; it takes half a second.
SAVE_LIMIT = 60.0


def snapshots() -> Path:
    """Where they are kept."""
    return cache_folder() / "snapshots"


def _this_machine() -> str:
    """A snapshot counts in the ticks of the processor that it was taken on."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    processors = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    kept = ("model name", "flags")
    return boot + "\n".join(line for line in processors.splitlines() if line.startswith(kept))


def snapshot_path(command: Sequence[str], files: Sequence[Path], contents: Sequence[bytes]) -> Path:
    """Where the snapshot of what `command` boots is, or would be.

    Args:
        command: QEMU's command line without what is this lab's own.
        files: that it reads: QEMU itself, kernel, initramfs. They are known by size and time.
        contents: what it is given besides, such as the GPU's ROM.
    """
    digest = hashlib.sha256(_this_machine().encode())
    for path in files:
        stat = path.stat()
        digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}\0".encode())
    digest.update("\0".join(command).encode())
    for data in contents:
        digest.update(hashlib.sha256(data).digest())
    return snapshots() / digest.hexdigest()[:24]


def save(lab: Lab, path: Path) -> None:
    """Write the state of `lab`, which waits, to `path`; it runs on.

    That there is none is no failure: what QEMU cannot save (amd-iommu) is booted each time.

    Raises:
        LabError: the lab does not run on.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _migrate(lab.monitor, unfinished):
            unfinished.rename(path)
            make_room()
    except (OSError, MonitorError):
        pass
    finally:
        unfinished.unlink(missing_ok=True)
        _run_on(lab)


def _migrate(monitor: Monitor, file: Path) -> bool:
    """Whether QEMU has written all of its state to `file`."""
    events = [{"capability": "events", "state": True}]
    monitor.ask("migrate-set-capabilities", capabilities=events)
    # The default is that of a network.
    monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    monitor.ask("migrate", uri=f"exec:cat > {shlex.quote(str(file))}")
    end = time.monotonic() + SAVE_LIMIT
    while True:
        try:
            event = monitor.await_event("MIGRATION", max(end - time.monotonic(), 0))
        except MonitorError:
            monitor.ask("migrate_cancel")
            return False
        if event["data"]["status"] in ("completed", "failed", "cancelled"):
            return bool(event["data"]["status"] == "completed")


def _run_on(lab: Lab) -> None:
    """QEMU stops a machine that it has sent away; "cont" is without effect until that is over."""
    end = time.monotonic() + SAVE_LIMIT
    while (status := lab.monitor.ask("query-status")["status"]) != "running":
        if time.monotonic() > end:
            raise LabError(lab.told(f"the lab does not run on after a snapshot: {status}"))
        if status in ("postmigrate", "paused"):
            lab.monitor.ask("cont")


def make_room() -> None:
    """Keep what was used last. Those of yesterday are of no use once this machine was restarted."""
    now = time.time()
    kept = sorted(snapshots().iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    taken = 0
    for path in kept:
        taken += path.stat().st_blocks * 512
        if taken > ROOM or now - path.stat().st_mtime > KEPT:
            path.unlink(missing_ok=True)
