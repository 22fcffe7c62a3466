"""Walking a host's files along patterns, with every link and refusal on the way noted."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from posixpath import dirname, normpath, relpath

from diag.host import LIMIT, MAX_LINKS
from diag.tree import Kind, Tree

#: Says that something is there and was not taken.
NOT_TAKEN = errno.ENODATA

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
_SPECIAL = frozenset("*?[")


@dataclass
class Walk:
    """What was seen of a tree. All paths but those asked for are real: no part of them is a link.

    Attributes:
        tree: the files.
        files: path → content.
        links: path → target.
        folders: those that were met.
        refused: path → number of the error that reading or listing it gave.
        closed: folders that cannot be entered → number of the error.
    """

    tree: Tree
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    _places: dict[str, str | None] = field(default_factory=dict)
    _kinds: dict[str, Kind | None] = field(default_factory=lambda: {"/": Kind.FOLDER})
    _names: dict[str, list[str]] = field(default_factory=dict)

    def matches(self, pattern: str) -> Iterator[tuple[str, str]]:
        """Each path that fits a pattern, as asked for and as it really is."""
        yield from self._expand("", [part for part in pattern.split("/") if part])

    def take(self, place: str) -> None:
        """Read the file at a real path, or note why it cannot be read."""
        kind = self._kinds[place]
        if kind is not Kind.FILE:
            self.note(place)
            return
        if place in self.files or self.refused.get(place, NOT_TAKEN) != NOT_TAKEN:
            return
        try:
            data = self.tree.data(place, LIMIT + 1)
        except OSError as error:
            # What is gone again was never there.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.refused[place] = error.errno or errno.EIO
            return
        if len(data) > LIMIT:
            self.refused[place] = NOT_TAKEN
            return
        self.refused.pop(place, None)
        self.files[place] = data

    def note(self, place: str) -> None:
        """Note that something is there."""
        if self._kinds[place] is Kind.FOLDER:
            self.folders.add(place)
        elif place not in self.files:
            self.refused.setdefault(place, NOT_TAKEN)

    def held(self, folder: str, starts: tuple[str, ...]) -> None:
        """Note the links in a folder that lead to certain places, and nothing else in it."""
        self.note(folder)
        for name in self._listed(folder):
            try:
                target = self.tree.target(f"{folder}/{name}")
            except OSError:  # closed meanwhile
                continue
            if normpath(f"{folder}/{target}" if target[:1] != "/" else target).startswith(starts):
                self.links[f"{folder}/{name}"] = target

    def _expand(self, path: str, parts: list[str]) -> Iterator[tuple[str, str]]:
        for at, part in enumerate(parts):
            if not _SPECIAL & set(part):
                path = f"{path}/{part}"
                continue
            folder = self.place(path or "/")
            rest = parts[at + 1 :]
            for name in () if folder is None else self._listed(folder):
                if not fnmatchcase(name, part):
                    continue
                inside = f"{path}/{name}"
                place = self.place(inside)
                if place is not None and rest:
                    self.note(place)  # so that the folder's list is whole
                yield from self._expand(inside, rest)
            return
        place = self.place(path)
        if place is not None:
            yield path, place

    def _listed(self, folder: str) -> list[str]:
        if self._kinds[folder] is not Kind.FOLDER:
            return []
        if folder not in self._names:
            self.folders.add(folder)
            try:
                names = self.tree.names(folder)
            except OSError as error:
                if error.errno not in _ABSENT:
                    self.refused[folder] = error.errno or errno.EIO
                names = []
            self._names[folder] = sorted(name for name in names if _is_text(name))
        return self._names[folder]

    def place(self, path: str) -> str | None:
        """Where a path really is; None where nothing is there, or that cannot be known."""
        if path not in self._places:
            self._places[path] = self._look(path)
        return self._places[path]

    def _look(self, path: str) -> str | None:
        waiting = path.split("/")[::-1]
        here, followed = "", 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = here.rpartition("/")[0]
                continue
            inside = f"{here}/{part}"
            kind = self._kind(inside, here or "/")
            if kind is None:
                return None
            if kind is not Kind.LINK:
                here = inside
                continue
            followed += 1
            if followed > MAX_LINKS:
                return None
            target = self.links[inside]
            here = "" if target.startswith("/") else here
            waiting += target.split("/")[::-1]
        return here or "/"

    def _kind(self, place: str, folder: str) -> Kind | None:
        """What is at a real path; None where nothing is, or that cannot be known."""
        if place not in self._kinds:
            self._kinds[place] = None
            try:
                kind = self.tree.kind(place)
                target = self.tree.target(place) if kind is Kind.LINK else ""
            except OSError as error:
                if error.errno not in _ABSENT:
                    self.closed[folder] = error.errno or errno.EIO
                return None
            if not _is_text(target):
                return None
            self._kinds[place] = kind
            if kind is Kind.LINK:
                self.links[place] = target
        return self._kinds[place]


def _is_text(name: str) -> bool:
    return name.isprintable()


def inside(path: str, target: str) -> str:
    """A link's target from where the link is, without leaving the root."""
    here = dirname(path)
    depth = 0 if here == "/" else here.count("/")
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            break
    if not target.startswith("/") and depth >= 0:
        return target
    return relpath(normpath("/" + f"{'' if target.startswith('/') else here}/{target}"), here)
