"""A capture as an archive, and back."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from posixpath import dirname, normpath
from typing import Any

from diag.capture.archive import pack, unpack
from diag.capture.capture import Capture
from diag.capture.walk import NOT_TAKEN
from diag.errors import BadCapture
from diag.host import Host, Transcript

FORMAT = "dgpukit capture"
VERSION = 1

_MANIFEST, _COMMANDS, _ROOT = "manifest.json", "commands.json", "root"
#: Fields of the manifest that are strings, flags and lists of strings.
_TEXTS = ("taken", "kernel", "tool")
_FLAGS = ("root", "wake")
_HINT = "take it with: diag capture -o FILE"


def archive_capture(capture: Capture) -> bytes:
    """A capture as a tar.xz file: the same capture gives the same bytes."""
    members: dict[str, bytes | str | None] = {
        _MANIFEST: _json(manifest(capture)),
        _COMMANDS: _json([_command(said) for said in capture.transcripts]),
    }
    inside: dict[str, bytes | str | None] = {**capture.files}
    inside.update(capture.links)
    inside.update({path: None for path in capture.folders if path != "/"})
    for path in sorted(inside):
        members[_ROOT + path] = inside[path]
    return pack(members)


def manifest(capture: Capture) -> dict[str, Any]:
    """What a capture says of itself, as JSON."""
    errors = {p: number for p, number in capture.refused.items() if number != NOT_TAKEN}
    return {
        "format": FORMAT,
        "version": VERSION,
        "tool": capture.tool,
        "taken": capture.taken,
        "kernel": capture.kernel,
        "root": capture.root,
        "wake": capture.wake,
        "asleep": list(capture.asleep),
        "redacted": dict(capture.redacted),
        "left_out": dict(capture.left_out),
        "root_would_add": list(capture.root_would_add),
        "refused": _reasons(errors),
        "closed": _reasons(capture.closed),
        "not_taken": sorted(p for p, number in capture.refused.items() if number == NOT_TAKEN),
    }


def _reasons(errors: Mapping[str, int]) -> dict[str, Any]:
    return {
        path: {"errno": number, "why": errno.errorcode.get(number, "")}
        for path, number in sorted(errors.items())
    }


def parse_capture(data: bytes) -> Capture:
    """A capture from its archive.

    Raises:
        BadCapture: it is none, is damaged, or holds what no capture holds.
    """
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    folders: set[str] = set()
    said: dict[str, Any] = {}
    for member in unpack(data):
        top, _, below = member.name.partition("/")
        path = f"/{below}"
        if top == _ROOT:
            if path in files or path in links or path in folders:
                raise BadCapture(f"{path} is there twice")
            if member.data is not None:
                files[path] = member.data
            elif member.target is not None:
                links[path] = member.target
            else:
                folders.add(path)
        elif member.name in (_MANIFEST, _COMMANDS) and member.data is not None:
            if member.name in said:
                raise BadCapture(f"{member.name} is there twice")
            said[member.name] = _parsed(member.name, member.data)
        else:
            raise BadCapture(f"{member.name} does not belong into a capture", hint=_HINT)
    if _MANIFEST not in said:
        raise BadCapture("this is no capture: it has no manifest.json", hint=_HINT)
    return _capture(said[_MANIFEST], said.get(_COMMANDS, []), files, links, folders)


def open_capture(data: bytes, *, note: str = "") -> Host:
    """The machine that a capture was taken from.

    Args:
        data: the archive.
        note: what a person calls it.

    Raises:
        BadCapture: it is none, is damaged, or holds what no capture holds.
    """
    return parse_capture(data).host(note)


def _capture(
    about: Any, commands: Any, files: dict[str, bytes], links: dict[str, str], folders: set[str]
) -> Capture:
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise BadCapture("manifest.json is not that of a capture", hint=_HINT)
    if about.get("version") != VERSION:
        raise BadCapture("it was taken by a newer version", hint="update dgpukit")
    refused = dict.fromkeys(_paths(about, "not_taken"), NOT_TAKEN) | _numbers(about, "refused")
    closed = _numbers(about, "closed")
    for path in (*refused, *files):
        if path in links or (path in refused and path in files):
            raise BadCapture(f"{path} is there twice")
    for path in (*files, *links, *refused, *folders, *closed):
        above = path
        while (above := dirname(above)) != "/":
            if above in files or above in links or (above in refused and above not in folders):
                raise BadCapture(f"{above} is no folder and has {path} in it")
    for name, kind in (*((n, str) for n in _TEXTS), *((n, bool) for n in _FLAGS)):
        if not isinstance(about.get(name), kind):
            raise _unfit(name)
    return Capture(
        files=files,
        links=links,
        folders=frozenset(folders),
        refused=refused,
        closed=closed,
        transcripts=tuple(map(_transcript, _list(commands, _COMMANDS))),
        taken=about["taken"],
        kernel=about["kernel"],
        root=about["root"],
        wake=about["wake"],
        asleep=tuple(_strings(about.get("asleep"), "asleep")),
        redacted=_pairs(about, "redacted", int),
        left_out=_pairs(about, "left_out", str),
        tool=about["tool"],
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode()


def _parsed(name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadCapture(f"{name} is not JSON") from None


def _command(said: Transcript) -> dict[str, Any]:
    return {"argv": list(said.argv), "status": said.status, "out": said.out, "err": said.err}


def _transcript(value: Any) -> Transcript:
    if not isinstance(value, dict):
        raise _unfit(_COMMANDS)
    argv = tuple(_strings(value.get("argv"), _COMMANDS))
    status, out, err = (value.get(key) for key in ("status", "out", "err"))
    if not (isinstance(status, int) and isinstance(out, str) and isinstance(err, str)):
        raise _unfit(_COMMANDS)
    return Transcript(argv, status, out, err)


def _unfit(name: str) -> BadCapture:
    return BadCapture(f"what the capture says of {name!r} is not what it should be", hint=_HINT)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _unfit(name)
    return value


def _strings(value: Any, name: str) -> list[str]:
    found = _list(value, name)
    if not all(isinstance(entry, str) for entry in found):
        raise _unfit(name)
    return found


def _paths(about: dict[str, Any], name: str) -> list[str]:
    paths = _strings(about.get(name), name)
    for path in paths:
        if not path.startswith("/") or normpath(path) != path or path.startswith("//"):
            raise _unfit(name)
    return paths


def _pairs(about: dict[str, Any], name: str, kind: type) -> dict[str, Any]:
    value = about.get(name)
    if not isinstance(value, dict) or not all(type(v) is kind for v in value.values()):
        raise _unfit(name)
    return value


def _numbers(about: dict[str, Any], name: str) -> dict[str, int]:
    """Path → number of an error."""
    value = about.get(name)
    if not isinstance(value, dict):
        raise _unfit(name)
    _paths({name: list(value)}, name)
    found = {}
    for path, why in value.items():
        number = why.get("errno") if isinstance(why, dict) else None
        if type(number) is not int or not 0 < number < 4096:
            raise _unfit(name)
        found[path] = number
    return found
