"""Where a host's files are. A directory's are in `diag.host`; here are those of a capture.

A tree answers four questions about one path without following links; `Host` follows them, inside
the tree.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum
from typing import Protocol


class Kind(Enum):
    """What a path is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class Tree(Protocol):
    """The files of a host. Paths are absolute, with single slashes and without ``.`` and ``..``.

    Every method raises OSError as the operating system does.
    """

    def kind(self, path: str) -> Kind:
        """What `path` is itself."""

    def data(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes from the start of a file."""

    def target(self, path: str) -> str:
        """What a link says."""

    def names(self, path: str) -> list[str]:
        """What is in a folder."""


class MemoryTree:
    """A capture, unpacked in memory.

    Args:
        files: path → content.
        links: path → target.
        refused: path → number of the error that reading it gave when the capture was taken.
        folders: paths of folders, those that are implied by others left out.
        closed: paths of folders that could not be entered → number of the error: whether
            something is in them is not known.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        links: Mapping[str, str],
        refused: Mapping[str, int],
        folders: frozenset[str] = frozenset(),
        closed: Mapping[str, int] | None = None,
    ) -> None:
        self._files = files
        self._links = links
        self._refused = refused
        self._closed = closed or {}
        self._folders: dict[str, set[str]] = {"/": set()}
        for path in (*files, *links, *refused):
            self._enter(path)
        for path in (*folders, *self._closed):
            self._enter(path)
            self._folders.setdefault(path, set())

    def _enter(self, path: str) -> None:
        while path != "/":
            folder, _, name = path.rpartition("/")
            path = folder or "/"
            inside = self._folders.setdefault(path, set())
            if name in inside:
                return
            inside.add(name)

    def kind(self, path: str) -> Kind:
        """What `path` is itself."""
        if path in self._links:
            return Kind.LINK
        if path in self._folders:
            return Kind.FOLDER
        if path in self._files or path in self._refused:
            return Kind.FILE
        folder = path.rpartition("/")[0] or "/"
        if folder in self._closed:
            raise _refusal(self._closed[folder], path)
        raise FileNotFoundError(errno.ENOENT, "ENOENT", path)

    def data(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes from the start of a file."""
        if path in self._folders:
            raise IsADirectoryError(errno.EISDIR, "EISDIR", path)
        if path in self._refused:
            raise _refusal(self._refused[path], path)
        if path not in self._files:
            self.kind(path)
        return self._files[path][:limit]

    def target(self, path: str) -> str:
        """What a link says."""
        if path not in self._links:
            self.kind(path)
            raise OSError(errno.EINVAL, "EINVAL", path)
        return self._links[path]

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        if path not in self._folders:
            self.kind(path)
            raise NotADirectoryError(errno.ENOTDIR, "ENOTDIR", path)
        if path in self._refused:
            raise _refusal(self._refused[path], path)
        return sorted(self._folders[path])


def _refusal(number: int, path: str) -> OSError:
    return OSError(number, errno.errorcode.get(number, "error"), path)
