"""A QEMU command line as people keep it: in a script, a log, or /proc/PID/cmdline."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from itertools import pairwise

from diag.demand import NotAVm

#: Characters of a command line; shlex goes through them one by one.
MAX_LINE = 1 << 18
#: Options of which the first part has no name, and what it then is.
_FIRST = {
    "device": "driver", "machine": "type", "M": "type", "cpu": "model", "accel": "accel",
    "acpitable": "file", "fw_cfg": "name", "vga": "type", "set": "", "drive": "file",
}  # fmt: skip
#: A shell's variable that collects options: ``OPTS="$OPTS -device ..."``, ``args+=(...``.
_COLLECTS = re.compile(r"\w+\+?=\(?(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a command line: name → each use, as its parts."""

    found: tuple[tuple[str, dict[str, str]], ...]

    def of(self, name: str) -> tuple[dict[str, str], ...]:
        """Every use of an option, in order."""
        return tuple(parts for option, parts in self.found if option == name)


def whole_number(text: str) -> int | None:
    """A number as QEMU takes it, 0x for hexadecimal; None where it is none."""
    found = re.fullmatch(r"(?:0[xX]([0-9a-fA-F]{1,8})|(\d{1,10}))", text.strip(), re.ASCII)
    if found is None:
        return None
    return int(found[1], 16) if found[1] else int(found[2])


def parse_words(text: str) -> list[str]:
    """The words of a QEMU command line, those before its program left out.

    Raises:
        NotAVm: no QEMU is started in it, and no option of QEMU's collected.
    """
    if len(text) > MAX_LINE:
        raise NotAVm("larger than any command line", hint="name a file of one command")
    if "\0" in text:  # /proc/PID/cmdline
        words = text.split("\0")
    else:
        try:
            words = shlex.split(_joined(text), comments=True)
        except ValueError as error:
            raise NotAVm(
                f"no QEMU command line: {error}", hint="name a file of one command"
            ) from None
    words = [word for outer in words for word in _collected(outer)]
    start = next((number + 1 for number, word in enumerate(words) if _is_qemu(word)), None)
    collected = words if start is None else [*_options_before(words[:start]), *words[start:]]
    if start is None and not {"-device", "-machine", "-M", "-cpu"} & set(words):
        raise NotAVm(
            "neither libvirt's XML nor a QEMU command line",
            hint="virsh dumpxml NAME > FILE, or a file with the qemu-system-x86_64 command",
        )
    return collected


def _joined(text: str) -> str:
    """Lines that a backslash continues, joined as a shell does; it continues no comment."""
    plain = re.sub(r"(?m)^[ \t]*#.*$", "", text.replace("\r\n", "\n"))
    return plain.replace("\\\n", "")


def _is_qemu(word: str) -> bool:
    name = word.rsplit("/", 1)[-1]
    return name.startswith("qemu-system-") or name in ("qemu-kvm", "kvm")


def _collected(word: str) -> list[str]:
    """The words inside a variable that collects options; else the word itself."""
    found = _COLLECTS.fullmatch(word)
    if found is None or not re.search(r"(?:^|\s)-\w", found["value"]):
        return [word]
    return found["value"].split()


def _options_before(words: list[str]) -> list[str]:
    """Options that a script has collected before it starts QEMU; other programs' are left out."""
    return [
        word
        for option, value in pairwise([*words, ""])
        if option.lstrip("-") in _FIRST and option.startswith("-")
        for word in (option, value)
    ]


def parse_options(words: list[str]) -> Options:
    """The options that say what a guest sees, split into their parts."""
    found = []
    for option, value in pairwise([*words, ""]):
        name = option.removeprefix("-").removeprefix("-")
        if option.startswith("-") and name in _FIRST:
            found.append((name, _parts(name, value)))
    return Options(tuple(found))


def _parts(name: str, value: str) -> dict[str, str]:
    """``driver,key=value,flag``; two commas stand for one in a value. libvirt writes JSON."""
    if value.startswith("{"):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return {}
        return {str(key): _text(item) for key, item in parsed.items() if not _nested(item)}
    parts: dict[str, str] = {}
    for number, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, rest = part.replace("\0", ",").partition("=")
        if equals:
            parts[key] = rest
        elif number == 0:
            parts[_FIRST[name]] = key
        else:
            parts[key] = "on"
    return parts


def _nested(item: object) -> bool:
    return isinstance(item, dict | list)


def _text(item: object) -> str:
    return ("on" if item else "off") if isinstance(item, bool) else str(item)
