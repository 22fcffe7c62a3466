"""Who looks, and what that user may open."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diag.host import Host

STATUS = "/proc/self/status"
LIMITS = "/proc/self/limits"
#: How the device nodes are asked for; `diag capture` runs the same.
NODES = ("ls", "-ln", "/dev/kvm", "/dev/vfio")

#: include/uapi/linux/capability.h: locks memory without limit; opens any file.
_CAP_IPC_LOCK, _CAP_DAC_OVERRIDE = 14, 1

_ID = re.compile(r"\d{1,10}", re.ASCII)
_NODE = re.compile(
    r"(?P<mode>[-cbl][-rwxsStT]{9})(?P<more>[+.@]?)\s+\d+\s+(?P<uid>\d{1,10})\s+(?P<gid>\d{1,10})\s.*?"
    r"(?P<name>\S+)$"
)


@dataclass(frozen=True, slots=True)
class Account:
    """The user that diag runs as, or ran as when a capture was taken.

    Attributes:
        uid: user id.
        groups: group ids, the main one among them.
        capabilities: bits of the effective set.
    """

    uid: int
    groups: frozenset[int]
    capabilities: int

    @property
    def is_root(self) -> bool:
        """Whether it is root."""
        return self.uid == 0

    @property
    def opens_anything(self) -> bool:
        """Whether permissions do not count for it."""
        return bool(self.capabilities >> _CAP_DAC_OVERRIDE & 1)

    @property
    def locks_anything(self) -> bool:
        """Whether limits of locked memory do not count for it."""
        return bool(self.capabilities >> _CAP_IPC_LOCK & 1)

    def may_open(self, node: Node) -> bool | None:
        """Whether it may read and write a node; None where an access list decides."""
        if self.opens_anything:
            return True
        if node.access_list:
            return None
        if self.uid == node.uid:
            part = node.mode[1:4]
        elif node.gid in self.groups:
            part = node.mode[4:7]
        else:
            part = node.mode[7:10]
        return part[:2] == "rw"


@dataclass(frozen=True, slots=True)
class Node:
    """A device node.

    Attributes:
        path: where it is.
        mode: as ls writes it: ``crw-rw----``.
        uid: its owner.
        gid: its group.
        access_list: whether more users may be let in by a list (getfacl shows it).
    """

    path: str
    mode: str
    uid: int
    gid: int
    access_list: bool


def read_account(host: Host) -> Account | None:
    """Who looks; None where procfs does not say.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    values: dict[str, str] = {}
    for line in (host.text(STATUS) or "").splitlines():
        key, _, value = line.partition(":")
        values[key] = value
    uids, gids = values.get("Uid", "").split(), values.get("Gid", "").split()
    if not uids or not all(_ID.fullmatch(word) for word in (*uids, *gids)):
        return None
    groups = [word for word in values.get("Groups", "").split() if _ID.fullmatch(word)]
    effective = re.fullmatch(r"\s*([0-9a-f]{1,16})\s*", values.get("CapEff", "0"))
    return Account(
        int(uids[min(1, len(uids) - 1)]),
        frozenset(map(int, (*gids, *groups))),
        int(effective[1], 16) if effective else 0,
    )


def read_nodes(host: Host) -> dict[str, Node] | None:
    """The nodes /dev/kvm and /dev/vfio/*, by path; None where nobody asked."""
    said = host.run(*NODES)
    return None if said is None else parse_nodes(said.out)


def parse_nodes(text: str) -> dict[str, Node]:
    """What ``ls -ln`` printed of files and folders."""
    found, folder = {}, ""
    for line in text.splitlines():
        if line.endswith(":") and line.startswith("/"):
            folder = f"{line[:-1]}/"
            continue
        node = _NODE.match(line)
        if node is not None:
            path = node["name"] if node["name"].startswith("/") else folder + node["name"]
            ids = (int(node["uid"]), int(node["gid"]))
            found[path] = Node(path, node["mode"], *ids, node["more"] == "+")
    return found


def group_name(host: Host, gid: int) -> str:
    """A group's name, or its number where /etc/group does not have it."""
    for line in (host.text("/etc/group") or "").splitlines():
        parts = line.split(":")
        if len(parts) > 2 and parts[2] == str(gid):
            return parts[0]
    return str(gid)


def locked_memory_limit(host: Host) -> int | None:
    """Bytes that a process may lock (RLIMIT_MEMLOCK, the soft limit); None where it is not known.

    A limit that is none is 2^64 - 1.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    pattern = r"^Max locked memory\s+(\d{1,20}|unlimited)\s"
    found = re.search(pattern, host.text(LIMITS) or "", re.MULTILINE | re.ASCII)
    if found is None:
        return None
    return (1 << 64) - 1 if found[1] == "unlimited" else int(found[1])
