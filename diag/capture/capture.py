"""A capture: what was taken from a machine, with what was left there and why."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from posixpath import dirname

from diag.capture.walk import NOT_TAKEN
from diag.host import Host, Transcript
from diag.tree import MemoryTree


@dataclass(frozen=True, slots=True)
class Capture:
    """A machine's files and what its programs said, with nothing in it that names somebody.

    Attributes:
        files: path → content.
        links: path → target.
        folders: paths of folders, those that are implied by others left out.
        refused: path → number of the error that reading it gave; `NOT_TAKEN` for what is there
            and was left there.
        closed: folders that could not be entered → number of the error.
        transcripts: what programs said.
        taken: when, UTC, like ``2024-05-01T12:00:00Z``.
        kernel: the running kernel's release.
        root: whether root took it.
        wake: whether sleeping devices were read too.
        asleep: addresses of the devices whose configuration was left alone.
        redacted: what was redacted → how often.
        left_out: path or command → why it was left out.
        tool: version of dgpukit.
    """

    files: Mapping[str, bytes]
    links: Mapping[str, str]
    folders: frozenset[str] = frozenset()
    refused: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)
    transcripts: tuple[Transcript, ...] = ()
    taken: str = ""
    kernel: str = ""
    root: bool = False
    wake: bool = False
    asleep: tuple[str, ...] = ()
    redacted: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    tool: str = ""

    def __repr__(self) -> str:
        return f"<Capture {self.taken} kernel {self.kernel} {len(self.files)} files>"

    def __hash__(self) -> int:
        return hash((self.taken, self.kernel, len(self.files)))

    @property
    def errors(self) -> dict[str, int]:
        """What could not be read → number of the error; what was left there on purpose is not
        among it.
        """
        read = {path: number for path, number in self.refused.items() if number != NOT_TAKEN}
        return {**read, **self.closed}

    @property
    def root_would_add(self) -> tuple[str, ...]:
        """Paths that root could have read, or more of them: others get 64 bytes of a config."""
        denied = (errno.EACCES, errno.EPERM)
        paths = {path for path, number in self.errors.items() if number in denied}
        paths |= {p for p, data in self.files.items() if p.endswith("/config") and len(data) == 64}
        return tuple(sorted(paths))

    def host(self, note: str = "") -> Host:
        """The machine that it was taken from."""
        tree = MemoryTree(self.files, self.links, self.refused, self.folders, self.closed)
        said = {transcript.argv: transcript for transcript in self.transcripts}
        return Host(tree=tree, transcripts=said, note=note or "a capture")


def summed(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Paths by what they have in common: those of many devices or modules in one line each.

    Returns:
        A path, or a pattern with ``*`` for what differs, and how many it stands for.
    """
    counts: dict[str, list[str]] = {}
    for path in paths:
        parts = path.split("/")
        if path.startswith("/sys/devices/"):
            key = f"/sys/bus/pci/devices/*/{parts[-1]}" if _in_device(parts) else path
        elif path.startswith("/sys/module/"):
            key = "/sys/module/*/" + "/".join(parts[4:5])
        elif parts[1:2] == ["proc"] and parts[2].isdecimal():
            key = f"/proc/*/{parts[-1]}"
        else:
            key = f"{dirname(path)}/*"
        counts.setdefault(key, []).append(path)
    return [(key if len(p) > 1 else p[0], len(p)) for key, p in sorted(counts.items())]


def _in_device(parts: list[str]) -> bool:
    return any(part.startswith("pci") for part in parts)
