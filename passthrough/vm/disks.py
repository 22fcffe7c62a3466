"""Who uses a block device on the host: a guest that writes to a mounted disk destroys it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from diag.host import Host

MOUNTS, SWAPS, BLOCK = "/proc/self/mounts", "/proc/swaps", "/sys/class/block"

#: The kernel writes a space as \040 (proc(5)).
_OCTAL = re.compile(r"\\([0-7]{3})")


def uses(host: Host, path: str) -> Iterator[str]:
    """What uses a device, in words: mounts, swap, volumes on top of it, and on its partitions.

    Raises:
        Unreadable: something of it cannot be read.
    """
    node = host.chase(path)
    name = node.rpartition("/")[2]
    names = {name, *_partitions(host, name)}
    nodes = {f"/dev/{each}" for each in names} | {node}
    for line in (host.text(MOUNTS) or "").splitlines():
        words = [_plain(word) for word in line.split()[:2]]
        if len(words) == 2 and words[0].startswith("/dev/") and host.chase(words[0]) in nodes:
            yield f"{words[0]} is mounted at {words[1]}"
    for line in (host.text(SWAPS) or "").splitlines()[1:]:
        used = _plain(line.split()[0]) if line.split() else ""
        if used and host.chase(used) in nodes:
            yield f"{used} is swap"
    for each in sorted(names):
        for holder in host.names(f"{BLOCK}/{each}/holders") or ():
            title = host.text(f"{BLOCK}/{holder}/dm/name") or holder
            yield f"{each} is part of {title}"


def _partitions(host: Host, name: str) -> Iterator[str]:
    for entry in host.names(f"{BLOCK}/{name}") or ():
        if entry.startswith(name) and host.exists(f"{BLOCK}/{name}/{entry}/partition"):
            yield entry


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
