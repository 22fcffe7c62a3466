"""How modules are told to load: modprobe.d, lists of modules, the initial RAM disk's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diag.host import Host
from diag.kernel import module_name

#: Later folders give way to files of the same name in earlier ones (modprobe.d(5)).
FOLDERS = (
    "/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)  # fmt: skip

#: Lists with one module a line.
LISTS = ("/etc/modules", "/etc/initramfs-tools/modules")
LIST_FOLDERS = ("/etc/modules-load.d",)

#: Settings of the tools that make an initial RAM disk; modules stand between quotes or brackets.
SETTINGS = ("/etc/mkinitcpio.conf", "/etc/dracut.conf", "/etc/booster.yaml")
SETTING_FOLDERS = ("/etc/mkinitcpio.conf.d", "/etc/dracut.conf.d")

_SETTING = re.compile(
    r"^\s*(?:MODULES|add_drivers|force_drivers|force_load|modules(?:_force_load)?)\s*(?:\+?=|:)\s*(.*)$"
)
#: Bytes of one file of settings that are looked at.
_LIMIT = 1 << 16
_WORD = re.compile(r"[\w-]+(?:\.[\w-]+=\S+)?")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file of settings.

    Attributes:
        path: the file.
        number: of the line, from 1.
        text: without comment and white space around it.
    """

    path: str
    number: int
    text: str

    @property
    def where(self) -> str:
        """File and line, as evidence."""
        return f"{self.path}:{self.number}"

    @property
    def words(self) -> list[str]:
        """What white space parts."""
        return self.text.split()


def read_modprobe(host: Host) -> tuple[Line, ...]:
    """Every command of modprobe.d, in modprobe's order.

    Raises:
        Unreadable: a file is there and cannot be read.
    """
    chosen: dict[str, str] = {}
    places: list[str] = []
    for folder in FOLDERS:
        place = host.chase(folder)  # /lib is /usr/lib on most systems
        if place in places:
            continue
        places.append(place)
        for name in host.names(folder) or ():
            if name.endswith(".conf"):
                chosen.setdefault(name, f"{folder}/{name}")
    return tuple(line for name in sorted(chosen) for line in _lines(host, chosen[name]))


def read_module_lists(host: Host) -> tuple[Line, ...]:
    """Every line that names modules to load: at start, and in the initial RAM disk.

    Raises:
        Unreadable: a file is there and cannot be read.
    """
    lists = [*LISTS, *_inside(host, LIST_FOLDERS)]
    found = [line for path in lists for line in _lines(host, path)]
    for path in [*SETTINGS, *_inside(host, SETTING_FOLDERS)]:
        found += _setting_lines(host, path)
    return tuple(found)


def named_modules(line: Line) -> tuple[str, ...]:
    """The modules that a line of `read_module_lists` names, with underscores."""
    setting = _SETTING.match(line.text)
    words = _WORD.findall(setting[1] if setting else line.text)
    return tuple(module_name(word) for word in words if "=" not in word)


def _inside(host: Host, folders: tuple[str, ...]) -> list[str]:
    return [
        f"{folder}/{name}"
        for folder in folders
        for name in host.names(folder) or ()
        if name.endswith(".conf")
    ]


def _lines(host: Host, path: str) -> list[Line]:
    found: list[Line] = []
    held = ""
    for number, raw in enumerate((host.text(path, _LIMIT) or "").splitlines(), 1):
        text = held + raw
        held = ""
        if text.endswith("\\"):
            held = f"{text[:-1]} "
            continue
        text = text.partition("#")[0].strip()
        if text and not text.startswith(";"):
            found.append(Line(path, number, text))
    return found


def _setting_lines(host: Host, path: str) -> list[Line]:
    """The settings of a shell-like file that name modules, each on one line."""
    found = []
    text = (host.text(path, _LIMIT) or "").replace("\r", "")
    # A list in brackets or quotes may go on over lines; what is a comment there stays one.
    text = re.sub(r"#.*", "", text)
    flat = re.sub(r"([(\"])([^)\"]*)([)\"])", lambda m: m[0].replace("\n", " "), text)
    for line in flat.splitlines():
        if _SETTING.match(line):
            number = 1 + text[: max(text.find(line.strip()[:20]), 0)].count("\n")
            found.append(Line(path, number, line.strip()))
    return found


@dataclass(frozen=True, slots=True)
class Modprobe:
    """What modprobe.d says, by command."""

    lines: tuple[Line, ...]

    def commands(self, command: str, module: str | None = None) -> tuple[Line, ...]:
        """The lines of one command, for one module or for all."""
        wanted = None if module is None else module_name(module)
        return tuple(
            line
            for line in self.lines
            if len(line.words) > 1
            and line.words[0] == command
            and wanted in (None, module_name(line.words[1]))
        )

    def option(self, module: str, name: str) -> tuple[str, Line] | None:
        """The value that an ``options`` line sets last, and that line."""
        found = None
        for line in self.commands("options", module):
            for word in line.words[2:]:
                key, equals, value = word.partition("=")
                if module_name(key) == module_name(name):
                    found = (value if equals else "", line)
        return found

    def before(self, module: str, first: str) -> Line | None:
        """The ``softdep`` line that loads `first` before `module`; None if there is none."""
        for line in self.commands("softdep", module):
            early = line.text.partition("pre:")[2].partition("post:")[0]
            if module_name(first) in map(module_name, early.split()):
                return line
        return None

    def stopped(self, module: str) -> Line | None:
        """The ``install`` line that keeps even an explicit modprobe from loading it."""
        for line in self.commands("install", module):
            if line.words[2:3] and line.words[2].rsplit("/", 1)[-1] in ("false", "true", ":"):
                return line
        return None
